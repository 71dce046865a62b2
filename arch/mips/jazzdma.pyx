# SPDX-License-Identifier: MIT
"""jazz_dma_ops: the R4030's table of 4096 frames (arch/mips/jazz/jazzdma.c)."""

from libc.errno cimport EIO, ENOMEM

from scatterlist.core cimport scatterlist, sg_next, sg_phys
from scatterlist.types cimport page_t

from dma_ops.device cimport (
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_BIDIRECTIONAL,
    DMA_MAPPING_ERROR,
    OP_ALLOC,
    OP_ALLOC_PAGES,
    OP_FREE,
    OP_FREE_PAGES,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_MMAP,
    OP_SYNC_SG_FOR_CPU,
    OP_SYNC_SG_FOR_DEVICE,
    OP_SYNC_SINGLE_FOR_CPU,
    OP_SYNC_SINGLE_FOR_DEVICE,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    WALK_OK,
    WALK_OUT_OF_RANGE,
    Device,
    is_dma_error,
)
from dma_ops.iotlb cimport Iotlb
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport dma_common_alloc_pages, dma_common_free_pages, get_order

cdef enum:
    VDMA_SHIFT = 12
    VDMA_PAGESIZE = 1 << VDMA_SHIFT
    VDMA_PGTBL_ENTRIES = 4096
    VDMA_ENTRY_SIZE = 8                         # u32 frame, u32 owner, in the CPU's byte order
    VDMA_PAGE_EMPTY = 0xff000000                # owner of a free entry
    VDMA_MAX_PADDR = 0x1fffffff                 # only the start of a buffer is held against it
    VDMA_MAX_SIZE = 0x400000


cdef class R4030(Walker):
    """The chip: a frame per 4 KiB of logical space, no valid bit, no protection; only the limit register can refuse."""

    def __cinit__(self):
        self.iotlb = Iotlb(VDMA_SHIFT)

    cdef void trstbl_inv(self) noexcept nogil:
        """A write of the invalidate register."""
        self.iotlb.invalidate_all()

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 entry = (addr >> VDMA_SHIFT) * VDMA_ENTRY_SIZE
        if entry >= self.trstbl_lim:
            return WALK_OUT_OF_RANGE
        phys[0] = self.machine.mem.read32(self.trstbl_base + entry, self.machine.big_endian)
        phys[0] |= addr & (VDMA_PAGESIZE - 1)
        run[0] = VDMA_PAGESIZE - (addr & (VDMA_PAGESIZE - 1))
        return WALK_OK


