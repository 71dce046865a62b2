# SPDX-License-Identifier: MIT
"""iommu_ops of 32-bit Arm (arch/arm/mm/dma-mapping.c, Linux 6.1)."""

from scatterlist.core cimport scatterlist
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u32, u64

from dma_ops.device cimport Device, DmaMapOps
from dma_ops.iommu cimport IommuDomain
from dma_ops.machine cimport Machine

cdef class ArmIommuOps(DmaMapOps):
    cdef Machine machine
    cdef readonly IommuDomain domain
    cdef readonly u64 base
    cdef readonly u32 bits                      # of each bitmap
    cdef readonly u32 extensions                # bitmaps that there may be
    cdef readonly u32 nr_bitmaps
    cdef u64 **bitmaps
    cdef public int map_errno                   # what an injected "iommu_map" failure answers, positive
    cdef public list stack                      # what __iommu_alloc_simple reads behind its one page pointer
    cdef dict buffers                           # kernel address -> [(block, order)] of a remapped allocation

    cdef dma_addr_t alloc_iova(self, u32 size) except? 0xBADBADBADBADBAD nogil
    cdef int free_iova(self, dma_addr_t addr, u32 size) except -9999 nogil
    cdef int map(self, dma_addr_t iova, phys_addr_t phys, u32 size, int prot) except -9999 nogil
    cdef int unmap(self, dma_addr_t iova, u32 size) except -9999 nogil
    cdef phys_addr_t phys_of(self, dma_addr_t iova) noexcept nogil
    cdef dma_addr_t map_range(self, phys_addr_t phys, u32 offset, u32 size, int prot) except? 0xBADBADBADBADBAD nogil
    cdef int remove_mapping(self, dma_addr_t addr, u32 size) except -9999 nogil
    cdef int map_chunk(self, Device dev, scatterlist *sg, u32 size, scatterlist *out, int dir,
                       unsigned long attrs) except -9999 nogil
