# SPDX-License-Identifier: MIT
"""Our scatterlist against Linux's own lib/scatterlist.c: building from pages, walking, copying.

Both sides are compiled with -O2 and run in one process, turn by turn; a figure is the median of the ratios of pairs.
Times are the thread's processor time. The shim gives Linux malloc for its page allocator and the cheapest
page_to_pfn there can be (a shift). Growth is ours alone: the cost of an entry in a table of 10^6 against one of 10.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from . import _build, _figures

NAME = "scatterlist"
GOALS = {"build, runs of 4": 0.5, "walk": 1.0, "growth of build": 1.2, "growth of walk": 1.2}
PYTHON_GOALS = {"build, runs of 4": 1.1}
FILES, HEADERS = ("lib/scatterlist.c",), ("include/linux/scatterlist.h",)
MODULES = tuple(f"scatterlist.{name}" for name in ("core", "memory", "entry", "pages", "iterators", "copy"))
COUNTED = 100_000                       # pages, under valgrind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _figures.add_arguments(parser, 31)
    parser.add_argument("--pages", type=int, default=1_000_000, help="pages of a table (default 1000000)")
    parser.add_argument("--runs", type=lambda text: [int(word) for word in text.split(",")], default=[1, 4, 16],
                        help="lengths of contiguous runs (default 1,4,16)")
    parser.add_argument("--callgrind", action="store_true", help="also count instructions, with valgrind")


def figures(arguments: argparse.Namespace) -> list[_figures.Figure]:
    """Raises MissingSource."""
    library = _build.build_linux(NAME, FILES, HEADERS)
    folder = _build.build_ours(NAME, MODULES)
    runs = ",".join(map(str, arguments.runs))
    out = []
    got = _build.measured(folder, "_measure_scatterlist", library, arguments.pages, runs, arguments.repeat)
    for case, sides in got.items():
        goal = GOALS.get(case, GOALS.get(case.partition(",")[0]))
        if "few" in sides:
            out.append(_figures.paired(NAME, case, sides["many"], sides["few"], goal=goal, against="ten entries"))
            continue
        counted = None
        if arguments.callgrind and case.endswith(" runs of 4") and "and" not in case and "copy" not in case:
            pages = min(arguments.pages, COUNTED)
            ours, linux = (_build.instructions(folder, "_measure_scatterlist", library, pages, 4,
                                               case.partition(",")[0], side) / pages * arguments.pages
                           for side in ("ours", "linux"))
            counted = ours, linux
        out.append(_figures.paired(NAME, case, sides["ours"], sides["linux"], goal=goal, instructions=counted,
                                   against="Linux's scatterlist.c"))
        out.append(_figures.paired(NAME, f"{case}, from Python", sides["python"], sides["ours"], against="our Cython",
                                   goal=PYTHON_GOALS.get(case)))
    return out


def run(arguments: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    return _build.beside_linux(NAME, figures, arguments, say)
