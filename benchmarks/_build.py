# SPDX-License-Identifier: MIT
"""Compile both sides with -O2 into a cache folder: Linux's files from the user's source, and a copy of ours.

A measuring process then runs with our copy in front of everything else, so that an installed or a debug build of the
packages is no part of a figure.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from conformance.oracle.build import HERE as ORACLE
from conformance.oracle.build import compiler
from conformance.oracle.source import MissingSource, cache_dir, find
from scatterlist import get_include

from ._figures import Figure, report

HERE = Path(__file__).parent
ROOT = HERE.parent
CFLAGS = ["-O2", "-g0", "-fno-strict-aliasing"]
SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup
names = {names!r}
setup(name="bench", packages=[], ext_modules=cythonize(
    [Extension(name, [name.replace(".", "/") + ".pyx"], extra_compile_args={flags!r}) for name in names],
    compiler_directives={{"language_level": 3, "wraparound": False, "initializedcheck": False, "boundscheck": False,
                          "cdivision": True}}, quiet=True))
"""


def cache() -> Path:
    return cache_dir() / "benchmarks"


def digest(paths: Sequence[Path]) -> str:
    """One short name for the contents of files and the compiler."""
    sum_ = hashlib.sha256("".join(CFLAGS).encode() + sys.version.encode())
    for path in sorted(paths):
        sum_.update(path.name.encode() + path.read_bytes())
    return sum_.hexdigest()[:16]


def build_linux(name: str, files: Sequence[str], headers: Sequence[str], *defines: str) -> Path:
    """A shared library of Linux 6.1's own files, the oracle's shim and linux_NAME.c. Raises MissingSource."""
    source = find("6.1")
    if source is None:
        raise MissingSource("Linux's source is not in /usr/src: install Debian's package linux-source-6.1 "
                            "(apt-get install linux-source-6.1)")
    gcc = compiler()
    theirs = source.files([*files, *headers])
    driver = HERE / f"linux_{name}.c"
    shim = [path for folder in (HERE / "shim", ORACLE / "shim", Path(get_include())) for path in folder.rglob("*.h")]
    folder = cache() / f"linux-{source.version}-{name}-{digest([*shim, driver, *theirs])}"
    library = folder / "linux.so"
    if library.exists():
        return library
    (folder / "include/linux").mkdir(parents=True, exist_ok=True)
    for path in theirs[len(files):]:
        link = folder / "include/linux" / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    includes = [f"-I{HERE / 'shim'}", f"-I{ORACLE / 'shim'}", f"-I{folder / 'include'}", f"-I{get_include()}",
                "-include", "linux/kconfig.h"]
    objects = []    # one each, so that nothing of Linux's file is inlined into the driver: as in the kernel
    for file in (*theirs[:len(files)], driver):
        objects.append(str(folder / (file.stem + ".o")))
        subprocess.run([gcc, *CFLAGS, "-fPIC", "-w", *includes, *defines, "-c", str(file), "-o", objects[-1]],
                       check=True)
    subprocess.run([gcc, "-shared", "-Wl,-Bsymbolic", "-o", str(folder / "new.so"), *objects], check=True)
    (folder / "new.so").rename(library)
    return library


def build_ours(name: str, modules: Sequence[str]) -> Path:
    """A folder with an -O2 build of modules ("scatterlist.core", ...) and of ours_NAME.pyx."""
    packages = sorted({"scatterlist", *(module.split(".")[0] for module in modules)})      # its types are everyone's
    sources = [path for package in packages for pattern in ("*.pyx", "*.pxd", "*.py")
               for path in (ROOT / package).glob(pattern)]
    driver = HERE / f"ours_{name}.pyx"
    folder = cache() / f"ours-{name}-{digest([*sources, driver])}"
    if (folder / "done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for package in packages:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text('"""The measured parts."""\n')
    for path in sources:
        if path.suffix == ".pxd" or f"{path.parent.name}.{path.stem}" in modules:
            shutil.copy(path, folder / path.parent.name)
    shutil.copy(driver, folder)
    (folder / "setup.py").write_text(SETUP.format(names=[*modules, driver.stem], flags=CFLAGS))
    environment = {key: value for key, value in os.environ.items() if key not in ("CFLAGS", "PYTHONPATH")}
    print(f"compiling our side ({name}) with -O2", file=sys.stderr)
    done = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, env=environment,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"our side does not compile:\n{(done.stdout + done.stderr)[:4000]}")
    (folder / "done").touch()
    return folder


def measure(folder: Path, module: str, *arguments: object, before: Sequence[str] = ()) -> tuple[str, str]:
    """What benchmarks.MODULE prints, on both streams, in a process where our packages are the copy in folder."""
    command = [*before, sys.executable, "-P", "-m", f"benchmarks.{module}", *map(str, arguments)]
    paths = os.pathsep.join((str(folder), str(ROOT)))
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": "0"})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")
    return done.stdout, done.stderr


def measured(folder: Path, module: str, *arguments: object) -> Any:
    """The JSON that benchmarks.MODULE prints."""
    return json.loads(measure(folder, module, *arguments)[0])


def instructions(folder: Path, module: str, *arguments: object) -> float:
    """Of one repetition of what benchmarks.MODULE ... REPEAT does: half the difference of 3 and 1, by callgrind."""
    totals = []
    for repeat in (1, 3):
        _, said = measure(folder, module, *arguments, repeat,
                          before=["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"])
        found = re.search(r"Collected : (\d+)", said)
        if found is None:
            raise RuntimeError(f"callgrind counted nothing:\n{said}")
        totals.append(int(found[1]))
    return (totals[1] - totals[0]) / 2


def can_count() -> bool:
    return shutil.which("valgrind") is not None


def beside_linux(name: str, figures: Callable[[Namespace], list[Figure]], arguments: Namespace,
                 say: Callable[[str], None]) -> int:
    """Measure and report; 2 if Linux's side cannot be built, or instructions cannot be counted."""
    if arguments.callgrind and not can_count():
        print("error: --callgrind needs valgrind", file=sys.stderr)
        return 2
    try:
        found = figures(arguments)
    except MissingSource as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return report(name, f"python -m benchmarks {name}", found, arguments.results, say)
