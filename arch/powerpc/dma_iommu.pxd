# SPDX-License-Identifier: MIT
"""dma_iommu_ops (arch/powerpc/kernel/dma-iommu.c, Linux 6.1)."""

from dma_ops.device cimport Device, DmaMapOps
from scatterlist.types cimport phys_addr_t, u64

from .iommu cimport IommuTable
from .tce cimport TceWalker

cdef class DirectWindow:
    cdef readonly str rule
    cdef int rule_nr
    cdef readonly u64 base
    cdef readonly unsigned int page_shift
    cdef readonly bint pmem
    cdef readonly u64 memory_max
    cdef IommuTable instead

cdef class DmaIommuOps(DmaMapOps):
    cdef readonly IommuTable tbl            # None: the device has no table
    cdef readonly DirectWindow direct_window
    cdef list tables                        # tbl, and the ones it replaced
    cdef bint enabled                       # the direct window exists
    cdef TceWalker bridge

    cdef int set_table(self, int number, IommuTable tbl)
    cdef u64 mask_of(self, Device dev) noexcept nogil
    cdef bint can_map_direct(self, Device dev, phys_addr_t phys) noexcept nogil
    cdef int bypass_supported(self, Device dev, u64 mask) except -9999 with gil
    cdef int open_ddw(self, Device dev) except -9999
    cdef int open_tve0(self, Device dev) except -9999
