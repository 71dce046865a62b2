# SPDX-License-Identifier: MIT
"""The SBus IOMMU and the IO-UNIT of 32-bit SPARC: recorded on SPARCstations, and compiled."""

from __future__ import annotations

from typing import Any

from arch.sparc.io_unit import IounitDmaOps
from arch.sparc.iommu_32 import SbusIommuDmaGflushOps, SbusIommuDmaPflushOps
from conformance.replay.session import Session, number
from dma_ops import Device, DmaMapOps, Machine


class Sparc32Session(Session):
    """An SBus device: no dma_parms, a 32-bit mask that cannot be refused."""

    ops: Any

    def make(self) -> DmaMapOps:
        raise NotImplementedError

    def setup(self) -> None:
        self.machine = Machine("sparc32", arch="sparc32", bits=32, big_endian=True, ram=[(0, 1 << 31)],
                               table_base=0x7F000000)
        self.next_page = 0x8000000
        self.ops = self.make()
        self.devices[0] = Device("sbus", self.machine, pci=False, dma_parms=False, coherent=False, dma_ops=self.ops)

    def feed_alloc(self) -> None:
        """The runs do not say where coherent memory was; the compiled ones took it from 0x8000000 upwards."""
        if self.run.origin != "compiled" or not 0 < self.alloc_size <= 0x40000:
            self.machine.feed_alloc()
            return
        size = 4096
        while size < self.alloc_size:
            size *= 2
        start = (self.next_page + size - 1) & ~(size - 1)
        self.next_page = start + size
        self.machine.feed_alloc(start)

    def op_alloc(self, words: list[str]) -> dict[str, object]:
        self.alloc_size = number(words[1])
        return super().op_alloc(words)

    def table(self) -> dict[str, str]:
        return {f"{index:#x}": f"{entry:#x}" for index, entry in self.ops.table().items()}


class SbusSession(Sparc32Session):
    backends = ("sbus_iommu_dma_gflush_ops", "sbus_iommu_dma_pflush_ops")

    def make(self) -> DmaMapOps:
        self.next_page += 0x40000               # the harness's table of IOPTEs came first
        options = self.run.config.get("options", {})
        kind = SbusIommuDmaGflushOps if self.run.backend == self.backends[0] else SbusIommuDmaPflushOps
        cpu = options.get("cputype", "mxcc" if self.run.config.get("config") == "SS-20" else "")
        ops = kind(self.machine, hypersparc=cpu == "hypersparc", viking_mxcc=cpu == "mxcc",
                   vac_cache_size=number(options.get("vac", "0x1000")))
        ops.preset(last_off=int(options["last_off"]) if "last_off" in options else None)
        return ops

    def op_fillmap(self, words: list[str]) -> None:
        self.ops.preset(fill=[(number(words[0]), number(words[1]))])

    def op_lastoff(self, words: list[str]) -> None:
        self.ops.preset(last_off=number(words[0]))


class IounitSession(Sparc32Session):
    backends = ("iounit_dma_ops",)

    def make(self) -> DmaMapOps:
        return IounitDmaOps(self.machine)

    def op_fillmap(self, words: list[str]) -> None:
        self.ops.preset(fill=[(number(words[0]), number(words[1]))])

    def op_rotor(self, words: list[str]) -> None:
        self.ops.preset(rotor=[(number(words[0]), number(words[1]))])
