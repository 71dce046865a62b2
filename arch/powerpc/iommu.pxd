# SPDX-License-Identifier: MIT
"""struct iommu_table and its allocator (arch/powerpc/kernel/iommu.c, Linux 6.1)."""

cimport cython

from dma_ops.device cimport Device
from dma_ops.machine cimport Machine
from scatterlist.core cimport scatterlist
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u64

from .tce cimport tce_format

cdef enum:
    IOMMU_NR_POOLS = 4
    IOMMU_POOL_HASHBITS = 2
    IOMAP_MAX_ORDER = 13

cdef struct iommu_pool:
    u64 start
    u64 end
    u64 hint


@cython.final
cdef class IommuTable:
    cdef readonly Machine machine
    cdef readonly u64 it_offset             # number of the first I/O page
    cdef readonly u64 it_size               # I/O pages
    cdef readonly unsigned int it_page_shift
    cdef readonly u64 it_blocksize
    cdef readonly phys_addr_t it_base       # entry of the first I/O page
    cdef readonly unsigned int nr_pools
    cdef readonly u64 poolsize
    cdef readonly bint novmerge             # boot option iommu=novmerge
    cdef const tce_format *format
    cdef u64 ioid                           # further bits of each valid entry
    cdef u64 empty                          # what a cleared entry holds
    cdef u64 *it_map
    cdef iommu_pool pools[IOMMU_NR_POOLS]
    cdef iommu_pool large_pool

    cdef u64 num_pages(self, u64 addr, u64 size) noexcept nogil
    cdef u64 entry_of(self, phys_addr_t phys, int dir, unsigned long attrs) noexcept nogil
    cdef unsigned int align_order(self, phys_addr_t phys, u64 size) noexcept nogil
    cdef int undo_sg(self, scatterlist *s, scatterlist *last, int nelems) except -9999 nogil
    cdef int put_entries(self, u64 index, u64 n, u64 fixed, phys_addr_t phys, u64 step) noexcept nogil
    cdef int clear_entries(self, u64 index, u64 npages) noexcept nogil
    cdef int set_entries(self, u64 index, u64 npages, phys_addr_t phys, int dir,
                         unsigned long attrs) except -9999 nogil
    cdef u64 range_alloc(self, Device dev, u64 npages, u64 *handle, u64 mask,
                         unsigned int align_order) except? 0xBADBADBADBADBAD nogil
    cdef dma_addr_t iommu_alloc(self, Device dev, phys_addr_t phys, unsigned int npages, int dir, u64 mask,
                                unsigned int align_order, unsigned long attrs) except? 0xBADBADBADBADBAD nogil
    cdef int iommu_free(self, dma_addr_t addr, unsigned int npages) except -9999 nogil
    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, u64 mask, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil
    cdef int unmap_page(self, dma_addr_t addr, size_t size) except -9999 nogil
    cdef int map_sg(self, Device dev, scatterlist *sgl, int nelems, u64 mask, int dir,
                    unsigned long attrs) except -9999 nogil
    cdef int unmap_sg(self, scatterlist *sgl, int nelems) except -9999 nogil
    cdef int alloc_coherent(self, Device dev, size_t size, dma_addr_t *handle, u64 *cpu_addr,
                            u64 mask) except -9999 nogil
    cdef int free_coherent(self, size_t size, u64 cpu_addr, dma_addr_t handle) except -9999 nogil
