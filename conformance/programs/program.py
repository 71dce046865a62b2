# SPDX-License-Identifier: MIT
"""A program: a list of calls that can be run, made smaller, and printed as Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Call = tuple[str, tuple[Any, ...]]      # a method of World, and its arguments


@dataclass(frozen=True, slots=True)
class Program:
    """Calls on one machine of a backend. p2p: with peers beside the device."""

    backend: str
    machine: str
    calls: tuple[Call, ...] = ()
    p2p: bool = False

    def code(self) -> str:
        """The program as Python, which runs as it stands."""
        peers = ", p2p=True" if self.p2p else ""
        lines = [
            "from conformance.programs import World",
            "",
            f"w = World.of({self.backend!r}, {self.machine!r}{peers})",
            *(f"w.{name}({', '.join(map(repr, arguments))})" for name, arguments in self.calls),
            "w.end()",
        ]
        return "\n".join(lines) + "\n"

    def keeping(self, calls: Sequence[Call]) -> Program:
        return replace(self, calls=tuple(calls))


def minimise(program: Program, fails: Callable[[Program], bool], most: int = 400) -> Program:
    """The shortest program found that still fails, in at most so many runs: calls are left out in ever smaller
    pieces, then lists made shorter and numbers smaller."""
    runs = 0

    def still(calls: Sequence[Call]) -> bool:
        nonlocal runs
        runs += 1
        return runs <= most and fails(program.keeping(calls))

    calls = list(program.calls)
    size = max(len(calls) // 2, 1)
    while True:
        at, shorter = 0, False
        while at < len(calls):
            less = calls[:at] + calls[at + size :]
            if still(less):
                calls, shorter = less, True
            else:
                at += size
        if size == 1 and not shorter:
            break
        size = max(size // 2, 1)
    simpler = True
    while simpler:
        simpler = False
        for at, (name, arguments) in enumerate(calls):
            for simple in _simpler(name, arguments):
                tried: list[Call] = [*calls[:at], (name, simple), *calls[at + 1 :]]
                if still(tried):
                    calls, simpler = tried, True
                    break
    return program.keeping(calls)


def _simpler(name: str, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The arguments with one list shorter by a row; only rows, for other numbers are names, but for long_lists(),
    whose first three say how much there is of them."""
    found: list[tuple[Any, ...]] = []
    if name == "long_lists":
        found = [(*arguments[:i], n // 2, *arguments[i + 1 :]) for i, n in enumerate(arguments[:3]) if n > 1]
    for i, argument in enumerate(arguments):
        if isinstance(argument, list) and len(argument) > 1:
            found += [
                (*arguments[:i], argument[:j] + argument[j + 1 :], *arguments[i + 1 :]) for j in range(len(argument))
            ]
    return found
