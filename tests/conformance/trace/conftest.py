# SPDX-License-Identifier: MIT
"""Traces made here: text as ftrace prints it. Those in data/ are cut from recorded ones, one device each."""

import random

import pytest

from conformance.trace.events import DIRECTIONS


class Workload:
    """A driver that uses the API rightly, as ftrace text: lines(n) has n events and ends with nothing mapped."""

    def __init__(self, seed=0, device="0000:01:00.0", live=512, iommu=True):
        self.random = random.Random(seed)
        self.device = device
        self.most = live
        self.iommu = iommu
        self.live = []
        self.free = list(range(2 * live, 0, -1))
        self.time = 1.0

    def line(self, event, text):
        self.time += self.random.random() * 1e-4
        return f"              dd-{349:<5} [000] d..1. {self.time:11.6f}: {event}: {self.device} {text}\n"

    def map(self):
        rnd = self.random
        direction = DIRECTIONS[rnd.randrange(3)]
        slot = self.free.pop()
        phys = (slot << 18) + (rnd.randrange(8) << 9)
        if rnd.random() < 0.9:
            size = rnd.choice((16, 512, 1500, 4096, 65536))
            addr = (slot << 18) + (phys & 4095) + (1 << 30 if self.iommu else 0)
            self.live.append((slot, "page", direction, addr, size))
            return self.line("dma_map_page",
                             f"dir={direction} dma_addr={addr:x} size={size} phys_addr={phys:x} attrs=")
        nents = rnd.randrange(1, 17)
        physes = [(slot << 18) + 8192 * i for i in range(nents)]
        rows = ",".join(f"{phys:#x}" for phys in physes)
        first = physes[0] + (1 << 30)
        if self.iommu:
            addrs, sizes, ents = f"{first:#x}", f"{4096 * nents:#x}", 1
        else:
            addrs, sizes, ents = rows, ",".join(["0x1000"] * nents), nents
        self.live.append((slot, "sg", direction, rows, 0))
        return self.line("dma_map_sg", f"dir={direction} nents={nents}/{nents} ents={ents}/{ents} "
                                       f"dma_addrs={{{addrs}}} sizes={{{sizes}}} phys_addrs={{{rows}}} attrs=")

    def unmap(self):
        slot, kind, direction, addr, size = self.live.pop(self.random.randrange(len(self.live)))
        self.free.append(slot)
        if kind == "sg":
            return self.line("dma_unmap_sg", f"dir={direction} phys_addrs={{{addr}}} attrs=")
        return self.line("dma_unmap_page", f"dir={direction} dma_addr={addr:x} size={size} attrs=")

    def lines(self, n):
        yield "# tracer: nop\n"
        for i in range(n):
            if len(self.live) >= n - i or (self.live and (len(self.live) >= self.most or self.random.random() < 0.5)):
                yield self.unmap()
            else:
                yield self.map()


@pytest.fixture
def workload():
    return Workload
