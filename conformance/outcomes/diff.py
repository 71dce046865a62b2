# SPDX-License-Identifier: MIT
"""Compares two runs case by case.

worse: a bad verdict where there was a better one, a fault where there was none, or a judgement that is no longer made;
better: the other way round; changed: neither, but policy, mechanism or the reason for not judging is another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..execute import Result
from ..results import Report
from ..verdict import Verdict

Kind = Literal["worse", "better", "changed", "new", "gone"]
KINDS: tuple[Kind, ...] = ("worse", "better", "changed", "new", "gone")
#: From the best to the worst. Not to judge is worse than any good judgement, and better than no bad one.
_ORDER = (Verdict.PASS, Verdict.KNOWN, Verdict.FAIL, Verdict.BROKEN, Verdict.TIMEOUT, Verdict.CRASHED)
_MECHANISMS = ("native", "fallback", "refused", "unsafe")
_HEADER = ("version", "python", "platform", "seed", "profile", "shard", "rules_hash")


@dataclass(frozen=True, slots=True)
class Change:
    kind: Kind
    old: Result | None
    new: Result | None

    @property
    def case(self) -> str:
        one = self.new or self.old
        assert one is not None
        return one.case

    @property
    def bad(self) -> bool:
        """Does it make the comparison's exit status 1? A new case that fails does, too."""
        return self.kind == "worse" or (self.kind == "new" and self.new is not None and self.new.verdict.bad)

    def __str__(self) -> str:
        return f"{self.kind:7} {self.case}: {_said(self.old)} -> {_said(self.new)}"

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "case": self.case,
            "old": self.old.as_json() if self.old else None,
            "new": self.new.as_json() if self.new else None,
        }


def _said(result: Result | None) -> str:
    if result is None:
        return "none"
    return result.verdict.value + (f" {result.policy}/{result.mechanism}" if result.mechanism else "")


def compare(old: Report, new: Report) -> list[Change]:
    """Every case that is not the same in both, in the order of the new run, then what is gone."""
    before = {result.case: result for result in old.results}
    changes = []
    for result in new.results:
        was = before.pop(result.case, None)
        kind: Kind | None = "new" if was is None else _kind(was, result)
        if kind is not None:
            changes.append(Change(kind, was, result))
    return changes + [Change("gone", result, None) for result in before.values()]


def _kind(old: Result, new: Result) -> Kind | None:
    if old.verdict is not new.verdict:
        if old.verdict.observed and new.verdict.observed:
            return "worse" if _ORDER.index(new.verdict) > _ORDER.index(old.verdict) else "better"
        if old.verdict.observed:
            return "worse"
        if new.verdict.observed:
            return "worse" if new.verdict.bad else "better"
        return "changed"
    if old.mechanism != new.mechanism:
        if old.mechanism in _MECHANISMS and new.mechanism in _MECHANISMS:
            return "worse" if _MECHANISMS.index(new.mechanism) > _MECHANISMS.index(old.mechanism) else "better"
        return "changed"
    if old.policy != new.policy or (not new.verdict.observed and old.detail != new.detail):
        return "changed"
    return None


def headers(old: Report, new: Report) -> list[str]:
    """In what the two runs are not alike, so that nobody takes a change of the suite for one of a backend."""
    return [
        f"the runs differ in {key}: {old.header.get(key)} and {new.header.get(key)}"
        for key in _HEADER
        if old.header.get(key) != new.header.get(key)
    ]
