# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from typing import Self

from dma_ops import Device
from dma_ops.iommu import IommuDomain
from dma_ops.iommu_cookie import IommuDmaCookie
from dma_ops.phys import PhysMapOps

class IommuIovaOps(PhysMapOps):
    cookie: IommuDmaCookie
    domain: IommuDomain
    def __new__(
        cls,
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
    ) -> Self: ...
