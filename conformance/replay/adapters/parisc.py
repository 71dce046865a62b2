# SPDX-License-Identifier: MIT
"""ccio_ops and PA-RISC's sba_ops: the first state line has the adapter's window and tables."""

from __future__ import annotations

import re

from arch.parisc import CcioOps, SbaOps, machine
from dma_ops import Device

from ..session import Session

PAGE = 4096


class PariscSession(Session):
    backends = ("ccio_ops", "sba_ops")
    ops: CcioOps | SbaOps

    def setup(self) -> None:
        words: dict[str, str] = {}
        for line in self.run.initial_state:
            words |= dict(re.findall(r"(\w+)=(\w+)", line))
        self.machine = machine("replay", 256 << 20, bits=self.run.machine["bits"])
        # compiled runs have LCI replaced by the virtual address or 0; it only shows in their tables
        index = words.get("lci") != "0"
        if self.run.backend == "ccio_ops":
            self.ops = CcioOps(self.machine, int(words["res_size"]) * 8 * PAGE, coherence_index=index,
                               eisa="eisa" in self.run.config["config"], chainid_shift=int(words["chainid_shift"]))
        else:
            imask = int(words["imask"], 16)
            ibase = int(words["ibase"], 16)
            self.ops = SbaOps(self.machine, (~imask & 0xFFFFFFFF) + 1, ibase=ibase, pluto=ibase != 0,
                              entries=int(words["res_size"]) * 8, coherence_index=index)
        self.devices = {0: Device("client 0", self.machine, dma_ops=self.ops, coherent=False)}

    def table(self) -> dict[str, str]:
        """Every entry that was ever written, as its bytes in memory; ccio's as two words."""
        dot = "." if self.run.backend == "ccio_ops" else ""
        return {str(i): f"{entry >> 32:08x}{dot}{entry & 0xFFFFFFFF:08x}"
                for i, entry in self.machine.mem.words(self.ops.pdir, self.ops.entries, True).items()}

    def op_noioc(self, words: list[str]) -> None:
        self.ops.has_ioc = words[0] == "0"

    def op_cujo20(self, words: list[str]) -> None:
        assert isinstance(self.ops, CcioOps)
        self.ops.cujo20_fixup(int(words[0], 0))
