# SPDX-License-Identifier: MIT
"""iommu_dma_ops: the DMA API over any IOMMU domain (drivers/iommu/dma-iommu.c, Linux 6.1)."""

from arch.generic.dma_iommu_iova cimport IommuIovaOps
from dma_ops.device cimport Device
from scatterlist.core cimport scatterlist

cdef class IommuDmaOps(IommuIovaOps):
    cdef int map_sg_bounced(self, Device dev, scatterlist *sg, int nents, int dir,
                            unsigned long attrs) except -9999 nogil
    cdef int unmap_sg_bounced(self, Device dev, scatterlist *sg, int nents, int dir,
                              unsigned long attrs) except -9999 nogil
    cdef bint sg_bounced(self, Device dev, scatterlist *sg) noexcept nogil
