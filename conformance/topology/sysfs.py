# SPDX-License-Identifier: MIT
"""Reads the PCI functions of a sysfs tree: /sys itself, a copied directory, or a tar archive of one."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from .config_space import EXTENDED_SIZE, decode
from .facts import Function, Listing, TopologyError, parse_address

LIVE = Path("/sys")
_NAME = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$", re.IGNORECASE)
_ROOT_BUS = re.compile(r"pci([0-9a-f]{4,8}):([0-9a-f]{2})$", re.IGNORECASE)
_WANTED = ("config", "vendor", "device", "class")


def read_directory(top: Path) -> Listing:
    """A directory: its `bus/pci/devices` or what is below it. Raises TopologyError if files cannot be read."""
    listing = Listing(whole=True)
    index = next((place for place in (top / "bus/pci/devices", top / "sys/bus/pci/devices") if place.is_dir()), None)
    try:
        if index is not None:
            directories = sorted({Path(os.path.realpath(entry)) for entry in index.iterdir()})
        else:
            directories = sorted({Path(os.path.realpath(Path(at, name))) for at, names, _ in os.walk(top)
                                  for name in names if _NAME.match(name)})
        for directory in directories:
            if _NAME.match(directory.name):
                files = {name: (directory / name).read_bytes()[:EXTENDED_SIZE] for name in _WANTED
                         if (directory / name).is_file()}
                physfn = directory / "physfn"
                target = os.readlink(physfn) if physfn.is_symlink() else ""
                _add(listing, directory.parts, files, target)
    except OSError as error:
        raise TopologyError(f"{error.filename or top}: {error.strerror or error}") from None
    return listing


def read_tar(path: Path) -> Listing:
    """A tar archive, compressed or not; nothing is extracted. Raises TopologyError if it is damaged."""
    found: dict[PurePosixPath, dict[str, bytes]] = {}
    physfns: dict[PurePosixPath, str] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if not _NAME.match(place.parent.name):
                    continue
                if member.issym() and place.name == "physfn":
                    physfns[place.parent] = member.linkname
                elif member.isfile() and place.name in _WANTED:
                    stream = archive.extractfile(member)
                    found.setdefault(place.parent, {})[place.name] = stream.read(EXTENDED_SIZE) if stream else b""
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise TopologyError(f"{path}: no readable tar archive ({error})") from None
    except Exception as error:              # zlib, lzma and bz2 each have errors of their own
        raise TopologyError(f"{path}: a damaged archive ({type(error).__name__})") from None
    listing = Listing(whole=True)
    for place in sorted(found):
        _add(listing, place.parts, found[place], physfns.get(place, ""))
    return listing


def _add(listing: Listing, parts: Iterable[str], files: dict[str, bytes], physfn: str) -> None:
    """A function and, from its path (pci0000:00/0000:00:01.0/0000:01:00.0), what is above it."""
    *above, name = parts
    address = parse_address(name)
    function = decode(address, files.get("config", b""))
    # the kernel's own word on these, quirks included
    vendor, device, code = (_number(files.get(fact)) for fact in ("vendor", "device", "class"))
    if vendor is not None and device is not None:
        function.vendor, function.device = vendor & 0xffff, device & 0xffff
    if code is not None:
        function.class_code = code >> 8 & 0xffff
    if _NAME.match(os.path.basename(physfn)):
        function.physfn = parse_address(os.path.basename(physfn))
    parent = above[-1] if above else ""
    if root := _ROOT_BUS.match(parent):
        listing.roots.add((int(root[1], 16), int(root[2], 16)))
    elif _NAME.match(parent) and function.physfn is None:
        bridge = Function(parse_address(parent), acs_why="the tree does not have its config space")
        if bridge.address[0] == address[0]:
            bridge.secondary = address[1]
            listing.add(bridge)
    listing.add(function)


def _number(text: bytes | None) -> int | None:
    try:
        return None if text is None else int(text.strip()[:32], 16) & 0xffffffff
    except ValueError:
        return None
