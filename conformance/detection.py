# SPDX-License-Identifier: MIT
"""The suite's own score: kills.json, what `selftest --out` found, beside the results it speaks for.

Data only, for every renderer: the score, rule -> saboteurs that it kills, saboteur -> rules that kill it, and the
systematic set by backend.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from .results import ResultsError

NAME = "kills.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Detection:
    """A kill matrix as it was written. raw: all of it, as kills.schema.json has it."""

    raw: dict[str, Any]

    @property
    def killed(self) -> int:
        return int(self.raw["score"]["killed"])

    @property
    def planted(self) -> int:
        return int(self.raw["score"]["planted"])

    @property
    def rules(self) -> dict[str, dict[str, list[str]]]:
        """Rule -> saboteur -> where the rule killed it."""
        found: dict[str, dict[str, list[str]]] = self.raw["rules"]
        return found

    @property
    def killers(self) -> dict[str, dict[str, list[str]]]:
        """Saboteur -> rule that killed it -> where; also for those that none did."""
        out: dict[str, dict[str, list[str]]] = {name: {} for name in self.raw["saboteurs"]}
        for rule, by in self.rules.items():
            for name, targets in by.items():
                out[name][rule] = targets
        return out

    @property
    def backends(self) -> dict[str, tuple[int, int]]:
        """Backend -> (killed, planted)."""
        out: dict[str, tuple[int, int]] = {}
        alive = {(row["saboteur"], row["target"]) for row in self.raw["survivors"]}
        for key in dict.fromkeys((row["saboteur"], row["target"]) for row in self.raw["sightings"]):
            backend = key[1].split("/")[0]
            killed, planted = out.get(backend, (0, 0))
            out[backend] = killed + (key not in alive), planted + 1
        return dict(sorted(out.items()))

    def sentence(self, rules_hash: str = "") -> str:
        """The score in words. rules_hash: that of the results beside it; other rules were scored if it differs."""
        part = 100 * self.killed / self.planted if self.planted else 0.0
        said = (
            f"detection score of the suite: {self.killed} of {self.planted} planted saboteurs killed ({part:.1f} %), "
            f"{len(self.raw['saboteurs'])} kinds in {len(self.backends)} backends"
        )
        if rules_hash and rules_hash != self.raw["rules_hash"]:
            said += "; by other rules than those of this run"
        return said


def beside(results: Path) -> Detection | None:
    """The kills.json in the folder of a results.jsonl; None without one. Raises ResultsError."""
    path = (results if results.is_dir() else results.parent) / NAME
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    if not isinstance(raw, dict) or raw.get("type") != "kills" or raw.get("schema") != SCHEMA_VERSION:
        raise ResultsError(f"{path} is no kill matrix of schema {SCHEMA_VERSION}")
    return Detection(raw)


Side = tuple[str, tuple[str, ...], list[tuple[str, ...]]]              # title, headings, rows


def _sides(detection: Detection) -> tuple[Side, Side]:
    """What each rule kills, and what kills each saboteur."""
    rules: list[tuple[str, ...]] = [
        (rule, str(sum(map(len, by.values()))), ", ".join(sorted(by))) for rule, by in sorted(detection.rules.items())
    ]
    killers: list[tuple[str, ...]] = [
        (name, ", ".join(f"{rule} ({len(targets)})" for rule, targets in by.items()) or "none")
        for name, by in sorted(detection.killers.items())
    ]
    return (
        ("What each rule kills", ("rule", "kills", "saboteurs"), rules),
        ("What kills each saboteur", ("saboteur", "killed by (times)"), killers),
    )


def text(detection: Detection, rules_hash: str = "") -> list[Table | Text]:
    """For a terminal."""
    parts: list[Table | Text] = []
    for title, headings, rows in _sides(detection):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for heading in headings:
            table.add_column(heading, no_wrap=heading in ("rule", "kills", "saboteur"))
        for row in rows:
            table.add_row(*row)
        parts += [table, Text()]
    return [*parts, Text(detection.sentence(rules_hash))]


def markdown(detection: Detection, rules_hash: str = "") -> list[str]:
    """For a forge: the score, and both sides of the matrix folded."""
    out = ["## Detection score", "", f"{detection.sentence(rules_hash)}.", ""]
    for title, headings, rows in _sides(detection):
        out += [f"<details><summary>{title}</summary>", "", f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
        out += [f"| {' | '.join(row)} |" for row in rows]
        out += ["", "</details>", ""]
    return out
