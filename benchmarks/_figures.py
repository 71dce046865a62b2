# SPDX-License-Identifier: MIT
"""What a benchmark found, one figure a row: printed with its goal, written as NAME.json, drawn as NAME.svg.

A figure with a yardstick is a ratio, the median of the ratios of pairs that were measured turn by turn; a figure
without one is a number with a unit. A goal is the most that either may be.

NAME.json: {"benchmark", "command", "machine": {"cpu", "cpus", "system", "compiler", "python"}, "figures": [...]}, the
figures with the fields of Figure and "met" (true, false, or null without a goal).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from statistics import median, quantiles
from typing import Any

RESULTS = Path(__file__).parent / "results"
SCALE, LEFT, ROW, WIDE = 300, 12, 22, 6.7       # pixels of a ratio of 1; of a row; of a character


@dataclass(frozen=True, slots=True)
class Figure:
    """ours and yardstick are medians in `unit`; spread the quartiles of the ratios (without a yardstick: of ours)."""

    benchmark: str
    case: str
    ours: float
    unit: str = "ns"
    yardstick: float | None = None
    against: str = ""                           # what the yardstick is
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    instructions: tuple[float, float] | None = None     # ours and the yardstick's, of one `unit` (callgrind)
    goal: float | None = None

    @property
    def value(self) -> float:
        """What the goal limits."""
        return self.ours if self.ratio is None else self.ratio

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.value <= self.goal


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def alone(benchmark: str, case: str, ours: Sequence[float], **more: Any) -> Figure:
    """The figure of repeated measurements without a yardstick."""
    return Figure(benchmark, case, median(ours), spread=_quartiles(ours), **more)


def paired(benchmark: str, case: str, ours: Sequence[float], yardstick: Sequence[float], **more: Any) -> Figure:
    """The figure of measurements in pairs: ours[i] beside yardstick[i]."""
    ratios = [mine / theirs for mine, theirs in zip(ours, yardstick, strict=True)]
    return Figure(benchmark, case, median(ours), yardstick=median(yardstick), ratio=median(ratios),
                  spread=_quartiles(ratios), **more)


def turns(repeat: int, calls: dict[str, Callable[[], Any]], warm: int = 2) -> dict[str, list[Any]]:
    """Each call in turn, the order reversed every second time: {name: [answer of each turn]}."""
    out: dict[str, list[Any]] = {name: [] for name in calls}
    for i in range(repeat + warm):
        for name in list(calls) if i % 2 else reversed(list(calls)):
            answer = calls[name]()
            if i >= warm:
                out[name].append(answer)
    return out


def machine() -> dict[str, Any]:
    """Where it was measured."""
    cpu = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    gcc = shutil.which("gcc")
    compiler = subprocess.run([gcc, "-dumpfullversion"], capture_output=True, text=True,
                              check=False).stdout.strip() if gcc else ""
    return {"cpu": cpu, "cpus": os.cpu_count(), "system": f"{platform.system()} {platform.release()}",
            "compiler": f"gcc {compiler}" if compiler else "", "python": platform.python_version()}


def amount(value: float, unit: str) -> str:
    """A number a person can read: nanoseconds become µs, ms or s."""
    if unit == "ns":
        for size, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
            if value >= size:
                return f"{value / size:.3g} {name}"
    return f"{value:.4g} {unit}"


def line(figure: Figure) -> str:
    """iova: mixed sizes: 0.70 of Linux's iova.c (0.68 to 0.71; 101 ns and 145 ns); goal at most 0.8: met"""
    out = f"{figure.benchmark}: {figure.case}: "
    if figure.ratio is None or figure.yardstick is None:
        out += amount(figure.ours, figure.unit)
        if figure.spread is not None:
            out += " ({} to {})".format(*(amount(value, figure.unit) for value in figure.spread))
    else:
        out += f"{figure.ratio:.3f} of {figure.against} ("
        if figure.spread is not None:
            out += "{:.3f} to {:.3f}; ".format(*figure.spread)
        out += f"{amount(figure.ours, figure.unit)} and {amount(figure.yardstick, figure.unit)})"
    if figure.instructions is not None:
        out += ", {:.4g} and {:.4g} instructions".format(*figure.instructions)
    if figure.goal is not None:
        limit = amount(figure.goal, figure.unit) if figure.ratio is None else f"{figure.goal:g}"
        out += f"; goal at most {limit}: {'met' if figure.met else 'MISSED'}"
    return out


