# SPDX-License-Identifier: MIT
"""No sequence of Python calls may crash the interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("seed", [1, 2])
def test_random_calls_end_normally(seed: int) -> None:
    program = Path(__file__).with_name("hostile.py")
    done = subprocess.run([sys.executable, "-X", "faulthandler", str(program), "20000", str(seed)], capture_output=True,
                          text=True, check=False,
                          env={"PYTHONMALLOC": "debug", **os.environ,
                               "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert done.returncode == 0, done.stderr
    accepted, refused = map(int, done.stdout.split())
    assert accepted > 5000 and refused > 2000        # else the calls are not what they were meant to be
