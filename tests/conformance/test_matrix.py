# SPDX-License-Identifier: MIT
"""The quick matrix over all backends: every red is a fault of Linux that its record names, on the machines it names."""

import pytest

from conformance.execute import UNSEEN
from conformance.results import stale_knowns
from conformance.rules import load_rules
from conformance.runner import run
from conformance.selection import DESIGNS, ROUTES, Selection, known_backends, route_id
from conformance.verdict import Verdict


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_matrix_is_true(tmp_path):
    """One test, so that however many workers there are the matrix runs once."""
    report = run(Selection(), tmp_path, workers="2")
    assert not report.truncated
    assert [f"{r.case}: {r.verdict.value}: {r.detail}" for r in report.results if r.verdict.bad] == []
    assert stale_knowns(report.results) == []
    assert [r.case for r in report.results if r.detail.startswith(UNSEEN)] == []

    routes = [r for r in report.results if r.kind == "route"]
    assert {(r.what, r.api) for r in routes} == {(route_id(route), design) for route in ROUTES for design in DESIGNS}
    peers = [r for r in routes if r.what != "route/host-memory"]
    assert {r.backend for r in peers if r.policy == "supported"} == {"dma_direct", "iommu_dma_ops"}
    for backend in ("dma_direct", "iommu_dma_ops"):
        seen = {r.what for r in peers if r.backend == backend and r.mechanism == "native" and r.api == "legacy"}
        assert seen == {route_id(route) for route in ROUTES if route not in ("host-memory", "blocked")}
    unsafe = [r for r in peers if r.mechanism == "unsafe" and r.policy == "supported"]
    assert {(r.backend, r.machine, r.api, r.what, r.verdict) for r in unsafe} == {
        ("iommu_dma_ops", "intel-untrusted", design, f"route/{name}", Verdict.KNOWN)
        for design in ("legacy", "A") for name in ("same-switch", "blocked", "two-providers")
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_seed_tells_no_new_fault(seed, tmp_path):
    report = run(Selection(seed=seed), tmp_path, workers="2")
    assert [f"{r.case}: {r.verdict.value}: {r.detail}" for r in report.results if r.verdict.bad] == []


@pytest.mark.parametrize("record", known_backends().values(), ids=lambda record: record.id)
def test_known_faults_name_what_there_is(record):
    names = {*load_rules(), *map(route_id, ROUTES)}
    machines = {config.name for config in record.machines}
    for known in record.known:
        assert set(known.rules) <= names
        assert set(known.machines) <= machines
        assert ": " in known.source