def as_json(name: str, command: str, figures: Sequence[Figure]) -> str:
    rows = [{**asdict(figure), "met": figure.met} for figure in figures]
    return json.dumps({"benchmark": name, "command": command, "machine": machine(), "figures": rows}, indent=1) + "\n"


def load(path: Path) -> list[Figure]:
    """The figures of a NAME.json."""
    out = []
    for row in json.loads(path.read_text(encoding="utf-8"))["figures"]:
        del row["met"]
        for field in ("spread", "instructions"):
            row[field] = tuple(row[field]) if row[field] is not None else None
        out.append(Figure(**row))
    return out


def svg(name: str, figures: Sequence[Figure]) -> str:
    """Bars of the ratios, in a scale where 1 is the yardstick (for a number alone: its goal), with each goal's tick."""
    from conformance.html.timeline import standalone

    drawn = [(figure, figure.value if figure.ratio is not None else figure.value / (figure.goal or 1.0),
              figure.goal if figure.ratio is not None else 1.0)
             for figure in figures if figure.ratio is not None or figure.goal]
    start = LEFT + WIDE * max((len(figure.case) for figure, _, _ in drawn), default=0) + 10
    most = min(2.0, max([1.0, *(share for _, share, _ in drawn)]))
    width, height = start + most * SCALE + 70, 40 + ROW * len(drawn)
    out = [f'<svg class="tl" xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
           f'viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{escape(name)}: figures and goals">'
           f'<text class="big" x="{LEFT}" y="18">{escape(name)}</text>'
           f'<text class="soft" x="{start + SCALE:.0f}" y="18" text-anchor="middle">yardstick</text>'
           f'<path class="rule" d="M{start + SCALE:.0f},24V{height - 8}"/>']
    y = 44
    for figure, share, goal in drawn:
        look = {True: "BUS_ADDR", False: "NOT_SUPPORTED", None: "node"}[figure.met]
        long = min(share, most) * SCALE
        out.append(f'<text x="{LEFT}" y="{y}">{escape(figure.case)}</text>'
                   f'<rect class="{look}" x="{start:.0f}" y="{y - 11}" width="{long:.0f}" height="14">'
                   f"<title>{escape(line(figure))}</title></rect>"
                   f'<text x="{start + long + 6:.0f}" y="{y}">{share:.3f}</text>')
        if goal is not None:
            at = start + min(goal, most) * SCALE
            out.append(f'<path class="wire" stroke-width="2" d="M{at:.0f},{y - 14}v20"/>')
        y += ROW
    return standalone("".join([*out, "</svg>"]))


def add_arguments(parser: argparse.ArgumentParser, repeat: int) -> None:
    """What every benchmark takes."""
    parser.add_argument("--repeat", type=int, default=repeat, help=f"measurements of each figure (default {repeat})")
    parser.add_argument("--results", type=Path, metavar="FOLDER", nargs="?", const=RESULTS,
                        help="write NAME.json and NAME.svg there (default: benchmarks/results)")


def report(name: str, command: str, figures: Sequence[Figure], folder: Path | None,
           say: Callable[[str], None] = print) -> int:
    """Print and write the figures; the exit status: 1 if a goal is missed."""
    for figure in figures:
        say(line(figure))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(as_json(name, command, figures), encoding="utf-8")
        (folder / f"{name}.svg").write_text(svg(name, figures), encoding="utf-8")
    return int(any(figure.met is False for figure in figures))
