# SPDX-License-Identifier: MIT
"""Intel VT-d second-level tables (drivers/iommu/intel/iommu.c, Linux 6.1)."""

from scatterlist.types cimport phys_addr_t, u64

from .device cimport Walker
from .machine cimport Machine
from .pgtable cimport PageTable

cdef class VtdDomain(PageTable):
    cdef readonly unsigned int gaw              # guest address width in bits
    cdef readonly int levels
    cdef readonly unsigned int superpage        # 0: 4 KiB only, 1: and 2 MiB, 2: and 1 GiB
    cdef readonly bint snoop                    # set_pte_snp: every leaf entry carries SNP
    cdef u64 max_addr

    cdef bint supported(self, u64 pfn) noexcept nogil
    cdef u64 *pfn_to_pte(self, u64 pfn, int *target) except? NULL nogil
    cdef int switch_to_superpage(self, u64 pfn, u64 pages, int level) except -9999 nogil
    cdef void flush_pages(self, u64 pfn, u64 pages) noexcept nogil
    cdef int clear_range(self, u64 pfn, u64 last) except -9999 nogil
    cdef int free_level(self, int level, int retain, phys_addr_t table, u64 pfn, u64 start,
                        u64 last) except -9999 nogil
    cdef int free_below(self, int level, phys_addr_t table) except -9999 nogil
    cdef int clear_level(self, int level, phys_addr_t table, u64 pfn, u64 start, u64 last) except -9999 nogil

cdef class VtdWalker(Walker):
    cdef Machine machine
    cdef readonly u64 context
    cdef readonly unsigned int haw              # host address width: address bits at and above it are reserved

    cdef void flush_iotlb(self, u64 iotlb, u64 iva) noexcept nogil
