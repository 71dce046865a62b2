# SPDX-License-Identifier: MIT
"""The I/O controller of HP's zx1 and sx1000 families, the hardware's side.

A bus address that equals IBASE under IMASK is translated; every other one is a physical address (bypass). An entry is
a 64-bit little-endian word: bit 63 valid, bits 39..12 the frame, of which the bits below the page size do not count.
There are no permission bits.
"""

from dma_ops.device cimport WALK_NOT_PRESENT, WALK_OK, Device
from dma_ops.iotlb cimport Iotlb
from scatterlist.types cimport dma_addr_t, phys_addr_t

PDIR_VALID = <u64>1 << 63
cdef u64 FRAME = 0x000000fffffff000u

PAGE_SHIFTS = (12, 13, 14, 16)      # by TCNFG


cdef class Ioc(Walker):
    """The registers IBASE, IMASK, TCNFG and PDIR_BASE, and the table in memory."""

    def __cinit__(self, Machine machine not None, u64 ibase, u64 imask, u64 tcnfg, u64 pdir_base):
        if tcnfg >= len(PAGE_SHIFTS):
            raise ValueError(f"TCNFG has no page size {tcnfg}")
        self.machine = machine
        self.ibase = ibase
        self.imask = imask
        self.tcnfg = tcnfg
        self.pdir_base = pdir_base
        self.shift = PAGE_SHIFTS[tcnfg]
        self.iotlb = Iotlb(self.shift)

    cdef void pcom(self, u64 value) noexcept nogil:
        """A write of PCOM, a purge: the address, and in its low bits the number of bits below those that must match."""
        cdef u64 size = <u64>1 << (value & 63)
        self.iotlb.invalidate(value & ~(size - 1), size)

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 in_page = ((<u64>1 << self.shift) - 1), entry, base = self.ibase & ~<u64>1
        if not self.ibase & 1 or (addr & self.imask) != base:
            phys[0] = addr
            # to the window's start, if it lies ahead
            run[0] = base - addr if self.ibase & 1 and addr < base else ~<u64>0 - addr
            return WALK_OK
        entry = self.machine.mem.read64(self.pdir_base + ((addr & ~self.imask) >> self.shift << 3), False)
        if not entry & PDIR_VALID:
            return WALK_NOT_PRESENT
        phys[0] = entry & FRAME & ~in_page | addr & in_page
        run[0] = in_page + 1 - (addr & in_page)
        return WALK_OK
