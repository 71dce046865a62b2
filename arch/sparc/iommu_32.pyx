# SPDX-License-Identifier: MIT
"""The SBus IOMMU of sun4m and its two tables of callbacks (arch/sparc/mm/iommu.c, arch/sparc/lib/bitext.c)."""

from libc.errno cimport EIO, ENOMEM

from scatterlist.core cimport scatterlist, sg_next, sg_page

from dma_ops.device cimport (
    DMA_BIDIRECTIONAL,
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
    is_dma_error,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iommu_helper cimport (
    bitmap_clear,
    bitmap_free,
    bitmap_set,
    bitmap_zalloc,
    find_next_zero_bit,
    test_bit,
)
from dma_ops.iotlb cimport Iotlb
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport get_order

from .ioport import Dvma

cdef enum:
    PAGE_SHIFT = 12
    PAGE_SIZE = 1 << PAGE_SHIFT
    IOMMU_START = 0xf0000000
    IOMMU_NPTES = 65536             # 256 MiB
    IOMMU_MAX_LEN = 256 * 1024
    IOPTE_PAGE = 0x07ffff00         # PA[30:12]
    IOPTE_CACHE = 0x80
    IOPTE_WRITE = 0x04
    IOPTE_VALID = 0x02
    IOPTE_WAZ = 0x01
    IOPERM = IOPTE_CACHE | IOPTE_WRITE | IOPTE_VALID
    POISON = 0x21212121             # what unmap_sg leaves in dma_address


# -- arch/sparc/lib/bitext.c -----------------------------------------------------------------------------------

cdef int bit_map_string_get(bit_map *t, int len, u64 align) except -9999 nogil:
    """Take len clear bits of the colour align; their offset, or -1.

    A request shorter than the last one restarts at the first free bit, any other goes on behind the last. The colour
    is added to an index that was rounded up, so that an unaligned start skips its own group, and it is lost where the
    search wraps.
    """
    cdef int mask = t.num_colors - 1
    cdef int color = <int>(align & <u64>mask)
    cdef int offset, found, count = 0, i
    if t.num_colors & mask or t.num_colors <= 0 or t.num_colors >= t.size or len <= 0 or len > t.size:
        return kernel_bug(b"kernel BUG at arch/sparc/lib/bitext.c: bit_map_string_get")
    offset = t.first_free if len < t.last_size else t.last_off & ~mask
    while True:
        found = <int>find_next_zero_bit(t.map, t.size, offset)
        found = ((found + mask) & ~mask) + color
        count += found - offset
        offset = found if found < t.size else 0
        if count + len > t.size:
            return -1
        if offset + len > t.size:
            count += t.size - offset
            offset = 0
            continue
        i = 0
        while i < len and not test_bit(t.map, offset + i):
            i += 1
        if i == len:
            break
        count += i + 1
        offset += i + 1
        if offset >= t.size:
            offset = 0
    bitmap_set(t.map, offset, len)
    if offset == t.first_free:
        t.first_free = <int>find_next_zero_bit(t.map, t.size, t.first_free + len)
    t.last_off = offset + len if offset + len < t.size else 0
    t.last_size = len
    t.used += len
    return offset


cdef int bit_map_clear(bit_map *t, int offset, int len) except -9999 nogil:
    """Give bits back; BUG where one of them is clear already, those before it are given back by then."""
    cdef int i
    if t.used < len or offset + len > t.size:
        return kernel_bug(b"kernel BUG at arch/sparc/lib/bitext.c: bit_map_clear of more than is used")
    for i in range(len):
        if not test_bit(t.map, offset + i):
            return kernel_bug(b"kernel BUG at arch/sparc/lib/bitext.c: bit_map_clear of a clear bit")
        bitmap_clear(t.map, offset + i, 1)
    if offset < t.first_free:
        t.first_free = offset
    t.used -= len
    return 0


# -- arch/sparc/mm/iommu.c -------------------------------------------------------------------------------------

cdef class SbusIommu(Walker):
    """The chip: 65536 IOPTEs of 32 bits, big-endian, for the last 256 MiB of bus addresses."""

    def __cinit__(self):
        self.iotlb = Iotlb(PAGE_SHIFT)

    cdef void pgflush(self, u64 addr) noexcept nogil:
        """A write of the page flush register (iommu_invalidate_page)."""
        self.iotlb.invalidate(addr & ~<u64>(PAGE_SIZE - 1), PAGE_SIZE)

    cdef void tlbflush(self) noexcept nogil:
        """A write of the flush register (iommu_invalidate)."""
        self.iotlb.invalidate_all()

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u32 iopte
        if self.machine is None or addr < self.start or (addr - self.start) >> PAGE_SHIFT >= IOMMU_NPTES:
            return WALK_OUT_OF_RANGE
        iopte = self.machine.mem.read32(self.page_table + ((addr - self.start) >> PAGE_SHIFT) * 4, True)
        if not iopte & IOPTE_VALID:
            return WALK_NOT_PRESENT
        if write and not iopte & IOPTE_WRITE:
            return WALK_PERMISSION
        phys[0] = (<u64>(iopte & IOPTE_PAGE) << 4) | (addr & (PAGE_SIZE - 1))
        run[0] = PAGE_SIZE - (addr & (PAGE_SIZE - 1))
        return WALK_OK


cdef class SbusIommuDmaOps(DmaMapOps):
    """What both tables of the SBus IOMMU share: allocator, IOPTEs, unmap, coherent memory.

    viking_mxcc, hypersparc: the CPU's cache snoops, coherent IOPTEs are cacheable. vac_cache_size: HyperSPARC's
    virtually addressed cache, in bytes; the pages of a mapping then keep their colour.
    """

    def __cinit__(self, Machine machine not None, *, bint hypersparc=False, bint viking_mxcc=False,
                  int vac_cache_size=0x40000, dvma=None):
        if machine.page_shift != PAGE_SHIFT or machine.bits != 32 or not machine.big_endian:
            raise ValueError(f"machine {machine.name}: the SBus IOMMU needs a 32-bit big-endian machine of 4 KiB pages")
        self.machine = machine
        self.dvma = Dvma() if dvma is None else dvma
        self.dvma_of = {}
        self.filled = OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG
        self.usemap.map = bitmap_zalloc(IOMMU_NPTES)
        if self.usemap.map == NULL:
            raise MemoryError("no memory for the bitmap")
        self.usemap.size = IOMMU_NPTES
        self.usemap.num_colors = vac_cache_size >> PAGE_SHIFT if hypersparc else 1
        self.ioperm_noc = IOPTE_WRITE | IOPTE_VALID
        if viking_mxcc or hypersparc:
            self.ioperm_noc |= IOPTE_CACHE
        self.chip = SbusIommu.__new__(SbusIommu)
        self.chip.machine = machine
        self.chip.start = IOMMU_START
        self.chip.page_table = machine.alloc_table(IOMMU_NPTES * 4, IOMMU_NPTES * 4)
        self.walker = self.chip

    def __dealloc__(self):
        bitmap_free(self.usemap.map)

    def resources(self):
        return {"iopte slots": self.usemap.used, "dvma": sum(self.dvma.busy.values())}

    def table(self):
        """{index: IOPTE} of the entries that are not 0."""
        cdef u64 i
        return {i: self.machine.mem.read32(self.chip.page_table + i * 4, True) for i in range(IOMMU_NPTES)
                if self.machine.mem.read32(self.chip.page_table + i * 4, True)}

    def preset(self, *, last_off=None, fill=()):
        """Put the allocator into a state: where its next search begins, and (start, n) ranges that are taken."""
        if last_off is not None:
            if not 0 <= last_off < IOMMU_NPTES:
                raise ValueError(f"last_off {last_off} is not within the {IOMMU_NPTES} slots of the IOMMU")
            self.usemap.last_off = last_off
        for start, n in fill:
            if not 0 <= start <= start + n <= IOMMU_NPTES:
                raise ValueError(f"slots {start}..{start + n} are not all within the {IOMMU_NPTES} of the IOMMU")
            bitmap_set(self.usemap.map, start, n)
            self.usemap.used += n

    # what the two tables do differently: the CPU's cache before a mapping
    cdef int flush_for_list(self) except -9999 nogil:
        return 0

    cdef int flush_for_pages(self, page_t page, u64 offset, u64 size) except -9999 nogil:
        return 0

    cdef dma_addr_t map_one(self, Device dev, page_t page, u64 offset, u64 size) except? 0xBADBADBADBADBAD nogil:
        cdef phys_addr_t paddr = page + offset
        cdef u64 off = paddr & (PAGE_SIZE - 1)
        cdef u64 npages = (off + size + PAGE_SIZE - 1) >> PAGE_SHIFT
        cdef u64 pfn = paddr >> PAGE_SHIFT
        cdef u64 i
        cdef int index
        if size == 0 or size > IOMMU_MAX_LEN or self.machine.should_fail(b"entries"):
            return DMA_MAPPING_ERROR
        self.flush_for_pages(page, offset, size)
        index = bit_map_string_get(&self.usemap, <int>npages, pfn)
        if index < 0:
            kernel_bug(b"Kernel panic: iommu out")
        for i in range(npages):
            self.machine.mem.write32(self.chip.page_table + (index + i) * 4,
                                     (<u32>((pfn + i) << 8) & IOPTE_PAGE | IOPERM) & ~<u32>IOPTE_WAZ, True)
            self.chip.pgflush(self.chip.start + ((index + i) << PAGE_SHIFT))
        return self.chip.start + (<u64>index << PAGE_SHIFT) + off

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        self.flush_for_list()               # before the length is looked at
        return self.map_one(dev, page, offset, size)

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _
        self.flush_for_list()
        for _ in range(nents):
            sg.dma_address = self.map_one(dev, sg_page(sg), sg.offset, sg.length) & self.machine.dma_addr_mask
            if is_dma_error(dev, sg.dma_address):
                return -EIO                 # __sbus_iommu_map_sg: entries 0..i-1 stay mapped
            sg.dma_length = sg.length
            sg = sg_next(sg)
        return nents

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        cdef u64 npages = ((addr & (PAGE_SIZE - 1)) + size + PAGE_SIZE - 1) >> PAGE_SHIFT
        cdef u64 index, i
        if (addr & ~<u64>(PAGE_SIZE - 1)) < self.chip.start:
            return kernel_bug(b"kernel BUG at arch/sparc/mm/iommu.c: busa < iommu->start")
        index = (addr - self.chip.start) >> PAGE_SHIFT
        if index + npages > IOMMU_NPTES:
            return kernel_bug(b"sbus_iommu_unmap_page: write beyond the table")
        for i in range(npages):
            self.machine.mem.write32(self.chip.page_table + (index + i) * 4, 0, True)
            self.chip.pgflush(self.chip.start + ((index + i) << PAGE_SHIFT))
        return bit_map_clear(&self.usemap, <int>index, <int>npages)

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _
        for _ in range(nents):
            self.unmap_page(dev, sg.dma_address, sg.length, dir, attrs)
            sg.dma_address = POISON
            sg = sg_next(sg)
        return 0

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef u64 i, dvma
        cdef phys_addr_t page
        cdef unsigned int order
        cdef int index
        if size == 0 or size > IOMMU_MAX_LEN:
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
        index = bit_map_string_get(&self.usemap, <int>(size >> PAGE_SHIFT), dvma >> PAGE_SHIFT)
        if index < 0:
            return kernel_bug(b"Kernel panic: iommu out")
        self.machine.sync_for_device(page, size, DMA_BIDIRECTIONAL)
        for i in range(size >> PAGE_SHIFT):
            self.machine.mem.write32(self.chip.page_table + (index + i) * 4,
                                     <u32>(((page >> PAGE_SHIFT) + i) << 8) & IOPTE_PAGE | self.ioperm_noc, True)
        self.chip.tlbflush()
        with gil:
            self.dvma_of[page] = dvma
        dma_handle[0] = self.chip.start + (<u64>index << PAGE_SHIFT)
        cpu_addr[0] = page          # Linux answers the DVMA address; this is the same memory's linear alias
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        """The size is not rounded: BUG unless it is a multiple of a page. The pages leak: sbus_iommu_free looks for
        them at the DVMA address, which is no linear address, and gives back some other page."""
        cdef u64 index = (dma_handle - self.chip.start) >> PAGE_SHIFT
        cdef u64 i
        with gil:
            dvma = self.dvma_of.get(cpu_addr)
            if dvma is None or not self.dvma.free(dvma, size):
                self.machine.dmesg.append("sparc_dma_free_resource: cannot free")
                return 0
            del self.dvma_of[cpu_addr]
        if (dma_handle | size) & (PAGE_SIZE - 1):
            return kernel_bug(b"kernel BUG at arch/sparc/mm/iommu.c: (len & ~PAGE_MASK) != 0")
        for i in range(size >> PAGE_SHIFT):
            self.machine.mem.write32(self.chip.page_table + (index + i) * 4, 0, True)
        self.chip.tlbflush()
        bit_map_clear(&self.usemap, <int>index, <int>(size >> PAGE_SHIFT))
        return self.machine.warn(b"BUG: Bad page state: sbus_iommu_free frees virt_to_page() of a DVMA address")


cdef class SbusIommuDmaGflushOps(SbusIommuDmaOps):
    """sun4m whose CPU flushes for DMA globally (HyperSPARC, TurboSPARC, Tsunami, Viking with MXCC).

    256 MiB of DVMA from 0xf0000000, a bitmap with a rotor: a request shorter than the last one restarts at the first
    free slot, any other goes on behind the last. On HyperSPARC the slot has the colour of the page, so that the
    virtually addressed cache snoops right; the colour is lost where the search wraps. IOPTEs always allow reads and
    writes. Lists never merge; an empty entry or one over 256 KiB fails the list, and what came before it stays mapped.
    unmap_sg writes 0x21212121 over each dma_address. The last byte of the window has the address that means an error.
    One cache flush precedes each call, even one that is then refused. Masks and segment limits are ignored.
    """


cdef class SbusIommuDmaPflushOps(SbusIommuDmaOps):
    """sun4m whose CPU flushes for DMA page by page (Swift; Viking without MXCC).

    Allocator, IOPTEs, unmap and coherent memory are those of the gflush table; only the two map callbacks differ: each
    page of the buffer is flushed on its own, after the length was looked at, so that a refused request flushes nothing.
    """

    cdef int flush_for_pages(self, page_t page, u64 offset, u64 size) except -9999 nogil:
        cdef u64 inside = (page + offset) & (PAGE_SIZE - 1)
        cdef u64 start = page + offset - inside
        for _ in range((inside + size + PAGE_SIZE - 1) // PAGE_SIZE):
            self.machine.sync_for_device(start, PAGE_SIZE, DMA_BIDIRECTIONAL)
            start += PAGE_SIZE
        return 0
