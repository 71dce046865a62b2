# SPDX-License-Identifier: MIT
"""AMD IOMMU v1 (host) page tables (drivers/iommu/amd/io_pgtable.c, Linux 6.1)."""

from scatterlist.types cimport phys_addr_t, u64

from .device cimport Walker
from .machine cimport Machine
from .pgtable cimport PageTable

cdef class AmdV1Domain(PageTable):
    cdef readonly int mode                      # levels

    cdef bint updated                           # an entry above the leaves went: all must be forgotten

    cdef int publish_root(self) except -9999 nogil
    cdef int grow(self, u64 address) except -9999 nogil
    cdef int write_pages(self, u64 iova, phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
                         size_t *mapped) except -9999 nogil
    cdef u64 *alloc_pte(self, u64 address, u64 pgsize) except? NULL nogil
    cdef u64 *fetch_pte(self, u64 address, u64 *pgsize) except? NULL nogil
    cdef int free_level(self, phys_addr_t table, int level) except -9999 nogil

cdef class AmdV1Walker(Walker):
    cdef Machine machine
    cdef readonly u64 context

    cdef void inv_iommu_pages(self, u64 address) noexcept nogil
