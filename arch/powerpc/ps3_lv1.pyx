# SPDX-License-Identifier: MIT
"""The hypervisor of the PlayStation 3 as DMA sees it: hypercalls that write IOPTEs, and the bridge that reads them."""

from dma_ops.device cimport WALK_NOT_PRESENT, WALK_OK, WALK_OUT_OF_RANGE, WALK_PERMISSION, Device
from dma_ops.machine cimport PHYS_NONE
from scatterlist.types cimport dma_addr_t

IOPTE_WRITE = 0x8000000000000000
IOPTE_READ = 0x4000000000000000
IOPTE_COHERENT = 0x2000000000000000
IOPTE_ORDER_READ = 0x1000000000000000
IOPTE_ORDER_ALL = 0x1800000000000000
IOPTE_RPN = 0x07fffffffffff000


cdef class LogicalMemory:
    """Where lv1 put a partition's memory. Linux sees one piece; lv1's own (lpar) addresses have a hole in it.

    rm_size: bytes of the real region, at lpar and physical address 0. total: bytes of it and of the second region, at
    lpar r1_base and physical rm_size.
    """

    def __init__(self, *, u64 rm_size=128 << 20, u64 total=256 << 20, u64 r1_base=0x700000000000):
        if not 0 < rm_size <= total:
            raise ValueError(f"a real region of {rm_size:#x} bytes in {total:#x} bytes of memory")
        self.rm_size = rm_size
        self.total = total
        self.r1_base = r1_base
        self.r1_offset = r1_base - rm_size

    cdef u64 phys_to_lpar(self, phys_addr_t phys) noexcept nogil:
        """ps3_mm_phys_to_lpar(): what lies beyond all memory stays as it is."""
        return phys + self.r1_offset if self.rm_size <= phys < self.total else phys


cdef class Lv1Segment(Walker):
    """The bus addresses that lv1 gave one device, and their table.

    The hypercalls answer 0 or lv1's error; a failure can be injected as b"lv1". The bridge reads the table, and lv1's
    own memory map turns the frame into a place in memory.
    """

    def __cinit__(self, Machine machine not None, LogicalMemory memory not None, u64 bus_addr, u64 size,
                  unsigned int page_shift):
        self.machine = machine
        self.memory = memory
        self.bus_addr = bus_addr
        self.size = size
        self.page_shift = page_shift
        self.iopt = machine.alloc_table(max(size >> page_shift, 1) * 8, 4096)
        if self.iopt == PHYS_NONE:
            raise MemoryError("no memory for the IO page table")

    def entries(self):
        """{I/O page number: IOPTE} of all valid entries."""
        cdef dict live = {}
        cdef u64 i, entry, first = 0, n = self.size >> self.page_shift
        while first < n:                            # a chunk of memory, which may never have been written
            if self.machine.mem.chunk(self.iopt + first * 8, False) != NULL:
                for i in range(first, min(first + 512, n)):
                    entry = self.machine.mem.read64(self.iopt + i * 8, True)
                    if entry & (IOPTE_READ | IOPTE_WRITE):
                        live[i] = entry
            first += 512
        return live

    cdef int put_iopte(self, u64 bus, u64 lpar, u64 ioid, u64 flags) noexcept nogil:
        """lv1_put_iopte(): one entry; flags 0 make it invalid."""
        if self.machine.should_fail(b"lv1") or bus - self.bus_addr >= self.size:
            return -1
        return self.machine.mem.write64(self.iopt + ((bus - self.bus_addr) >> self.page_shift) * 8,
                                        flags | (lpar & IOPTE_RPN) | ioid if flags else 0, True)

    cdef int map_region(self, u64 lpar, u64 bus, u64 len, u64 flags) noexcept nogil:
        """lv1_map_device_dma_region(): all pages of [bus, bus + len)."""
        cdef u64 index = (bus - self.bus_addr) >> self.page_shift
        cdef u64 i, pages = (len + (<u64>1 << self.page_shift) - 1) >> self.page_shift
        if self.machine.should_fail(b"lv1") or index + pages > self.size >> self.page_shift:
            return -1
        for i in range(pages):
            self.machine.mem.write64(self.iopt + (index + i) * 8,
                                     flags | ((lpar + (i << self.page_shift)) & IOPTE_RPN), True)
        return 0

    cdef int unmap_region(self, u64 bus, u64 len) noexcept nogil:
        """lv1_unmap_device_dma_region()."""
        cdef u64 index = (bus - self.bus_addr) >> self.page_shift
        cdef u64 i
        if self.machine.should_fail(b"lv1"):
            return -1
        for i in range((len + (<u64>1 << self.page_shift) - 1) >> self.page_shift):
            self.machine.mem.write64(self.iopt + (index + i) * 8, 0, True)
        return 0

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 page = <u64>1 << self.page_shift
        cdef u64 entry, lpar
        if addr - self.bus_addr >= self.size:
            return WALK_OUT_OF_RANGE
        addr -= self.bus_addr
        entry = self.machine.mem.read64(self.iopt + (addr >> self.page_shift) * 8, True)
        if not entry & (IOPTE_READ | IOPTE_WRITE):
            return WALK_NOT_PRESENT
        if not entry & (IOPTE_WRITE if write else IOPTE_READ):
            return WALK_PERMISSION
        run[0] = page - (addr & (page - 1))
        lpar = (entry & IOPTE_RPN) + (addr & (page - 1))
        if lpar < self.memory.rm_size:
            phys[0] = lpar
        elif lpar - self.memory.r1_base < self.memory.total - self.memory.rm_size:
            phys[0] = self.memory.rm_size + (lpar - self.memory.r1_base)
        else:
            return WALK_OUT_OF_RANGE
        return WALK_OK
