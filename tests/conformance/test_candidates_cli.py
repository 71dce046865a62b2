# SPDX-License-Identifier: MIT
"""The comparison of the designs: what it counts, and that its verdicts are those of Linux 6.1."""

import json

import pytest
from click.testing import CliRunner

from conformance import candidates, report
from conformance.axis import run_route
from conformance.cli import main
from conformance.commands import routes_of
from conformance.cost import measure
from conformance.execute import Result
from conformance.paths import DESIGNS as PATHS_OF_DESIGNS
from conformance.paths import PATHS
from conformance.results import document
from conformance.selection import DESIGNS, ROUTES, Selection, known_backends, subject
from conformance.verdict import Verdict

NATIVE = ["dma_direct", "iommu_dma_ops"]
P2P = ROUTES[1:]


@pytest.fixture(scope="module")
def ran():
    return routes_of(Selection())


@pytest.fixture(scope="module")
def lines(ran):
    return {line.id: line for line in candidates.summary(ran)}


@pytest.fixture(scope="module")
def results(ran):
    """By backend, machine, design and route."""
    return {(one.backend, one.machine, one.api, one.what[6:]): one for one in ran.results}


def test_every_machine_has_every_route_under_every_design(results):
    assert set(results) == {
        (record.id, config.name, design, route)
        for record in known_backends().values() for config in record.machines
        for design in DESIGNS for route in ROUTES
    }


def test_the_designs_are_the_paths_designs():
    assert tuple(PATHS_OF_DESIGNS) == DESIGNS


def test_policy_is_linux_6_1s(results):
    """2 of 25, dma-direct and iommu-dma, whatever the design and the machine."""
    policies = {}
    for (backend, _, design, route), one in results.items():
        if route in P2P:
            policies.setdefault((backend, design), set()).add(one.policy)
    assert len(known_backends()) == 25
    assert policies == {
        (name, design): {"supported" if name in NATIVE else "refused"}
        for name in known_backends() for design in DESIGNS
    }


@pytest.mark.parametrize("design", DESIGNS)
def test_two_of_25_are_native(lines, design):
    assert lines[design].native == NATIVE


def test_where_no_p2p_page_exists_the_verdict_is_absent(results):
    """Neither a pass nor refused: nothing was asked."""
    for (backend, machine, _, route), one in results.items():
        if route in P2P:
            possible = subject(backend, machine).machine.pci_p2pdma
            assert (one.mechanism == "absent") == (not possible)
            assert (one.verdict is Verdict.NOT_APPLICABLE) == (not possible)


@pytest.mark.parametrize("design", DESIGNS)
def test_every_backend_is_counted_once(lines, design):
    line = lines[design]
    told = [*line.native, *line.refusing, *line.without, *line.absent]
    assert sorted(told) == sorted(known_backends())
    assert set(line.absent) == {
        name for name, record in known_backends().items()
        if not any(subject(name, config.name).machine.pci_p2pdma for config in record.machines)
    }


@pytest.mark.parametrize("machine", [("dma_direct", "x86_64"), ("iommu_dma_ops", "intel"), ("iommu_dma_ops", "smmuv3")])
@pytest.mark.parametrize("design", DESIGNS)
def test_the_native_backends_reach_every_peer_that_can_be_reached(results, machine, design):
    seen = {route: results[*machine, design, route].mechanism for route in ROUTES}
    assert seen == dict.fromkeys(ROUTES, "native") | {"blocked": "refused"}


@pytest.mark.parametrize(("design", "code"), [("legacy", "EREMOTEIO"), ("A", "EREMOTEIO"), ("B", "EREMOTEIO"),
                                              ("C", "EREMOTEIO"), ("new", "EINVAL")])
def test_a_blocked_peer_has_its_errno(results, design, code):
    seen = [results[name, known_backends()[name].machines[0].name, design, "blocked"].detail for name in NATIVE]
    assert seen == [code, code]


@pytest.mark.parametrize("design", ["B", "C"])
def test_b_and_c_refuse_by_themselves(results, design):
    """What neither the backend nor the gate keeps out, these two calls do: a missing op is -ENXIO, and nothing is
    touched."""
    for (backend, _, api, route), one in results.items():
        if backend not in NATIVE and api == design and route in P2P:
            errnos = {"ENXIO", "EIO"} if backend == "dma_dummy_ops" and route == "mixed-list" else {"ENXIO"}
            assert one.mechanism == "absent" or (one.mechanism == "refused" and one.detail in errnos)


def test_a_forgotten_gate_reaches_wrong_memory(lines):
    assert lines["A"].ungated == lines["legacy"].ungated
    assert {"gart_dma_ops", "dma_iommu_ops", "xen_swiotlb_dma_ops"} <= set(lines["A"].ungated)
    assert lines["B"].ungated == lines["C"].ungated == []
    assert lines["new"].ungated == ["dma_iommu_ops"]


def test_where_all_dma_takes_the_fallback(lines):
    assert lines["legacy"].fallback == lines["A"].fallback == lines["B"].fallback == []
    assert len(lines["C"].fallback) == len(lines["new"].fallback) == 22
    assert not {*NATIVE, "dma_dummy_ops"} & {*lines["C"].fallback}


