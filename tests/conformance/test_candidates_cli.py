# SPDX-License-Identifier: MIT
"""The comparison of the designs: what it counts, and that its verdicts are those of Linux 6.1."""

import json

import pytest
from click.testing import CliRunner

from conformance import candidates
from conformance.axis import DESIGN_ROUTES, Outcome, run_design
from conformance.candidates import compare, measure, outcomes
from conformance.cli import main
from conformance.paths import DESIGNS, PATHS
from conformance.selection import known_backends, subject

NATIVE = ["dma_direct", "iommu_dma_ops"]
NO_MAP_SG = ["ps3_ioc0_dma_ops", "vdpasim_dma_ops", "vduse_dev_dma_ops"]


@pytest.fixture(scope="module")
def compared():
    return compare(list(known_backends().values()))


@pytest.fixture(scope="module")
def lines(compared):
    return {line.id: line for line in compared[0]}


@pytest.fixture(scope="module")
def verdicts(compared):
    return {(row.backend, row.design): row.routes for row in compared[1]}


def test_policy_is_linux_6_1s(verdicts):
    """2 of 25: dma-direct and iommu-dma."""
    supported = {
        name for name, design in verdicts if design == "legacy"
        and verdicts[name, design]["same switch"].policy == "supported"
    }
    assert sorted(supported) == NATIVE
    assert len(known_backends()) == 25


@pytest.mark.parametrize("design", DESIGNS)
def test_two_of_25_are_native(lines, design):
    assert lines[design].native == NATIVE


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("design", DESIGNS)
def test_the_native_backends_reach_every_peer_that_can_be_reached(verdicts, name, design):
    seen = {route: outcome.mechanism for route, outcome in verdicts[name, design].items()}
    assert seen == dict.fromkeys(DESIGN_ROUTES, "native") | {"blocked": "refused"}


@pytest.mark.parametrize(("design", "code"), [("legacy", "EREMOTEIO"), ("A", "EREMOTEIO"), ("B", "EREMOTEIO"),
                                              ("C", "EREMOTEIO"), ("new", "EINVAL")])
def test_a_blocked_peer_has_its_errno(verdicts, design, code):
    assert [verdicts[name, design]["blocked"].seen for name in NATIVE] == [code, code]


def test_b_and_c_refuse_by_themselves(verdicts):
    """What neither the backend nor the gate keeps out, these two calls do: a missing op is -ENXIO, and nothing is
    touched."""
    for design in ("B", "C"):
        for name in set(known_backends()) - {*NATIVE}:
            for route in DESIGN_ROUTES[1:]:
                outcome = verdicts[name, design][route]
                assert (outcome.mechanism, outcome.seen) == ("refused", "ENXIO") \
                    or outcome.mechanism == "absent" \
                    or outcome == Outcome("refused", "refused", "no page of RAM can be mapped"), (name, route, outcome)


def test_a_forgotten_gate_reaches_wrong_memory(lines):
    assert lines["A"].ungated == lines["legacy"].ungated
    assert {"gart_dma_ops", "dma_iommu_ops", "xen_swiotlb_dma_ops"} <= set(lines["A"].ungated)
    assert lines["B"].ungated == lines["C"].ungated == []


def test_where_all_dma_takes_the_fallback(lines):
    assert lines["legacy"].fallback == lines["A"].fallback == lines["B"].fallback == []
    assert len(lines["C"].fallback) == len(lines["new"].fallback) == 22
    assert not {*NATIVE, "dma_dummy_ops"} & {*lines["C"].fallback}


def test_where_dma_map_sg_cannot_be_the_fallback(lines):
    assert lines["C"].no_map_sg == NO_MAP_SG


def test_the_cost_against_legacy(lines):
    assert lines["A"].segments == lines["B"].segments == lines["legacy"].segments
    assert lines["C"].segments > 1.2 * lines["legacy"].segments
    assert lines["C"].flushes > 2 * lines["legacy"].flushes
    assert lines["legacy"].memory == {"64": 32, "32": 24}
    assert lines["A"].memory == {"64": 32, "32": 20}


def test_native_c_costs_iommu_dma_no_more_than_legacy():
    record = known_backends()["iommu_dma_ops"]
    legacy, native, loop = (
        measure(record, record.machines[0], PATHS[name]) for name in ("legacy", "C/native", "C/per-segment")
    )
    assert native.segments <= legacy.segments < loop.segments
    assert native.flushes <= loop.flushes
    assert legacy.flushes == 3                      # one for each list


def test_one_machine_under_every_design():
    rows = outcomes([known_backends()["dma_dummy_ops"]], every_machine=True)
    assert {(row.machine, row.design) for row in rows} == {
        (machine, design) for machine in ("arm64-4k", "arm64-64k") for design in DESIGNS
    }
    assert {outcome.mechanism for row in rows for outcome in row.routes.values()} <= {"refused", "native"}


def test_a_bounced_list_is_a_copy_through_host_memory():
    assert run_design("legacy", "host memory", subject("dma_direct", "x86_64-force")).seen == "copy through host memory"


def test_a_32_bit_machine_takes_ram():
    assert run_design("A", "host memory", subject("dma_direct", "arm")).mechanism == "native"


def test_the_screen():
    result = CliRunner().invoke(main, ["candidates", "-b", "dma_direct,gart_dma_ops"], env={"COLUMNS": "150"})
    assert result.exit_code == 0
    for text in ("1 of 2", "segments per MiB", "a bug hides", "dma_map_p2p_sg"):
        assert text in result.output
    assert len(result.output.splitlines()) < 40


def test_the_verdicts_on_screen():
    result = CliRunner().invoke(main, ["candidates", "-b", "gart_dma_ops", "--verdicts"], env={"COLUMNS": "240"})
    assert "gate, else UNSAFE" in result.output
    assert "gate, else refused ENXIO" in result.output


def test_json():
    result = CliRunner().invoke(main, ["candidates", "-b", "dma_direct", "--all-machines", "--json"])
    told = json.loads(result.output)
    assert [line["id"] for line in told["designs"]] == list(DESIGNS)
    assert {row["machine"] for row in told["verdicts"]} == {c.name for c in known_backends()["dma_direct"].machines}
    assert set(told["verdicts"][0]["routes"]) == set(DESIGN_ROUTES)


def test_an_unknown_backend_is_a_usage_error():
    assert CliRunner().invoke(main, ["candidates", "-b", "nobody"]).exit_code == 2


def test_a_cell_shows_policy_and_mechanism():
    assert candidates.cell(Outcome("supported", "native", "mapped")) == "native"
    assert candidates.cell(Outcome("supported", "refused", "EREMOTEIO")) == "refused EREMOTEIO"
    assert candidates.cell(Outcome("refused", "unsafe", "…")) == "gate, else UNSAFE"
    assert candidates.cell(Outcome("refused", "absent")) == "–"
