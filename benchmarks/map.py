# SPDX-License-Identifier: MIT
"""dma_map_sg and dma_unmap_sg of lists against Linux's own code: direct, iommu-dma, powerpc's TCEs, swiotlb and others.

Each side maps and unmaps the same list of pages, no two of them neighbours, and writes every entry of its table; both
give the same segments, which is checked first. Linux's side (benchmarks/_build_map.py) is the dispatch of
kernel/dma/mapping.c with dma-direct and swiotlb; iommu_dma_map_sg with drivers/iommu/iommu.c, iova.c and
io-pgtable-arm.c, of which a device behind an SMMUv3 has no more than the commands to the hardware; and
arch/powerpc/kernel/iommu.c with powernv's TCEs in memory. Locks, atomics and barriers cost it nothing. Ours is the
library as it is installed: arguments are checked, fault points are asked, and the IOMMU's own memory of translations
is there to be invalidated.

From Python, dma-direct is also compared with what one would write instead: Linux's C through ctypes, and a model in
Python.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.oracle.source import MissingSource

from . import _build, _figures
from ._build_map import build_linux_map, build_ours_map
from ._figures import Figure, alone, paired

LINUX = "Linux's C"
GOALS = {("iommu-dma, LPAE", 256): 1.0, ("ppc", 256): 1.0}
GROWTH = 1.2
BACKENDS = ("direct", "iommu-dma, LPAE", "ppc", "swiotlb", "iommu-dma, VT-d", "alpha", "sun4u")


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def counted_entries(n: int) -> str:
    return f"{n} {'entry' if n == 1 else 'entries'}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _figures.add_arguments(parser, 41)
    parser.add_argument("--sizes", type=numbers, default=[1, 16, 256], help="entries of a list (default 1,16,256)")
    parser.add_argument("--growth", type=numbers, default=[10, 1000, 100_000, 1_000_000],
                        help="entries for the cost of one entry (default 10,1000,100000,1000000)")
    parser.add_argument("--backends", nargs="*", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--callgrind", action="store_true", help="also count the instructions where there is a goal")


def instructions(library: Path, folder: Path, backend: str, n: int) -> tuple[float, float]:
    """Of one map and unmap of n entries: ours and Linux's. What comes before is not counted."""
    counts = []
    for side in ("ours", "linux"):
        options = json.dumps({"only": [backend, side, n]})
        counts.append(_build.instructions(folder, "_measure_map", library, options))
    return counts[0], counts[1]


def figures(result: dict[str, Any], counted: Callable[[str, int], tuple[float, float] | None]) -> list[Figure]:
    out = []
    for backend, n, samples in result["sizes"]:
        case = f"{backend}: {counted_entries(n)}"
        if "linux" in samples:
            out.append(paired("map", case, samples["ours"], samples["linux"], against=LINUX,
                              goal=GOALS.get((backend, n)), instructions=counted(backend, n)))
        else:
            out.append(alone("map", case, samples["ours"]))
    for n, samples in result["python"]:
        for side, name in (("ctypes", "Linux's C through ctypes"), ("model", "a model in Python")):
            out.append(paired("map", f"direct from Python: {counted_entries(n)}, {side}", samples["ours"],
                              samples[side], against=name))
    for backend, rows in result["growth"]:
        if len(rows) < 2:
            continue
        (few, first), (many, last) = rows[0], rows[-1]
        for side in ("ours", "linux") if "linux" in first else ("ours",):
            whose = "" if side == "ours" else ", Linux's own"
            out.append(paired("map", f"{backend}: an entry of {many}{whose}", [t / many for t in last[side]],
                              [t / few for t in first[side]], against=f"an entry of {few}",
                              goal=GROWTH if side == "ours" else None))
    return out


def run(arguments: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    try:
        library = build_linux_map()
    except MissingSource as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = build_ours_map()
    options = {"repeat": arguments.repeat, "sizes": arguments.sizes, "growth": arguments.growth,
               "backends": arguments.backends}
    result = _build.measured(folder, "_measure_map", library, json.dumps(options))
    count = arguments.callgrind and _build.can_count()

    def counted(backend: str, n: int) -> tuple[float, float] | None:
        return instructions(library, folder, backend, n) if count and (backend, n) in GOALS else None

    command = "python -m benchmarks map" + (" --callgrind" if count else "")
    return _figures.report("map", command, figures(result, counted), arguments.results, say)
