# SPDX-License-Identifier: MIT
"""s390_pci_dma_ops: the three-level tables of a zPCI function (arch/s390/pci/pci_dma.c)."""

from scatterlist.core cimport scatterlist
from scatterlist.types cimport dma_addr_t, phys_addr_t, u32, u64

from dma_ops.device cimport Device, DmaMapOps, Walker
from dma_ops.machine cimport Machine

cdef class ZpciWalker(Walker):
    cdef readonly Machine machine
    cdef readonly u64 iota          # what the function was registered with: the region table and its flags
    cdef readonly u64 start_dma
    cdef readonly u64 end_dma       # inclusive

    cdef void rpcit(self, u64 addr, u64 size) noexcept nogil

cdef class S390PciDmaOps(DmaMapOps):
    cdef readonly Machine machine
    cdef readonly u64 iommu_pages
    cdef readonly bint strict
    cdef readonly bint tlb_refresh
    cdef ZpciWalker zpci
    cdef phys_addr_t dma_table
    cdef u64 next_bit
    cdef u64 *iommu_bitmap
    cdef u64 *lazy_bitmap           # NULL in strict mode
    cdef int rpcit_countdown
    cdef int rpcit_errno

    cdef int refresh_trans(self, u64 addr, u64 size) except -9999 nogil
    cdef int refresh_global(self) except -9999 nogil
    cdef phys_addr_t new_table(self, u64 size, u64 fill) except? 0xBADBADBADBADBAD nogil
    cdef phys_addr_t walk_cpu_trans(self, u64 addr) except? 0xBADBADBADBADBAD nogil
    cdef int update_cpu_trans(self, phys_addr_t entry, u64 page_addr, u64 flags) except -9999 nogil
    cdef int update_entries(self, u64 pa, u64 addr, u64 size, u64 flags) except -9999 nogil
    cdef int purge_tlb(self, u64 addr, u64 size, u64 flags) except -9999 nogil
    cdef int update_trans(self, u64 pa, u64 addr, u64 size, u64 flags) except -9999 nogil
    cdef void release_lazy(self) noexcept nogil
    cdef dma_addr_t alloc_address(self, Device dev, u64 n) except? 0xBADBADBADBADBAD nogil
    cdef void free_address(self, u64 addr, u64 n) noexcept nogil
    cdef int map_run(self, Device dev, scatterlist *sg, u32 size, dma_addr_t *handle, int dir) except -9999 nogil
