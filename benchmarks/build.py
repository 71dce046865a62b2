# SPDX-License-Identifier: MIT
"""Compile both sides with -O2 into a cache folder: Linux's file from Debian's source package, and a copy of ours."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

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


class MissingSource(RuntimeError):
    """Linux's source is not there; the sentence says what to install."""


def cache_dir() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "dma-conformance" / "benchmarks"


def linux_tarball() -> Path:
    found = sorted(Path("/usr/src").glob("linux-source-6.1*.tar.*"))
    if not found:
        raise MissingSource("Linux's source is not in /usr/src: install Debian's package linux-source-6.1 "
                            "(apt-get install linux-source-6.1)")
    return found[0]


def digest(paths: list[Path]) -> str:
    """One short name for the contents of files and the compiler."""
    sum_ = hashlib.sha256("".join(CFLAGS).encode() + sys.version.encode())
    for path in sorted(paths):
        sum_.update(path.name.encode() + path.read_bytes())
    return sum_.hexdigest()[:16]


def unpack_linux(cache: Path) -> Path:
    """A folder with the two files of Linux that are compiled, and nothing else of it."""
    tarball = linux_tarball()
    stat = tarball.stat()
    folder = cache / f"linux-{stat.st_size}-{stat.st_mtime_ns}"
    wanted = {name for name in FROM_LINUX if not (folder / name).exists()}
    if not wanted:
        return folder
    print(f"unpacking {', '.join(FROM_LINUX)} from {tarball}", file=sys.stderr)
    with tarfile.open(tarball) as archive:
        for member in archive:
            name = member.name.split("/", 1)[-1]
            source = archive.extractfile(member) if name in wanted else None
            if source is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(source.read())
                wanted.remove(name)
                if not wanted:
                    return folder
    raise MissingSource(f"{tarball} lacks {', '.join(sorted(wanted))}")


def build_linux(cache: Path) -> Path:
    """A shared library of Linux's lib/scatterlist.c and our driver."""
    source = unpack_linux(cache)
    shim = [path for path in (HERE / "shim").rglob("*") if path.is_file()]
    folder = cache / f"{source.name}-{digest(shim)}"
    library = folder / "liblinux_sg.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    # two objects, so that nothing of lib/scatterlist.c is inlined into the driver: as in the kernel
    includes = [f"-I{HERE / 'shim'}", f"-I{source / 'include'}"]
    objects = []
    for file in (source / "lib/scatterlist.c", HERE / "shim/driver.c"):
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
