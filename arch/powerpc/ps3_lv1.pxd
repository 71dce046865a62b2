# SPDX-License-Identifier: MIT
"""The hypervisor of the PlayStation 3 as DMA sees it: hypercalls that write IOPTEs, and the bridge that reads them."""

from dma_ops.device cimport Walker
from dma_ops.machine cimport Machine
from scatterlist.types cimport phys_addr_t, u64

# one IOPTE (asm/cell-regs.h): permissions, coherence and order, the frame of logical memory, the IO identifier
cdef enum:
    IOPTE_RPN_SHIFT = 12

cdef u64 IOPTE_WRITE, IOPTE_READ, IOPTE_COHERENT, IOPTE_ORDER_READ, IOPTE_ORDER_ALL, IOPTE_RPN

cdef class LogicalMemory:
    """Where lv1 put a partition's memory: the real region at 0, the rest at r1_base."""
    cdef readonly u64 rm_size               # bytes of the real region
    cdef readonly u64 total                 # bytes of both
    cdef readonly u64 r1_base               # lpar address of the second region
    cdef readonly u64 r1_offset             # lpar - Linux's physical address there, modulo 2^64
    cdef u64 phys_to_lpar(self, phys_addr_t phys) noexcept nogil

cdef class Lv1Segment(Walker):
    """The bus addresses that lv1 gave one device, and their table."""
    cdef readonly Machine machine
    cdef readonly LogicalMemory memory
    cdef readonly u64 bus_addr
    cdef readonly u64 size                  # bytes
    cdef readonly unsigned int page_shift
    cdef readonly phys_addr_t iopt
    cdef int put_iopte(self, u64 bus, u64 lpar, u64 ioid, u64 flags) noexcept nogil
    cdef int map_region(self, u64 lpar, u64 bus, u64 len, u64 flags) noexcept nogil
    cdef int unmap_region(self, u64 bus, u64 len) noexcept nogil
