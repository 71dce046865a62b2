# SPDX-License-Identifier: MIT
"""python -m benchmarks NAME [options]: exit status 0 if every goal is met, 1 if not, 2 if it cannot run."""

import argparse
import sys
from importlib import import_module
from pathlib import Path


def main() -> int:
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    for name in names:
        module = import_module(f"benchmarks.{name}")
        module.add_arguments(commands.add_parser(name, description=module.__doc__,
                                                 help=(module.__doc__ or "").splitlines()[0]))
    arguments = parser.parse_args()
    status: int = import_module(f"benchmarks.{arguments.name}").run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
