# SPDX-License-Identifier: MIT
"""results.jsonl: a header, one line per case in the order of the cases, a footer. A file without its footer was cut.

Everything in it follows from the seed and the selection: no times, no number of workers. How long each case took is
in timings.json beside it.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from .execute import UNSEEN, Result
from .rules import fingerprint
from .selection import Selection
from .verdict import Tally, Verdict

SCHEMA_VERSION = 1


class ResultsError(ValueError):
    """A file that is no results.jsonl; the message is one sentence for the user."""


def project_version() -> str:
    try:
        return version("dma-conformance")
    except PackageNotFoundError:
        return "unknown"


def header(selection: Selection) -> dict[str, Any]:
    """What the run was: enough to repeat it, and to tell whether two runs can be compared."""
    rules = selection.chosen_rules()
    return {
        "type": "header",
        "schema": SCHEMA_VERSION,
        "version": project_version(),
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "seed": selection.seed,
        "profile": selection.profile,
        "shard": list(selection.shard),
        "backends": {record.id: record.proof for _, record in selection.records()},
        "rules": [rule.id for rule in rules],
        "rules_hash": fingerprint(rules),
        "apis": ["legacy"],
    }


def stale_knowns(results: Iterable[Result]) -> list[str]:
    """"BACKEND RULE" of each known fault that a record names and none of its machines showed."""
    claimed: set[tuple[str, str]] = set()
    shown: set[tuple[str, str]] = set()
    for result in results:
        key = (result.backend, result.what)
        if result.verdict is Verdict.KNOWN:
            shown.add(key)
        elif result.detail.startswith(UNSEEN):
            claimed.add(key)
    return sorted(f"{backend} {rule}" for backend, rule in claimed - shown)


def footer(results: list[Result], selection: Selection) -> dict[str, Any]:
    tally = Tally(result.verdict for result in results)
    row: dict[str, Any] = {
        "type": "footer",
        "complete": True,
        "cases": len(results),
        "counts": {verdict.value: tally[verdict] for verdict in tally},
    }
    if selection.shard == (1, 1):
        row["stale_knowns"] = stale_knowns(results)
    return row


def dump(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


class Writer:
    """Writes the file while the run goes on: results come in any order and leave in that of the cases."""

    def __init__(self, stream: IO[str] | None, selection: Selection, order: list[str]) -> None:
        self.selection = selection
        self.order = order
        self.results: dict[str, Result] = {}
        self._stream = stream
        self._next = 0
        self._put(header(selection))

    def _put(self, row: dict[str, Any]) -> None:
        if self._stream is not None:
            self._stream.write(dump(row))
            self._stream.flush()

    def add(self, result: Result) -> None:
        self.results[result.case] = result
        while self._next < len(self.order) and self.order[self._next] in self.results:
            self._put(self.results[self.order[self._next]].as_json())
            self._next += 1

    @property
    def missing(self) -> list[str]:
        return [case for case in self.order if case not in self.results]

    def close(self) -> None:
        """Write the footer, if every case has a result."""
        if not self.missing:
            self._put(footer(self.ordered, self.selection))

    @property
    def ordered(self) -> list[Result]:
        return [self.results[case] for case in self.order if case in self.results]


@dataclass(slots=True)
class Report:
    """A results.jsonl that was read. footer is None if the file was cut short."""

    header: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    footer: dict[str, Any] | None = None

    @property
    def truncated(self) -> bool:
        return self.footer is None


def read(path: Path) -> Report:
    """Read a file, or the results.jsonl in a folder. Raises ResultsError."""
    if path.is_dir():
        path = path / "results.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    rows = list(_rows(path, lines))
    if not rows or rows[0].get("type") != "header":
        raise ResultsError(f"{path} does not begin with a header, so it is no results.jsonl")
    if rows[0].get("schema") != SCHEMA_VERSION:
        raise ResultsError(f"{path} has schema {rows[0].get('schema')}, this version reads {SCHEMA_VERSION}")
    report = Report(rows[0])
    for number, row in enumerate(rows[1:], 2):
        if report.footer is not None:
            raise ResultsError(f"{path}, line {number}: something follows the footer")
        if row.get("type") == "footer":
            report.footer = row
            if row.get("cases") != len(report.results):
                raise ResultsError(f"{path} has {len(report.results)} cases, its footer counts {row.get('cases')}")
        elif row.get("type") == "case":
            try:
                report.results.append(Result.from_json(row))
            except (TypeError, ValueError, KeyError) as error:
                raise ResultsError(f"{path}, line {number}: {error}") from None
        else:
            raise ResultsError(f"{path}, line {number}: {row.get('type')!r} is no type of line")
    return report


def _rows(path: Path, lines: list[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                return                              # cut in the middle of a line
            raise ResultsError(f"{path}, line {number}: {error}") from None
        if not isinstance(row, dict):
            raise ResultsError(f"{path}, line {number}: not an object")
        yield row
