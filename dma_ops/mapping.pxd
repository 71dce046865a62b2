# SPDX-License-Identifier: MIT
"""The DMA API: dispatch and errno filter of kernel/dma/mapping.c, Linux 6.1.

C callers get Linux's results: 0, counts, -errno, DMA_MAPPING_ERROR. A negative result of -9999 is a Python exception
(KernelBug).
"""

from scatterlist.core cimport scatterlist, sg_table
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u64

from .device cimport Device, DmaMapOps

cdef bint dma_map_direct(Device dev) except -1 nogil
cdef bint dma_alloc_direct(Device dev) except -1 nogil
cdef dma_addr_t dma_map_page_attrs(Device dev, page_t page, u64 offset, size_t size, int dir,
                                   unsigned long attrs) except? 0xBADBADBADBADBAD nogil
cdef int dma_unmap_page_attrs(Device dev, dma_addr_t addr, size_t size, int dir,
                              unsigned long attrs) except -9999 nogil
cdef int dma_map_sg_attrs(Device dev, scatterlist *sg, int nents, int dir, unsigned long attrs) except -9999 nogil
cdef int dma_map_sgtable(Device dev, sg_table *sgt, int dir, unsigned long attrs) except -9999 nogil
cdef int dma_unmap_sg_attrs(Device dev, scatterlist *sg, int nents, int dir, unsigned long attrs) except -9999 nogil
cdef dma_addr_t dma_map_resource(Device dev, phys_addr_t phys, size_t size, int dir,
                                 unsigned long attrs) except? 0xBADBADBADBADBAD nogil
cdef int dma_unmap_resource(Device dev, dma_addr_t addr, size_t size, int dir,
                            unsigned long attrs) except -9999 nogil
cdef int dma_sync_single_for_cpu(Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil
cdef int dma_sync_single_for_device(Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil
cdef int dma_sync_sg_for_cpu(Device dev, scatterlist *sg, int nents, int dir) except -9999 nogil
cdef int dma_sync_sg_for_device(Device dev, scatterlist *sg, int nents, int dir) except -9999 nogil
cdef int dma_mapping_error(Device dev, dma_addr_t addr) except -9999 nogil

cdef int dma_alloc_attrs(Device dev, size_t size, dma_addr_t *handle, u64 *cpu_addr,
                         unsigned long attrs) except -9999 nogil
cdef int dma_free_attrs(Device dev, size_t size, u64 cpu_addr, dma_addr_t handle,
                        unsigned long attrs) except -9999 nogil
cdef int dma_common_alloc_pages(DmaMapOps ops, Device dev, size_t size, dma_addr_t *handle, page_t *page,
                                int dir) except -9999 nogil
cdef int dma_common_free_pages(DmaMapOps ops, Device dev, size_t size, page_t page, dma_addr_t handle,
                               int dir) except -9999 nogil

cdef int dma_alloc_pages(Device dev, size_t size, dma_addr_t *handle, page_t *page, int dir) except -9999 nogil
cdef int dma_free_pages(Device dev, size_t size, page_t page, dma_addr_t handle, int dir) except -9999 nogil
cdef int dma_alloc_noncontiguous(Device dev, size_t size, sg_table *sgt, unsigned int max_ents, int dir,
                                 unsigned long attrs) except -9999 nogil
cdef int dma_free_noncontiguous(Device dev, size_t size, sg_table *sgt, int dir) except -9999 nogil
cdef bint dma_can_mmap(Device dev) except -1 nogil
cdef bint dma_has_get_sgtable(Device dev) except -1 nogil

cdef int dma_supported(Device dev, u64 mask) except -9999 nogil
cdef int dma_set_mask(Device dev, u64 mask) except -9999 nogil
cdef int dma_set_coherent_mask(Device dev, u64 mask) except -9999 nogil
cdef int dma_set_mask_and_coherent(Device dev, u64 mask) except -9999 nogil
cdef int dma_set_max_seg_size(Device dev, unsigned int size) noexcept nogil
cdef int dma_set_seg_boundary(Device dev, u64 mask) noexcept nogil
cdef int dma_set_min_align_mask(Device dev, unsigned int mask) noexcept nogil
cdef u64 dma_get_required_mask(Device dev) except? 0xBADBADBADBADBAD nogil
cdef u64 dma_get_mask(Device dev) noexcept nogil
cdef bint dma_addressing_limited(Device dev) except -1 nogil
cdef size_t dma_max_mapping_size(Device dev) except? 0xBADBADBADBADBAD nogil
cdef size_t dma_opt_mapping_size(Device dev) except? 0xBADBADBADBADBAD nogil
cdef u64 dma_get_merge_boundary(Device dev) except? 0xBADBADBADBADBAD nogil
cdef bint dma_need_sync(Device dev, dma_addr_t addr) except -1 nogil
cdef bint dma_pci_p2pdma_supported(Device dev) noexcept nogil

cdef inline unsigned int get_order(u64 size, unsigned int page_shift) noexcept nogil:
    """The smallest order of pages that hold size bytes (size > 0)."""
    cdef unsigned int order = 0
    size = (size - 1) >> page_shift
    while size:
        size >>= 1
        order += 1
    return order
