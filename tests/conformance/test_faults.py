# SPDX-License-Identifier: MIT
"""The ideal backend keeps every rule; each planted fault turns the rules red that name it."""

import pytest

from conformance.execute import run_case
from conformance.selection import Selection, backend, subject
from conformance.verdict import Verdict


def verdicts(name, rules=(), seed=0):
    selection = Selection(backends=(f"py:ideal_backend:{name}",), rules=rules)
    return {
        case.what: run_case(case, subject(f"py:ideal_backend:{name}", case.machine, case.api), seed, "quick")
        for case in selection.cases()
        if case.api == "legacy" or not case.route
    }


def test_the_ideal_backend_keeps_every_rule():
    outcome = verdicts("IDEAL")
    assert [str(result) for result in outcome.values() if result.verdict.bad] == []
    assert sum(1 for result in outcome.values() if result.verdict is Verdict.PASS) >= 92
    routes = {what: result.mechanism for what, result in outcome.items() if what.startswith("route/")}
    assert routes == {
        "route/host-memory": "native",
        "route/same-switch": "native",
        "route/host-bridge": "native",
        "route/blocked": "refused",
        "route/mixed-list": "native",
        "route/two-providers": "native",
    }


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("MERGES", ["DMA-09"]),
        ("UNWINDS_NOT", ["DMA-13"]),
        ("MARKS_WRONG", ["P2P-34", "P2P-36", "P2P-38", "P2P-50"]),
        ("KEEPS", ["DMA-02", "DMA-03", "DMA-13", "DMA-21", "P2P-51"]),
        ("NO_DIRECTION", ["DMA-18"]),
        ("TOO_FAR", ["DMA-08"]),
        ("ERRNO", ["DMA-11", "P2P-41", "P2P-43"]),
        ("NO_OFFSET", ["DMA-02", "DMA-19", "DMA-36"]),
        ("LESS", ["DMA-02"]),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_faults_are_caught(name, rules, seed):
    outcome = verdicts(name, tuple(rules), seed)
    assert {rule: outcome[rule].verdict for rule in rules} == dict.fromkeys(rules, Verdict.FAIL)


def test_a_known_fault_is_known():
    assert backend("py:ideal_backend:KNOWN").known
    outcome = verdicts("KNOWN", ("DMA-13",))["DMA-13"]
    assert outcome.verdict is Verdict.KNOWN
    assert outcome.detail.startswith("forgets to unwind (here); seen: ")


def test_the_newer_api_falls_back_on_it():
    """The ideal backend is a table of 6.1 without map_resource: one mapping per segment, device memory refused."""
    selection = Selection(backends=("py:ideal_backend:IDEAL",), apis=("new",))
    outcome = {
        case.what: run_case(case, subject("py:ideal_backend:IDEAL", case.machine, case.api), 0, "quick")
        for case in selection.cases()
        if case.route
    }
    assert {what: (result.mechanism, result.detail) for what, result in outcome.items()} == {
        "route/host-memory": ("fallback", "per-segment"),
        "route/same-switch": ("native", "bus address"),
        "route/host-bridge": ("refused", "ENOMEM"),
        "route/blocked": ("refused", "EINVAL"),
        "route/mixed-list": ("refused", "ENOMEM"),
        "route/two-providers": ("native", "bus address"),
    }
