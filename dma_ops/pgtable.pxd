# SPDX-License-Identifier: MIT
"""What the I/O page-table formats share: table pages in modelled memory, and a shortcut to the last leaf table."""

from scatterlist.types cimport phys_addr_t, u64

from .iommu cimport IommuDomain

cdef class PageTable(IommuDomain):
    cdef readonly u64 root                      # physical address of the top table
    cdef readonly u64 context                   # of the entry through which the hardware finds the root
    cdef readonly unsigned int tables           # table pages that exist, the root among them
    cdef unsigned int leaf_shift                # an iova's bits above it name a run of 512 last-level entries
    cdef u64 leaf_key                           # the run that leaf points to
    cdef u64 *leaf                              # NULL: none remembered

    cdef u64 *entry(self, phys_addr_t addr) except NULL nogil
    cdef phys_addr_t new_table(self, u64 size) except? 0xBADBADBADBADBAD nogil
    cdef int drop_table(self, phys_addr_t table, u64 size) except -9999 nogil
    cdef void remember_leaf(self, u64 iova, u64 *run) noexcept nogil
    cdef int warn_iova(self, const char *message, u64 iova) except -9999 nogil

cdef inline u64 *cached_leaf(PageTable self, u64 iova) noexcept nogil:
    """The last-level entry of iova if its table is the one that was used last, else NULL."""
    if self.leaf == NULL or iova >> self.leaf_shift != self.leaf_key:
        return NULL
    return self.leaf + ((iova >> (self.leaf_shift - 9)) & 511)
