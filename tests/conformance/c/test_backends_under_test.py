# SPDX-License-Identifier: MIT
"""Backends in C, in another process, and those that new-backend writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

import conformance
from conformance import isolation
from conformance.c.harness import Harness
from conformance.cli import main
from conformance.execute import Result
from conformance.selection import Case, SelectionError, backend
from conformance.verdict import Verdict
from scatterlist import get_include

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples/c_backend"
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler (gcc)")


def compiled(source: Path, target: Path, *options: str) -> Path:
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", f"-I{get_include()}", *options, str(source), "-o", str(target)],
                   check=True)
    return target


def run(name: str, machine: str, rules: Iterable[str]) -> list[Result]:
    record = backend(name)
    cases = [Case(rule, record.id, machine) for rule in rules]
    return [isolation.run_isolated(case, name, 0, "quick", 30) for case in cases]


FAULTS = {
    1: ("low", "DMA-06"), 2: ("low", "DMA-05"), 3: ("low", "DMA-06"), 4: ("low", "DMA-06"), 5: ("low", "DMA-13"),
    6: ("low", "DMA-01"), 7: ("noncoherent", "DMA-21"), 8: ("low", "DMA-02"), 9: ("low", "DMA-09"),
    10: ("low", "P2P-24"),
}


def test_the_example_keeps_the_rules_that_find_its_faults(tmp_path: Path) -> None:
    made = compiled(EXAMPLES / "linuxkpi.c", tmp_path / "kpi.so", "-shared", "-fPIC")
    for machine, rule in sorted(set(FAULTS.values())):
        [found] = run(f"c:{made}:linuxkpi_dma_ops", machine, [rule])
        assert found.verdict is Verdict.PASS, found


@pytest.mark.parametrize(("fault", "machine", "rule"), [(n, *row) for n, row in FAULTS.items()])
def test_each_field_bug_is_caught_by_its_rule(tmp_path: Path, fault: int, machine: str, rule: str) -> None:
    made = compiled(EXAMPLES / "linuxkpi.c", tmp_path / f"kpi{fault}.so", "-shared", "-fPIC", f"-DFAULT={fault}")
    [found] = run(f"c:{made}:linuxkpi_dma_ops", machine, [rule])
    assert found.verdict is Verdict.FAIL, found


def test_a_process_is_judged_and_speaks_the_schema(tmp_path: Path) -> None:
    made = compiled(EXAMPLES / "harness.c", tmp_path / "harness")
    found = run(f"exec:{made}", "4k", ("DMA-01", "DMA-06", "DMA-13", "DMA-28"))
    assert {row.verdict for row in found} == {Verdict.PASS}, found
    schema = json.loads((Path(conformance.__file__).parent / "schemas/harness.schema.json").read_text())
    harness = Harness(str(made))
    facts = {"page_size": 4096, "dma_mask": 0xFFFFFFFF, "max_seg_size": 65536, "seg_boundary": (1 << 64) - 1}
    for op, words in (("hello", {}), ("map_sg", {**facts, "dir": 1, "list": [[8192, 100, 0, 0]]}),
                      ("translate", {"addr": 0x40000000, "write": 0}), ("resources", {})):
        jsonschema.validate({"op": op, **words}, schema)
        jsonschema.validate(harness.ask(op, **words), schema)


def test_the_header_for_processes_is_short() -> None:
    assert len((Path(get_include()) / "dma_conformance/harness.h").read_text().splitlines()) <= 200


@pytest.mark.parametrize("name", ["c:nothing.so:x", "c:nothing", "exec:/nonexistent", "exec:true"])
def test_what_is_no_backend_is_refused(name: str) -> None:
    with pytest.raises(SelectionError):
        backend(name)


@pytest.mark.parametrize("lang", ["c", "python", "cython"])
def test_a_new_backend_builds_and_passes_smoke(tmp_path: Path, lang: str) -> None:
    done = CliRunner().invoke(main, ["new-backend", f"fresh_{lang}", "--lang", lang, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CFLAGS": "-O0"}
    if lang == "cython":
        pytest.importorskip("Cython")
        subprocess.run([sys.executable, "setup.py", "build_ext", "--inplace"], cwd=tmp_path, env=env, check=True,
                       capture_output=True)
    name = f"c:fresh_{lang}.c:fresh_{lang}_dma_ops" if lang == "c" else f"py:fresh_{lang}:RECORD"
    command = [sys.executable, "-P", "-m", "conformance", "run", "--backend", name, "--rule", "smoke", "-n", "1"]
    told = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    again = CliRunner().invoke(main, ["new-backend", f"fresh_{lang}", "--lang", lang, "--out", str(tmp_path)])
    assert again.exit_code == 2
