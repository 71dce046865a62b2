# SPDX-License-Identifier: MIT
"""sba_dma_ops of ia64: the first state line has the window, the page size and the table."""

from __future__ import annotations

import re

from arch.ia64 import SbaOps, machine
from dma_ops import Device

from ..session import Session


class Ia64Session(Session):
    backends = ("sba_dma_ops",)
    ops: SbaOps

    def setup(self) -> None:
        words = dict(re.findall(r"(\w+)=(\w+)", self.run.initial_state[0]))
        self.machine = machine("replay", page_shift=self.run.machine["page_size"].bit_length() - 1)
        # the runs were compiled for a processor whose shifts wrap
        self.ops = SbaOps(self.machine, int(words["iov_size"], 16), ibase=int(words["ibase"], 16),
                          iovp_shift=int(words["iovp_shift"]), agp="agp=1" in self.run.config.get("backend_args", []),
                          entries=int(words["pdir_entries"]), shift_wraps=self.run.machine["executed_as"] == "x86")
        self.devices = {0: Device("client 0", self.machine, dma_ops=self.ops)}

    def table(self) -> dict[str, str]:
        """Every entry that is not zero."""
        return {str(i): f"{entry:016x}"
                for i, entry in self.machine.mem.words(self.ops.pdir, self.ops.entries).items()}
