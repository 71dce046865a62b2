# SPDX-License-Identifier: MIT
"""sun4u_dma_ops, recorded on a Sabre under QEMU and compiled, and sun4v_dma_ops, compiled."""

from __future__ import annotations

import re

from arch.sparc.iommu import Sun4uDmaOps
from arch.sparc.pci_sun4v import Sun4vDmaOps
from conformance.replay.session import Session, number
from dma_ops import Device, Machine

CHIPS = {       # chip: (streaming cache, contexts)
    "psycho": (True, False),
    "sabre": (False, False),
    "fire": (False, False),
    "schizo": (True, True),
    "tomatillo": (False, True),
    "sbus": (True, False),
}


class Sun4uSession(Session):
    backends = ("sun4u_dma_ops",)

    def setup(self) -> None:
        self.machine = Machine("sun4u", arch="sparc64", big_endian=True, page_shift=13, ram=[(0, 1 << 40)])
        facts = dict(re.findall(r"(\w+)=(\w+)", " ".join(self.run.initial_state)))
        options = self.run.config.get("options", {})
        streaming, contexts = CHIPS[options.get("chip", "sabre")]
        self.ops = Sun4uDmaOps(
            self.machine, base=int(facts["map_base"], 16), entries=int(facts["poolsize"]),
            dma_addr_mask=int(facts["dma_addr_mask"], 16), streaming=streaming, contexts=contexts,
            dummy_page=number(facts.get("dummy_page_pa", "0x8000000")))
        self.ops.preset(hint=int(options["hint"]) if "hint" in options else None)
        self.devices[0] = Device("sun4u", self.machine, dma_ops=self.ops, pci=options.get("chip") != "sbus",
                                 dma_parms=options.get("parms", 1) != 0)

    def op_stcmatch(self, words: list[str]) -> None:
        """What the streaming cache answers to a flush influences counters only."""

    def table(self) -> dict[str, str]:
        return {f"{index:#x}": f"{iopte:#x}" for index, iopte in self.ops.table().items()}


class Sun4vSession(Session):
    backends = ("sun4v_dma_ops",)

    def setup(self) -> None:
        options = self.run.config.get("options", {})
        self.machine = Machine("sun4v", arch="sparc64", big_endian=True, page_shift=13, nr_cpus=64,
                               ram=[(0, 0x40000000 if "obp" in options else 1 << 40)])
        firmware = {entry: number(options["obp_ra"]) + (entry << 13) for entry in range(int(options.get("obp", 0)))}
        self.ops = Sun4vDmaOps(
            self.machine, base=number(options.get("vbase", "0x80000000")),
            size=number(options.get("vsize", "0x80000000")),
            atu_base=number(options.get("atubase", "0")), vpci_major=int(options.get("vpci", 2)),
            most=int(options.get("hvmax", 1024)), firmware=firmware)
        self.devices[0] = Device("sun4v", self.machine, dma_ops=self.ops)

    def op_failhv(self, words: list[str]) -> None:
        self.ops.hypervisor.fail_map(number(words[0]))

    def op_fillmap(self, words: list[str]) -> None:
        self.ops.preset(fill=[(number(words[0]), number(words[1]))])

    def table(self) -> dict[str, str]:
        return {f"{index:#x}": f"{entry:#x}" for index, entry in self.ops.table().items()}
