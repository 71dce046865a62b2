# SPDX-License-Identifier: MIT
"""What a campaign runs: which seeds, on which machines, in which units."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..selection import Selection, SelectionError, subject
from ..version import project_version

SHAPES = ("programs", "lists")
#: Cases in a unit. Guidance does not look beyond it, so it is large enough to find something, and a lost one is cheap.
UNIT = {"programs": 256, "lists": 16}


@dataclass(frozen=True, slots=True)
class Plan:
    """machines: (the backend's name as it was asked for, machine); unit i is explored on number i modulo their count.

    size: cases in a unit; another size is another campaign.
    """

    machines: tuple[tuple[str, str], ...]
    shape: str = "programs"
    guided: bool = True
    size: int = UNIT["programs"]

    @classmethod
    def of(cls, backends: tuple[str, ...], shape: str, *, guided: bool = True) -> Plan:
        """Every machine on which memory (for lists: a list) can be mapped. Raises SelectionError."""
        machines = []
        for name, record in Selection(backends=backends).records():
            for config in record.machines:
                made = subject(name, config.name)
                if made.reach and (shape == "programs" or made.has("map_sg")):
                    machines.append((name, config.name))
        if not machines:
            raise SelectionError("nothing can be mapped on these backends' machines")
        return cls(tuple(machines), shape, guided, UNIT[shape])

    def seeds(self, unit: int) -> range:
        return range(unit * self.size, (unit + 1) * self.size)

    def as_json(self) -> dict[str, Any]:
        """What must be the same where results are put together."""
        text = "".join(f"{name}/{machine}\n" for name, machine in self.machines)
        return {
            "version": project_version(),
            "shape": self.shape,
            "guided": self.guided,
            "unit": self.size,
            "machines": len(self.machines),
            "machines_sha256": hashlib.sha256(text.encode()).hexdigest(),
        }


class Ranges:
    """A set of numbers, kept as few ranges [first, last)."""

    def __init__(self, ranges: list[list[int]] | None = None) -> None:
        self.ranges = ranges or []

    def add(self, first: int, last: int) -> None:
        """Add first to last - 1, of which some may be there already."""
        apart = []
        for a, b in self.ranges:
            if b < first or last < a:
                apart.append([a, b])
            else:
                first, last = min(first, a), max(last, b)
        self.ranges = sorted([*apart, [first, last]])

    def missing(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The gaps between first and last."""
        for a, b in self.ranges:
            if first < min(a, last):
                yield first, min(a, last)
            first = max(first, b)
        if first < last:
            yield first, last

    def has(self, first: int, last: int) -> bool:
        """Is any of these there?"""
        return any(a < last and first < b for a, b in self.ranges)

    def __len__(self) -> int:
        return sum(b - a for a, b in self.ranges)
