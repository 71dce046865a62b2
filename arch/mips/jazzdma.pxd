# SPDX-License-Identifier: MIT
"""jazz_dma_ops: the R4030's table of 4096 frames (arch/mips/jazz/jazzdma.c)."""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u32, u64

from dma_ops.device cimport DmaMapOps, Walker
from dma_ops.machine cimport Machine

cdef class R4030(Walker):
    cdef readonly Machine machine
    cdef readonly phys_addr_t trstbl_base       # register: where the table is
    cdef readonly u32 trstbl_lim                # register: its size in bytes

    cdef void trstbl_inv(self) noexcept nogil

cdef class JazzDmaOps(DmaMapOps):
    cdef readonly Machine machine
    cdef R4030 chip

    cdef u32 frame(self, u64 i) noexcept nogil
    cdef u32 owner(self, u64 i) noexcept nogil
    cdef u64 vdma_alloc(self, u64 paddr, u64 size) except? 0xBADBADBADBADBAD nogil
    cdef int vdma_free(self, u64 laddr) except -9999 nogil
    cdef phys_addr_t vdma_log2phys(self, u64 laddr) noexcept nogil
