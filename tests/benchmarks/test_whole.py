# SPDX-License-Identifier: MIT
"""The whole program, measured on little of it."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are part of the sources, not of the package", allow_module_level=True)
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [*sys.path, str(ROOT)])      # behind what is installed
    from benchmarks import whole

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
LITTLE = ["--backend", "jazz_dma_ops"]


@pytest.mark.parametrize(("part", "options", "cases"), [
    ("matrix", [*LITTLE, "--rule", "DMA-01", "-n", "0"], ["matrix: dma-conformance run", "matrix: processor time"]),
    ("replay", LITTLE, ["replay: a result, in processor time"]),
    ("import", [], ["import: --version, best of 5", "import: --version, best of 5, processor time",
                    "import: import of conformance.cli, best of 5",
                    "import: import of conformance.cli, best of 5, processor time"]),
])
def test_part(part: str, options: list[str], cases: list[str]) -> None:
    figures = whole.PARTS[part](sys.executable, ENVIRONMENT, 1, options)
    assert [figure.case for figure in figures] == cases
    assert all(figure.ours > 0 for figure in figures)
    assert figures[0].goal == whole.GOALS[part]


def test_failure_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"exit status 3\nsaid"):
        whole.Run([sys.executable, "-c", "print('said'); raise SystemExit(3)"], dict(os.environ))


def test_unknown_part(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    whole.add_arguments(parser)
    assert whole.run(parser.parse_args(["matrix", "everything"])) == 2
    assert capsys.readouterr().err == "error: no part is called everything: matrix, replay, import, install\n"
