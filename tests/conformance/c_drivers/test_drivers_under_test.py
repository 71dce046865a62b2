# SPDX-License-Identifier: MIT
"""Drivers in C on the models: the example passes, each planted fault is found by its clause, a crash costs one case."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
from click.testing import CliRunner

from conformance.c_drivers.clauses import clauses
from conformance.c_drivers.run import APIS, Children, Driver, DriverError, judge, places, watch
from conformance.c_drivers.scenarios import SCENARIOS
from conformance.cli import main
from conformance.execute import Result
from conformance.selection import Selection
from conformance.verdict import Verdict
from scatterlist import get_include

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples/c_driver"
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler (gcc)")


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    made = Children()
    yield made
    made.close()


@pytest.fixture
def run(children: Children, tmp_path: Path) -> Callable[..., list[Result]]:
    """The results of some clauses for a driver on one machine."""

    def results(path: Path, cflags: str, machine: str, *ids: str, time_limit: float = 20) -> list[Result]:
        driver = Driver((path,), cflags, tmp_path)
        backend, name, api = machine.split(":")
        place = next(place for place in places(Selection(backends=(backend,)), APIS)
                     if (place.config.name, place.api) == (name, api))
        chosen = [clauses()[one] for one in ids] if ids else list(clauses().values())
        scenarios = dict.fromkeys(name for clause in chosen for name in clause.scenarios)
        seen = {name: watch(driver, place, name, 0, children, time_limit) for name in scenarios}
        return judge(place, chosen, seen)

    return results


@pytest.mark.parametrize("machine", [
    "dma_direct:x86_64:legacy", "dma_direct:arm64-noncoherent:new", "dma_direct:x86_64-bounce:new",
    "iommu_dma_ops:intel:legacy", "iommu_dma_ops:smmuv3-64k:new", "sun4u_dma_ops:psycho:legacy",
    "alpha_pci_ops:tsunami:new", "dma_dummy_ops:arm64-4k:legacy",
])
def test_the_example_keeps_every_clause(run: Callable[..., list[Result]], machine: str) -> None:
    found = run(EXAMPLES / "nvme.c", "", machine)
    assert [row for row in found if row.verdict.bad] == []
    assert any(row.verdict is Verdict.PASS for row in found)


FAULTS = {
    1: ("iommu_dma_ops:intel:legacy", "DRV-04"),
    2: ("iommu_dma_ops:intel:legacy", "DRV-06"),
    3: ("iommu_dma_ops:intel:legacy", "DRV-03"),
    4: ("gart_dma_ops:opteron-force:legacy", "DRV-07"),
    5: ("dma_direct:x86_64:new", "DRV-07"),
    6: ("iommu_dma_ops:intel:new", "DRV-08"),
    7: ("dma_direct:x86_64-force:new", "DRV-16"),
    8: ("dma_direct:x86_64:legacy", "DRV-07"),
    9: ("dma_direct:arm64-noncoherent:legacy", "DRV-12"),
    10: ("iommu_dma_ops:intel:new", "DRV-06"),
    11: ("dma_direct:x86_64-bounce:legacy", "DRV-06"),
    12: ("iommu_dma_ops:intel:legacy", "DRV-05"),
    13: ("dma_direct:x86_64-force:legacy", "DRV-01"),
    14: ("dma_direct:x86_64:legacy", "DRV-10"),
}


@pytest.mark.parametrize(("fault", "machine", "clause"), [(n, *row) for n, row in FAULTS.items()])
def test_each_planted_fault_is_found(run: Callable[..., list[Result]], fault: int, machine: str, clause: str) -> None:
    assert [row.verdict for row in run(EXAMPLES / "faulty.c", "-DFAULT=0", machine, clause)] == [Verdict.PASS]
    [found] = run(EXAMPLES / "faulty.c", f"-DFAULT={fault}", machine, clause)
    assert found.verdict is Verdict.FAIL
    assert found.detail
    assert found.check in SCENARIOS


@pytest.mark.parametrize(("body", "verdict"), [
    ("*(volatile int *)8 = 1;", Verdict.CRASHED), ("for (;;) ;", Verdict.TIMEOUT), ("BUG();", Verdict.FAIL),
])
def test_a_driver_that_dies_costs_its_scenario(
    run: Callable[..., list[Result]], tmp_path: Path, body: str, verdict: Verdict
) -> None:
    path = tmp_path / "dies.c"
    text = (EXAMPLES / "faulty.c").read_text(encoding="utf-8")
    path.write_text(text.replace("if (FAULT == 9)", f"{body}\n\tif (FAULT == 9)"), encoding="utf-8")
    rows = {row.what: row for row in run(path, "", "dma_direct:x86_64:legacy", time_limit=6)}
    assert rows["DRV-01"].verdict is verdict
    assert rows["DRV-06"].verdict is Verdict.PASS
    if verdict is not Verdict.FAIL:
        assert rows["DRV-12"].verdict is Verdict.NOT_TESTED


def test_objects_without_a_table_are_refused(tmp_path: Path) -> None:
    source, made = tmp_path / "none.c", tmp_path / "none.so"
    source.write_text("#include <linux/device.h>\nint x;\n")
    subprocess.run(["gcc", "-shared", "-fPIC", f"-I{get_include()}", str(source), "-o", str(made)], check=True)
    with pytest.raises(DriverError, match="has no symbol dma_conformance_driver"):
        assert Driver((made,), "", tmp_path).objects


def test_the_page_of_a_driver_has_its_clauses_and_what_came_before(tmp_path: Path) -> None:
    path = EXAMPLES / "faulty.c"
    words = ["--driver", str(path), "--cflags", "-DFAULT=5"]
    run = ["run", *words, "-b", "vdpasim_dma_ops", "-r", "DRV-0[17]", "-n", "1", "--out", str(tmp_path)]
    assert CliRunner().invoke(main, run).exit_code == 1
    done = CliRunner().invoke(main, ["report", str(tmp_path), "--format", "html", "--timelines"])
    assert done.exit_code == 1, done.output
    page = json.loads(re.search(r'id="data">(.*?)</script>', done.stdout, re.DOTALL)[1])  # type: ignore[index]
    assert page["families"] == {"driver": "Driver faulty"}
    assert [(rule["id"], rule["group"]) for rule in page["rules"]] == [("DRV-01", "DRV-01"), ("DRV-07", "DRV-07")]
    assert page["again"] == {"vdpasim_dma_ops": f"--driver {path} --cflags -DFAULT=5"}
    steps = page["timelines"]["DRV-07:vdpasim_dma_ops:sim:new"]["steps"]
    assert "tries to free DMA memory it has not allocated" in steps
    command = f"explain DRV-07:vdpasim_dma_ops:sim:new {page['again']['vdpasim_dma_ops']}"
    told = CliRunner().invoke(main, shlex.split(command))
    assert told.exit_code == 1 and "verdict     fail" in told.output
    assert CliRunner().invoke(main, [*shlex.split(command), "--form", "c"]).exit_code == 2


def test_the_page_of_a_driver_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "faulty.c"
    shutil.copy(EXAMPLES / "faulty.c", path)
    run = ["run", "--driver", str(path), "--cflags", "-DFAULT=5", "-b", "vdpasim_dma_ops", "-r", "DRV-07", "-n", "1"]
    CliRunner().invoke(main, [*run, "--out", str(tmp_path)])
    path.unlink()
    assert "DRV-07" in CliRunner().invoke(main, ["report", str(tmp_path), "--format", "html"]).stdout
    done = CliRunner().invoke(main, ["report", str(tmp_path), "--format", "html", "--timelines"])
    assert (done.exit_code, done.output.count("\n")) == (2, 1) and "the driver is not here" in done.output


@pytest.mark.parametrize(("text", "said"), [
    ("int x", "none.c does not compile"), ("int x;", "none.c was not compiled with this project's headers"),
    ("#include <linux/device.h>\nint x;\n", "none.c has no symbol dma_conformance_driver"),
], ids=["broken", "foreign", "no-table"])
def test_a_file_that_is_no_driver_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "none.c"
    path.write_text(text)
    done = CliRunner().invoke(main, ["run", "--driver", str(path), "-b", "vdpasim_dma_ops", "-n", "1"])
    assert done.exit_code == 2 and said in done.output and isinstance(done.exception, SystemExit), done.output


def test_the_results_file_and_an_object_for_one_page_size(tmp_path: Path) -> None:
    made = tmp_path / "nvme.so"
    command = ["gcc", "-shared", "-fPIC", f"-I{get_include()}", str(EXAMPLES / "nvme.c"), "-o", str(made)]
    subprocess.run(command, check=True)
    words = ["run", "--driver", str(made), "--backend", "vdpasim_dma_ops", "--rule", "DRV-0[16]", "-n", "1"]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    schema = json.loads((Path(sys.modules["conformance"].__path__[0]) / "schemas/results.schema.json").read_text())
    for line in lines:
        jsonschema.validate(line, schema)
    assert lines[0]["driver"]["name"] == "nvme"
    by_machine = {(row["machine"], row["verdict"]) for row in lines[1:-1]}
    assert ("sim-64k", "not-applicable") in by_machine
    assert ("sim", "pass") in by_machine
