# SPDX-License-Identifier: MIT
"""Compile both sides with -O2 into a cache folder: Linux's file from Debian's source package, and a copy of ours."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from conformance.oracle.build import HERE as ORACLE
from conformance.oracle.source import MissingSource, find
from scatterlist import get_include

HERE = Path(__file__).parent
ROOT = HERE.parent
FROM_LINUX = ("lib/scatterlist.c", "include/linux/scatterlist.h")
MODULES = ("core", "memory", "entry", "pages", "iterators", "copy")
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


def digest(paths: list[Path]) -> str:
    """One short name for the contents of files and the compiler."""
    sum_ = hashlib.sha256("".join(CFLAGS).encode() + sys.version.encode())
    for path in sorted(paths):
        sum_.update(path.name.encode() + path.read_bytes())
    return sum_.hexdigest()[:16]


def build_linux(cache: Path) -> Path:
    """A shared library of Linux's lib/scatterlist.c, compiled with the oracle's shim, and our driver."""
    source = find("6.1")
    if source is None:
        raise MissingSource("Linux's source is not in /usr/src: install Debian's package linux-source-6.1 "
                            "(apt-get install linux-source-6.1)")
    lists, header = source.files(FROM_LINUX)
    shim = [path for folder in (ORACLE / "shim", Path(get_include())) for path in folder.rglob("*.h")]
    folder = cache / f"linux-{source.version}-{digest([*shim, HERE / 'driver.c', lists, header])}"
    library = folder / "liblinux_sg.so"
    if library.exists():
        return library
    (folder / "include/linux").mkdir(parents=True, exist_ok=True)
    link = folder / "include/linux/scatterlist.h"
    link.unlink(missing_ok=True)
    link.symlink_to(header)
    # two objects, so that nothing of lib/scatterlist.c is inlined into the driver: as in the kernel
    includes = [f"-I{ORACLE / 'shim'}", f"-I{folder / 'include'}", f"-I{get_include()}", "-include", "linux/kconfig.h"]
    objects = []
    for file in (lists, HERE / "driver.c"):
        objects.append(str(folder / (file.stem + ".o")))
        subprocess.run(["gcc", *CFLAGS, "-fPIC", "-w", *includes, "-c", str(file), "-o", objects[-1]], check=True)
    subprocess.run(["gcc", "-shared", "-Wl,-Bsymbolic", "-o", str(library), *objects], check=True)
    return library


def build_ours(cache: Path) -> Path:
    """A folder with an -O2 build of the parts of scatterlist that are measured, and of ours.pyx."""
    sources = [path for pattern in ("*.pyx", "*.pxd", "*.py") for path in (ROOT / "scatterlist").glob(pattern)]
    folder = cache / f"ours-{digest([*sources, HERE / 'ours.pyx'])}"
    if (folder / "done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "scatterlist").mkdir(parents=True)
    for path in sources:
        if path.suffix == ".pxd" or path.stem in MODULES:
            shutil.copy(path, folder / "scatterlist")
    (folder / "scatterlist/__init__.py").write_text('"""The measured parts."""\n')
    shutil.copy(HERE / "ours.pyx", folder)
    names = [*(f"scatterlist.{module}" for module in MODULES), "ours"]
    (folder / "setup.py").write_text(SETUP.format(names=names, flags=CFLAGS))
    environment = {key: value for key, value in os.environ.items() if key not in ("CFLAGS", "PYTHONPATH")}
    print("compiling our side with -O2", file=sys.stderr)
    done = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, env=environment,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"our side does not compile:\n{done.stdout}\n{done.stderr}")
    (folder / "done").touch()
    return folder
