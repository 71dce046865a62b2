# SPDX-License-Identifier: MIT
"""iommu_dma_ops: a boot like dma-direct's, whose clients have an IOMMU domain per group."""

from __future__ import annotations

import re

from arch.generic.dma_iommu import IommuDmaOps
from dma_ops import DmaFault, Machine
from dma_ops.iommu import IommuDomain
from dma_ops.iommu_virtio import VirtioDomain
from dma_ops.pgtable_amd_v1 import AmdV1Domain
from dma_ops.pgtable_lpae import LpaeDomain
from dma_ops.pgtable_vtd import VtdDomain

from ..run import VectorError
from ..session import Slot
from .direct import Direct

_GROUP = re.compile(r"(?:\S+ )?(\S+): Adding to iommu group (\d+)")
_WINDOW = re.compile(r"window \[mem (0x[0-9a-f]+)-(0x[0-9a-f]+).*\] off=(0x[0-9a-f]+)")
_DMA_FQ = 0xb
_SMMU_WINDOWS = ((0x10000000, 0x3efeffff), (0x8000000000, 0xffffffffff))
_SMMU_OUTPUT_BITS = 44


class IommuDma(Direct):
    """A client that was added to no group has no IOMMU: it stays with dma-direct."""

    backends = ("iommu_dma_ops",)

    def setup(self) -> None:
        super().setup()
        groups = {match[1]: match[2] for line in self.run.environment if (match := _GROUP.match(line))}
        lazy, windows, regions = self.first_info()
        self.tables: dict[str, IommuDmaOps] = {}
        for dev in self.devices.values():
            # the arm64 recorder did not keep the kernel's own lines: its one client has the IOMMU
            group = groups.get(dev.name) if groups else "0"
            if group is None:
                continue
            if group in self.tables:
                self.tables[group].attach(dev)
                continue
            self.tables[group] = IommuDmaOps(
                self.domain(self.machine),
                dev,
                windows=windows,
                regions=regions,
                lazy=lazy,
                forcedac="iommu.forcedac=1" in self.run.config.get("cmdline", ""),
            )

    def domain(self, machine: Machine) -> IommuDomain:
        """A fresh table in the format of the IOMMU that QEMU was given."""
        if machine.arch == "arm64":
            return LpaeDomain(machine, 48, _SMMU_OUTPUT_BITS)
        for argument in self.run.config["qemu"]:
            model, *pairs = argument.split(",")
            facts = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            if model == "intel-iommu":
                return VtdDomain(machine, int(facts.get("aw-bits", 39)))
            if model == "amd-iommu":
                return AmdV1Domain(machine)
            if model == "virtio-iommu-pci":
                return VirtioDomain(machine)
        raise VectorError(f"{self.run.path}: no IOMMU in QEMU's arguments")

    def first_info(self) -> tuple[bool, list[tuple[int, int]], list[tuple[int, int, int]]]:
        """Has it a flush queue; the host bridge's memory windows on the bus; reserved regions (start, length, type)."""
        lazy = False
        windows: list[tuple[int, int]] = []
        regions: list[tuple[int, int, int]] = []
        for line in self.run.first_info.get("lines", ()):
            kind, *pairs = line.split()
            window = _WINDOW.match(line)
            if window is not None:
                windows.append((int(window[1], 0) - int(window[3], 0), int(window[2], 0) - int(window[3], 0)))
            elif kind in ("iommu", "resv"):
                facts = dict(pair.split("=") for pair in pairs)
                if kind == "iommu":
                    lazy = int(facts["type"], 0) == _DMA_FQ
                else:
                    regions.append((int(facts["start"], 0), int(facts["len"], 0), int(facts["type"])))
        return lazy, windows or list(_SMMU_WINDOWS), regions

    def translate(self, slot: Slot, address: int) -> int:
        """The recorder asked iommu_iova_to_phys(), which does not look at permissions: read, or else write."""
        ops = slot.dev.dma_ops if slot.dev.dma_ops is not None else slot.dev.direct
        for write in (False, True):
            try:
                return int(ops.walker.lookup(slot.dev, address, write)[0])
            except DmaFault:
                pass
        return 0

    def sleep(self, milliseconds: int) -> None:
        for table in self.tables.values():
            table.tick(milliseconds)
