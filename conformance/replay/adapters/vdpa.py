# SPDX-License-Identifier: MIT
"""vdpasim_dma_ops and vduse_dev_dma_ops: Linux's own C, compiled in userspace."""

from arch.vdpa.vdpa_sim import VdpasimDmaOps
from arch.vdpa.vduse_dev import VduseDmaOps
from conformance.replay.session import Session
from dma_ops import Device, DmaMapOps, Machine

IOTLB = 100000                  # vduse's dumps list the IOTLB from this index on
NO_LIMIT = (1 << 64) - 1


def iotlb_row(row: tuple[int, int, int, int]) -> str:
    start, last, address, perm = row
    return f"{start:x}-{last:x}->{address:x},perm={perm:x}"


class VdpaSession(Session):
    def setup(self) -> None:
        options = dict(word.split("=") for word in self.run.config.get("backend_args", []))
        self.machine = Machine("vdpa", arch=self.run.machine["arch"], ram=[(0x1000, 1 << 40)],
                               page_shift=self.run.machine["page_size"].bit_length() - 1)
        self.devices[0] = Device("stub0", self.machine, pci=False, mask=NO_LIMIT, dma_ops=self.ops(options))

    def ops(self, options: dict[str, str]) -> DmaMapOps:
        raise NotImplementedError


class VdpasimSession(VdpaSession):
    backends = ("vdpasim_dma_ops",)

    def ops(self, options: dict[str, str]) -> DmaMapOps:
        self.sim = VdpasimDmaOps(self.machine, int(options.get("limit", "2048")))
        return self.sim

    def op_state(self, words: list[str]) -> None:
        self.sim.table()                # what the recorder walked, too

    def table(self) -> dict[str, str]:
        return {str(i): iotlb_row(row) for i, row in self.sim.table().items()}


class VduseSession(VdpaSession):
    backends = ("vduse_dev_dma_ops",)

    def ops(self, options: dict[str, str]) -> DmaMapOps:
        self.vduse = VduseDmaOps(self.machine, int(options.get("entries", "2048")))
        return self.vduse

    def table(self) -> dict[str, str]:
        maps = {str(pfn): f"orig={orig:x}" + (",page" if page else "")
                for pfn, (orig, page) in self.vduse.table().items()}
        return maps | {str(IOTLB + i): iotlb_row(row) for i, row in self.vduse.domain.iotlb.table().items()}
