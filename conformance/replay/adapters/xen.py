# SPDX-License-Identifier: MIT
"""xen_swiotlb_dma_ops and xen_grant_dma_ops: Linux's own C, compiled over a stubbed hypervisor."""

from __future__ import annotations

import re
from array import array
from functools import cache

from arch.xen.grant_dma_ops import XenGrantDmaOps
from arch.xen.grant_table import GrantTable
from arch.xen.p2m import P2m
from arch.xen.swiotlb_xen import XenSwiotlbDmaOps
from conformance.replay.session import Session, number
from dma_ops import Device, Machine
from dma_ops.swiotlb import IoTlbMem

NO_LIMIT = (1 << 64) - 1
FRAMES = 0x200000               # guest frames of the p2m; beyond it a frame is a frame
FREE_TOP = 0x40000              # the stub gives extents from here downwards ...
GAP = 5                         # ... and leaves so many frames between them


@cache
def scattered(base: int) -> array[int]:
    """The recorder's p2m rule: runs of 64 frames, each somewhere else."""
    frames = array("Q", bytes(8 * FRAMES))
    for run in range(FRAMES // 64):
        start = base + (run * 0x9E3779B1 % 32768) * 64
        frames[run * 64:run * 64 + 64] = array("Q", range(start, start + 64))
    return frames


class XenSwiotlbSession(Session):
    """The arm64 runs were compiled over x86's frame numbers, with cache maintenance: they are PV guests here."""

    backends = ("xen_swiotlb_dma_ops",)

    def setup(self) -> None:
        state = dict(re.findall(r"(\w+)=([0-9a-f-]+)", self.run.initial_state[0]))
        fixup = "fixup=1" in self.run.config.get("backend_args", [])
        start, _ = (int(word, 16) for word in state["pool_phys"].split("-"))
        mode = int(state["p2m_mode"])
        self.machine = Machine("xen", arch=self.run.machine["arch"], ram=[(0x1000, 1 << 40)],
                               nr_cpus=int(state["nareas"]))
        if mode:
            self.p2m = P2m(self.machine, "pv", FRAMES, FRAMES + (0x100000 if mode == 1 else 0), free_top=FREE_TOP,
                           gap=GAP)
            self.p2m.load(0, scattered(0x100000 if mode == 1 else 0))
        else:
            self.p2m = P2m(self.machine, "hvm")
        pool = IoTlbMem(self.machine, start, int(state["nslabs"]), int(state["nareas"]),
                        force_bounce=state["force"] == "1")
        self.devices[0] = Device("stub0", self.machine, coherent=state["coherent"] == "1",
                                 dma_ops=XenSwiotlbDmaOps(self.p2m, pool, fixup=fixup))
        self.dev.io_tlb_mem = pool

    def op_p2m(self, words: list[str]) -> None:
        self.p2m.set(number(words[0]), number(words[1]), number(words[2]))

    def op_contigfail(self, words: list[str]) -> None:
        if number(words[0]):
            self.machine.fail("exchange", number(words[0]))

    def table(self) -> dict[str, str]:
        ops = self.dev.dma_ops
        assert ops is not None
        return {str(slot): f"orig={orig:x},size={size:x}" for slot, (orig, size) in ops.table().items()}


class XenGrantSession(Session):
    backends = ("xen_grant_dma_ops",)

    def setup(self) -> None:
        options = dict(word.split("=") for word in self.run.config.get("backend_args", []))
        self.machine = Machine("xen", arch=self.run.machine["arch"], ram=[(0x1000, 1 << 40)],
                               page_shift=self.run.machine["page_size"].bit_length() - 1)
        self.grants = GrantTable(self.machine, version=int(options.get("ver", "1")),
                                 max_frames=int(options.get("frames", "4")))
        self.ops = XenGrantDmaOps(self.grants, int(options.get("domid", "0")))
        self.devices[0] = Device("stub0", self.machine, mask=NO_LIMIT, dma_ops=self.ops)

    def op_inuse(self, words: list[str]) -> None:
        self.grants.map_by_backend(number(words[0]))

    def op_nodata(self, words: list[str]) -> None:
        self.ops.has_data = not number(words[0])

    def table(self) -> dict[str, str]:
        status = self.grants.version == 2
        return {str(ref): f"flags={flags:x},domid={domid},frame={frame:x}" + (f",status={stat:x}" if status else "")
                for ref, (flags, domid, frame, stat) in self.ops.table().items()}
