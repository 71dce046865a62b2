# SPDX-License-Identifier: MIT
from arch.generic.dma_iommu_iova import IommuIovaOps
from dma_ops import Device

class IommuDmaOps(IommuIovaOps):
    def attach(self, dev: Device, *, base: int = 0, limit: int = ...) -> None: ...
    def tick(self, ms: int) -> None: ...
