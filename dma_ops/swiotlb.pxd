# SPDX-License-Identifier: MIT
"""Bounce buffers (kernel/dma/swiotlb.c, Linux 6.1)."""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

from .device cimport Device, IoTlbMemBase

cdef enum:
    IO_TLB_SHIFT = 11
    IO_TLB_SIZE = 1 << IO_TLB_SHIFT
    IO_TLB_SEGSIZE = 128

cdef class IoTlbMem(IoTlbMemBase):
    """struct io_tlb_mem: one pool, shared by the devices whose io_tlb_mem it is."""
    cdef readonly phys_addr_t start
    cdef readonly phys_addr_t end
    cdef readonly u64 nslabs
    cdef public bint force_bounce

cdef bint is_swiotlb_active(Device dev) noexcept nogil
cdef bint is_swiotlb_buffer(Device dev, phys_addr_t paddr) noexcept nogil
cdef bint is_swiotlb_force_bounce(Device dev) noexcept nogil
cdef size_t swiotlb_max_mapping_size(Device dev) noexcept nogil
cdef phys_addr_t swiotlb_tbl_map_single(Device dev, phys_addr_t orig, size_t mapping_size, size_t alloc_size,
                                        u64 alloc_align_mask, int dir,
                                        unsigned long attrs) except? 0xBADBADBADBADBAD nogil
cdef int swiotlb_tbl_unmap_single(Device dev, phys_addr_t tlb_addr, size_t mapping_size, int dir,
                                  unsigned long attrs) except -9999 nogil
cdef int swiotlb_sync_single_for_device(Device dev, phys_addr_t tlb_addr, size_t size, int dir) except -9999 nogil
cdef int swiotlb_sync_single_for_cpu(Device dev, phys_addr_t tlb_addr, size_t size, int dir) except -9999 nogil
cdef dma_addr_t swiotlb_map(Device dev, phys_addr_t paddr, size_t size, int dir,
                            unsigned long attrs) except? 0xBADBADBADBADBAD nogil
