# SPDX-License-Identifier: MIT
"""Replays runs of powerpc: a table of TCEs as the first `state` lines describe it, with or without a direct window."""

from __future__ import annotations

import re

from arch.powerpc.dma_iommu import DirectWindow, DmaIommuOps
from arch.powerpc.ibmebus import IbmebusDmaOps
from arch.powerpc.iommu import IommuTable
from arch.powerpc.ps3_lv1 import LogicalMemory
from arch.powerpc.ps3_mm import Ioc0Region, SbRegion
from arch.powerpc.ps3_system_bus import Ps3Ioc0DmaOps, Ps3SbDmaOps
from arch.powerpc.vio import VioCmo, VioDmaMappingOps
from dma_ops import Device, DmaError, Machine, dma_set_mask_and_coherent

from ..session import Answer, Difference, Session, number

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
        facts = self.facts("ppc it_size=")
        shift = int(facts["it_page_shift"])
        first, end = facts["it_reserved"].split("..")
        return IommuTable(self.machine, window=int(facts["it_offset"]) << shift, size=int(facts["it_size"]) << shift,
                          page_shift=shift, blocksize=int(facts["it_blocksize"]), reserved=(int(first), int(end)))

    def facts(self, start: str) -> dict[str, str]:
        """The NAME=VALUE words of the first line of state 0 that begins so."""
        line = next(text for text in self.run.initial_state if text.startswith(start))
        return dict(re.findall(r"(\w+)=([0-9a-fx.]+)", line))

    def table(self) -> dict[str, str]:
        ops = self.dev.dma_ops
        assert ops is not None
        return {f"{index:#x}": f"{entry:#x}" for index, entry in ops.table().items()}

    def op_failset(self, words: list[str]) -> None:
        self.machine.fail("set", number(words[0]))

    def op_failalloc(self, words: list[str]) -> None:
        self.machine.fail("chunk", number(words[0]))

    def op_faillv1(self, words: list[str]) -> None:
        self.machine.fail("lv1", number(words[0]))


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


class VioSession(PowerpcSession):
    """vio_dma_mapping_ops: two devices with a table each on a bus with entitlement, whose accounts are compared too."""

    backends = ("vio_dma_mapping_ops",)

    def setup(self) -> None:
        self.machine = self.build_machine()
        rows = [text for text in self.run.initial_state if text.startswith("vio dev")]
        self.cmo = VioCmo(int(self.facts("vio entitled=")["entitled"]), len(rows))
        for n in range(len(rows)):
            desired = self.run.config["options"].get(f"desired{n}", 0)
            ops = VioDmaMappingOps(self.build_table(), cmo=self.cmo, desired=desired)
            self.devices[n] = ops.attach(Device(f"vio{n}", self.machine, pci=False, dma_parms=False,
                                                mask=(1 << 64) - 1))

    @property
    def account(self) -> VioDmaMappingOps:
        ops = self.dev.dma_ops
        assert isinstance(ops, VioDmaMappingOps)
        return ops

    def judge(self, index: int, operation: str, got: Answer) -> Difference | None:
        cmo, dev = self.cmo, self.account
        if "acct" in self.expected:
            accounts = {"allocated": dev.allocated, "dev_entitled": dev.entitled, "allocs_failed": dev.allocs_failed,
                        "curr": cmo.curr, "high": cmo.high, "excess_size": cmo.excess_size,
                        "excess_free": cmo.excess_free, "reserve": cmo.reserve_size, "spare": cmo.spare,
                        "desired": cmo.desired}
            if accounts != self.expected["acct"]:
                self.failed += 1
                return Difference(str(self.run.path), self.run.line_of(index), operation, self.expected["acct"],
                                  accounts)
        return super().judge(index, operation, got)

    def op_balance(self, words: list[str]) -> None:
        self.cmo.balance()

    def op_setdesired(self, words: list[str]) -> None:
        self.account.set_desired(number(words[0]))

    def op_setspare(self, words: list[str]) -> None:
        self.cmo.spare = number(words[0])

    def op_entitle(self, words: list[str]) -> Answer:
        try:
            self.cmo.entitlement_update(number(words[0]))
        except DmaError as error:
            return {"ret": -error.errno}
        return {"ret": 0}


class IbmebusSession(PowerpcSession):
    """ibmebus_dma_ops: nothing but addresses."""

    backends = ("ibmebus_dma_ops",)

    def setup(self) -> None:
        self.machine = self.build_machine()
        self.ops = IbmebusDmaOps()
        self.devices[0] = Device("lhca", self.machine, pci=False, dma_parms=False, dma_ops=self.ops)

    def feed_alloc(self) -> None:
        if "phys" in self.expected:
            self.ops.feed_kmalloc(self.expected["phys"])


class Ps3Session(PowerpcSession):
    """ps3_sb_dma_ops and ps3_ioc0_dma_ops: one device with a region as `ps3 ops=` describes it."""

    backends = ("ps3_sb_dma_ops", "ps3_ioc0_dma_ops")

    def setup(self) -> None:
        facts = {key: int(value, 0) for key, value in self.facts("ps3 ops=").items() if key != "ops" and value}
        memory = LogicalMemory(rm_size=facts["rm_size"], total=facts["total"], r1_base=facts["r1_base"])
        self.machine = Machine(self.run.config["config"], arch="powerpc", big_endian=True, has_zone_dma=False,
                               page_shift=self.run.machine["page_size"].bit_length() - 1, ram=((0, facts["total"]),))
        common = {"page_size": facts["page_shift"], "bus_addr": facts["bus_addr"], "addr": facts["offset"],
                  "len": facts["len"]}
        ops: Ps3SbDmaOps | Ps3Ioc0DmaOps
        if self.run.backend == "ps3_sb_dma_ops":
            ops = Ps3SbDmaOps(SbRegion(self.machine, memory, dynamic=bool(facts["dynamic"]), **common))
        else:
            ops = Ps3Ioc0DmaOps(Ioc0Region(self.machine, memory, ioid=facts["ioid"], **common))
        self.devices[0] = Device(self.run.id, self.machine, pci=False, dma_parms=False, dma_ops=ops)
        dma_set_mask_and_coherent(self.devices[0], 0xffffffff)
