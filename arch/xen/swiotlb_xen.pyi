# SPDX-License-Identifier: MIT
from dma_ops.device import DmaMapOps, Walker
from dma_ops.machine import Machine
from dma_ops.swiotlb import IoTlbMem

from .p2m import P2m

class XenBus(Walker): ...

class XenSwiotlbDmaOps(DmaMapOps):
    machine: Machine
    p2m: P2m
    pool: IoTlbMem | None
    cache_flush: bool
    def __init__(self, p2m: P2m, pool: IoTlbMem | None = None, *, fixup: bool = True,
                 cache_flush: bool = True) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def table(self) -> dict[int, tuple[int, int]]: ...
