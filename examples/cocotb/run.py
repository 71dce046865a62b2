# SPDX-License-Identifier: MIT
"""python examples/cocotb/run.py: builds the copier with Icarus Verilog and runs its tests."""

import os
import sys
import tempfile
from pathlib import Path

from cocotb_tools.runner import get_results, get_runner

HERE = Path(__file__).resolve().parent


def main() -> int:
    """How many tests failed."""
    runner = get_runner("icarus")
    with tempfile.TemporaryDirectory() as build:
        runner.build(sources=[HERE / "copier.v"], hdl_toplevel="copier", build_dir=build, timescale=("1ns", "1ps"))
        # the simulator starts a Python of its own, which must find what this one finds
        paths = os.pathsep.join([str(HERE), *filter(None, sys.path)])
        results = runner.test(test_module="test_copier", hdl_toplevel="copier", build_dir=build, test_dir=build,
                              extra_env={"PYTHONPATH": paths})
        tests, failed = get_results(results)
    print(f"{tests} tests, {failed} failed")
    return failed or not tests


if __name__ == "__main__":
    sys.exit(main())
