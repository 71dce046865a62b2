# SPDX-License-Identifier: MIT
"""The facts of a function in the bytes of its configuration space (lspci -x, -xxx, -xxxx; sysfs "config")."""

from __future__ import annotations

from contextlib import suppress

from dma_ops.pci import PciType

from .facts import Address, Function, VirtualFunctions

_STATUS_CAP_LIST = 0x10
_CAP_EXPRESS = 0x10
_EXT_ACS, _EXT_SRIOV = 0x000d, 0x0010
CONFIG_SIZE, EXTENDED_SIZE = 0x100, 0x1000


def decode(address: Address, space: bytes) -> Function:
    """What as many bytes as there are (64, 256 or 4096, or a part) tell; all ones tell nothing."""
    function = Function(address)
    if len(space) < 0x40 or not space[:0x40].strip(b"\xff"):
        function.acs_why = "its config space could not be read" if space else "there are no bytes of its config space"
        return function
    if _u16(space, 0) != 0xffff:            # as it is in a virtual function
        function.vendor, function.device = _u16(space, 0), _u16(space, 2)
    function.class_code = space[0x0b] << 8 | space[0x0a]
    if space[0x0e] & 0x7f in (1, 2):
        function.secondary, function.subordinate = space[0x19], space[0x1a]
    capabilities = _capabilities(space)
    if capabilities is None:
        function.acs_why = f"only {len(space)} bytes of its config space are there (lspci needs root)"
        return function
    if _CAP_EXPRESS not in capabilities:
        function.kind = PciType.CONVENTIONAL
        function.acs_known = True           # no extended space, no ACS
        return function
    with suppress(ValueError):              # a reserved type
        function.kind = PciType(space[capabilities[_CAP_EXPRESS] + 2] >> 4)
    if len(space) < EXTENDED_SIZE:
        function.acs_why = f"only {len(space)} bytes of its config space are there, ACS is above 256 (lspci -xxxx)"
        return function
    extended = _extended_capabilities(space)
    function.has_extended = bool(extended)
    function.acs_known = True
    if _EXT_ACS in extended:
        function.acs = _u16(space, extended[_EXT_ACS] + 6)
    if _EXT_SRIOV in extended:
        at = extended[_EXT_SRIOV]
        if space[at + 8] & 1:               # VF Enable
            function.vfs = VirtualFunctions(*(_u16(space, at + n) for n in (0x10, 0x14, 0x16)))
    return function


def _u16(space: bytes, at: int) -> int:
    return int.from_bytes(space[at:at + 2], "little")


def _capabilities(space: bytes) -> dict[int, int] | None:
    """{id: offset} of the capability list; None if it leaves the bytes that are there."""
    found: dict[int, int] = {}
    if not space[6] & _STATUS_CAP_LIST:
        return found
    at = space[0x14 if space[0x0e] & 0x7f == 2 else 0x34] & ~3
    seen = set()
    while at and at not in seen:
        if at < 0x40 or at + 4 > min(len(space), CONFIG_SIZE):
            return None
        seen.add(at)
        found.setdefault(space[at], at)
        at = space[at + 1] & ~3
    return found


def _extended_capabilities(space: bytes) -> dict[int, int]:
    found: dict[int, int] = {}
    at = CONFIG_SIZE
    seen = set()
    while at >= CONFIG_SIZE and at not in seen:
        header = int.from_bytes(space[at:at + 4], "little")
        if header in (0, 0xffffffff):
            break
        seen.add(at)
        found.setdefault(header & 0xffff, at)
        at = header >> 20 & ~3
    return {number: at for number, at in found.items() if at + 0x18 <= EXTENDED_SIZE}
