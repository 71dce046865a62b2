# SPDX-License-Identifier: MIT
"""Where Linux's source is: a tree, or the tarball of Debian's linux-source package."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["MissingSource", "Source", "cache_dir", "find", "open_source"]

VARIABLE = "DMA_CONFORMANCE_LINUX"      # trees or tarballs, separated by colons
PLACES = (
    "/usr/src/linux-source-{}", "/usr/src/*/linux-source-{}", "/usr/src/linux-{}*", "/usr/src/linux-source-{}.tar.*",
)  # fmt: skip


class MissingSource(RuntimeError):
    """Linux's source, or a file of it, is not there; the sentence says what to do."""


def cache_dir() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "dma-conformance"


class Source:
    """One version of Linux's source. Files are read, never copied into this project."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path if path.is_dir() else None
        if self._folder is None:
            stat = path.stat()
            key = hashlib.sha256(f"{path.resolve()}{stat.st_size}{stat.st_mtime_ns}".encode()).hexdigest()[:16]
            self._unpacked = cache_dir() / "linux" / key
        names = re.findall(r"^(?:VERSION|PATCHLEVEL|SUBLEVEL)\s*=\s*(\d+)\s*$", self.file("Makefile").read_text(), re.M)
        if len(names) < 3:
            raise MissingSource(f"{path} is no Linux source: its Makefile names no version")
        self.version = ".".join(names[:3])
        self.series = ".".join(names[:2])
        self.number = 100 * int(names[0]) + int(names[1])

    def __repr__(self) -> str:
        return f"<Source {self.version} at {self.path}>"

    def has(self, name: str) -> bool:
        try:
            self.file(name)
        except MissingSource:
            return False
        return True

    def file(self, name: str) -> Path:
        """The path of one file, unpacked if need be. Raises MissingSource."""
        return self.files([name])[0]

    def files(self, names: Sequence[str]) -> list[Path]:
        if self._folder is not None:
            for name in names:
                if not (self._folder / name).is_file():
                    raise MissingSource(f"{self.path} has no file {name}")
            return [self._folder / name for name in names]
        self._unpack({name for name in names if not (self._unpacked / name).exists()})
        return [self._unpacked / name for name in names]

    def _unpack(self, wanted: Iterable[str]) -> None:
        wanted = set(wanted)
        if not wanted:
            return
        try:
            with tarfile.open(self.path) as archive:
                for member in archive:
                    name = member.name.split("/", 1)[-1]
                    content = archive.extractfile(member) if name in wanted else None
                    if content is not None:
                        (self._unpacked / name).parent.mkdir(parents=True, exist_ok=True)
                        (self._unpacked / name).write_bytes(content.read())
                        wanted.remove(name)
                        if not wanted:
                            return
        except tarfile.TarError as error:
            raise MissingSource(f"{self.path}: {error}") from None
        raise MissingSource(f"{self.path} lacks {', '.join(sorted(wanted))}")


def open_source(path: str | Path) -> Source:
    """The source at a path: a tree or a tarball. Raises MissingSource."""
    path = Path(path)
    if not path.exists():
        raise MissingSource(f"{path} does not exist")
    return Source(path)


def find(series: str) -> Source | None:
    """Linux `series` ("6.1") on this computer: in $DMA_CONFORMANCE_LINUX, or where Debian's packages leave it."""
    paths = [Path(text) for text in os.environ.get(VARIABLE, "").split(":") if text]
    for place in PLACES:
        paths += sorted(Path("/").glob(place.format(series)[1:]))
    for path in paths:
        try:
            source = Source(path)
        except (MissingSource, OSError):
            continue
        if source.series == series:
            return source
    return None
