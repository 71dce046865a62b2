# SPDX-License-Identifier: MIT
"""The whole program: the matrix of all backends, a replay of all recorded runs, the start, an installation.

Each runs as a user runs it, in processes of its own, from a folder that is not the checkout. --python names the Python
that has dma-conformance installed; what stands compiled beside the sources may be a build without optimisation.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from . import _figures
from ._build import ROOT
from ._figures import Figure, alone

SECOND = 1e9
GOALS = {"matrix": 20 * SECOND, "replay": SECOND / 20_000, "import": 0.1 * SECOND, "install": 120 * SECOND}
PROGRAM = ("-m", "conformance")
STARTS = {"--version": (*PROGRAM, "--version"), "import of conformance.cli": ("-c", "import conformance.cli")}


class Run:
    """A finished command: wall and processor nanoseconds, and what it printed."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], ok: Sequence[int] = (0,)) -> None:
        with tempfile.TemporaryDirectory() as folder:
            before = getrusage(RUSAGE_CHILDREN)
            start = time.monotonic_ns()
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
            self.wall = time.monotonic_ns() - start
            after = getrusage(RUSAGE_CHILDREN)
        self.cpu = SECOND * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        self.text = done.stdout
        if done.returncode not in ok:
            raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")


def matrix(python: str, environment: dict[str, str], repeat: int, options: Sequence[str] = ()) -> list[Figure]:
    runs = [Run([python, *PROGRAM, "run", *options], environment, ok=(0, 1)) for _ in range(repeat)]
    return [alone("whole", "matrix: dma-conformance run", [run.wall for run in runs], goal=GOALS["matrix"]),
            alone("whole", "matrix: processor time", [run.cpu for run in runs])]


def replay(python: str, environment: dict[str, str], repeat: int, options: Sequence[str] = ()) -> list[Figure]:
    costs = []
    for _ in range(repeat):
        run = Run([python, *PROGRAM, "replay", *options], environment)
        found = re.search(r"^(\d+) passed", run.text.replace(",", ""), re.M)
        if found is None:
            raise RuntimeError(f"the replay tells no number of results:\n{run.text}")
        costs.append(run.cpu / int(found[1]))
    return [alone("whole", "replay: a result, in processor time", costs, goal=GOALS["replay"])]


def start(python: str, environment: dict[str, str], repeat: int, options: Sequence[str] = ()) -> list[Figure]:
    """The best of several: whatever disturbs makes it longer."""
    out = []
    for name, command in STARTS.items():
        runs = [Run([python, *command], environment) for _ in range(5 * repeat)]
        case = f"import: {name}, best of {5 * repeat}"
        out += [Figure("whole", case, min(run.wall for run in runs), goal=GOALS["import"]),
                Figure("whole", f"{case}, processor time", min(run.cpu for run in runs))]
    return out


def install(python: str, environment: dict[str, str], repeat: int, options: Sequence[str] = ()) -> list[Figure]:
    """A new venv, pip install of `options` (default: the checkout), and the matrix."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in environment.items() if key not in ("PYTHONPATH", "CFLAGS", "CC")}
        mine = str(Path(folder) / "bin/python")
        took = Run([python, "-m", "venv", folder], environment).wall
        took += Run([mine, "-m", "pip", "install", "-q", *(options or [str(ROOT)])], environment).wall
        took += Run([mine, *PROGRAM, "run"], environment, ok=(0, 1)).wall
    return [Figure("whole", "install: from nothing to the first matrix", took, goal=GOALS["install"])]


PARTS = {"matrix": matrix, "replay": replay, "import": start, "install": install}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _figures.add_arguments(parser, 3)
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help=f"of {', '.join(PARTS)} (default: all but install, which takes minutes)")
    parser.add_argument("--python", default=sys.executable, help="one that has dma-conformance (default: this one)")
    parser.add_argument("--option", action="append", default=[], help="a further word for the part's command")


def run(arguments: argparse.Namespace, say: Callable[[str], None] = print) -> int:
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        print(f"error: no part is called {', '.join(sorted(unknown))}: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    environment = dict(os.environ)
    if arguments.python == sys.executable:
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    figures = []
    for part in arguments.parts or ["matrix", "replay", "import"]:
        figures += PARTS[part](arguments.python, environment, arguments.repeat, arguments.option)
    return _figures.report("whole", "python -m benchmarks whole", figures, arguments.results, say)
