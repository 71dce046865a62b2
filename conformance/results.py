# SPDX-License-Identifier: MIT
"""results.jsonl: a header, one line per case in the order of the cases, a footer. A file without its footer was cut.

Everything in it follows from the seed and the selection: no times, no number of workers. How long each case took is
in timings.json beside it. The header tells the plan of the whole run, of which a file may be a shard; the footer has
the hash of all that precedes it. So a file that was cut, that lost a line, or that was edited is never taken for the
run that it was.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .execute import UNSEEN, Result
from .rules import fingerprint
from .selection import DESIGNS, Case, Selection, in_shard
from .verdict import Tally, Verdict
from .version import project_version

SCHEMA_VERSION = 2


class ResultsError(ValueError):
    """A file that is no results.jsonl; the message is one sentence for the user."""


def _number(value: object) -> bool:
    return type(value) is int


def _text(value: object) -> bool:
    return isinstance(value, str)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _shard(value: object) -> bool:
    return isinstance(value, list) and list(map(type, value)) == [int, int] and 1 <= value[0] <= value[1]


#: What a header has, and what each value must be.
HEADER: dict[str, Callable[[Any], bool]] = {
    "type": _text, "schema": _number, "version": _text, "python": _text, "platform": _text, "seed": _number,
    "profile": _text, "shard": _shard,
    "backends": lambda value: isinstance(value, dict) and _texts(list(value.values())),
    "machines": lambda value: isinstance(value, dict) and all(map(_texts, value.values())),
    "rules": _texts, "rules_hash": _text, "routes": _texts, "apis": _texts,
    "plan": lambda value: isinstance(value, dict) and _number(value.get("cases")) and _text(value.get("sha256")),
    "asked_as": lambda value: isinstance(value, dict) and _texts(list(value.values())),
    "driver": lambda value: isinstance(value, dict) and _text(value.get("name")) and _text(value.get("cflags"))
    and _texts(value.get("files")),
}
OPTIONAL = ("asked_as", "driver")


def digest_of(ids: Iterable[str]) -> str:
    """The hash of a plan: of the ids of its cases, in order."""
    return hashlib.sha256("".join(f"{one}\n" for one in ids).encode()).hexdigest()


def asked_as(selection: Selection) -> dict[str, dict[str, str]]:
    """For a header: by id, the py:, c: or exec: name of each backend that is not installed."""
    asked = {key: name for key, name in selection.names().items() if name != key}
    return {"asked_as": asked} if asked else {}


def header(selection: Selection, plan: Sequence[Case]) -> dict[str, Any]:
    """What the run was: enough to repeat it, and to tell whether two runs can be compared. plan: the cases of all
    shards."""
    rules = selection.chosen_rules()
    machines: dict[str, dict[str, None]] = {}
    for case in plan:
        machines.setdefault(case.backend, {})[case.machine] = None
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
        **asked_as(selection),
        "machines": {name: list(found) for name, found in machines.items()},
        "rules": [rule.id for rule in rules],
        "rules_hash": fingerprint(rules),
        "routes": list(dict.fromkeys(case.what for case in plan if case.route)),
        "apis": [api for api in DESIGNS if any(case.api == api for case in plan)],
        "plan": {"cases": len(plan), "sha256": digest_of(case.id for case in plan)},
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


def footer(results: Sequence[Result], head: dict[str, Any], sha256: str) -> dict[str, Any]:
    """sha256: of all bytes before the footer's line."""
    tally = Tally(result.verdict for result in results)
    row: dict[str, Any] = {
        "type": "footer",
        "complete": True,
        "cases": len(results),
        "counts": {verdict.value: tally[verdict] for verdict in tally},
    }
    if head["shard"] == [1, 1]:
        row["stale_knowns"] = stale_knowns(results)
    return {**row, "sha256": sha256}


def document(head: dict[str, Any], results: Sequence[Result]) -> str:
    """A whole results.jsonl."""
    body = dump(head) + "".join(dump(result.as_json()) for result in results)
    return body + dump(footer(results, head, hashlib.sha256(body.encode()).hexdigest()))


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def dump(row: dict[str, Any]) -> str:
    return _ENCODER.encode(row) + "\n"


