# SPDX-License-Identifier: MIT
"""The SBus IOMMU of sun4m and its two tables of callbacks (arch/sparc/mm/iommu.c, arch/sparc/lib/bitext.c)."""

from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u32, u64

from dma_ops.device cimport Device, DmaMapOps, Walker
from dma_ops.machine cimport Machine

cdef struct bit_map:            # arch/sparc/include/asm/bitext.h
    u64 *map
    int size
    int used
    int last_off
    int last_size
    int first_free
    int num_colors              # a power of two; 1: no colours

cdef int bit_map_string_get(bit_map *t, int len, u64 align) except -9999 nogil
cdef int bit_map_clear(bit_map *t, int offset, int len) except -9999 nogil

cdef class SbusIommu(Walker):
    cdef readonly Machine machine
    cdef readonly phys_addr_t page_table        # the base register
    cdef readonly u64 start                     # the first translated bus address

    cdef void pgflush(self, u64 addr) noexcept nogil
    cdef void tlbflush(self) noexcept nogil

cdef class SbusIommuDmaOps(DmaMapOps):
    cdef readonly Machine machine
    cdef readonly object dvma
    cdef readonly dict dvma_of                  # linear address of coherent memory -> its DVMA address
    cdef SbusIommu chip
    cdef bit_map usemap
    cdef u32 ioperm_noc                         # flags of IOPTEs of coherent memory

    cdef int flush_for_list(self) except -9999 nogil
    cdef int flush_for_pages(self, page_t page, u64 offset, u64 size) except -9999 nogil
    cdef dma_addr_t map_one(self, Device dev, page_t page, u64 offset, u64 size) except? 0xBADBADBADBADBAD nogil
