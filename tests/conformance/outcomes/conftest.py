# SPDX-License-Identifier: MIT
"""Runs and reports that never were."""

import pytest

from conformance.execute import Result
from conformance.results import Report, digest_of, document, footer
from conformance.verdict import Verdict

SUPPORTED = {"policy": "supported", "mechanism": "native"}


def a_result(what, verdict="pass", detail="", backend="mine", machine="m", **route):
    kind = "route" if what.startswith("route/") else "rule"
    case = f"{what}:{backend}:{machine}:legacy"
    return Result(case, kind, what, backend, machine, "legacy", Verdict(verdict), detail, **route)


def a_report(*results, **head):
    ids = [result.case for result in results]
    machines = {}
    for result in results:
        machines.setdefault(result.backend, {})[result.machine] = None
    header = {
        "type": "header", "schema": 2, "version": "1", "python": "3", "platform": "p", "seed": 0, "profile": "quick",
        "shard": [1, 1], "backends": dict.fromkeys(sorted(machines), "read"),
        "machines": {name: list(found) for name, found in machines.items()},
        "rules": list(dict.fromkeys(result.what for result in results if result.kind == "rule")),
        "rules_hash": "0" * 16,
        "routes": list(dict.fromkeys(result.what for result in results if result.kind == "route")),
        "apis": ["legacy"], "plan": {"cases": len(ids), "sha256": digest_of(ids)}, **head,
    }
    return Report(header, list(results), footer(results, header, ""))


@pytest.fixture
def result():
    return a_result


@pytest.fixture
def report():
    return a_report


@pytest.fixture
def write(tmp_path):
    """Write a report to a file of this name."""

    def write(name, *results, **head):
        made = a_report(*results, **head)
        path = tmp_path / f"{name}.jsonl"
        path.write_text(document(made.header, made.results), encoding="utf-8")
        return path

    return write