class Writer:
    """Writes the file while the run goes on: results come in any order and leave in that of the cases."""

    def __init__(self, stream: IO[str] | None, head: dict[str, Any], order: list[str]) -> None:
        self.head = head
        self.order = order
        self.results: dict[str, Result] = {}
        self._stream = stream
        self._next = 0
        self._sum = hashlib.sha256()
        self._put(head)

    def _put(self, row: dict[str, Any]) -> None:
        line = dump(row)
        self._sum.update(line.encode())
        if self._stream is not None:
            self._stream.write(line)
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
            self._put(footer([self.results[case] for case in self.order], self.head, self._sum.hexdigest()))


@dataclass(slots=True)
class Report:
    """A results.jsonl that was read. footer is None if the file was cut short; wrong: what waivers have wrong."""

    header: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    footer: dict[str, Any] | None = None
    wrong: tuple[str, ...] = ()

    @property
    def truncated(self) -> bool:
        return self.footer is None


def read(path: Path) -> Report:
    """Read a file, or the results.jsonl in a folder. Raises ResultsError."""
    if path.is_dir():
        path = path / "results.jsonl"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    *lines, cut = raw.split(b"\n")                 # what no newline ends was cut
    rows = [_row(f"{path}, line {number}", line) for number, line in enumerate(lines, 1)]
    if not rows or rows[0].get("type") != "header":
        raise ResultsError(f"{path} does not begin with a header, so it is no results.jsonl")
    if rows[0].get("schema") != SCHEMA_VERSION:
        raise ResultsError(f"{path} has schema {rows[0].get('schema')}, this version reads {SCHEMA_VERSION}")
    lacking = [key for key in HEADER if key not in rows[0] and key not in OPTIONAL]
    if lacking:
        raise ResultsError(f"{path} has a header without {', '.join(lacking)}")
    strange = [key for key, value in rows[0].items() if key in HEADER and not HEADER[key](value)]
    if strange:
        raise ResultsError(f"{path} has a header with a strange {', '.join(strange)}")
    report = Report(rows[0])
    for number, row in enumerate(rows[1:], 2):
        if report.footer is not None:
            raise ResultsError(f"{path}, line {number}: something follows the footer")
        if row.get("type") == "footer":
            report.footer = row
        elif row.get("type") == "case":
            try:
                report.results.append(Result.from_json(row))
            except (TypeError, ValueError, KeyError) as error:
                raise ResultsError(f"{path}, line {number}: {error}") from None
        else:
            raise ResultsError(f"{path}, line {number}: {row.get('type')!r} is no type of line")
    if report.footer is not None and cut:
        raise ResultsError(f"{path}: something follows the footer")
    wrong = _contradiction(report, raw)
    if wrong:
        raise ResultsError(f"{path} {wrong}")
    return report


def _row(where: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise ResultsError(f"{where}: {error}") from None
    if not isinstance(row, dict):
        raise ResultsError(f"{where}: not an object")
    return row


def _contradiction(report: Report, raw: bytes) -> str:
    """What in the file cannot be, as the end of a sentence; "" if all fits."""
    head, results, foot = report.header, report.results, report.footer
    ids = [result.case for result in results]
    if len(set(ids)) != len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        return f"has {twice} twice"
    part, parts = head["shard"]
    for result in results:
        if result.machine not in head["machines"].get(result.backend, ()):
            return f"has {result.case}, whose machine is not in its header"
        if not in_shard(result.case, (part, parts)):
            return f"has {result.case}, which belongs to another shard"
    if foot is None:
        return ""
    before = raw[: raw.rindex(b"\n", 0, len(raw) - 1) + 1]
    expected = footer(results, head, hashlib.sha256(before).hexdigest())
    for key in ("complete", "cases", "counts", "sha256", "stale_knowns"):
        if foot.get(key) != expected.get(key):
            return f"was changed after the run: by its lines, {key} is {expected.get(key)}, not {foot.get(key)}"
    if head["shard"] == [1, 1] and head["plan"] != {"cases": len(ids), "sha256": digest_of(ids)}:
        return "does not have the cases of its plan"
    return ""
