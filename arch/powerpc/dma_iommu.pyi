# SPDX-License-Identifier: MIT
from dma_ops.device import Device, DmaMapOps

from .iommu import IommuTable

class DirectWindow:
    rule: str
    base: int
    page_shift: int
    pmem: bool
    memory_max: int
    def __init__(self, rule: str, base: int, *, page_shift: int = ..., pmem: bool = ..., memory_max: int = ...,
                 instead: IommuTable | None = ...) -> None: ...

class DmaIommuOps(DmaMapOps):
    tbl: IommuTable | None
    direct_window: DirectWindow | None
    def __init__(self, tbl: IommuTable | None = ..., direct_window: DirectWindow | None = ...) -> None: ...
    def attach(self, dev: Device) -> Device: ...
    def resources(self) -> dict[str, int]: ...
    def table(self) -> dict[int, int]: ...
