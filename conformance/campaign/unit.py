# SPDX-License-Identifier: MIT
"""Explores one unit: a fixed number of cases on one machine, each of which may learn from those before it.

Case by case, a program is drawn anew, or made from one that showed something new: of some such the one whose behaviour
has been met least often since, with a few changes, and then more calls. All is drawn from the case's seed and
from what the unit has seen, so that the unit's number alone decides what it finds.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ..programs import Program, minimise
from ..programs.generate import RandomSource, Source, draw
from ..programs.long_lists import PATTERNS
from ..programs.play import Outcome, run, step
from ..programs.program import Call
from ..programs.world import KINDS, KernelDead, World
from ..selection import subject
from .plan import Plan
from .signature import Signature
from .summary import Effort, Failure, Summary

LENGTH = 48                             # calls of a program, at most
CORPUS = 64                             # programs that a unit keeps to start from
MINIMISING = 200                        # runs that a failure may take to be made small

MASKS = (24, 28, 30, 31, 32, 36, 40, 44, 48, 64)
BOUNDARIES = (16, 18, 20, 24, 28, 32, 64)
LISTS = (96, 200, 513, 1024, 2048, 4096)    # entries


def explore(plan: Plan, first: int, last: int) -> tuple[Summary, Effort]:
    """What the units from first to last - 1 find, put together here."""
    start = time.process_time()
    found = Summary()
    for unit in range(first, last):
        found.add(_Unit(plan, unit).explore())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return found, Effort(time.process_time() - start, peak)


@dataclass(frozen=True, slots=True)
class Parent:
    """A program to start from, and the behaviour that only its last call showed when it was new."""

    program: Program
    behaviour: int


class _Unit:
    def __init__(self, plan: Plan, unit: int) -> None:
        self.plan = plan
        self.seeds = plan.seeds(unit)
        self.name, self.machine = plan.machines[unit % len(plan.machines)]
        self.made = subject(self.name, self.machine)
        self.peers = self.made.record.p2pdma and self.made.machine.pci_p2pdma
        self.seen: Counter[int] = Counter()         # behaviours, and in how many calls
        self.corpus: list[Parent] = []
        self.summary = Summary()

    def explore(self) -> Summary:
        for seed in self.seeds:
            self._case(seed)
        self.summary.see(self.seen)
        return self.summary

    def _case(self, seed: int) -> None:
        source = RandomSource(f"campaign:{self.name}:{self.machine}:{seed}")
        parent = None
        if self.plan.guided and self.corpus and source.below(2):
            some = (self.corpus[source.below(len(self.corpus))] for _ in range(4))
            parent = min(some, key=lambda one: self.seen[one.behaviour]).program
        p2p = parent.p2p if parent is not None else self.peers and bool(source.below(2))
        prefix = _mutate(list(parent.calls), self.corpus, source) if parent is not None else []
        outcome, new, shown = self._play(prefix, source, p2p=p2p)
        counters = self.summary.counters
        counters["cases"] += 1
        counters["operations"] += len(outcome.program.calls)
        self.summary.known.update({f"{self.made.record.id} {what}": n for what, n in outcome.met.items()})
        if new >= 0:
            counters["novel"] += 1
            self.corpus.append(Parent(outcome.program.keeping(outcome.program.calls[: new + 1]), shown))
            if len(self.corpus) > CORPUS:
                del self.corpus[source.below(len(self.corpus) // 2)]
        if outcome.broken is not None:
            self._failed(outcome, seed)

    def _play(self, prefix: list[Call], source: Source, *, p2p: bool) -> tuple[Outcome, int, int]:
        """Run the calls given, then draw more. Also the last call that showed something new, -1 for none, and what."""
        world = World(self.made, p2p=p2p)
        signature = Signature(world)
        outcome = Outcome(Program(self.name, self.machine, p2p=p2p), met=world.met)
        next_call = self._lists if self.plan.shape == "lists" else self._call
        todo = 1 + source.below(self._length(source)) if prefix else self._length(source)
        calls: list[Call] = []
        new = shown = -1

        def look(behaviours: Iterable[int]) -> None:
            nonlocal new, shown
            for one in behaviours:
                self.seen[one] += 1
                if self.seen[one] == 1:
                    new, shown = len(calls) - 1, one

        end = ""
        world.calls = _names(prefix)
        try:
            while len(calls) < len(prefix) + todo:
                calls.append(prefix[len(calls)] if len(calls) < len(prefix) else next_call(world, source, len(calls)))
                step(world, calls[-1])
                look(signature.after(calls[-1][0]))
            world.end()
        except KernelDead as dead:
            self.summary.counters["dead"] += 1
            end = str(dead)
        except Exception as error:
            outcome.broken = error
            end = outcome.clause
        look([signature.ended(end)])
        self.summary.counters["entries"] += world.entries
        self.summary.counters["segments"] += world.segments
        outcome.program = outcome.program.keeping(calls)
        return outcome, new, shown

    def _length(self, source: Source) -> int:
        return 2 + source.below(3) if self.plan.shape == "lists" else 2 + source.below(LENGTH - 1)

    def _call(self, world: World, source: Source, at: int) -> Call:
        if at < 2:
            return _config(world, source, at)
        return draw(world, source)

    def _lists(self, world: World, source: Source, at: int) -> Call:
        if at == 0:
            return _config(world, source, 1)
        patterns = tuple(PATTERNS)
        return "long_lists", (
            LISTS[source.below(len(LISTS))], 1 << source.below(5), 1 + source.below(4),
            patterns[source.below(len(patterns))], source.below(1 << 16),
        )

    def _failed(self, outcome: Outcome, seed: int) -> None:
        """The failure, as a small program; only the first of its kind in the unit is made small."""
        clause = outcome.clause
        key = self.made.record.id, self.machine, clause
        if key in self.summary.failures:
            self.summary.fail(replace(self.summary.failures[key], times=1))
            return

        def fails(program: Program) -> bool:
            return run(program, self.made).clause == clause

        program = outcome.program
        if fails(program):                  # without the signature's looking on
            program = minimise(program, fails, MINIMISING)
        text = str(run(program, self.made).broken or outcome.broken)
        self.summary.fail(Failure(*key, text, seed, program.code()))


def _names(calls: list[Call]) -> int:
    """A number beyond all that name a mapping."""
    return max((arguments[0] for _, arguments in calls if arguments and isinstance(arguments[0], int)), default=-1) + 1


def _config(world: World, source: Source, at: int) -> Call:
    """The mask, then max_seg_size and the boundary."""
    if at == 0:
        return "set_mask", (MASKS[source.below(len(MASKS))],)
    sizes = (world.page, 2 * world.page, 3 * world.page - 4, 65536, 1 << 20, (1 << 32) - 1)
    return "set_limits", (sizes[source.below(len(sizes))], BOUNDARIES[source.below(len(BOUNDARIES))])


def _mutate(calls: list[Call], corpus: list[Parent], source: Source) -> list[Call]:
    """Up to two changes. What no longer makes sense does nothing when it is run."""
    for _ in range(source.below(3)):
        change = _CHANGES[source.below(len(_CHANGES))]
        if calls:
            calls = change(calls, corpus, source)
    return calls


def _cut(calls: list[Call], corpus: list[Parent], source: Source) -> list[Call]:
    return calls[: 1 + source.below(len(calls))]


def _drop(calls: list[Call], corpus: list[Parent], source: Source) -> list[Call]:
    at = source.below(len(calls))
    return calls[:at] + calls[at + 1 :]


def _fail(calls: list[Call], corpus: list[Parent], source: Source) -> list[Call]:
    at = source.below(len(calls))
    if calls[at][0] == "long_lists":
        return calls
    return [*calls[:at], ("fail", (KINDS[source.below(len(KINDS))], 1 + source.below(6))), *calls[at:]]


def _again(calls: list[Call], corpus: list[Parent], source: Source) -> list[Call]:
    """A call once more, under a name of its own if it makes a mapping."""
    at = source.below(len(calls))
    name, arguments = calls[at]
    if name.startswith(("map", "alloc")):
        arguments = (_names(calls), *arguments[1:])
    to = at + 1 + source.below(len(calls) - at)
    return [*calls[:to], (name, arguments), *calls[to:]]


def _splice(calls: list[Call], corpus: list[Parent], source: Source) -> list[Call]:
    """The other half of another program."""
    other = corpus[source.below(len(corpus))].program.calls
    return [*calls[: 1 + source.below(len(calls))], *other[source.below(len(other) + 1) :]][:LENGTH]


def _limits(calls: list[Call], corpus: list[Parent], source: Source) -> list[Call]:
    """Another mask, or boundary."""
    for at, (name, arguments) in enumerate(calls):
        if name == "set_mask" and source.below(2):
            return [*calls[:at], (name, (MASKS[source.below(len(MASKS))],)), *calls[at + 1 :]]
        if name == "set_limits":
            boundary = BOUNDARIES[source.below(len(BOUNDARIES))]
            return [*calls[:at], (name, (arguments[0], boundary)), *calls[at + 1 :]]
    return calls


def _nudge(calls: list[Call], corpus: list[Parent], source: Source) -> list[Call]:
    """A number of a row, a little larger or smaller."""
    at = source.below(len(calls))
    name, arguments = calls[at]
    places = [i for i, argument in enumerate(arguments) if isinstance(argument, list) and argument]
    if not places:
        return calls
    rows = list(arguments[places[0]])
    i = source.below(len(rows))
    row = list(rows[i])
    row[source.below(3)] += (1, -1, 4, -4, 64, -64)[source.below(6)]
    rows[i] = tuple(row)
    return [*calls[:at], (name, (*arguments[: places[0]], rows, *arguments[places[0] + 1 :])), *calls[at + 1 :]]


Change = Callable[[list[Call], list[Parent], Source], list[Call]]
_CHANGES: tuple[Change, ...] = (_cut, _cut, _drop, _fail, _again, _splice, _limits, _nudge)
