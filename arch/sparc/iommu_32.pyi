# SPDX-License-Identifier: MIT
from collections.abc import Iterable

from dma_ops.device import DmaMapOps, Walker
from dma_ops.machine import Machine

from .ioport import Dvma

class SbusIommu(Walker):
    machine: Machine
    page_table: int
    start: int

class SbusIommuDmaOps(DmaMapOps):
    machine: Machine
    dvma: Dvma
    dvma_of: dict[int, int]
    def __init__(self, machine: Machine, *, hypersparc: bool = False, viking_mxcc: bool = False,
                 vac_cache_size: int = 0x40000, dvma: Dvma | None = None) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def table(self) -> dict[int, int]: ...
    def preset(self, *, last_off: int | None = None, fill: Iterable[tuple[int, int]] = ()) -> None: ...

class SbusIommuDmaGflushOps(SbusIommuDmaOps): ...
class SbusIommuDmaPflushOps(SbusIommuDmaOps): ...
