# SPDX-License-Identifier: MIT
"""Bounce buffers (kernel/dma/swiotlb.c, Linux 6.1)."""

from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u64

from .device cimport Device, IoTlbMemBase
from .machine cimport Machine

cdef enum:
    IO_TLB_SHIFT = 11
    IO_TLB_SIZE = 1 << IO_TLB_SHIFT
    IO_TLB_SEGSIZE = 128                    # slots: the longest mapping is 256 KiB

cdef struct io_tlb_slot:
    phys_addr_t orig_addr                   # what this slot stands for, all ones if it is free
    size_t alloc_size                       # bytes of the mapping from here on; below 0 it wraps, as in Linux
    unsigned int list                       # free slots from here to the end of the group of 128, 0: taken
    unsigned short pad_slots                # 6.12: slots before this one that only align the mapping

cdef struct io_tlb_area:
    u64 used
    unsigned int index                      # where the next search starts, relative to the area

cdef class IoTlbMem(IoTlbMemBase):
    """struct io_tlb_mem: one pool, shared by the devices whose io_tlb_mem it is."""
    cdef readonly Machine machine
    cdef readonly phys_addr_t start
    cdef readonly phys_addr_t end           # exclusive
    cdef readonly u64 nslabs
    cdef readonly unsigned int nareas
    cdef readonly u64 area_nslabs
    cdef public bint force_bounce           # every streaming mapping goes through the pool
    cdef public bint for_alloc              # restricted pool: coherent allocations come from it, too
    cdef io_tlb_slot *slots
    cdef io_tlb_area *areas

cdef inline bint is_swiotlb_active(Device dev) noexcept nogil:
    return dev.io_tlb_mem is not None and (<IoTlbMem>dev.io_tlb_mem).nslabs != 0

cdef inline bint is_swiotlb_buffer(Device dev, phys_addr_t paddr) noexcept nogil:
    return (dev.io_tlb_mem is not None and
            (<IoTlbMem>dev.io_tlb_mem).start <= paddr < (<IoTlbMem>dev.io_tlb_mem).end)

cdef inline bint is_swiotlb_force_bounce(Device dev) noexcept nogil:
    return dev.io_tlb_mem is not None and (<IoTlbMem>dev.io_tlb_mem).force_bounce

cdef inline bint is_swiotlb_for_alloc(Device dev) noexcept nogil:
    return dev.io_tlb_mem is not None and (<IoTlbMem>dev.io_tlb_mem).for_alloc

cdef int bounce_copy(Machine m, phys_addr_t buffer, phys_addr_t orig, size_t n, int dir) except -9999 nogil
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
cdef page_t swiotlb_alloc(Device dev, size_t size) except? 0xBADBADBADBADBAD nogil
cdef bint swiotlb_free(Device dev, page_t page, size_t size) except -1 nogil
