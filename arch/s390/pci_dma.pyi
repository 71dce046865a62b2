# SPDX-License-Identifier: MIT
from dma_ops.device import DmaMapOps, Walker
from dma_ops.machine import Machine

class ZpciWalker(Walker):
    machine: Machine
    iota: int
    start_dma: int
    end_dma: int

class S390PciDmaOps(DmaMapOps):
    machine: Machine
    iommu_pages: int
    strict: bool
    tlb_refresh: bool
    def __init__(self, machine: Machine, *, start_dma: int = 0x100000000, end_dma: int = 0x1FFFFFFFF,
                 aperture: int = 0, strict: bool = False, tlb_refresh: bool = False) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def flush(self) -> None: ...
    def table(self) -> dict[int, int]: ...
    def fail_rpcit(self, nth: int, code: int) -> None: ...
