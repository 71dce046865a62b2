# SPDX-License-Identifier: MIT
"""sun4u_dma_ops: the IOMMUs of UltraSPARC host bridges (arch/sparc/kernel/iommu.c)."""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u32, u64

from dma_ops.device cimport Device, Walker
from dma_ops.machine cimport Machine

from .iommu_common cimport SparcIommuOps, iommu_map_table

cdef class Sun4uIommu(Walker):
    cdef readonly Machine machine
    cdef readonly phys_addr_t tsb       # the TSB base register
    cdef readonly u64 base
    cdef readonly u64 entries

    cdef void flushinv(self) noexcept nogil

cdef class Sun4uDmaOps(SparcIommuOps):
    cdef readonly bint strbuf_enabled   # the chip has a streaming cache
    cdef readonly bint ctxflush         # the chip has contexts
    cdef readonly u64 dma_addr_mask
    cdef readonly phys_addr_t dummy_page
    cdef Sun4uIommu chip
    cdef iommu_map_table tbl
    cdef u64 *ctx_bitmap
    cdef u64 ctx_lowest_free
    cdef u64 sg_protection

    cdef u64 iopte(self, u64 entry) noexcept nogil
    cdef void write_range(self, u64 entry, u64 npages, phys_addr_t paddr, u64 protection) noexcept nogil
    cdef int make_dummy(self, u64 entry, u64 npages) except -9999 nogil
    cdef u64 alloc_ctx(self) noexcept nogil
    cdef void free_ctx(self, u64 ctx) noexcept nogil
    cdef u64 ctx_of(self, u64 bus_addr) except? 0xBADBADBADBADBAD nogil
    cdef u64 protection(self, u64 ctx, int dir) noexcept nogil
    cdef int strbuf_flush(self, u64 bus_addr, u64 ctx, u64 npages, int dir) except -9999 nogil
