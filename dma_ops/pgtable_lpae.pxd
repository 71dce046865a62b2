# SPDX-License-Identifier: MIT
"""Arm LPAE stage-1 tables (drivers/iommu/io-pgtable-arm.c, Linux 6.1)."""

from scatterlist.types cimport phys_addr_t, u64

from .device cimport Walker
from .machine cimport Machine
from .pgtable cimport PageTable

cdef class LpaeDomain(PageTable):
    cdef readonly unsigned int ias              # bits of an iova
    cdef readonly unsigned int oas              # bits of a physical address
    cdef readonly unsigned int page_shift       # the granule's
    cdef readonly bint coherent_walk
    cdef readonly bint flush_all                # the IOMMU forgets all or nothing, as the IPMMU does
    cdef unsigned int stride                    # bits per level
    cdef int start_level
    cdef unsigned int root_bits

    cdef u64 address_bits(self, phys_addr_t paddr) noexcept nogil
    cdef phys_addr_t address_of(self, u64 pte) noexcept nogil
    cdef u64 index(self, u64 iova, int level) noexcept nogil
    cdef unsigned int shift(self, int level) noexcept nogil
    cdef u64 entries_left(self, u64 index, u64 count) noexcept nogil
    cdef u64 prot_bits(self, int prot) noexcept nogil
    cdef void flush_range(self, u64 iova, u64 size) noexcept nogil
    cdef int install(self, u64 *pte, phys_addr_t table) noexcept nogil
    cdef int write_leaves(self, phys_addr_t at, phys_addr_t paddr, u64 prot, int level, u64 n) except -9999 nogil
    cdef int free_level(self, phys_addr_t table, int level) except -9999 nogil
    cdef size_t clear(self, u64 iova, phys_addr_t table, int level, u64 count) except? 0xBADBADBADBADBAD nogil
    cdef size_t split(self, u64 *block, u64 iova, u64 pgsize, u64 pgcount, int level) except? 0xBADBADBADBADBAD nogil
    cdef size_t unmap_from(self, phys_addr_t table, int level, u64 iova, u64 pgsize,
                           u64 pgcount) except? 0xBADBADBADBADBAD nogil

cdef class LpaeWalker(Walker):
    cdef Machine machine
    cdef readonly u64 context
    cdef public bint privileged                 # does the device make privileged accesses?

    cdef void tlbi_range(self, u64 address, unsigned int num, unsigned int scale, unsigned int tg) noexcept nogil
    cdef void tlbi_all(self) noexcept nogil
