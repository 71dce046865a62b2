# SPDX-License-Identifier: MIT
"""Figures of the benchmarks: what is compared with a goal, printed, written and read again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are part of the sources, not of the package", allow_module_level=True)
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [*sys.path, str(ROOT)])      # behind what is installed
    from benchmarks import _figures

MET = _figures.paired("x", "half", [1.0, 2.0, 4.0], [2.0, 4.0, 4.0], against="Linux", goal=0.5)
MISSED = _figures.alone("x", "start", [3e9, 4e9, 5e9], goal=3e9)
PLAIN = _figures.alone("x", "size", [7.0], unit="MiB", instructions=(1.0, 2.0))


@pytest.mark.parametrize(("figure", "value", "spread", "met", "words"), [
    (MET, 0.5, (0.5, 0.75), True, "0.500 of Linux (0.500 to 0.750; 2 ns and 4 ns); goal at most 0.5: met"),
    (MISSED, 4e9, (3.5e9, 4.5e9), False, "4 s (3.5 s to 4.5 s); goal at most 3 s: MISSED"),
    (PLAIN, 7.0, (7.0, 7.0), None, "7 MiB (7 MiB to 7 MiB), 1 and 2 instructions"),
], ids=["ratio", "alone", "no goal"])
def test_figure(figure: _figures.Figure, value: float, spread: tuple[float, float], met: bool | None,
                words: str) -> None:
    assert (figure.value, figure.spread, figure.met) == (value, spread, met)
    assert _figures.line(figure) == f"x: {figure.case}: {words}"


@pytest.mark.parametrize(("figures", "status"), [([MET, PLAIN], 0), ([MET, MISSED], 1)], ids=["met", "missed"])
def test_report(figures: list[_figures.Figure], status: int, tmp_path: Path) -> None:
    said: list[str] = []
    assert _figures.report("x", "python -m benchmarks x", figures, tmp_path / "new", said.append) == status
    assert said == [_figures.line(figure) for figure in figures]
    assert _figures.load(tmp_path / "new/x.json") == figures
    written = json.loads((tmp_path / "new/x.json").read_text(encoding="utf-8"))
    assert (written["benchmark"], written["command"]) == ("x", "python -m benchmarks x")
    assert [row["met"] for row in written["figures"]] == [figure.met for figure in figures]
    picture = ElementTree.fromstring((tmp_path / "new/x.svg").read_text(encoding="utf-8"))
    titles = [node.text for node in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [_figures.line(figure) for figure in figures if figure.goal is not None]


def test_turns_alternate() -> None:
    seen: list[str] = []
    got = _figures.turns(2, {"a": lambda: seen.append("a") or len(seen), "b": lambda: seen.append("b") or len(seen)},
                         warm=1)
    assert "".join(seen) == "baabba"
    assert got == {"a": [3, 6], "b": [4, 5]}
