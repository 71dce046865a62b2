# SPDX-License-Identifier: MIT
"""dma-direct: RAM from the firmware's map or from QEMU's -m, the bounce pool from the boot's first lines."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from dma_ops import Device, Machine
from dma_ops.swiotlb import IoTlbMem

from ..qemu_pci import P2pSession
from ..run import Run, VectorError

_USABLE = re.compile(r"BIOS-e820: \[mem (0x[0-9a-f]+)-(0x[0-9a-f]+)\] usable")
_CLIENT = re.compile(r"client (\d+) (\S+)")
_SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_OLD_HEX = ("start", "end")     # the older recorder writes these without 0x


class _Facts(NamedTuple):
    """What a recorded machine's run does not say: its name in Linux, where RAM begins, ZONE_DMA, PCI coherence."""

    arch: str
    ram_base: int
    zone_dma_bits: int | None
    pci_coherent: bool


_ARCHES = {
    "x86_64": _Facts("x86_64", 0, 24, True),
    "aarch64": _Facts("arm64", 0x40000000, 32, True),
    "armv7l": _Facts("arm", 0x40000000, None, True),
    "parisc": _Facts("parisc", 0, None, False),
    "mips": _Facts("mips", 0, 24, False),
}


def option(run: Run, flag: str) -> str | None:
    """The value of one of QEMU's options, None if it was not given."""
    for word, value in pairwise(run.config["qemu"]):
        if word == flag:
            return str(value)
    return None


def ram_of(run: Run, base: int) -> list[tuple[int, int]]:
    usable = [(int(found[1], 0), int(found[2], 0) + 1)
              for line in run.environment if (found := _USABLE.match(line))]
    if usable:
        return usable
    size = option(run, "-m") or "512"
    scale = _SUFFIXES.get(size[-1].upper())
    return [(base, base + (int(size[:-1]) * scale if scale else int(size) << 20))]


def pool_of(run: Run, machine: Machine) -> IoTlbMem | None:
    """The bounce pool that Linux set up at boot."""
    for line in [*run.first_info.get("lines", ()), *run.initial_state]:
        name, *pairs = line.split()
        if name != "swiotlb":
            continue
        words = dict(pair.split("=") for pair in pairs)
        facts = {key: int(value, 16 if key in _OLD_HEX else 0) for key, value in words.items()}
        if facts["nslabs"] == 0:
            return None
        return IoTlbMem(machine, facts["start"], facts["nslabs"], facts["nareas"], force_bounce=bool(facts["force"]))
    return None


class Direct(P2pSession):
    """All clients of a boot share one bounce pool."""

    backends = ("dma_direct",)

    def setup(self) -> None:
        run, words = self.run, self.run.machine
        facts = _ARCHES.get(words["arch"])
        if facts is None:
            raise VectorError(f"{run.path}: no facts of dma-direct on {words['arch']}")
        self.machine = Machine(
            run.config.get("config") or run.id,
            arch=facts.arch,
            bits=words["bits"],
            big_endian=words["big_endian"],
            page_shift=words["page_size"].bit_length() - 1,
            ram=ram_of(run, facts.ram_base),
            dma_addr_bits=8 * words["dma_addr_bytes"],
            phys_addr_bits=8 * words["phys_addr_bytes"],
            need_sg_dma_length=words["sg_dma_length"],
            arch_no_sg_chain=facts.arch == "parisc",
            pci_p2pdma=facts.arch == "x86_64",
            zone_dma_bits=facts.zone_dma_bits or 24,
            has_zone_dma=facts.zone_dma_bits is not None,
        )
        pool = pool_of(run, self.machine)
        for number, name in self.clients():
            pci = ":" in name
            dev = Device(name, self.machine, pci=pci, coherent=pci and facts.pci_coherent)
            dev.io_tlb_mem = pool
            self.devices[number] = dev
        first = [number for number, dev in self.devices.items() if dev.name == run.config.get("client")]
        self.current = first[0] if first else 0
        self.attach_pci()

    def clients(self) -> list[tuple[int, str]]:
        found = [match for line in self.run.environment if (match := _CLIENT.match(line))]
        return [(int(match[1]), match[2]) for match in found]
