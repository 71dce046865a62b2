# SPDX-License-Identifier: MIT
"""jazz_dma_ops: recorded on a kernel whose R4030 was memory, and compiled."""

from arch.mips.jazzdma import JazzDmaOps
from conformance.replay.session import Session
from dma_ops import Device, Machine


class JazzSession(Session):
    backends = ("jazz_dma_ops",)

    def setup(self) -> None:
        facts = self.run.machine
        self.machine = Machine("jazz", arch=facts["arch"], bits=facts["bits"], big_endian=facts["big_endian"],
                               ram=[(0, 1 << 29)], need_sg_dma_length=False)
        self.devices[0] = Device("scsi", self.machine, pci=False, coherent=False, dma_ops=JazzDmaOps(self.machine))

    def table(self) -> dict[str, str]:
        ops = self.dev.dma_ops
        assert ops is not None
        return {str(i): f"{frame:08x}/{owner:08x}" for i, (frame, owner) in ops.table().items()}
