# SPDX-License-Identifier: MIT
"""python -m conformance.replay PATH… [--backend ID] [--max-show N]"""

import argparse
import sys
from pathlib import Path

from .main import replay
from .run import VectorError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.replay", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--backend", help="only runs of this backend")
    parser.add_argument("--max-show", type=int, default=20, help="differences to print (default 20)")
    arguments = parser.parse_args()
    shown = 0

    def show(line: str) -> None:
        nonlocal shown
        if shown < arguments.max_show:
            print(line)
        shown += 1

    try:
        total = replay(arguments.paths, backend=arguments.backend, report=show)
    except VectorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
