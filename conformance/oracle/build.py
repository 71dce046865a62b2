# SPDX-License-Identifier: MIT
"""Both sides of the oracle: Linux's files with the shim and sanitizers as a program, and the driver on our headers.

Nothing of Linux is kept but objects and links in a folder of the user's cache; of lib/scatterlist.c there, the end that
works on struct iov_iter (extract_iter_to_sg, 6.3 and later) is left out, for it needs the page cache.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from scatterlist import get_include
from scatterlist.layout import LAYOUTS

from .source import MissingSource, Source, cache_dir

HERE = Path(__file__).parent
DRIVER = ("driver.c", "lists.c", "tables.c")
FILES = ("lib/scatterlist.c", "lib/sg_split.c", "lib/iommu-helper.c", "drivers/iommu/iova.c", "lib/rbtree.c")
HEADERS = tuple(f"include/linux/{name}.h" for name in (
    "scatterlist", "iova", "iommu-helper", "rbtree", "rbtree_types", "rbtree_augmented",
))  # fmt: skip
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FLAGS = ("-O1", "-g1", "-w", "-fno-strict-aliasing", "-std=gnu11")
STRUCTS = ("scatterlist", "sg_table", "sg_append_table", "sg_page_iter", "sg_mapping_iter")


class BuildError(RuntimeError):
    """A compiler's complaint."""


def compiler() -> str:
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        raise MissingSource("there is no C compiler (gcc)")
    return found


def _digest(*parts: str) -> str:
    own = sorted(path for folder in (HERE, Path(get_include())) for path in folder.rglob("*.[ch]"))
    total = hashlib.sha256("".join(parts).encode())
    for path in own:
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()[:16]


def _compile(*arguments: str | Path) -> None:
    done = subprocess.run([compiler(), *FLAGS, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(done.stderr[:4000])


def asserts() -> str:
    """Does the user's Linux lay out its structs as ours do?"""
    layout = LAYOUTS["64-dma_length-dma_flags"]
    lines = ["#include <linux/scatterlist.h>"]
    for name in STRUCTS:
        lines.append(f'_Static_assert(sizeof(struct {name}) == {layout.sizeof(name)}, "{name}");')
        for field, at in layout.offsets(name).items():
            lines.append(f'_Static_assert(__builtin_offsetof(struct {name}, {field}) == {at}, "{name}.{field}");')
    return "\n".join([*lines, ""])


def without_iov_iter(text: str) -> str:
    found = re.search(r"^static (?:ssize_t|int) extract_user_to_sg", text, re.M)
    return text if found is None else text[: text.rfind("/*", 0, found.start())]


def build_linux(source: Source) -> Path:
    """The program with Linux's side."""
    paths = source.files([*FILES, *HEADERS])
    folder = cache_dir() / "oracle" / f"{source.version}-{_digest(*(path.read_text() for path in paths))}"
    program = folder / "linux"
    if program.exists():
        return program
    (folder / "include/linux").mkdir(parents=True, exist_ok=True)
    for path in paths[len(FILES) :]:
        link = folder / "include/linux" / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    (folder / "asserts.c").write_text(asserts())
    lists = folder / "scatterlist.c"
    lists.write_text(without_iov_iter(paths[0].read_text()))
    includes = [f"-I{HERE / 'shim'}", f"-I{folder / 'include'}", f"-I{get_include()}", "-include", "linux/kconfig.h"]
    try:
        objects = []
        for path in [folder / "asserts.c", lists, *paths[1 : len(FILES)], *(HERE / "driver" / name for name in DRIVER)]:
            objects.append(folder / f"{path.stem}.o")
            _compile(*SANITIZERS, *includes, "-DORACLE_LINUX", "-DCONFIG_IOMMU_IOVA=1", "-c", path, "-o", objects[-1])
        _compile(*SANITIZERS, *objects, "-o", folder / "linux.new")
    finally:
        lists.unlink()
    (folder / "linux.new").rename(program)
    return program


def build_ours() -> Path:
    """The object with our side."""
    folder = cache_dir() / "oracle" / f"ours-{_digest()}"
    library = folder / "ours.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sources = [HERE / "driver" / name for name in DRIVER]
        _compile("-shared", "-fPIC", f"-I{get_include()}", *sources, "-o", folder / "ours.new")
        (folder / "ours.new").rename(library)
    return library
