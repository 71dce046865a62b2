# SPDX-License-Identifier: MIT
"""iommu_dma_ops: the DMA API over any IOMMU domain (drivers/iommu/dma-iommu.c, Linux 6.1)."""

from dma_ops.device cimport Device, DmaMapOps
from dma_ops.iommu cimport IommuDomain
from dma_ops.iommu_cookie cimport IommuDmaCookie
from scatterlist.core cimport scatterlist
from scatterlist.types cimport u64

cdef class IommuDmaOps(DmaMapOps):
    cdef readonly IommuDmaCookie cookie
    cdef readonly IommuDomain domain
    cdef u64 mask                               # granule - 1
    cdef int kernel

    cdef int map_sg_bounced(self, Device dev, scatterlist *sg, int nents, int dir,
                            unsigned long attrs) except -9999 nogil
    cdef int unmap_sg_bounced(self, Device dev, scatterlist *sg, int nents, int dir,
                              unsigned long attrs) except -9999 nogil
    cdef bint sg_bounced(self, Device dev, scatterlist *sg) noexcept nogil
