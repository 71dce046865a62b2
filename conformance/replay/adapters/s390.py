# SPDX-License-Identifier: MIT
"""s390_pci_dma_ops: recorded on a zPCI function under QEMU, and compiled."""

from __future__ import annotations

import re

from arch.s390.pci_dma import S390PciDmaOps
from conformance.replay.session import Session, number
from dma_ops import Device, Machine


class S390Session(Session):
    backends = ("s390_pci_dma_ops",)

    def setup(self) -> None:
        self.machine = Machine("s390x", arch="s390x", big_endian=True, ram=[(0, 1 << 40)], table_base=1 << 41)
        facts = dict(re.findall(r"(\w+)=(\w+)", self.run.initial_state[0]))
        self.ops = S390PciDmaOps(
            self.machine, start_dma=int(facts["start_dma"], 16), end_dma=int(facts["end_dma"], 16),
            aperture=int(facts["iommu_size"], 16), strict=facts["lazy"] == "0", tlb_refresh=facts["tlb_refresh"] == "1")
        self.devices[0] = Device("zpci", self.machine, dma_ops=self.ops)

    def table(self) -> dict[str, str]:
        return {f"{index:#x}": f"{pte:#x}" for index, pte in self.ops.table().items()}

    def op_failtable(self, words: list[str]) -> None:
        self.machine.fail("table", number(words[0]))

    def op_failrpcit(self, words: list[str]) -> None:
        self.ops.fail_rpcit(number(words[0]), -number(words[1]))
