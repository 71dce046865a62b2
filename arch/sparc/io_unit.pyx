# SPDX-License-Identifier: MIT
"""iounit_dma_ops: the IO-UNIT of sun4d (arch/sparc/mm/io-unit.c)."""

from libc.errno cimport ENOMEM

from scatterlist.core cimport scatterlist, sg_next, sg_phys
from scatterlist.types cimport page_t

from dma_ops.device cimport (
    DMA_MAPPING_ERROR,
    OP_ALLOC,
    OP_FREE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    WALK_NOT_PRESENT,
    WALK_OK,
    WALK_OUT_OF_RANGE,
    WALK_PERMISSION,
    Device,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iommu_helper cimport (
    bitmap_clear,
    bitmap_free,
    bitmap_set,
    bitmap_weight,
    bitmap_zalloc,
    find_next_zero_bit,
    test_bit,
)
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport get_order

from .ioport import Dvma

cdef enum:
    PAGE_SHIFT = 12
    PAGE_SIZE = 1 << PAGE_SHIFT
    IOUNIT_DMA_BASE = 0xfc000000
    IOUNIT_ENTRIES = 16384
    IOUNIT_MAX_LEN = 256 * 1024
    IOUPTE_PAGE = 0xffffff00        # PA[35:12]
    IOUPTE_CACHE = 0x80
    IOUPTE_WRITE = 0x04
    IOUPTE_VALID = 0x02
    IOPERM = IOUPTE_CACHE | IOUPTE_WRITE | IOUPTE_VALID


cdef class IoUnit(Walker):
    """The chip: 16384 IOPTEs in the external page table, for the last 64 MiB of bus addresses."""

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u32 iopte
        if addr < IOUNIT_DMA_BASE or (addr - IOUNIT_DMA_BASE) >> PAGE_SHIFT >= IOUNIT_ENTRIES:
            return WALK_OUT_OF_RANGE
        iopte = self.machine.mem.read32(self.page_table + ((addr - IOUNIT_DMA_BASE) >> PAGE_SHIFT) * 4, True)
        if not iopte & IOUPTE_VALID:
            return WALK_NOT_PRESENT
        if write and not iopte & IOUPTE_WRITE:
            return WALK_PERMISSION
        phys[0] = (<u64>(iopte & IOUPTE_PAGE) << 4) | (addr & (PAGE_SIZE - 1))
        run[0] = PAGE_SIZE - (addr & (PAGE_SIZE - 1))
        return WALK_OK


cdef class IounitDmaOps(DmaMapOps):
    """SPARCcenter 2000 and SPARCserver 1000 (sun4d): 64 MiB of DVMA behind one IO-UNIT per SBus.

    The bitmap is cut into three regions, for requests of one page, of two, and of more; each has a rotor from which
    the search goes to the region's end and then from its start to the rotor, so that a hole which straddles the rotor
    is not found. A request that finds its region full tries the two others in an order of its own; with all three full
    Linux panics. Every IOPTE allows reads and writes. Unmapping clears bits of the bitmap and nothing else: the IOPTE
    stays valid until its slot is used again. A zero-length list entry at a page's start is given the address behind
    the slot that was found and moves the rotor. Coherent memory lives in the last MiB, and is never freed.
    """

    def __cinit__(self, Machine machine not None, dvma=None):
        if machine.page_shift != PAGE_SHIFT or machine.bits != 32 or not machine.big_endian:
            raise ValueError(f"machine {machine.name}: an IO-UNIT needs a 32-bit big-endian machine of 4 KiB pages")
        self.machine = machine
        self.dvma = Dvma() if dvma is None else dvma
        self.filled = OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG
        self.bmap = bitmap_zalloc(IOUNIT_ENTRIES)
        if self.bmap == NULL:
            raise MemoryError("no memory for the bitmap")
        self.limit[:] = [0, 8192, 12288, 16128]
        self.rotor[:] = [0, 8192, 12288]
        self.chip = IoUnit.__new__(IoUnit)
        self.chip.machine = machine
        self.chip.page_table = machine.alloc_table(IOUNIT_ENTRIES * 4, IOUNIT_ENTRIES * 4)
        self.walker = self.chip

    def __dealloc__(self):
        bitmap_free(self.bmap)

    def resources(self):
        return {"iopte slots": bitmap_weight(self.bmap, IOUNIT_ENTRIES), "dvma": sum(self.dvma.busy.values())}

    def table(self):
        """{index: IOPTE} of every entry that was ever written; unmapping leaves them."""
        cdef u64 i
        return {i: self.machine.mem.read32(self.chip.page_table + i * 4, True) for i in range(IOUNIT_ENTRIES)
                if self.machine.mem.read32(self.chip.page_table + i * 4, True)}

    def preset(self, *, fill=(), rotor=()):
        """Put the allocator into a state: fill is (start, n) ranges to take, rotor is (region, value) pairs."""
        for start, n in fill:
            if not 0 <= start <= start + n <= IOUNIT_ENTRIES:
                raise ValueError(f"slots {start}..{start + n} are not all within the {IOUNIT_ENTRIES} of the IO-UNIT")
            bitmap_set(self.bmap, start, n)
        for region, value in rotor:
            if not (0 <= region < 3 and self.limit[region] <= value < self.limit[region + 1]):
                raise ValueError(f"rotor {value} is not in region {region}")
            self.rotor[region] = value

    cdef dma_addr_t iounit_get_area(self, phys_addr_t vaddr, u64 size) except? 0xBADBADBADBADBAD nogil:
        cdef u64 npages = ((vaddr & (PAGE_SIZE - 1)) + size + PAGE_SIZE - 1) >> PAGE_SHIFT
        cdef u64 scan, limit, rotor, k
        cdef unsigned int order, region
        cdef u32 iopte
        order = 0x231 if npages == 1 else 0x132 if npages == 2 else 0x213     # regions to try, 1-based, low digit first
        while order:
            region = (order & 15) - 1
            order >>= 4
            rotor = scan = self.rotor[region]
            limit = self.limit[region + 1]
            while True:
                scan = find_next_zero_bit(self.bmap, limit, scan)
                if scan + npages > limit:
                    if limit == rotor:
                        break                       # second pass done: next region
                    limit = rotor
                    scan = self.limit[region]
                    continue
                # the first slot is free; an empty request takes none, but the scan has moved past it all the same
                scan += 1
                k = 1
                while k < npages and not test_bit(self.bmap, scan):
                    scan += 1
                    k += 1
                if k < npages:
                    scan += 1
                    continue
                self.rotor[region] = scan if scan < limit else self.limit[region]
                scan -= npages
                iopte = <u32>(((vaddr & ~<u64>(PAGE_SIZE - 1)) >> 4) & IOUPTE_PAGE) | IOPERM
                for k in range(npages):
                    self.machine.mem.write32(self.chip.page_table + (scan + k) * 4, iopte, True)
                    iopte += 0x100
                bitmap_set(self.bmap, scan, npages)
                return IOUNIT_DMA_BASE + (scan << PAGE_SHIFT) + (vaddr & (PAGE_SIZE - 1))
        kernel_bug(b"Kernel panic: iounit_get_area: Couldn't find free iopte slots")
        return DMA_MAPPING_ERROR

    cdef int release(self, dma_addr_t addr, u64 size) except -9999 nogil:
        cdef u64 n = ((addr & (PAGE_SIZE - 1)) + size + PAGE_SIZE - 1) >> PAGE_SHIFT
        cdef u64 first = <u32>(addr - IOUNIT_DMA_BASE) >> PAGE_SHIFT
        if first + n > IOUNIT_ENTRIES:
            return kernel_bug(b"iounit_unmap: clear_bit beyond the bitmap")
        bitmap_clear(self.bmap, first, n)           # the IOPTEs stay, and stay valid
        return 0

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        if size == 0 or size > IOUNIT_MAX_LEN or self.machine.should_fail(b"entries"):
            return DMA_MAPPING_ERROR
        return self.iounit_get_area(page + offset, size)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        return self.release(addr, size)

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _
        for _ in range(nents):                      # no test of lengths here, nothing that can fail but by panic
            sg.dma_address = self.iounit_get_area(sg_phys(sg), sg.length)
            sg.dma_length = sg.length
            sg = sg_next(sg)
        return nents

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _
        for _ in range(nents):
            self.release(sg.dma_address, sg.length)
            sg = sg_next(sg)
        return 0

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef u64 i, dvma
        cdef phys_addr_t page
        cdef unsigned int order
        if size == 0 or size > IOUNIT_MAX_LEN:
            return -ENOMEM
        order = get_order(size, PAGE_SHIFT)
        size = (size + PAGE_SIZE - 1) & ~<size_t>(PAGE_SIZE - 1)
        page = self.machine.alloc_pages(order, PHYS_NONE)
        if page == PHYS_NONE:
            return -ENOMEM
        with gil:
            dvma = self.dvma.alloc(size)
        if dvma == 0:
            self.machine.free_pages(page, order)
            return -ENOMEM
        for i in range(size >> PAGE_SHIFT):
            self.machine.mem.write32(
                self.chip.page_table + (((dvma - IOUNIT_DMA_BASE) >> PAGE_SHIFT) + i) * 4,
                <u32>(((page + (i << PAGE_SHIFT)) >> 4) & IOUPTE_PAGE) | IOPERM, True)
        dma_handle[0] = dvma
        cpu_addr[0] = page          # Linux answers the DVMA address here too; this is the same memory's linear alias
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        return 0                    # iounit_free is empty: pages, DVMA range and IOPTEs all leak
