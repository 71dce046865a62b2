# SPDX-License-Identifier: MIT
"""iounit_dma_ops: the IO-UNIT of sun4d (arch/sparc/mm/io-unit.c)."""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u32, u64

from dma_ops.device cimport DmaMapOps, Walker
from dma_ops.machine cimport Machine

cdef class IoUnit(Walker):
    cdef readonly Machine machine
    cdef readonly phys_addr_t page_table        # the external page table

cdef class IounitDmaOps(DmaMapOps):
    cdef readonly Machine machine
    cdef readonly object dvma
    cdef IoUnit chip
    cdef u64 *bmap
    cdef u64 rotor[3]
    cdef u64 limit[4]

    cdef dma_addr_t iounit_get_area(self, phys_addr_t vaddr, u64 size) except? 0xBADBADBADBADBAD nogil
    cdef int release(self, dma_addr_t addr, u64 size) except -9999 nogil
