# SPDX-License-Identifier: MIT
"""The benchmarks against Linux's own C, with tables and spaces so small that their figures mean nothing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from conformance.oracle.source import find

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are part of the sources, not of the package", allow_module_level=True)
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [*sys.path, str(ROOT)])      # behind what is installed
    from benchmarks import __main__ as command
    from benchmarks import _build

BENCHMARKS = {
    "iova": (["--live", "300", "--steps", "400", "--walks", "50", "--repeat", "2"], 5),
    "scatterlist": (["--pages", "2000", "--runs", "4", "--repeat", "2"], 10),
}


@pytest.mark.parametrize("name", [
    "iova",
    pytest.param("scatterlist", marks=pytest.mark.slow),    # seven modules to compile
])
def test_runs_and_writes(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                         capsys: pytest.CaptureFixture[str]) -> None:
    if find("6.1") is None:
        pytest.skip("no source of Linux 6.1 (DMA_CONFORMANCE_LINUX, /usr/src)")
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler (gcc)")
    pytest.importorskip("Cython", reason="no Cython to compile our side with")
    options, rows = BENCHMARKS[name]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["benchmarks", name, *options, "--results", str(tmp_path)])
    status = command.main()
    written = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert len(written["figures"]) == rows == len(capsys.readouterr().out.splitlines())
    goals = [row["met"] for row in written["figures"] if row["goal"] is not None]
    assert goals
    assert status == (0 if all(goals) else 1)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_without_the_source(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_build, "find", lambda series: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", name])
    assert command.main() == 2
    assert "linux-source-6.1" in capsys.readouterr().err
