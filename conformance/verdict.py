# SPDX-License-Identifier: MIT
"""What a case can come to, and how verdicts add up without losing one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum


class Verdict(Enum):
    """A case's outcome; from the worst to the mildest, which is the order in which one hides another in a headline."""

    CRASHED = "crashed"                 # the interpreter died
    TIMEOUT = "timeout"
    BROKEN = "broken"                   # the suite's own fault, or a record's that claims what is not so
    FAIL = "fail"
    KNOWN = "known"                     # fails as Linux itself does, documented in the backend's record
    WAIVED = "waived"
    PASS = "pass"
    NOT_TESTED = "not-tested"           # the rule applies and nothing observed it
    NOT_APPLICABLE = "not-applicable"

    @property
    def severity(self) -> int:
        """0 for the mildest."""
        return len(Verdict) - 1 - list(Verdict).index(self)

    @property
    def bad(self) -> bool:
        """Does this make a run's exit status 1?"""
        return self in _BAD

    @property
    def observed(self) -> bool:
        """Did a check come to a judgement?"""
        return self not in (Verdict.NOT_TESTED, Verdict.NOT_APPLICABLE)


_BAD = frozenset({Verdict.CRASHED, Verdict.TIMEOUT, Verdict.BROKEN, Verdict.FAIL})


class Tally(Mapping[Verdict, int]):
    """How many cases came to each verdict. Tallies add; adding is associative, commutative and loses nothing.

    The headline is the worst verdict that is in it. No cases at all are not-tested, never a pass.
    """

    __slots__ = ("_counts",)

    def __init__(self, verdicts: Iterable[Verdict] | Mapping[Verdict, int] = ()) -> None:
        self._counts: Counter[Verdict] = Counter(verdicts)

    def __getitem__(self, verdict: Verdict) -> int:
        return self._counts[verdict]

    def __iter__(self) -> Iterator[Verdict]:
        return (verdict for verdict in Verdict if self._counts[verdict])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self._counts + other._counts)

    def add(self, verdict: Verdict) -> None:
        self._counts[verdict] += 1

    @property
    def total(self) -> int:
        return self._counts.total()

    @property
    def headline(self) -> Verdict:
        return max(self, key=lambda verdict: verdict.severity, default=Verdict.NOT_TESTED)

    @property
    def bad(self) -> bool:
        return any(verdict.bad for verdict in self)

    def __str__(self) -> str:
        return ", ".join(f"{self[verdict]} {verdict.value}" for verdict in self) or "no cases"

    def __repr__(self) -> str:
        return f"<Tally {self}>"
