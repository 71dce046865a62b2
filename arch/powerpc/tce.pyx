# SPDX-License-Identifier: MIT
"""Translation entries of powerpc's bus bridges as data, and the hardware that decodes them.

Formats: arch/powerpc/include/asm/tce.h and platforms/{pseries/iommu,powernv/pci-ioda-tce}.c ("tce"), sysdev/dart.h
("dart"), platforms/pasemi/iommu.c ("pasemi"), asm/cell-regs.h and platforms/cell/iommu.c ("cell"); Linux 6.1.
"""

from dma_ops.device cimport WALK_NOT_PRESENT, WALK_OK, WALK_OUT_OF_RANGE, WALK_PERMISSION, Device
from scatterlist.types cimport dma_addr_t

PASS_THROUGH = ~<u64>0

cdef tce_format TCE, DART, PASEMI, CELL

# pseries writes READ always and WRITE unless TO_DEVICE, powernv READ with each WRITE: the same bits
TCE.size = 8
TCE.prot = [3, 1, 3]
TCE.read = 1
TCE.write = 2
TCE.rpn_mask = ~<u64>0xfff

# no permissions: what is valid may be read and written
DART.size = 4
DART.prot = [0x80000000, 0x80000000, 0x80000000]
DART.read = DART.write = 0x80000000
DART.rpn_mask = 0xffffff
DART.rpn_shift = 12

PASEMI.size = 4
PASEMI.prot = [0x80000000, 0x80000000, 0x80000000]
PASEMI.read = PASEMI.write = 0x80000000
PASEMI.rpn_mask = 0x3fffffff
PASEMI.rpn_shift = 12

# W, R, then M (coherent) and SO_RW (strongly ordered reads and writes); the IO identifier is the table's own
CELL.size = 8
CELL.prot = [0xf800000000000000, 0x7800000000000000, 0xb800000000000000]
CELL.weak = 0x1800000000000000
CELL.read = 0x4000000000000000
CELL.write = 0x8000000000000000
CELL.rpn_mask = 0x07fffffffffff000


cdef const tce_format *find_format(str name) except NULL:
    if name == "tce":
        return &TCE
    if name == "dart":
        return &DART
    if name == "pasemi":
        return &PASEMI
    if name == "cell":
        return &CELL
    raise ValueError(f"no translation entry format is called {name}: tce, dart, pasemi, cell")


cdef class TceWalker(Walker):
    """A host bridge: finds the window of a bus address, reads the entry from memory and checks its permission bits."""

    def __cinit__(self, Machine machine not None):
        self.machine = machine

    cdef int set_window(self, int number, u64 base, u64 size, unsigned int page_shift, phys_addr_t table,
                        const tce_format *format) noexcept nogil:
        self.windows[number].base = base
        self.windows[number].size = size
        self.windows[number].page_shift = page_shift
        self.windows[number].table = table
        self.windows[number].format = format
        return 0

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef tce_window *window
        cdef u64 entry, need, page
        cdef int i
        for i in range(NR_WINDOWS):
            window = &self.windows[i]
            if addr - window.base >= window.size:
                continue
            addr -= window.base
            if window.table == PASS_THROUGH:
                phys[0] = addr
                run[0] = window.size - addr
                return WALK_OK
            entry = read_tce(self.machine, window.table, addr >> window.page_shift, window.format.size)
            if not entry & (window.format.read | window.format.write):
                return WALK_NOT_PRESENT
            need = window.format.write if write else window.format.read
            if not entry & need:
                return WALK_PERMISSION
            page = <u64>1 << window.page_shift
            addr &= page - 1
            phys[0] = (((entry & window.format.rpn_mask) << window.format.rpn_shift) & ~(page - 1)) | addr
            run[0] = page - addr
            return WALK_OK
        return WALK_OUT_OF_RANGE
