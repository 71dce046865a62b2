# SPDX-License-Identifier: MIT
"""DMA regions of PlayStation 3 devices (arch/powerpc/platforms/ps3/mm.c, Linux 6.1)."""

from dma_ops.machine cimport Machine
from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

from .ps3_lv1 cimport LogicalMemory, Lv1Segment

cdef struct dma_chunk:          # I/O pages mapped together
    u64 lpar_addr
    u64 bus_addr
    u64 len                     # bytes, whole I/O pages
    unsigned int usage_count
    dma_chunk *next

cdef class DmaRegion:
    cdef readonly Machine machine
    cdef readonly LogicalMemory memory
    cdef readonly Lv1Segment segment
    cdef readonly u64 bus_addr
    cdef readonly u64 len
    cdef readonly u64 offset
    cdef readonly unsigned int page_size    # a shift, as in Linux
    cdef dma_chunk *chunk_list              # the newest first

    cdef dma_addr_t lpar_to_bus(self, u64 lpar) except? 0xBADBADBADBADBAD nogil
    cdef dma_chunk *find_chunk(self, u64 bus, u64 len) except? NULL nogil
    cdef dma_chunk *new_chunk(self, u64 lpar, u64 bus, u64 len) noexcept nogil
    cdef int drop(self, dma_chunk *c) noexcept nogil
    cdef int map_area(self, phys_addr_t phys, u64 len, dma_addr_t *bus, u64 flags) except -9999 nogil
    cdef int unmap_area(self, dma_addr_t bus, u64 len) except -9999 nogil

cdef class SbRegion(DmaRegion):
    cdef readonly bint dynamic
    cdef int map_chunk(self, phys_addr_t phys, u64 len, dma_addr_t *bus, u64 flags) except -9999 nogil

cdef class Ioc0Region(DmaRegion):
    cdef readonly unsigned int ioid
    cdef int check_new(self, u64 lpar, u64 len) except -9999 nogil
