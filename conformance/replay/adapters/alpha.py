# SPDX-License-Identifier: MIT
"""alpha_pci_ops: the chipset's windows and arenas are in the first state lines."""

from __future__ import annotations

from dataclasses import replace

from arch.alpha import AlphaPciOps, machine
from arch.alpha.chipsets import MB, TSUNAMI, Chipset, Window
from dma_ops import Device

from ..session import Session


def facts(line: str) -> dict[str, str]:
    """The key=value words of a state line."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


class AlphaSession(Session):
    backends = ("alpha_pci_ops",)
    ops: AlphaPciOps

    def setup(self) -> None:
        config = self.run.config
        qemu = config.get("qemu")
        ram = int(qemu[qemu.index("-m") + 1] if qemu else config["backend_args"][0]) * MB
        chipset: Chipset = TSUNAMI
        tables: dict[str, int] = {}
        for line in self.run.initial_state:
            words = facts(line)
            if "direct_base" in words:
                chipset = replace(chipset, direct_base=int(words["direct_base"], 16),
                                  direct_size=int(words["direct_size"], 16), dac_offset=int(words["dac_offset"], 16))
            for name in ("sg_isa", "sg_pci"):
                if name in line.split() and "dma_base" in words:
                    window = Window(int(words["dma_base"], 16), int(words["size"], 16), int(words["align_entry"]))
                    chipset = replace(chipset, sg_isa=window) if name == "sg_isa" else replace(chipset, sg_pci=window)
                    if "ptes_phys" in words:
                        tables[name] = int(words["ptes_phys"], 16)
        self.machine = machine(self.run.config["config"], ram)
        self.ops = AlphaPciOps(self.machine, chipset, tables=tables)
        self.devices = {0: Device("client 0", self.machine, dma_ops=self.ops)}

    def table(self) -> dict[str, str]:
        return {str(index): f"{pte:x}" for index, pte in self.ops.table("sg_pci").items()}
