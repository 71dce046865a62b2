# SPDX-License-Identifier: MIT
"""Joins the shards of a run into what the unsharded run would have written, or says why they are not one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..execute import Result
from ..results import Report, digest_of, document

#: What must be the same in all headers, and what each is called in a sentence.
SAME = {
    "version": "version of dma-conformance",
    "python": "version of Python",
    "platform": "platform",
    "seed": "seed",
    "profile": "profile",
    "backends": "backends",
    "asked_as": "names of backends",
    "driver": "driver",
    "machines": "machines",
    "rules": "rules",
    "rules_hash": "rule-set hash",
    "routes": "routes",
    "apis": "APIs",
    "plan": "plan",
}


class MergeError(ValueError):
    """Files that are not the shards of one run; the message is one sentence for the user."""


def merge(reports: Sequence[tuple[Path, Report]]) -> str:
    """The text of the whole run's results.jsonl. Raises MergeError."""
    first, whole = reports[0]
    parts: dict[int, Path] = {}
    for path, report in reports:
        if report.truncated:
            raise MergeError(f"{path} has no footer: that run was cut short")
        for key, called in SAME.items():
            if report.header.get(key) != whole.header.get(key):
                raise MergeError(f"{first} and {path} differ in their {called}: {_differ(whole, report, key)}")
        part, count = report.header["shard"]
        if count != whole.header["shard"][1]:
            raise MergeError(f"{first} is a part of {whole.header['shard'][1]}, and {path} is one of {count}")
        if part in parts:
            raise MergeError(f"{parts[part]} and {path} are both shard {part}/{count}")
        parts[part] = path
    count = whole.header["shard"][1]
    missing = [f"{part}/{count}" for part in range(1, count + 1) if part not in parts]
    if missing:
        raise MergeError(f"a gap: no file is shard {', '.join(missing)}")
    results = sorted((result for _, report in reports for result in report.results), key=_order(whole.header))
    ids = [result.case for result in results]
    if whole.header["plan"] != {"cases": len(ids), "sha256": digest_of(ids)}:
        raise MergeError(f"the shards have {len(ids)} cases, which are not the {whole.header['plan']['cases']} planned")
    return document({**whole.header, "shard": [1, 1]}, results)


def _differ(one: Report, other: Report, key: str) -> str:
    values = [report.header.get(key) for report in (one, other)]
    if all(isinstance(value, str | int) for value in values):
        return f"{values[0]} and {values[1]}"
    sets = [set(value) for value in values if isinstance(value, dict | list)]
    extra = sorted(sets[0] ^ sets[1]) if len(sets) == 2 else []
    return f"{', '.join(map(str, extra[:3]))}" if extra else "they are not the same"


def _order(head: dict[str, Any]) -> Any:
    """The order of the cases in an unsharded run, as a key."""
    backends = {name: i for i, name in enumerate(head["machines"])}
    machines = {(name, one): i for name, found in head["machines"].items() for i, one in enumerate(found)}
    apis = {name: i for i, name in enumerate(head["apis"])}
    what = {name: i for i, name in enumerate([*head["rules"], *head["routes"]])}

    def key(result: Result) -> tuple[int, int, int, int]:
        return (
            backends[result.backend], machines[result.backend, result.machine], what.get(result.what, len(what)),
            apis.get(result.api, len(apis)),
        )

    return key
