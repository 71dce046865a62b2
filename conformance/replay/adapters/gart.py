# SPDX-License-Identifier: MIT
"""gart_dma_ops: Linux's own amd_gart_64.c, compiled over a stubbed northbridge."""

import re

from arch.x86.amd_gart_64 import GartDmaOps
from conformance.replay.session import Session
from dma_ops import Device, Machine


class GartSession(Session):
    backends = ("gart_dma_ops",)

    def setup(self) -> None:
        facts = dict(re.findall(r"(\w+)=(\w+)", self.run.initial_state[0]))
        options = dict(word.split("=") for word in self.run.config["backend_args"])
        top = int(self.run.machine["ram_top"], 0)
        self.machine = Machine("gart", arch="x86_64", ram=[(0x1000, 0xF0000000), (1 << 32, top)],
                               pci_p2pdma=True, table_base=0xF8000000)
        self.machine.feed_alloc(int(facts["unmapped_entry"], 16) & ~0xFFF)     # the scratch page
        ops = GartDmaOps(self.machine, 0xF0000000, int(options.get("order", "1")),
                         iommu_size=int(options.get("size", "0"), 0), pages=int(options.get("pages", "0")),
                         force=facts["force"] == "1", merge=facts["merge"] == "1",
                         fullflush=facts["fullflush"] == "1", panic=facts["panic_on_overflow"] == "1")
        self.devices[0] = Device("stub0", self.machine, dma_ops=ops)

    def table(self) -> dict[str, str]:
        ops = self.dev.dma_ops
        assert ops is not None
        return {str(page): f"{entry:x}" for page, entry in ops.table().items()}
