# SPDX-License-Identifier: MIT
"""What comes back from a unit, and from any number of units: counters, behaviours and failures, never cases.

Summaries are put together with add(), in any order and grouping. Their size does not grow with the number of cases.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

BEHAVIOURS = 1 << 18                    # how many are told apart
COUNTERS = ("cases", "operations", "entries", "segments", "dead", "novel")


@dataclass(frozen=True, slots=True)
class Failure:
    """A clause that a backend breaks on a machine: the program of the lowest seed of those that show it.

    times: cases that show it, the minimised one included. program: Python that runs as it stands.
    """

    backend: str
    machine: str
    clause: str
    text: str
    seed: int
    program: str
    times: int = 1

    @property
    def key(self) -> tuple[str, str, str]:
        return self.backend, self.machine, self.clause


@dataclass(slots=True)
class Effort:
    """What it cost, which differs from run to run. rss: the largest resident set of a worker process, in bytes."""

    cpu: float = 0.0
    rss: int = 0

    def add(self, other: Effort) -> None:
        self.cpu += other.cpu
        self.rss = max(self.rss, other.rss)


@dataclass(slots=True)
class Summary:
    """counters: of COUNTERS. dead: programs that a known fault ended; novel: cases that showed their
    unit something new.

    behaviours: a bit for each. known: how often a known fault of Linux was met, by "BACKEND CLAUSE: what".
    """

    counters: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    behaviours: int = 0
    failures: dict[tuple[str, str, str], Failure] = field(default_factory=dict)

    def see(self, behaviours: Iterable[int]) -> None:
        bits = bytearray(BEHAVIOURS // 8)
        for one in behaviours:
            bits[one >> 3] |= 1 << (one & 7)
        self.behaviours |= int.from_bytes(bits, "little")

    def fail(self, failure: Failure) -> None:
        old = self.failures.get(failure.key)
        if old is not None:
            first = min(old, failure, key=lambda one: one.seed)
            failure = Failure(**{**asdict(first), "times": old.times + failure.times})
        self.failures[failure.key] = failure

    def add(self, other: Summary) -> None:
        self.counters.update(other.counters)
        self.known.update(other.known)
        self.behaviours |= other.behaviours
        for failure in other.failures.values():
            self.fail(failure)

    @property
    def sha256(self) -> str:
        """Of all that was found: equal for equal seeds, whoever ran them."""
        found = repr((sorted(self.counters.items()), sorted(self.known.items()), hex(self.behaviours),
                      sorted(map(repr, self.failures.values()))))
        return hashlib.sha256(found.encode()).hexdigest()

    def findings(self) -> dict[str, Any]:
        """For people and their programs."""
        return {
            "counters": {name: self.counters[name] for name in COUNTERS},
            "behaviours": self.behaviours.bit_count(),
            "known": dict(sorted(self.known.items())),
            "failures": [asdict(self.failures[key]) for key in sorted(self.failures)],
            "sha256": self.sha256,
        }

    def as_json(self) -> dict[str, Any]:
        """All of it, for the journal."""
        bits = zlib.compress(self.behaviours.to_bytes(BEHAVIOURS // 8, "little"))
        return {
            "counters": dict(self.counters),
            "known": dict(self.known),
            "behaviours": base64.b64encode(bits).decode(),
            "failures": [asdict(failure) for failure in self.failures.values()],
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Summary:
        """Raises ValueError, KeyError or TypeError for what is none."""
        try:
            bits = zlib.decompress(base64.b64decode(raw["behaviours"], validate=True))
        except zlib.error as error:
            raise ValueError(str(error)) from None
        failures = [Failure(**failure) for failure in raw["failures"]]
        return cls(Counter(raw["counters"]), Counter(raw["known"]), int.from_bytes(bits, "little"),
                   {failure.key: failure for failure in failures})
