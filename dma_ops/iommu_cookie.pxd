# SPDX-License-Identifier: MIT
"""An IOMMU domain's addresses: what drivers/iommu/dma-iommu.c keeps per domain (Linux 6.1)."""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

from .device cimport Device
from .flush_queue cimport FlushQueue
from .iommu cimport IommuDomain
from .iova cimport IovaDomain
from .machine cimport Machine

cdef class IommuDmaCookie:
    cdef readonly IommuDomain domain
    cdef readonly IovaDomain space
    cdef readonly FlushQueue queue              # None: strict
    cdef readonly u64 start_pfn
    cdef public bint forcedac                   # iommu.forcedac=1
    cdef readonly u64 mask                      # granule - 1
    cdef readonly unsigned int shift
    cdef int kernel
    cdef bint warned_align

    cdef int cpu(self) noexcept nogil
    cdef u64 alloc_iova(self, Device dev, u64 size, u64 limit) except? 0xBADBADBADBADBAD nogil
    cdef int free_iova(self, u64 iova, u64 size, bint queued) except -9999 nogil
    cdef dma_addr_t map_phys(self, Device dev, phys_addr_t phys, u64 size, int prot,
                             u64 limit) except? 0xBADBADBADBADBAD nogil
    cdef int unmap_iova(self, Device dev, dma_addr_t addr, u64 size) except -9999 nogil
