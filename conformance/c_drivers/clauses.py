# SPDX-License-Identifier: MIT
"""The clauses of clauses.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..rules import Rule, Source

GROUP = "driver"


@dataclass(frozen=True, slots=True)
class Clause:
    """What a driver owes the DMA API. scenarios: those that can see it broken, the first one first."""

    rule: Rule
    scenarios: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.rule.id


@cache
def clauses() -> dict[str, Clause]:
    """All clauses by id, in the order of the file."""
    tables = tomllib.loads((files(__package__) / "clauses.toml").read_text(encoding="utf-8"))["clause"]
    found = {}
    for row in tables:
        rule = Rule(row["id"], row["text"], "must", GROUP, Source(**row["source"]), file="clauses.toml")
        found[rule.id] = Clause(rule, tuple(row["scenarios"]))
    return found
