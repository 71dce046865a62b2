# SPDX-License-Identifier: MIT
"""Our IOVA allocator against Linux's own drivers/iommu/iova.c: mixed sizes with 10^5 live ranges.

Both are compiled with -O2 and run the same tape of allocations and frees turn by turn, and hand out the same addresses;
a figure is the median of the ratios of pairs, in the thread's processor time. Growth is ours alone: 64 ranges that come
and go in an empty space of 32 bits, and in one that others fill to 90 %, with holes of all sizes. Linux's locks cost
nothing here, and its object cache is a free list.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from . import _build, _figures

NAME = "iova"
FAST = "alloc_iova_fast, 1 to 32 pages"            # of the first three, the one in which Linux does not walk
GOALS = {
    FAST: 0.8,
    "alloc_iova_fast, 1 to 256 pages": 0.8,
    "alloc_iova, 1 to 256 pages": 0.8,
    "growth of alloc_iova_fast, 1 to 32 pages": 1.2,
    "growth of alloc_iova, 1 to 256 pages": 1.2,
}
FILES = ("drivers/iommu/iova.c", "lib/rbtree.c")
HEADERS = tuple(f"include/linux/{name}.h" for name in ("iova", "rbtree", "rbtree_types", "rbtree_augmented"))
MODULES = ("dma_ops.errors", "dma_ops.iova")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _figures.add_arguments(parser, 31)
    parser.add_argument("--live", type=int, default=100_000, help="ranges that are live (default 100000)")
    parser.add_argument("--steps", type=int, default=200_000, help="a free and an allocation each, in a turn (default "
                        "200000)")
    parser.add_argument("--walks", type=int, default=1000, help="steps in a turn where Linux walks (default 1000)")
    parser.add_argument("--callgrind", action="store_true", help="also count instructions, with valgrind")


def figures(arguments: argparse.Namespace) -> list[_figures.Figure]:
    """Raises MissingSource."""
    library = _build.build_linux(NAME, FILES, HEADERS, "-DCONFIG_IOMMU_IOVA=1")
    folder = _build.build_ours(NAME, MODULES)
    work = (library, arguments.live, arguments.steps, arguments.walks)
    out = []
    for case, got in _build.measured(folder, "_measure_iova", *work, arguments.repeat).items():
        ours, against = ("ours", "linux") if "linux" in got else ("full", "empty")
        counted = None
        if "linux" in got and arguments.callgrind:
            steps = arguments.steps if case == FAST else arguments.walks
            mine, theirs = (_build.instructions(folder, "_measure_iova", *work, case, side) / steps
                            for side in (ours, against))
            counted = mine, theirs
        out.append(_figures.paired(NAME, case, got[ours], got[against], goal=GOALS[case], instructions=counted,
                                   against="Linux's iova.c" if "linux" in got else "its cost in an empty space"))
    return out


def run(arguments: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    return _build.beside_linux(NAME, figures, arguments, say)
