# SPDX-License-Identifier: MIT
from collections.abc import Iterable

from .device import Device
from .flush_queue import FlushQueue
from .iommu import IommuDomain
from .iova import IovaDomain

class IommuDmaCookie:
    domain: IommuDomain
    space: IovaDomain
    queue: FlushQueue | None
    start_pfn: int
    forcedac: bool
    mask: int
    shift: int
    def __init__(
        self,
        domain: IommuDomain,
        dev: Device,
        *,
        base: int = 0,
        limit: int = ...,
        windows: Iterable[tuple[int, int]] = (),
        dma_ranges: Iterable[tuple[int, int]] = (),
        regions: Iterable[tuple[int, int, int]] = (),
        lazy: bool = False,
        single_queue: bool = False,
        forcedac: bool = False,
    ) -> None: ...
    def attach(self, dev: Device, *, base: int = 0, limit: int = ...) -> None: ...
    def tick(self, ms: int) -> None: ...
    def flush(self) -> None: ...
