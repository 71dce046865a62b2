# SPDX-License-Identifier: MIT
"""sun4v_dma_ops: I/O translation by the hypervisor (arch/sparc/kernel/pci_sun4v.c)."""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

from dma_ops.device cimport Device, Walker
from dma_ops.machine cimport Machine

from .iommu_common cimport SparcIommuOps, iommu_map_table

cdef enum:
    PGLIST_NENTS = 1024

cdef class Hypervisor(Walker):
    """The sun4v hypervisor's side: a table of real address and attributes for each of the two windows."""
    cdef readonly Machine machine
    cdef readonly phys_addr_t tsb           # of the legacy window
    cdef readonly u64 base
    cdef readonly u64 entries
    cdef readonly phys_addr_t iotsb         # of the ATU window, 0: the machine has none
    cdef readonly u64 atu_base
    cdef readonly u64 atu_entries
    cdef readonly u64 most                  # entries that one call handles at most
    cdef int fail_countdown

    cdef long map(self, bint atu, u64 entry, u64 npages, u64 attributes, const u64 *pages) except -9999 nogil
    cdef u64 demap(self, bint atu, u64 entry, u64 npages) noexcept nogil

cdef class Sun4vDmaOps(SparcIommuOps):
    cdef readonly u64 dma_addr_mask
    cdef readonly int vpci_major
    cdef readonly Hypervisor hypervisor
    cdef iommu_map_table tbl
    cdef iommu_map_table atu_tbl            # map is NULL without an ATU
    cdef u64 batch_attributes
    cdef u64 batch_entry
    cdef u64 batch_npages
    cdef u64 pglist[PGLIST_NENTS]

    cdef bint use_atu(self, u64 mask) noexcept nogil
    cdef void batch_start(self, int dir, unsigned long attrs, u64 entry) noexcept nogil
    cdef long batch_flush(self, u64 mask) except -9999 nogil
    cdef long batch_add(self, u64 page, u64 mask) except -9999 nogil
    cdef long map_range(self, u64 entry, u64 page, u64 npages, u64 mask) except -9999 nogil
    cdef int demap_range(self, u64 addr, u64 npages) except -9999 nogil
