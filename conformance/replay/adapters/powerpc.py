# SPDX-License-Identifier: MIT
"""Replays runs of powerpc: a table of TCEs as the first `state` lines describe it, with or without a direct window."""

from __future__ import annotations

import re

from arch.powerpc.dma_iommu import DirectWindow, DmaIommuOps
from arch.powerpc.iommu import IommuTable
from dma_ops import Device, Machine

from ..session import Session, number

DEFAULT_RAM = 512 << 20
DDW_BASE = 1 << 59


class PowerpcSession(Session):
    """What all of powerpc shares: the machine, and a table's description."""

    def build_machine(self) -> Machine:
        qemu = self.run.config.get("qemu") or []
        ram = int(qemu[qemu.index("-m") + 1]) << 20 if "-m" in qemu else DEFAULT_RAM
        facts = self.run.machine
        return Machine(self.run.config["config"], arch="powerpc", big_endian=facts["big_endian"],
                       page_shift=facts["page_size"].bit_length() - 1, ram=((0, ram),), has_zone_dma=False, nr_cpus=16)

    def build_table(self) -> IommuTable:
        line = next(text for text in self.run.initial_state if text.startswith("ppc it_size="))
        facts = dict(re.findall(r"(\w+)=([0-9a-fx.]+)", line))
        shift = int(facts["it_page_shift"])
        first, end = facts["it_reserved"].split("..")
        return IommuTable(self.machine, window=int(facts["it_offset"]) << shift, size=int(facts["it_size"]) << shift,
                          page_shift=shift, blocksize=int(facts["it_blocksize"]), reserved=(int(first), int(end)))

    def op_failset(self, words: list[str]) -> None:
        self.machine.fail("set", number(words[0]))


class DmaIommuSession(PowerpcSession):
    """dma_iommu_ops. The `vio` runs are a VIO device on it, whose bus gives it no dma_parms."""

    backends = ("dma_iommu_ops",)

    def setup(self) -> None:
        self.machine = self.build_machine()
        config = self.run.config["config"]
        window = DirectWindow("ddw", DDW_BASE) if config.startswith("ddw") else None
        self.ops = DmaIommuOps(self.build_table(), window)
        pci = config != "vio"
        self.devices[0] = self.ops.attach(Device(self.run.id, self.machine, pci=pci, dma_parms=pci))

    def table(self) -> dict[str, str]:
        return {f"{index:#x}": f"{entry:#x}" for index, entry in self.ops.table().items()}
