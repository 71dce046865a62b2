# SPDX-License-Identifier: MIT
"""Translation entries of powerpc's bus bridges as data, and the hardware that decodes them."""

from dma_ops.device cimport Walker
from dma_ops.machine cimport Machine
from scatterlist.types cimport phys_addr_t, u64

cdef struct tce_format:
    unsigned int size           # bytes of one entry, big-endian in memory whatever the CPU is
    u64 prot[3]                 # bits that go with each DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE
    u64 weak                    # bits that DMA_ATTR_WEAK_ORDERING takes away
    u64 read                    # what a device's read needs
    u64 write                   # what a device's write needs
    u64 rpn_mask                # the frame: (phys >> rpn_shift) & rpn_mask
    unsigned int rpn_shift

cdef const tce_format *find_format(str name) except NULL

cdef inline u64 read_tce(Machine m, phys_addr_t base, u64 index, unsigned int size) noexcept nogil:
    return m.mem.read64(base + index * 8, True) if size == 8 else m.mem.read32(base + index * 4, True)

cdef struct tce_window:         # one window of a bridge: registers
    u64 base                    # first bus address
    u64 size                    # bytes
    unsigned int page_shift
    phys_addr_t table           # entry of the window's first page; PASS_THROUGH: no table, phys = addr - base
    const tce_format *format

cdef enum:
    NR_WINDOWS = 2

cdef u64 PASS_THROUGH

cdef class TceWalker(Walker):
    cdef Machine machine
    cdef tce_window windows[NR_WINDOWS]
    cdef int set_window(self, int number, u64 base, u64 size, unsigned int page_shift, phys_addr_t table,
                        const tce_format *format) noexcept nogil
