# SPDX-License-Identifier: MIT
"""Run mypy's stubtest over every extension module of the installed packages: each must have a .pyi that fits.

What Cython adds to every module is allowed (stubtest_allow.txt); modules can also be named on the command line.
"""

import importlib
import pkgutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ALLOWED = Path(__file__).with_name("stubtest_allow.txt")
CYTHON = "scatterlist._shared"         # Cython's own functions, which every module uses


def extension_modules() -> list[str]:
    names = []
    for package in ("scatterlist", "dma_ops", "arch"):
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, package + "."):
            spec = info.module_finder.find_spec(info.name, None)
            if spec is not None and spec.origin and spec.origin.endswith(tuple(EXTENSION_SUFFIXES)):
                names.append(info.name)
    return [name for name in names if name != CYTHON]


if __name__ == "__main__":
    modules = sys.argv[1:] or extension_modules()
    print(f"stubtest over {len(modules)} modules")
    sys.exit(subprocess.call([sys.executable, "-P", "-m", "mypy.stubtest", "--concise", "--ignore-disjoint-bases",
                              "--ignore-unused-allowlist", "--allowlist", ALLOWED, *modules]))
