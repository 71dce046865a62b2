# SPDX-License-Identifier: MIT
"""What the page shows, as plain data. Cases are columns of numbers into one table of strings, for most of what
14,000 cases say is said many times."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arch import BackendRecord

from .. import report as reports
from .. import reproduce
from ..c_drivers.clauses import GROUP, clauses
from ..c_drivers.scenarios import SCENARIOS
from ..candidates import SUMMARY
from ..checks import checks
from ..detection import Detection
from ..execute import Result
from ..outcomes.diff import KINDS, compare, headers
from ..results import Report, ResultsError
from ..rules import Rule, load_rules
from ..selection import DESIGNS, ROUTES, Case, known_backends
from ..timeline import Row
from ..verdict import Verdict
from .timeline import picture

COLUMNS = ("what", "backend", "machine", "api", "detail", "check", "policy", "mechanism")
LONGEST = 8000                          # characters of C; longer ones come from explain --form c
TRACE = "dma-conformance trace 1"


@dataclass(slots=True)
class Beside:
    """What may stand beside a results.jsonl. against: an older run; timelines: by case, {svg, python, c}."""

    kills: Detection | None = None
    trace: dict[str, Any] | None = None
    against: Report | None = None
    timelines: dict[str, dict[str, str]] = field(default_factory=dict)


def trace_beside(results: Path) -> dict[str, Any] | None:
    """The trace.json in the folder of a results.jsonl; None without one. Raises ResultsError."""
    path = (results if results.is_dir() else results.parent) / "trace.json"
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    if not isinstance(raw, dict) or raw.get("format") != TRACE:
        raise ResultsError(f"{path} is not what trace --out writes")
    return raw


class Strings:
    """A table of strings; a string's number is where it first came."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, said: str) -> int:
        return self.numbers.setdefault(said, len(self.numbers))


def document(report: Report, beside: Beside) -> dict[str, Any]:
    strings = Strings()
    head, order = report.header, list(Verdict)
    cases: dict[str, Any] = {
        name: [strings(getattr(result, name)) for result in report.results] for name in COLUMNS
    }
    cases["verdict"] = [order.index(result.verdict) for result in report.results]
    cases["cost"] = {row: result.cost for row, result in enumerate(report.results) if result.cost}
    comparison = reports.comparison(report)
    shown = {result.what for result in report.results}
    rules = {**load_rules(), **{clause.id: clause.rule for clause in clauses().values()}}
    return {
        "head": {key: head[key] for key in ("version", "python", "platform", "seed", "profile", "shard")},
        "driver": head.get("driver"),
        "again": {name: reproduce.options(head, name) for name in head["backends"]},
        "closing": reports.closing(report),
        "good": reports.is_good(report),
        "verdicts": [
            {"id": one.value, "word": reports.WORDS[one], "bad": one.bad, "observed": one.observed} for one in order
        ],
        "backends": [_backend(name, proof) for name, proof in head["backends"].items()],
        "families": {_family(rule): title for prefix, api, title in reports.TABLES for rule in load_rules().values()
                     if rule.id.startswith(prefix) and rule.api == api}
        if "driver" not in head else {GROUP: f"Driver {head['driver']['name']}"},
        "rules": [_rule(rule) for rule in rules.values() if rule.id in shown],
        "routes": list(ROUTES),
        "designs": {name: SUMMARY[name] for name in DESIGNS},
        "strings": list(strings.numbers),
        "cases": cases,
        "candidates": None if comparison is None else {
            "designs": comparison.headings,
            "rows": [[name, *(cell.text for cell in cells)] for name, cells in comparison.rows],
        },
        "kills": None if beside.kills is None else _kills(beside.kills, head["rules_hash"]),
        "trace": beside.trace,
        "diff": None if beside.against is None else _diff(beside.against, report),
        "timelines": beside.timelines,
    }


def _backend(name: str, proof: str) -> dict[str, Any]:
    record = known_backends().get(name)
    return {"id": name, "proof": proof, **({} if record is None else _record(record))}


