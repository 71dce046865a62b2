# SPDX-License-Identifier: MIT
from dma_ops.device import Walker
from dma_ops.machine import Machine

from .iommu_common import SparcIommuOps

class Sun4uIommu(Walker):
    machine: Machine
    tsb: int
    base: int
    entries: int

class Sun4uDmaOps(SparcIommuOps):
    strbuf_enabled: bool
    ctxflush: bool
    dma_addr_mask: int
    dummy_page: int
    @property
    def flushes(self) -> int: ...
    def __init__(self, machine: Machine, *, base: int = 0xC0000000, entries: int = 131072,
                 dma_addr_mask: int = 0xFFFFFFFF, streaming: bool = True, contexts: bool = False,
                 dummy_page: int | None = None) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def flush(self) -> None: ...
    def table(self) -> dict[int, int]: ...
    def preset(self, *, hint: int | None = None) -> None: ...
