# SPDX-License-Identifier: MIT
"""Finds out what a file is, and reads all files of one machine."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path

from .facts import Listing, TopologyError
from .lspci import read_lspci
from .sysfs import LIVE, read_directory, read_tar

MAX_BYTES = 64 << 20                        # of one text
_EXPECTED = "expected what lspci -nnvvv (-xxxx, -t) prints, a sysfs directory, or a tar archive of one"


def read_source(path: Path) -> Listing:
    """Raises TopologyError: the file cannot be read, or has no PCI function."""
    try:
        if path.is_dir():
            listing = read_directory(path)
        elif path.is_file() and path.stat().st_size and tarfile.is_tarfile(path):
            listing = read_tar(path)
        else:
            with path.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise TopologyError(f"{path} has more than {MAX_BYTES >> 20} MiB: {_EXPECTED}")
            listing = read_lspci(data.decode("utf-8", "replace"))
    except OSError as error:
        raise TopologyError(f"{path}: {error.strerror or error}") from None
    if not listing.functions:
        raise TopologyError(f"{path} has no PCI function: {_EXPECTED}")
    return listing


def read_sources(paths: Iterable[Path], *, live: bool = False) -> Listing:
    """One machine from several files. Raises TopologyError, also where they contradict each other."""
    return Listing().merge([read_source(path) for path in ([LIVE] if live else []) + list(paths)])