def _record(record: BackendRecord) -> dict[str, Any]:
    return {
        "summary": record.summary,
        "source": list(record.source),
        "kernel": record.kernel,
        "walker": record.walker,
        "machines": {config.name: config.facts for config in record.machines},
        "known": [
            {
                "rules": list(known.rules), "source": known.source, "what": known.what,
                "machines": list(known.machines), "checks": list(known.checks),
            }
            for known in record.known
        ],
    }


def _family(rule: Rule) -> str:
    """The table that has the rule: what its id begins with, NEW for those of the newer API, or the driver's."""
    if rule.group == GROUP:
        return GROUP
    return "NEW" if rule.api == "new" else rule.id.split("-")[0]


def _rule(rule: Rule) -> dict[str, Any]:
    clause = clauses().get(rule.id)
    tried = {name: checks()[name] for name in rule.checks} if clause is None else {
        name: SCENARIOS[name] for name in clause.scenarios}
    return {
        "family": _family(rule),
        "id": rule.id, "text": rule.text, "level": rule.level, "source": str(rule.source),
        "group": rule.group if clause is None else rule.id,             # a column for each clause
        "applies": " and ".join(rule.applies_if), "observe": rule.observe, "not_tested": rule.not_tested,
        "checks": {name: _first(function.__doc__) for name, function in tried.items()},
    }


def _first(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().split("\n\n")[0].split())


def _kills(detection: Detection, rules_hash: str) -> dict[str, Any]:
    """Without the single sightings, but with what each of the systematic set's shapes came to in each backend."""
    raw = detection.raw
    alive = {(row["saboteur"], row["target"]) for row in raw["survivors"]}
    counts: dict[tuple[str, str], list[int]] = {}
    for name, target in dict.fromkeys((row["saboteur"], row["target"]) for row in raw["sightings"]):
        count = counts.setdefault((target.split("/")[0], name), [0, 0])
        count[0] += (name, target) not in alive
        count[1] += 1
    return {
        **{key: raw[key] for key in ("score", "rules", "saboteurs", "survivors", "missed", "idle", "left_out")},
        "other_rules": raw["rules_hash"] != rules_hash,
        "backends": detection.backends,
        "shapes": {
            backend: {shape: _shape(backend, names, counts) for shape, names in of.items()}
            for backend, of in raw["shapes"].items()
        },
    }


def _shape(backend: str, names: list[str] | str, killed: dict[tuple[str, str], list[int]]) -> list[int] | str:
    """[killed, planted] of a shape in a backend, or why there is none."""
    if isinstance(names, str):
        return names
    rows = [killed.get((backend, name), [0, 0]) for name in names]
    return [sum(row[0] for row in rows), sum(row[1] for row in rows)]


def _diff(old: Report, new: Report) -> dict[str, Any]:
    changes = compare(old, new)
    return {
        "headers": headers(old, new),
        "counts": {kind: sum(change.kind == kind for change in changes) for kind in KINDS},
        "changes": [
            {"kind": change.kind, "case": change.case, "bad": change.bad, "old": _side(change.old),
             "new": _side(change.new)}
            for change in changes
        ],
    }


def _side(result: Result | None) -> dict[str, str] | None:
    if result is None:
        return None
    shown = {"verdict": result.verdict.value, "detail": result.detail, "policy": result.policy,
             "mechanism": result.mechanism}
    return {key: value for key, value in shown.items() if value}


def examples(report: Report) -> list[Result]:
    """One case for each rule that a backend which is here does not keep."""
    faults = [*(verdict for verdict in Verdict if verdict.bad), Verdict.WAIVED, Verdict.KNOWN]
    found = reports.findings(report.results, *faults)
    here = {*known_backends(), *report.header.get("asked_as", {})}
    return [finding.result for finding in found if finding.result.backend in here]


def forms(case: Case, name: str, head: dict[str, Any], outcome: Result, rows: list[Row]) -> dict[str, str]:
    """A case that ran again: its picture, and the programs that repeat it."""
    if not rows:
        return {}
    source = reproduce.c_source(case, rows)
    return {
        "svg": picture(rows, case.id),
        "python": reproduce.python_script(case, name, head["seed"], head["profile"], outcome),
        **({"c": source} if len(source) <= LONGEST else {}),
    }
