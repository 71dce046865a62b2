# SPDX-License-Identifier: MIT
"""Waivers: failures that somebody answers for until a day.

A file of them is TOML:

    [[waiver]]
    rule = "DMA-13"             # an id or a glob; "route/NAME" too
    backend = "mine"            # an id or a glob
    machine = "*"               # an id or a glob; may be left out
    reason = "the unwind path is being rewritten"
    url = "https://example.org/bugs/1"
    until = 2027-01-31          # the last day on which it holds

results.jsonl always tells what was seen: a waiver is applied when results are read, and what it waives keeps its
verdict in the detail. One that is expired, that names what there is not, or that nothing needs is an error. What the
suite itself broke cannot be waived.
"""

from __future__ import annotations

import datetime
import fnmatch
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..execute import Result
from ..results import Report
from ..rules import load_rules
from ..selection import known_backends
from ..verdict import Verdict

WAIVABLE = frozenset({Verdict.FAIL, Verdict.CRASHED, Verdict.TIMEOUT})


class WaiverError(ValueError):
    """A file that is no file of waivers; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Waiver:
    rule: str
    backend: str
    reason: str
    url: str
    until: datetime.date
    machine: str = "*"

    def __str__(self) -> str:
        return f"waiver {self.rule} × {self.backend} × {self.machine}"

    def covers(self, result: Result) -> bool:
        return (
            fnmatch.fnmatchcase(result.what, self.rule)
            and fnmatch.fnmatchcase(result.backend, self.backend)
            and fnmatch.fnmatchcase(result.machine, self.machine)
        )


def load(path: Path) -> list[Waiver]:
    """Raises WaiverError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WaiverError(f"{path} cannot be read: {error}") from None
    if set(tables) != {"waiver"} or not isinstance(tables["waiver"], list):
        raise WaiverError(f"{path} is no list of [[waiver]] tables")
    return [_waiver(f"{path}, waiver {number}", table) for number, table in enumerate(tables["waiver"], 1)]


def _waiver(where: str, table: Any) -> Waiver:
    keys = [field.name for field in fields(Waiver)]
    if not isinstance(table, dict) or set(table) - set(keys):
        raise WaiverError(f"{where}: the keys are {', '.join(keys)}")
    for key in keys:
        value = table.get(key, "*" if key == "machine" else None)
        if key == "until":
            if type(value) is not datetime.date:
                raise WaiverError(f"{where}: until is missing or no date, as 2027-01-31")
        elif not isinstance(value, str) or not value.strip():
            raise WaiverError(f"{where}: {key} is missing or not a text")
    if not table["url"].startswith(("https://", "http://")):
        raise WaiverError(f"{where}: url is {table['url']!r}, which is none")
    return Waiver(**table)


def apply(report: Report, waivers: Sequence[Waiver], today: datetime.date) -> Report:
    """The report with what is waived, and with a sentence for each waiver that is wrong. An expired one waives
    nothing."""
    valid = [waiver for waiver in waivers if today <= waiver.until]
    results = []
    for result in report.results:
        waiver = next((waiver for waiver in valid if waiver.covers(result)), None)
        if waiver is None or result.verdict not in WAIVABLE:
            results.append(result)
            continue
        detail = f"{waiver.reason} ({waiver.url}, until {waiver.until}); seen: {result.verdict.value}"
        detail += f": {result.detail}" if result.detail else ""
        results.append(replace(result, verdict=Verdict.WAIVED, detail=detail))
    wrong = [said for waiver in waivers for said in _wrong(report, waiver, today)]
    return replace(report, results=results, wrong=(*report.wrong, *wrong))


def _wrong(report: Report, waiver: Waiver, today: datetime.date) -> Iterable[str]:
    head = report.header
    rules, backends = [*head["rules"], *head["routes"]], list(head["machines"])
    if today > waiver.until:
        yield f"{waiver} expired on {waiver.until}: {waiver.reason} ({waiver.url})"
        return
    for called, pattern, here, there in (
        ("rule", waiver.rule, rules, [*load_rules(), *head["routes"]]),
        ("backend", waiver.backend, backends, known_backends()),
    ):
        if not fnmatch.filter(here, pattern):
            # what this run left out cannot be judged; what there is nowhere is a slip
            if not fnmatch.filter(there, pattern) and not pattern.startswith("route/"):
                yield f"{waiver} matches nothing: no {called} is called {pattern}"
            return
    if report.truncated or head["shard"] != [1, 1]:
        return
    covered = [result for result in report.results if waiver.covers(result)]
    if not covered:
        yield f"{waiver} matches nothing: no case of the run is such a one"
    elif not any(result.verdict in WAIVABLE for result in covered):
        said = ", ".join(sorted({result.verdict.value for result in covered}))
        yield f"{waiver} is stale: what it waives is {said}"
