# SPDX-License-Identifier: MIT
"""Bounce buffers (kernel/dma/swiotlb.c, Linux 6.1)."""

from .device cimport DMA_MAPPING_ERROR


cdef class IoTlbMem(IoTlbMemBase):
    """struct io_tlb_mem: one pool, shared by the devices whose io_tlb_mem it is."""


cdef bint is_swiotlb_active(Device dev) noexcept nogil:
    return False


cdef bint is_swiotlb_buffer(Device dev, phys_addr_t paddr) noexcept nogil:
    return False


cdef bint is_swiotlb_force_bounce(Device dev) noexcept nogil:
    return False


cdef size_t swiotlb_max_mapping_size(Device dev) noexcept nogil:
    return 0


cdef phys_addr_t swiotlb_tbl_map_single(Device dev, phys_addr_t orig, size_t mapping_size, size_t alloc_size,
                                        u64 alloc_align_mask, int dir,
                                        unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
    return DMA_MAPPING_ERROR


cdef int swiotlb_tbl_unmap_single(Device dev, phys_addr_t tlb_addr, size_t mapping_size, int dir,
                                  unsigned long attrs) except -9999 nogil:
    return 0


cdef int swiotlb_sync_single_for_device(Device dev, phys_addr_t tlb_addr, size_t size, int dir) except -9999 nogil:
    return 0


cdef int swiotlb_sync_single_for_cpu(Device dev, phys_addr_t tlb_addr, size_t size, int dir) except -9999 nogil:
    return 0


cdef dma_addr_t swiotlb_map(Device dev, phys_addr_t paddr, size_t size, int dir,
                            unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
    return DMA_MAPPING_ERROR
