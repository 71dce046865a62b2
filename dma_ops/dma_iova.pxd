# SPDX-License-Identifier: MIT
"""The two-step IOVA API of Linux 6.16 and later (include/linux/dma-mapping.h): one range first, then what backs it.

Only iommu-dma has it. For every other device dma_iova_try_alloc() answers False, and the caller falls back to
dma_map_phys() for each of its ranges.
"""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

from .device cimport Device

cdef u64 DMA_IOVA_USE_SWIOTLB       # bit 63 of size: some of the range is a bounce buffer

cdef struct dma_iova_state:         # 16 bytes
    dma_addr_t addr                 # of the first byte, its offset into the granule included
    u64 size                        # Linux's __size: bytes, and DMA_IOVA_USE_SWIOTLB

cdef inline bint dma_use_iova(const dma_iova_state *state) noexcept nogil:
    return state.size != 0

cdef inline u64 dma_iova_size(const dma_iova_state *state) noexcept nogil:
    return state.size & ~(<u64>1 << 63)

cdef bint dma_iova_try_alloc(Device dev, dma_iova_state *state, phys_addr_t phys, u64 size) except -1 nogil
cdef int dma_iova_link(Device dev, dma_iova_state *state, phys_addr_t phys, u64 offset, u64 size, int dir,
                       unsigned long attrs) except -9999 nogil
cdef int dma_iova_sync(Device dev, dma_iova_state *state, u64 offset, u64 size) except -9999 nogil
cdef int dma_iova_unlink(Device dev, dma_iova_state *state, u64 offset, u64 size, int dir,
                         unsigned long attrs) except -9999 nogil
cdef int dma_iova_free(Device dev, dma_iova_state *state) except -9999 nogil
cdef int dma_iova_destroy(Device dev, dma_iova_state *state, u64 mapped_len, int dir,
                          unsigned long attrs) except -9999 nogil

cdef class DmaIovaState:
    """A struct dma_iova_state; state is what C code is given."""
    cdef dma_iova_state state
