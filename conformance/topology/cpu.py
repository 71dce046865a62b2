# SPDX-License-Identifier: MIT
"""Which CPU the machine has: P2PDMA trusts the root complex of every AMD CPU from family 0x17 (Zen) on."""

from __future__ import annotations

import re
from pathlib import Path

from dma_ops.pci import PciType

from .facts import Listing, TopologyError

Cpu = tuple[str, int]               # vendor as in dma_ops.pci.PciTree, family

ZEN: Cpu = ("AMD", 0x17)
OTHER: Cpu = ("other", 0)

_VENDORS = {"AuthenticAMD": "AMD", "HygonGenuine": "Hygon", "GenuineIntel": "Intel"}
_AMD, _INTEL, _HYGON = 0x1022, 0x8086, 0x1d94

# root complexes of Zen CPUs (amd_root_ids[] of Linux 6.12, without those of accelerators)
_ZEN_ROOTS = frozenset({0x1450, 0x15d0, 0x1480, 0x1630, 0x14b5, 0x14a4, 0x14d8, 0x14e8, 0x153a, 0x1507, 0x1122})
# Intel host bridges that virtual machines show on any CPU: i440FX, Q35, 440BX, Cloud Hypervisor
_EMULATED_ROOTS = frozenset({0x1237, 0x29c0, 0x7190, 0x7192, 0x0d57})
# who makes what only a virtual machine has: Red Hat (QEMU), VMware, VirtualBox, Hyper-V, Xen, Parallels, Amazon
_HYPERVISORS = frozenset({0x1af4, 0x1b36, 0x1234, 0x15ad, 0x80ee, 0x1414, 0x5853, 0x1ab8, 0x1d0f})
# who makes root ports and host bridges, but for no Zen
_NOT_X86 = {0x1014: "IBM", 0x1957: "Freescale", 0x17cd: "Cadence", 0x106b: "Apple", 0x1ded: "Alibaba",
            0x19e5: "HiSilicon", 0x177d: "Cavium", 0x1def: "Ampere", 0x13b5: "Arm"}


def parse_cpu(text: str) -> Cpu:
    """--cpu: "zen", "other", VENDOR:FAMILY ("AMD:0x19", "GenuineIntel:6") or a /proc/cpuinfo. Raises TopologyError."""
    if text in ("zen", "other"):
        return ZEN if text == "zen" else OTHER
    if match := re.fullmatch(r"(\w+):(0x[0-9a-fA-F]{1,8}|\d{1,8})", text):
        return _VENDORS.get(match[1], match[1]), int(match[2], 0)
    path = Path(text)
    if not path.is_file():
        raise TopologyError(f"--cpu {text}: neither zen, other, VENDOR:FAMILY nor a file such as /proc/cpuinfo")
    try:
        words = path.read_text(errors="replace")
    except OSError as error:
        raise TopologyError(f"{path}: {error.strerror}") from None
    vendor = re.search(r"^vendor_id\s*:\s*(\w+)", words, re.MULTILINE)
    family = re.search(r"^cpu family\s*:\s*(\d{1,8})$", words, re.MULTILINE)
    if vendor and family:
        return _VENDORS.get(vendor[1], vendor[1]), int(family[1])
    if re.search(r"^(processor|cpu|CPU implementer|hart|isa)\s*:", words, re.MULTILINE) and not vendor:
        return OTHER                # no x86
    raise TopologyError(f"{path} has no vendor_id and cpu family: is it a /proc/cpuinfo?")


def describe(cpu: Cpu) -> str:
    if cpu == ZEN:
        return "AMD Zen or later, whose root complex Linux trusts"
    if cpu[0] == "AMD" and cpu[1] > ZEN[1]:
        return f"AMD, family {cpu[1]:#x}: after Zen, whose root complex Linux trusts"
    return "no AMD Zen" if cpu == OTHER else f"{cpu[0]}, family {cpu[1]:#x}: no AMD Zen"


def infer_cpu(listing: Listing) -> tuple[Cpu | None, str]:
    """(CPU, why) where the root complex leaves no doubt, (None, why not) elsewhere."""
    vendors = {function.vendor for function in listing.functions.values()}
    if guests := vendors & _HYPERVISORS:
        return None, f"a virtual machine (vendor {min(v for v in guests if v is not None):04x}): its CPU can be any"
    ports = [function for function in listing.functions.values() if function.kind is PciType.ROOT_PORT]
    for port in ports:
        if port.vendor in _NOT_X86:
            return OTHER, f"{port.name} [{port.ids}] is a Root Port of {_NOT_X86[port.vendor]}"
    first = next((listing.functions[at] for at in sorted(listing.functions) if at[0] == 0), None)
    if first is None or first.vendor is None or first.device is None:
        return None, "the root complex's ids are not shown (lspci -nn)"
    if first.address[1]:
        return None, "bus 00 is not in the file"
    if _HYGON in vendors:
        return ("Hygon", 0x18), f"{first.name} belongs to a machine with Hygon devices (1d94)"
    if first.vendor == _AMD and first.device in _ZEN_ROOTS:
        return ZEN, f"{first.name} [{first.ids}] is the root complex of a Zen"
    if first.vendor == _INTEL and first.device not in _EMULATED_ROOTS and first.address[2] == 0:
        return ("Intel", 6), f"{first.name} [{first.ids}] is a host bridge of Intel"
    if first.vendor in _NOT_X86:
        return OTHER, f"{first.name} [{first.ids}]: {_NOT_X86[first.vendor]}"
    return None, f"{first.name} [{first.ids}] does not tell the CPU"
