# SPDX-License-Identifier: MIT
"""Alpha PCI host bridges, the hardware's side: from a bus address through window registers and PTEs to memory.

A 32-bit address is compared with up to four windows. A window is direct, or translates each 8 KiB page by a 64-bit
little-endian PTE: bit 0 valid, from bit 1 on the frame number. There is no permission bit. The chip finds a PTE by
concatenating the table's base and the page's number, it does not add them. A longer address (a dual address cycle)
reaches memory through the monster window if its base bit is set.
"""

from dma_ops.device cimport WALK_NOT_PRESENT, WALK_OK, WALK_OUT_OF_RANGE, Device
from dma_ops.iotlb cimport Iotlb
from scatterlist.types cimport dma_addr_t, phys_addr_t

cdef enum:
    WINDOW_UNIT = 0x100000      # windows begin and end at multiples of 1 MiB
    TBIV_UNIT = 0x10000         # TLBIV: one tag, for eight pages


cdef class PciWindows(Walker):
    """The windows of one host bridge: registers in the chip's format, page tables in memory."""

    def __cinit__(self, Machine machine not None, registers, *, u64 enable_bit, u64 sg_bit, unsigned int tbase_shift=0,
                  u64 dac_base=0, u64 dac_size=0):
        """registers: up to four (wbase, wmask, tbase). dac_size 0: the chip has no window for dual address cycles."""
        cdef int i
        rows = list(registers)
        if len(rows) > NR_WINDOWS:
            raise ValueError(f"{len(rows)} windows, the chip has {NR_WINDOWS}")
        self.machine = machine
        self.iotlb = Iotlb(PAGE_SHIFT)
        self.enable_bit = enable_bit
        self.sg_bit = sg_bit
        self.tbase_shift = tbase_shift
        self.dac_base = dac_base
        self.dac_size = dac_size
        for i, (wbase, wmask, tbase) in enumerate(rows):
            self.regs[i].wbase = wbase
            self.regs[i].wmask = wmask
            self.regs[i].tbase = tbase

    @property
    def registers(self):
        return [(self.regs[i].wbase, self.regs[i].wmask, self.regs[i].tbase) for i in range(NR_WINDOWS)]

    cdef void tbia(self) noexcept nogil:
        """A write of TBIA, whatever the chip calls it."""
        self.iotlb.invalidate_all()

    cdef void tbiv(self, u64 value) noexcept nogil:
        """A write of TLBIV, which Tsunami and Titan have: bits 31..16 of the address, shifted right by 12."""
        self.iotlb.invalidate(value << 12 & <u64>0xffff0000, TBIV_UNIT)

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef int i
        cdef u64 inside, table, pte
        if addr >> 32:
            if addr - self.dac_base >= self.dac_size:
                return WALK_OUT_OF_RANGE
            phys[0] = addr - self.dac_base
            run[0] = self.dac_size - phys[0]
            return WALK_OK
        for i in range(NR_WINDOWS):
            inside = self.regs[i].wmask | (WINDOW_UNIT - 1)
            if not self.regs[i].wbase & self.enable_bit:
                continue
            if (addr ^ self.regs[i].wbase) & <u64>0xfff00000 & ~inside:
                continue
            table = self.regs[i].tbase << self.tbase_shift
            if not self.regs[i].wbase & self.sg_bit:
                phys[0] = (table & ~inside) | (addr & inside)
                run[0] = inside - (addr & inside) + 1
                return WALK_OK
            table = (table & ~(inside >> (PAGE_SHIFT - 3))) | ((addr & inside) >> PAGE_SHIFT) << 3
            pte = self.machine.mem.read64(table, False)
            if not pte & PTE_VALID:
                return WALK_NOT_PRESENT
            phys[0] = (pte & ~<u64>PTE_VALID) << (PAGE_SHIFT - 1) | (addr & (PAGE_SIZE - 1))
            run[0] = PAGE_SIZE - (addr & (PAGE_SIZE - 1))
            return WALK_OK
        return WALK_OUT_OF_RANGE
