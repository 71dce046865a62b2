# SPDX-License-Identifier: MIT
"""Runs programs, and makes them up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..facts import Subject
from ..selection import subject
from .generate import Source, draw
from .program import Call, Program
from .world import Broken, KernelDead, World


@dataclass(slots=True)
class Outcome:
    """What became of a program. broken: what it met, or None; met: the known faults of Linux that it came across."""

    program: Program
    broken: Exception | None = None
    met: Counter[str] = field(default_factory=Counter)

    @property
    def clause(self) -> str:
        """The clause that is broken, "" for none, or the exception's name where the suite itself is at fault."""
        if self.broken is None:
            return ""
        return self.broken.clause if isinstance(self.broken, Broken) else type(self.broken).__name__


def run(program: Program, made: Subject | None = None) -> Outcome:
    """Run a program. made: where it is run, if not on the backend that it names."""
    world = World(made or subject(program.backend, program.machine), p2p=program.p2p)
    outcome = Outcome(program, met=world.met)
    try:
        for name, arguments in program.calls:
            step(world, (name, arguments))
        world.end()
    except KernelDead:
        pass
    except Exception as error:
        outcome.broken = error
    return outcome


def step(world: World, call: Call) -> None:
    """One call."""
    world.calls += 1
    getattr(world, call[0])(*call[1])


def generate(made: Subject, source: Source, length: int, *, p2p: bool = False, kind: type[World] = World) -> Outcome:
    """Make up a program of so many calls while it runs."""
    world = kind(made, p2p=p2p)
    calls: list[Call] = []
    outcome = Outcome(Program(made.record.id, made.config.name, p2p=p2p), met=world.met)
    try:
        for _ in range(length):
            calls.append(draw(world, source))
            step(world, calls[-1])
        world.end()
    except KernelDead:
        pass
    except Exception as error:
        outcome.broken = error
    outcome.program = outcome.program.keeping(calls)
    return outcome
