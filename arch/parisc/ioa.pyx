# SPDX-License-Identifier: MIT
"""HP I/O adapters, the hardware's side: U2/Uturn (ccio) and Astro, Ike, REO, Pluto (sba).

Both find an entry of 8 bytes by the bus address's page number. Neither has permission bits. The virtual index in an
entry only tells which lines of the CPU's cache to snoop, so it does not take part in finding the memory.
"""

from dma_ops.device cimport WALK_NOT_PRESENT, WALK_OK, WALK_OUT_OF_RANGE, Device
from dma_ops.iotlb cimport Iotlb
from scatterlist.types cimport dma_addr_t, phys_addr_t

cdef enum:
    SHIFT = 12
    SIZE = 1 << SHIFT

SBA_PDIR_VALID = <u64>1 << 63


cdef class IoAdapter(Walker):
    """Base: an adapter with a TLB that takes a command."""

    def __cinit__(self, *args):
        self.iotlb = Iotlb(SHIFT)

    cdef void command(self, u64 value) noexcept nogil:
        """A write of the register through which the kernel purges entries."""


cdef class CcioIoa(IoAdapter):
    """U2 and Uturn: entries are two big-endian words.

    Word 0: physical address bits 51..48, 12 bits of virtual index, bits 47..32. Word 1: bits 31..12, hints, bit 0
    valid. The window starts at 0; its size follows from the chain id mask, the top 8 bits of a bus address within it.
    """

    def __cinit__(self, Machine machine not None, u64 pdir_base, u32 chain_id_mask):
        if pdir_base >> 32:
            raise ValueError(f"io_pdir_base is a 32-bit register, the table is at {pdir_base:#x}")
        self.machine = machine
        self.io_pdir_base = pdir_base
        self.io_chain_id_mask = chain_id_mask

    cdef void command(self, u64 value) noexcept nogil:
        """IO_COMMAND: a purge hits all entries of the chain that the address is in."""
        cdef u64 chain = self.io_chain_id_mask & -self.io_chain_id_mask
        if value & (SIZE - 1) == CMD_TLB_PURGE:
            self.iotlb.invalidate(value & ~(chain - 1), chain)

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 chain = self.io_chain_id_mask & -self.io_chain_id_mask
        cdef u64 entry = self.io_pdir_base + (addr >> SHIFT << 3)
        cdef u32 word0, word1
        if addr >= chain << CCIO_CHAINID_SHIFT:
            return WALK_OUT_OF_RANGE
        word0 = self.machine.mem.read32(entry, True)
        word1 = self.machine.mem.read32(entry + 4, True)
        if not word1 & IOPDIR_VALID:
            return WALK_NOT_PRESENT
        phys[0] = (<u64>(word0 >> 28) << 48 | <u64>(word0 & 0xffff) << 32 | (word1 & ~<u32>(SIZE - 1))
                   | addr & (SIZE - 1))
        run[0] = SIZE - (addr & (SIZE - 1))
        return WALK_OK


cdef class SbaIoc(IoAdapter):
    """Astro, Ike, REO and Pluto: entries are 64-bit little-endian words on a big-endian machine.

    Bit 63 valid, bits 43..12 (Pluto: 39..12) frame, bits 7..0 virtual index. A bus address is translated if it equals
    ibase under imask.
    """

    def __cinit__(self, Machine machine not None, u64 ibase, u64 imask, u64 pdir_base, unsigned int phys_bits):
        self.machine = machine
        self.ibase = ibase
        self.imask = imask
        self.pdir_base = pdir_base
        self.frame_mask = (((<u64>1 << phys_bits) - 1) >> SHIFT) << SHIFT

    cdef void command(self, u64 value) noexcept nogil:
        """IOC_PCOM: the address, and in its low bits the number of bits below those that must match."""
        cdef u64 size = <u64>1 << (value & 63)
        self.iotlb.invalidate(value & ~(size - 1), size)

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 entry
        if not self.ibase & 1 or (addr & self.imask) != self.ibase - 1:
            return WALK_OUT_OF_RANGE
        entry = self.machine.mem.read64(self.pdir_base + ((addr & ~self.imask) >> SHIFT << 3), False)
        if not entry & SBA_PDIR_VALID:
            return WALK_NOT_PRESENT
        phys[0] = entry & self.frame_mask | addr & (SIZE - 1)
        run[0] = SIZE - (addr & (SIZE - 1))
        return WALK_OK
