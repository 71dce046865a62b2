# SPDX-License-Identifier: MIT
"""Our scatterlist against Linux's own lib/scatterlist.c: building from pages, walking, copying.

Both sides are compiled with -O2 and run in one process, turn by turn; a figure is the median of the ratios of pairs.
Times are the thread's processor time. The shim gives Linux malloc for its page allocator and the cheapest
page_to_pfn there can be (a shift).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.oracle.source import MissingSource, cache_dir

from .build import build_linux, build_ours

GOALS = {"build of runs of 4, ours / Linux": 0.7, "walk, ours / Linux": 1.1, "build of runs of 4, Python / ours": 1.2}


def measure(arguments: argparse.Namespace, library: Path, folder: Path) -> dict[str, Any]:
    """In a process of its own, where `scatterlist` is the -O2 copy."""
    command = [sys.executable, str(Path(__file__).parent / "_measure.py"), str(library), str(folder),
               str(arguments.pages), ",".join(map(str, arguments.runs)), str(arguments.repeat)]
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(folder)})
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def callgrind(library: Path, folder: Path, pages: int) -> dict[str, dict[str, float]]:
    """Instructions per page, or per entry walked: the difference between 3 and 1 repetitions of a whole run."""
    counts: dict[str, dict[str, float]] = {}
    for what in ("build", "walk"):
        for side in ("linux", "ours"):
            totals = []
            for times in (1, 3):
                command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable,
                           str(Path(__file__).parent / "_measure.py"), str(library), str(folder), str(pages), "4",
                           str(times), f"{what}:{side}"]
                done = subprocess.run(command, capture_output=True, text=True, check=False,
                                      env=os.environ | {"PYTHONPATH": str(folder), "PYTHONHASHSEED": "0"})
                found = re.search(r"Collected : (\d+)", done.stderr)
                if found is None:
                    raise RuntimeError(f"callgrind failed:\n{done.stderr}")
                totals.append(int(found[1]))
            counts.setdefault(what, {})[side] = (totals[1] - totals[0]) / 2 / pages
    return counts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pages", type=int, default=1_000_000, help="pages of a table (default 1000000)")
    parser.add_argument("--runs", type=lambda text: [int(word) for word in text.split(",")], default=[1, 4, 16],
                        help="lengths of contiguous runs (default 1,4,16)")
    parser.add_argument("--repeat", type=int, default=31, help="pairs of measurements (default 31)")
    parser.add_argument("--callgrind", action="store_true", help="also count instructions, with valgrind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")


def run(arguments: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    cache = cache_dir() / "benchmarks"
    try:
        library = build_linux(cache)
    except MissingSource as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = build_ours(cache)
    result = measure(arguments, library, folder)
    say(f"{arguments.pages} pages, {arguments.repeat} pairs; medians")
    say(f"{'':34}{'Linux':>10}{'ours':>10}{'Python':>10}{'ours/Linux':>12}{'Python/ours':>13}")
    for row in result["rows"]:
        times = "".join(f"{row[side] / 1e6:8.3f}ms" for side in ("linux", "ours", "python"))
        say(f"{row['name']:34}{times}{row['ours_per_linux']:12.3f}{row['python_per_ours']:13.3f}")
    missed = []
    for name, goal in GOALS.items():
        got = result["figures"].get(name)
        if got is not None:
            say(f"{name}: {got:.3f}, goal at most {goal}: {'met' if got <= goal else 'MISSED'}")
            missed += [name] if got > goal else []
    if arguments.callgrind:
        if shutil.which("valgrind") is None:
            say("no valgrind here: no instruction counts")
        else:
            result["instructions_per_page"] = callgrind(library, folder, min(arguments.pages, 100_000))
            for what, sides in result["instructions_per_page"].items():
                say(f"{what}: {sides['linux']:.2f} instructions a page in Linux, {sides['ours']:.2f} in ours")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if missed else 0
