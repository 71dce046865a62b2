# SPDX-License-Identifier: MIT
"""Alpha PCI host bridges: the inbound window registers and the page-table entry."""

from dma_ops.device cimport Walker
from dma_ops.machine cimport Machine
from scatterlist.types cimport u64

cdef enum:
    PAGE_SHIFT = 13
    PAGE_SIZE = 1 << PAGE_SHIFT
    PTE_VALID = 0x1             # bits 1 and up: the page frame number
    PTE_INVALID = 0x2           # allocated, not yet filled in (IOMMU_INVALID_PTE)
    PTE_RESERVED = 0xface       # set aside for AGP (IOMMU_RESERVED_PTE); bit 0 is clear
    NR_WINDOWS = 4

cdef struct pci_window:
    u64 wbase                   # bits 31..20: base; enable and scatter-gather bits as the chip has them
    u64 wmask                   # bits 31..20: size - 1
    u64 tbase                   # direct: physical address of the window's start; else of its page table, shifted

cdef class PciWindows(Walker):
    cdef readonly Machine machine
    cdef pci_window regs[NR_WINDOWS]
    cdef readonly u64 enable_bit
    cdef readonly u64 sg_bit
    cdef readonly unsigned int tbase_shift
    cdef readonly u64 dac_base
    cdef readonly u64 dac_size

    cdef void tbia(self) noexcept nogil
    cdef void tbiv(self, u64 value) noexcept nogil