def test_where_dma_map_sg_cannot_be_the_fallback(lines):
    assert lines["C"].no_map_sg == [
        "ps3_ioc0_dma_ops", "ps3_sb_dma_ops (1 of 5)", "vdpasim_dma_ops", "vduse_dev_dma_ops"
    ]


def test_the_cost_against_legacy(lines):
    assert lines["A"].segments == lines["B"].segments == lines["legacy"].segments
    assert lines["C"].segments > 1.1 * lines["legacy"].segments
    assert lines["C"].flushes > 2 * lines["legacy"].flushes
    assert lines["legacy"].memory == {"64": 32, "32": 24}
    assert lines["A"].memory == {"64": 32, "32": 20}


def test_native_c_costs_iommu_dma_no_more_than_legacy():
    s = subject("iommu_dma_ops", "intel")
    legacy, native, loop = (measure(s, PATHS[name]) for name in ("legacy", "C/native", "C/per-segment"))
    assert native.segments <= legacy.segments < loop.segments
    assert native.flushes <= loop.flushes
    assert legacy.flushes == 3                      # one for each list


def test_a_bounced_list_is_a_copy_through_host_memory():
    seen = run_route("legacy", "host-memory", subject("dma_direct", "x86_64-force")).seen
    assert seen == "copy through host memory"


def test_a_32_bit_machine_takes_ram():
    assert run_route("A", "host-memory", subject("dma_direct", "arm")).mechanism == "native"


def test_what_the_arm_allocator_keeps_is_no_leak():
    """extend_iommu_mapping() adds a bitmap, which stays until the mapping goes."""
    assert run_route("C", "host-memory", subject("iommu_ops", "default")).mechanism == "fallback"


def test_the_screen(ran):
    result = CliRunner().invoke(main, ["candidates", "-b", "dma_direct,gart_dma_ops"], env={"COLUMNS": "150"})
    assert result.exit_code == 0
    for text in ("1 of 2", "segments per MiB", "a bug hides", "dma_map_p2p_sg"):
        assert text in result.output
    assert len(result.output.splitlines()) < 40


def test_the_verdicts_on_screen():
    result = CliRunner().invoke(main, ["candidates", "-b", "gart_dma_ops", "--verdicts"], env={"COLUMNS": "280"})
    assert "gate, else UNSAFE" in result.output
    assert "gate, else refused ENXIO" in result.output


def test_json():
    result = CliRunner().invoke(main, ["candidates", "-b", "dma_direct", "--json"])
    told = json.loads(result.output)
    assert [line["id"] for line in told["designs"]] == list(DESIGNS)
    assert {row["machine"] for row in told["verdicts"]} == {c.name for c in known_backends()["dma_direct"].machines}
    assert {(row["design"], row["route"]) for row in told["verdicts"]} == {(d, r) for d in DESIGNS for r in ROUTES}


def test_the_summary_of_a_file_is_that_of_the_run(tmp_path, ran):
    """Results written, read and summed up give what the run gave: candidates RESULTS, and a section of its report."""
    path = tmp_path / "results.jsonl"
    path.write_text(document(ran.header, ran.results), encoding="utf-8")
    told = json.loads(CliRunner().invoke(main, ["candidates", str(path), "--json"]).output)
    assert told == json.loads(json.dumps(candidates.as_json(ran)))
    markdown = CliRunner().invoke(main, ["report", str(path), "--format", "markdown"]).output
    assert "| P2P memory is mapped | 2 of 25" in markdown
    assert "## P2P designs" in markdown


def test_a_report_without_routes_has_no_comparison(tmp_path):
    path = tmp_path / "results.jsonl"
    assert CliRunner().invoke(main, ["run", "-b", "dma_dummy_ops", "-r", "DMA-01", "-n", "0", "--out",
                                     str(tmp_path)]).exit_code in (0, 1)
    result = CliRunner().invoke(main, ["candidates", str(path)])
    assert result.exit_code == 2
    assert "no routes" in result.output


def test_an_unknown_backend_is_a_usage_error():
    assert CliRunner().invoke(main, ["candidates", "-b", "nobody"]).exit_code == 2


def told(policy, mechanism, detail="", machine="m", what="route/same-switch"):
    case = f"{what}:b:{machine}:A"
    return Result(case, "route", what, "b", machine, "A", Verdict.PASS, detail, "", policy, mechanism)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (told("supported", "native", "mapped"), "native"),
        (told("supported", "refused", "EREMOTEIO"), "refused EREMOTEIO"),
        (told("refused", "unsafe", "…"), "gate, else UNSAFE"),
        (told("refused", "absent", "…"), "absent"),
    ],
)
def test_a_cell_shows_policy_and_mechanism(result, text):
    assert candidates.cell(result) == text


@pytest.mark.parametrize(
    ("mechanisms", "text"),
    [
        (("native", "native", "unsafe"), "- u----"),
        (("unsafe", "unsafe", "native"), "- U----"),
        (("absent", "absent", "refused"), "- r----"),
        (("absent",), "- -----"),
    ],
)
def test_a_letter_is_what_most_machines_show(mechanisms, text):
    seen = candidates.Backend(told("refused", one, machine=str(i)) for i, one in enumerate(mechanisms))
    assert candidates.glyphs(seen) == text


def test_absent_is_written_out():
    assert report.route_cell([told("refused", "absent")]).text == "absent"
