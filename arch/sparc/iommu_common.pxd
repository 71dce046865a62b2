# SPDX-License-Identifier: MIT
"""What the two IOMMUs of 64-bit SPARC share: pools of table entries, and the loop over a list.

arch/sparc/kernel/iommu-common.c, iommu_common.h; dma_4u_map_sg and dma_4v_map_sg have the same loop.
"""

from scatterlist.core cimport scatterlist
from scatterlist.types cimport phys_addr_t, u32, u64

from dma_ops.device cimport Device, DmaMapOps
from dma_ops.machine cimport Machine

cdef enum:
    IO_PAGE_SHIFT = 13
    IO_PAGE_SIZE = 1 << IO_PAGE_SHIFT
    IO_PAGE_OFFSET = IO_PAGE_SIZE - 1
    IOMMU_NR_POOLS = 16

cdef struct iommu_pool:
    u64 start
    u64 end                     # the last entry; the allocator hands out up to two before it
    u64 hint

cdef struct iommu_map_table:
    u64 table_map_base          # the bus address of entry 0
    u64 entries
    u64 *map
    unsigned int nr_pools
    u64 poolsize
    bint lazy                   # freed entries need a flush before they are used again
    bint need_flush
    u64 flushes                 # flushes of the whole IOMMU TLB
    iommu_pool pools[IOMMU_NR_POOLS]

cdef u64 IOMMU_ERROR_CODE

cdef int iommu_tbl_pool_init(iommu_map_table *tbl, u64 base, u64 entries, bint lazy, unsigned int nr_pools) except -1
cdef u64 iommu_tbl_range_alloc(Device dev, iommu_map_table *tbl, u64 npages,
                               u64 *handle) except? 0xBADBADBADBADBAD nogil
cdef int iommu_tbl_range_free(iommu_map_table *tbl, u64 dma_addr, u64 npages) except -9999 nogil

cdef class SparcIommuOps(DmaMapOps):
    cdef readonly Machine machine

    cdef iommu_map_table *table_of(self, u64 mask) noexcept nogil
    cdef void flush_all(self) noexcept nogil
    cdef u64 range_alloc(self, Device dev, iommu_map_table *tbl, u64 npages,
                         u64 *handle) except? 0xBADBADBADBADBAD nogil
    cdef int sg_begin(self, Device dev, int dir, unsigned long attrs) except -9999 nogil
    cdef int sg_write(self, Device dev, u64 entry, phys_addr_t paddr, u64 npages) except -9999 nogil
    cdef int sg_end(self, Device dev) except -9999 nogil
    cdef int sg_undo(self, u64 entry, u64 npages) except -9999 nogil