cdef class JazzDmaOps(DmaMapOps):
    """MIPS Jazz (Acer PICA-61, Magnum 4000, Olivetti M700): 16 MiB of logical space behind the R4030.

    The table starts as an identity map of the first 16 MiB, all free. Allocation is first-fit from entry 0 every time;
    the end of a buffer counts as exclusive but is rounded as if it were not, so that one that ends on a page boundary
    takes a page more. An entry's owner word holds the logical start address of its mapping, offset included: freeing
    asks for exactly that address and runs while the owner stays the same, whatever the size. Freed entries keep their
    frame, so that a device can reach an unmapped buffer until the entry is used again. Masks, segment limits and
    directions are ignored, nothing merges. Nothing unwinds either: a list that fails leaves what it has mapped.
    """

    def __cinit__(self, Machine machine not None):
        cdef u32 i
        cdef phys_addr_t base
        self.machine = machine
        self.filled = (OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG
                       | OP_SYNC_SINGLE_FOR_CPU | OP_SYNC_SINGLE_FOR_DEVICE | OP_SYNC_SG_FOR_CPU
                       | OP_SYNC_SG_FOR_DEVICE | OP_MMAP | OP_GET_SGTABLE | OP_ALLOC_PAGES | OP_FREE_PAGES)
        base = machine.alloc_table(VDMA_PGTBL_ENTRIES * VDMA_ENTRY_SIZE, VDMA_PAGESIZE)
        self.chip = R4030.__new__(R4030)
        self.chip.machine = machine
        self.chip.trstbl_base = base
        self.chip.trstbl_lim = VDMA_PGTBL_ENTRIES * VDMA_ENTRY_SIZE
        self.walker = self.chip
        for i in range(VDMA_PGTBL_ENTRIES):
            machine.mem.write32(base + i * VDMA_ENTRY_SIZE, i << VDMA_SHIFT, machine.big_endian)
            machine.mem.write32(base + i * VDMA_ENTRY_SIZE + 4, VDMA_PAGE_EMPTY, machine.big_endian)

    def resources(self):
        return {"entries": sum(1 for i in range(VDMA_PGTBL_ENTRIES) if self.owner(i) != VDMA_PAGE_EMPTY)}

    def flush(self):
        """Invalidate the R4030's TLB, as the next mapping does."""
        self.chip.trstbl_inv()

    def table(self):
        """{index: (frame, owner)} of every entry that differs from the initial state."""
        return {i: (self.frame(i), self.owner(i)) for i in range(VDMA_PGTBL_ENTRIES)
                if self.frame(i) != i << VDMA_SHIFT or self.owner(i) != VDMA_PAGE_EMPTY}

    cdef u32 frame(self, u64 i) noexcept nogil:
        return self.machine.mem.read32(self.chip.trstbl_base + i * VDMA_ENTRY_SIZE, self.machine.big_endian)

    cdef u32 owner(self, u64 i) noexcept nogil:
        return self.machine.mem.read32(self.chip.trstbl_base + i * VDMA_ENTRY_SIZE + 4, self.machine.big_endian)

    cdef u64 vdma_alloc(self, u64 paddr, u64 size) except? 0xBADBADBADBADBAD nogil:
        """The logical address, or DMA_MAPPING_ERROR: out of reach, empty, over 4 MiB, or no run of free entries."""
        cdef u64 pages, first = 0, last, i, laddr, entry
        cdef bint big_endian = self.machine.big_endian
        if paddr > VDMA_MAX_PADDR or size == 0 or size > VDMA_MAX_SIZE or self.machine.should_fail(b"entries"):
            return DMA_MAPPING_ERROR
        # an end on a page boundary counts the page behind it: vdma_alloc's VDMA_PAGE(paddr + size)
        pages = ((paddr + size) >> VDMA_SHIFT) - (paddr >> VDMA_SHIFT) + 1
        while True:
            while first < VDMA_PGTBL_ENTRIES and self.owner(first) != VDMA_PAGE_EMPTY:
                first += 1
            if first + pages > VDMA_PGTBL_ENTRIES:
                return DMA_MAPPING_ERROR
            last = first + 1
            while last - first < pages and self.owner(last) == VDMA_PAGE_EMPTY:
                last += 1
            if last - first == pages:
                break
            first = last + 1
        laddr = (first << VDMA_SHIFT) | (paddr & (VDMA_PAGESIZE - 1))
        paddr &= ~<u64>(VDMA_PAGESIZE - 1)
        for i in range(first, last):
            entry = self.chip.trstbl_base + i * VDMA_ENTRY_SIZE
            self.machine.mem.write32(entry, <u32>paddr, big_endian)
            self.machine.mem.write32(entry + 4, <u32>laddr, big_endian)
            paddr += VDMA_PAGESIZE
        self.chip.trstbl_inv()                  # vdma_free() does without: the next mapping does it
        return laddr

    cdef int vdma_free(self, u64 laddr) except -9999 nogil:
        """Free the entries from laddr's on that laddr owns; -1 if the first is not its own. Frames stay."""
        cdef u64 i = laddr >> VDMA_SHIFT
        if i >= VDMA_PGTBL_ENTRIES or self.owner(i) != laddr:
            self.machine.warn(b"vdma_free: trying to free other's dma pages")
            return -1
        while i < VDMA_PGTBL_ENTRIES and self.owner(i) == laddr:
            self.machine.mem.write32(self.chip.trstbl_base + i * VDMA_ENTRY_SIZE + 4, VDMA_PAGE_EMPTY,
                                     self.machine.big_endian)
            i += 1
        return 0

    cdef phys_addr_t vdma_log2phys(self, u64 laddr) noexcept nogil:
        return self.frame(laddr >> VDMA_SHIFT) + (laddr & (VDMA_PAGESIZE - 1))

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        if not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            self.machine.sync_for_device(page + offset, size, dir)
        return self.vdma_alloc(page + offset, size)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        if not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            self.machine.sync_for_cpu(self.vdma_log2phys(addr), size, dir)
        self.vdma_free(addr)
        return 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _
        for _ in range(nents):
            if not attrs & DMA_ATTR_SKIP_CPU_SYNC:
                self.machine.sync_for_device(sg_phys(sg), sg.length, dir)
            sg.dma_address = self.vdma_alloc(sg_phys(sg), sg.length) & self.machine.dma_addr_mask
            if is_dma_error(dev, sg.dma_address):
                return -EIO                     # jazz_dma_map_sg: entries 0..i-1 stay mapped
            sg.dma_length = sg.length           # one field on MIPS, which has no NEED_SG_DMA_LENGTH
            sg = sg_next(sg)
        return nents

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _
        for _ in range(nents):
            if not attrs & DMA_ATTR_SKIP_CPU_SYNC:
                self.machine.sync_for_cpu(sg_phys(sg), sg.length, dir)
            self.vdma_free(sg.dma_address)
            sg = sg_next(sg)
        return 0

    cdef int sync_single_for_device(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        return self.machine.sync_for_device(self.vdma_log2phys(addr), size, dir)

    cdef int sync_single_for_cpu(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        return self.machine.sync_for_cpu(self.vdma_log2phys(addr), size, dir)

    cdef int sync_sg_for_device(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _
        for _ in range(nents):
            self.machine.sync_for_device(sg_phys(sg), sg.length, dir)
            sg = sg_next(sg)
        return 0

    cdef int sync_sg_for_cpu(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _
        for _ in range(nents):
            self.machine.sync_for_cpu(sg_phys(sg), sg.length, dir)
            sg = sg_next(sg)
        return 0

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef unsigned int order = get_order(size, self.machine.page_shift)
        cdef phys_addr_t page = self.machine.alloc_pages(order, PHYS_NONE)
        if page == PHYS_NONE:
            return -ENOMEM
        size = (size + self.machine.page_size - 1) & ~(self.machine.page_size - 1)
        dma_handle[0] = self.vdma_alloc(page, size)
        if is_dma_error(dev, dma_handle[0]):
            self.machine.free_pages(page, order)
            return -ENOMEM
        self.machine.sync_for_device(page, size, DMA_BIDIRECTIONAL)
        self.machine.set_uncached(page, size, True)
        cpu_addr[0] = page                      # stands for the uncached alias of these pages, which Linux answers
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        self.vdma_free(dma_handle)
        size = (size + self.machine.page_size - 1) & ~(self.machine.page_size - 1)
        self.machine.set_uncached(cpu_addr, size, False)
        return self.machine.free_pages(cpu_addr, get_order(size, self.machine.page_shift))

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return dma_common_alloc_pages(self, dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return dma_common_free_pages(self, dev, size, page, dma_handle, dir)
