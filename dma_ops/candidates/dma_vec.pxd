# SPDX-License-Identifier: MIT
"""Design C's containers: physical ranges in (struct phys_vec, or bio_vec), bus addresses out (struct dma_vec)."""

from scatterlist._structs cimport phys_vec
from scatterlist.core cimport SgTable
from scatterlist.types cimport dma_addr_t, u32, u64

from dma_ops.device cimport Device

cdef enum:
    DMA_VEC_BUS_ADDRESS = 1         # P2P memory at its bus address: there is nothing to unmap
    DMA_VEC_RESOURCE = 2            # memory without a page
    DMA_VEC_RANGE = 4               # a stretch of dma_iova_try_alloc()
    DMA_VEC_MMIO = 8                # P2P memory through the host bridge in it, or memory without a page
    DMA_VEC_SWIOTLB = 16            # some of it is a bounce buffer

cdef enum dma_new_how:
    NEW_NATIVE
    NEW_PER_SEGMENT
    NEW_MAP_SG

cdef struct dma_vec:                # 16 bytes; 12 with a 32-bit dma_addr_t
    dma_addr_t addr
    u32 len                         # bytes, never 0
    u32 flags

cdef class DmaVector:
    cdef dma_vec *vec
    cdef readonly size_t n          # segments
    cdef size_t room
    cdef dma_new_how how
    cdef Device dev                 # whose mapping it is; None once it is unmapped
    cdef SgTable sgt                # what dma_map_sg was given, and unmap will be

    cdef int append(self, dma_addr_t addr, u32 length, u32 flags) noexcept nogil

cdef int dma_map_new_path(Device dev) except -1 nogil
