# SPDX-License-Identifier: MIT
"""What ccio_ops and sba_ops share (drivers/parisc/iommu-helpers.h)."""

from dma_ops.device cimport Device, DmaMapOps
from dma_ops.machine cimport Machine
from scatterlist.core cimport scatterlist
from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

cdef enum:
    IOVP_SHIFT = 12
    IOVP_SIZE = 1 << IOVP_SHIFT
    L1_CACHE_BYTES = 16

cdef class PdirOps(DmaMapOps):
    cdef readonly Machine machine
    cdef readonly phys_addr_t pdir          # the table of 64-bit entries
    cdef readonly u64 entries               # that the allocator hands out
    cdef u64 table_entries
    cdef readonly u64 ibase                 # where the bus addresses begin
    cdef readonly u64 linear_base           # kernel virtual address of physical address 0
    cdef readonly bint coherence_index      # False: what LCI answers is 0
    cdef public bint has_ioc                # False: GET_IOC() finds no adapter above the device
    cdef readonly unsigned long commands    # purge commands written to the adapter, and the last one
    cdef readonly u64 last_command

    cdef int setup(self, Machine machine, u64 entries, u64 table_entries, bint coherence_index) except -9999
    cdef u64 lci(self, phys_addr_t phys) noexcept nogil
    cdef void command(self, u64 value) noexcept nogil
    cdef u64 alloc_range(self, Device dev, u64 size) except? 0xBADBADBADBADBAD nogil
    cdef void write_entry(self, u64 index, phys_addr_t phys, u64 hint) noexcept nogil
    cdef dma_addr_t map_single(self, Device dev, phys_addr_t phys, u64 size, int dir) except? 0xBADBADBADBADBAD nogil
    cdef int fits(self, u64 index, u64 n) except -9999 nogil
    cdef u64 next_written(self, u64 i) noexcept nogil
    cdef u64 align_iovp(self, u64 size) noexcept nogil
    cdef int coalesce_chunks(self, Device dev, scatterlist *sgl, int nents) except -9999 nogil
    cdef int fill_pdir(self, scatterlist *sgl, int nents, u64 hint) except -9999 nogil
