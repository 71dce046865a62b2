# SPDX-License-Identifier: MIT
from collections.abc import Iterable

from dma_ops import Device, DmaMapOps
from dma_ops.iommu import IommuDomain
from dma_ops.iommu_cookie import IommuDmaCookie

class IommuDmaOps(DmaMapOps):
    cookie: IommuDmaCookie
    domain: IommuDomain
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
