# SPDX-License-Identifier: MIT
"""sba_dma_ops of ia64: HP zx1, zx2, sx1000 and sx2000 (arch/ia64/hp/common/sba_iommu.c, Linux 6.1)."""

from libc.errno cimport EIO, ENOMEM
from libc.stdlib cimport calloc, free as c_free

from dma_ops.device cimport (
    DMA_MAPPING_ERROR,
    OP_ALLOC,
    OP_ALLOC_PAGES,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_FREE_PAGES,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_MMAP,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    Device,
    DmaMapOps,
    dma_get_max_seg_size,
    dma_get_seg_boundary_nr_pages,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iommu_helper cimport bitmap_weight, find_next_zero_bit, iommu_is_span_boundary
from dma_ops.machine cimport PHYS_NONE, Machine
from dma_ops.mapping cimport dma_common_alloc_pages, dma_common_free_pages, get_order
from scatterlist.core cimport scatterlist, sg_next, sg_phys
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, s32, s64, u32, u64

from .ioc cimport PDIR_VALID, Ioc

from .ioc import PAGE_SHIFTS

cdef enum:
    DELAYED_RESOURCE_CNT = 64
    WORD = 64
    PIDE_FLAG = 0x1                         # dma_address holds the index of a stream's first entry
    CHUNK_ENTRIES = 512                     # of the table in 4 KiB of modelled memory

cdef u64 IN_ENTRY = 0x1ffffffffffff000u     # what sba_io_pdir_entry() keeps of an address, whatever the page size
cdef u64 CLEARED = 0x80000000000000ffu      # what sba_mark_invalid() clears
cdef u64 SAC_MASK = 0xffffffffu             # of the fake device that coherent memory is mapped for
cdef u64 COOKIE = 0x0000badbadc0ffeeu       # where the AGP driver's half of the table begins

cdef struct saved_t:
    u64 iova
    u64 size


cdef inline u64 log2_floor(u64 value) noexcept nogil:
    cdef u64 n = 0
    while value > 1:
        value >>= 1
        n += 1
    return n


cdef class SbaOps(DmaMapOps):
    """ia64 zx1: what the device reaches goes untranslated, the rest by powers of two that are freed 64 at a time.

    A single mapping (also a list of one) whose first byte is within the mask gets its physical address. Otherwise the
    request is rounded up to a power of two, because of an erratum: one page takes the lowest clear bit of the first
    word that has one; up to 32 are looked for in steps of their size from res_bitshift on, bits from the right; more
    need whole clear words, and the last place in the map is never tried. Lists join what is adjacent anywhere or meets
    at page borders. An unmapped range stays mapped and taken until 64 have been collected, or until the map is full.
    A list that fails is unwound while its addresses are still flag and index: with a window that does not start at 0
    they look like bypassed ones, and everything leaks.
    """

    cdef readonly Machine machine
    cdef readonly phys_addr_t pdir
    cdef readonly u64 entries               # that the allocator hands out
    cdef readonly u64 ibase
    cdef readonly u64 imask
    cdef readonly unsigned int iovp_shift
    cdef readonly u64 res_hint              # word
    cdef readonly u32 res_bitshift
    cdef readonly int saved_cnt
    cdef readonly bint shift_wraps
    cdef readonly unsigned long commands    # writes of PCOM, and the last one
    cdef readonly u64 last_command
    cdef u64 words
    cdef u64 table_entries
    cdef saved_t saved[DELAYED_RESOURCE_CNT]
    cdef u64 *res_map

    def __cinit__(self, Machine machine not None, u64 window, *, u64 ibase=1 << 30, unsigned int iovp_shift=0,
                  bint agp=False, entries=None, bint shift_wraps=False):
        """window: bytes of bus addresses from ibase on, as firmware chose them. iovp_shift: the page size of the
        table, 0: the CPU's. agp: an AGP device takes the upper half. entries: if the table is smaller. shift_wraps:
        the processor takes a shift's count modulo 64 (Itanium gives 0)."""
        cdef u64 size
        if not window or window & (window - 1) or ibase & (window - 1) or window > 1 << 31:
            raise ValueError(f"a window of {window:#x} bytes at {ibase:#x} is not a power of two at a multiple of it")
        self.machine = machine
        self.iovp_shift = iovp_shift or machine.page_shift
        if self.iovp_shift not in PAGE_SHIFTS:
            raise ValueError(f"unsupported IOTLB page size of {1 << self.iovp_shift} bytes, where Linux panics")
        self.ibase = ibase
        self.imask = ~(window - 1)
        self.shift_wraps = shift_wraps
        self.entries = self.table_entries = window >> self.iovp_shift
        size = 8 * self.entries
        self.pdir = machine.alloc_table(size, max(size, 4096))
        if self.pdir == PHYS_NONE:
            raise MemoryError("no memory for the I/O page table, where Linux panics")
        if agp:
            self.entries //= 2
            machine.mem.write64(self.pdir + 8 * self.entries, COOKIE, False)
        if entries is not None:
            if not 0 < entries <= self.table_entries:
                raise ValueError(f"{entries} table entries for a window of {window} bytes")
            self.entries = entries
        self.words = self.entries // WORD
        self.res_map = <u64 *>calloc(self.words + 1, sizeof(u64))
        if self.res_map == NULL:
            raise MemoryError("no memory for the resource map")
        self.walker = Ioc(machine, ibase | 1, self.imask, PAGE_SHIFTS.index(self.iovp_shift), self.pdir)
        self.filled = (OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG | OP_DMA_SUPPORTED
                       | OP_MMAP | OP_GET_SGTABLE | OP_ALLOC_PAGES | OP_FREE_PAGES)

    def __dealloc__(self):
        c_free(self.res_map)

    def resources(self):
        """{"pages": pages of bus addresses that are taken, "delayed": unmapped ranges that still are}."""
        return {"pages": bitmap_weight(self.res_map, self.entries), "delayed": self.saved_cnt}

    def flush(self):
        """Invalidate and free what waits for the 64th unmapping."""
        self.free_saved()

    def table(self):
        """{index: entry} of the valid entries."""
        cdef u64 i = 0, entry
        cdef dict found = {}
        while i < self.entries:
            if self.machine.mem.chunk(self.pdir + 8 * i, False) == NULL:
                i |= CHUNK_ENTRIES - 1
            else:
                entry = self.machine.mem.read64(self.pdir + 8 * i, False)
                if entry & PDIR_VALID:
                    found[i] = entry
            i += 1
        return found

    # -- the resource map --------------------------------------------------------------------------------------

    cdef u64 in_page(self) noexcept nogil:
        return (<u64>1 << self.iovp_shift) - 1

    cdef u64 round_up(self, u64 size) noexcept nogil:
        return (size + self.in_page()) & ~self.in_page()

    cdef u64 pow2_pages(self, u64 size) noexcept nogil:
        """size bytes in pages, rounded up to a power of two as get_iovp_order() does it: 0 wraps to all there is."""
        cdef s64 order = <s64>log2_floor(size - 1) - self.iovp_shift + 1
        return <u64>1 << order if order > 0 else 1

    cdef u64 shl(self, u64 value, u64 n) noexcept nogil:
        """value << n as the processor does it."""
        return 0 if n >= WORD and not self.shift_wraps else value << (n & (WORD - 1))

    cdef bint all_clear(self, u64 word, u64 n) noexcept nogil:
        cdef u64 i
        for i in range(word, word + n):
            if self.res_map[i]:
                return False
        return True

    cdef u64 search(self, u64 pages, u64 boundary, bint use_hint) except? 0xBADBADBADBADBAD nogil:
        """Take a power of two of bits for pages: the index of the first, or all ones (sba_search_bitmap)."""
        cdef u64 word, first, n, mask, base_mask, shift = self.ibase >> self.iovp_shift
        cdef s64 last
        cdef s32 qwords
        cdef u32 bit
        if not use_hint:
            self.res_hint = 0
            self.res_bitshift = 0
        word = self.res_hint
        n = self.pow2_pages(pages << self.iovp_shift)
        if n == 1:
            first = find_next_zero_bit(self.res_map, self.entries, word * WORD)
            if first < self.entries:
                self.res_map[first // WORD] |= <u64>1 << (first % WORD)
                self.res_hint = first // WORD
                self.res_bitshift = first % WORD + 1
                return first
        elif n <= WORD // 2:
            bit = (self.res_bitshift + n - 1) & ~(n - 1)
            base_mask = (<u64>1 << n) - 1
            mask = self.shl(base_mask, bit)
            while word < self.words:
                while mask:
                    first = word * WORD + bit
                    if not self.res_map[word] & mask and not iommu_is_span_boundary(first, n, shift, boundary):
                        self.res_map[word] |= mask
                        self.res_hint = word
                        self.res_bitshift = bit + n
                        return first
                    mask <<= n
                    bit += n
                bit = 0
                mask = base_mask
                word += 1
        else:
            qwords = <s32>(n // WORD)       # 0 for no pages at all: n has wrapped to more than an int holds
            last = <s64>self.words - qwords
            while <s64>word < last:         # the place that ends with the map is left out
                # nr is an unsigned int
                if (not iommu_is_span_boundary(word * WORD, <u32>n, shift, boundary)
                        and self.all_clear(word, qwords)):
                    for first in range(word, word + qwords):
                        self.res_map[first] = ~<u64>0
                    self.res_hint = word + qwords
                    self.res_bitshift = 0
                    return word * WORD
                word += 1
        self.res_hint = 0
        self.res_bitshift = 0
        return ~<u64>0

    cdef s64 alloc_range(self, u64 size, u64 boundary) except? -9998 nogil:
        """The index of the first of size bytes' pages, or -1. A full map empties the list of delayed frees."""
        cdef u64 pages = <u32>(size >> self.iovp_shift), found
        if self.machine.should_fail(b"entries"):
            return -1
        found = self.search(pages, boundary, True)
        if found >= self.entries:
            found = self.search(pages, boundary, False)
        if found >= self.entries:
            self.free_saved()
            found = self.search(pages, boundary, False)
        if found >= self.entries:
            self.machine.warn(b"sba_alloc_range: I/O MMU is out of mapping resources")
            return -1
        return found

    cdef void free_range(self, u64 iova, u64 size) noexcept nogil:
        cdef u32 index = <u32>((iova & ~self.ibase) >> self.iovp_shift)
        cdef u64 word = index // WORD
        cdef s32 n = <s32>self.pow2_pages(size)
        while n > 0 and word < self.words:  # beyond the map Linux goes on clearing
            if n > WORD:
                self.res_map[word] = 0
                n -= WORD
            else:
                self.res_map[word] &= ~self.shl(~self.shl(~<u64>0, n), index % WORD)
                n = 0
            word += 1

    cdef void free_saved(self) noexcept nogil:
        """Invalidate, then free, the newest first."""
        while self.saved_cnt:
            self.saved_cnt -= 1
            self.mark_invalid(self.saved[self.saved_cnt].iova, self.saved[self.saved_cnt].size)
            self.free_range(self.saved[self.saved_cnt].iova, self.saved[self.saved_cnt].size)

    # -- the table ---------------------------------------------------------------------------------------------

    cdef int fits(self, u64 index, u64 n) except -9999 nogil:
        """Linux goes on behind the table's end; that is the end of the kernel."""
        if n > self.table_entries or index > self.table_entries - n:
            return kernel_bug(b"memory behind the I/O page table is overwritten")
        return 0

    cdef void write_entry(self, u64 index, phys_addr_t phys) noexcept nogil:
        self.machine.mem.write64(self.pdir + 8 * index, phys & IN_ENTRY | PDIR_VALID, False)

    cdef void mark_invalid(self, u64 iova, u64 size) noexcept nogil:
        """Clear valid bit and low byte of each entry (of one, if size is 0), and purge the range."""
        cdef u32 iovp = <u32>(iova & ~self.ibase)
        cdef u64 i, entry, n = size >> self.iovp_shift if size > self.in_page() else 1
        for i in range(iovp >> self.iovp_shift, (iovp >> self.iovp_shift) + n):
            entry = self.machine.mem.read64(self.pdir + 8 * i, False)
            if entry & CLEARED:
                self.machine.mem.write64(self.pdir + 8 * i, entry & ~CLEARED, False)
        self.commands += 1
        self.last_command = (iovp | self.ibase
                             | (log2_floor(self.pow2_pages(n << self.iovp_shift)) + self.iovp_shift))
        (<Ioc>self.walker).pcom(self.last_command)

    # -- single mappings ---------------------------------------------------------------------------------------

    cdef dma_addr_t map_single(self, u64 mask, u64 boundary, phys_addr_t phys,
                               u64 size) except? 0xBADBADBADBADBAD nogil:
        """Only the first byte is compared with the mask: sba_map_page()."""
        cdef u64 offset = phys & self.in_page(), i
        cdef s64 index
        if phys & ~mask == 0:
            return phys
        size = self.round_up(size + offset)
        index = self.alloc_range(size, boundary)
        if index < 0:
            return DMA_MAPPING_ERROR
        self.fits(index, size >> self.iovp_shift)
        for i in range(size >> self.iovp_shift):
            self.write_entry(index + i, phys + (i << self.iovp_shift))
        return self.ibase | <u64>index << self.iovp_shift | offset

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        self.check(dev)
        return self.map_single(dev.dma_mask, dma_get_seg_boundary_nr_pages(dev, self.iovp_shift), page + offset, size)

    cdef int check(self, Device dev) except -9999 nogil:
        if not dev.is_pci:
            return kernel_bug(b"Unable to handle kernel NULL pointer dereference: GET_IOC() of a device off PCI")
        return 0

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        cdef u64 offset = addr & self.in_page()
        self.check(dev)
        if addr & self.imask != self.ibase:
            return 0                        # bypassed
        self.fits((addr & ~self.imask) >> self.iovp_shift, self.round_up(size + offset) >> self.iovp_shift)
        self.saved[self.saved_cnt].iova = addr ^ offset
        self.saved[self.saved_cnt].size = self.round_up(size + offset)
        self.saved_cnt += 1
        if self.saved_cnt >= DELAYED_RESOURCE_CNT:
            self.free_saved()
        return 0

    # -- coherent memory ---------------------------------------------------------------------------------------

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        """0 or -ENOMEM. If it is the mapping that fails, the pages leak: sba_alloc_coherent()."""
        cdef phys_addr_t page
        self.check(dev)
        page = self.machine.alloc_pages(get_order(size, self.machine.page_shift), PHYS_NONE)
        if page == PHYS_NONE:
            return -ENOMEM
        if page & ~dev.coherent_dma_mask == 0:
            dma_handle[0] = page
        else:
            # for a fake device, 32 bits wide and without dma_parms: its boundary is all ones
            dma_handle[0] = self.map_single(SAC_MASK, (~<u64>0 >> self.iovp_shift) + 1, page, size)
            if dma_handle[0] == DMA_MAPPING_ERROR:
                return -ENOMEM
        cpu_addr[0] = page
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        self.unmap_page(dev, dma_handle, size, 0, 0)
        return self.machine.free_pages(cpu_addr, get_order(size, self.machine.page_shift))

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return dma_common_alloc_pages(self, dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return dma_common_free_pages(self, dev, size, page, dma_handle, dir)

    # -- lists -------------------------------------------------------------------------------------------------

    cdef int coalesce_chunks(self, Device dev, scatterlist *sgl, int nents) except -9999 nogil:
        """Streams with their ranges allocated, each adjacent part's length in its first entry; -1 if one finds none.

        A part's length is left in whatever entry began it, the one that ended the stream included.
        """
        cdef scatterlist *sg = sgl
        cdef scatterlist *head
        cdef scatterlist *part
        cdef u64 length, part_length, part_end, offset, limit = WORD << self.iovp_shift
        cdef u64 max_seg = dma_get_max_seg_size(dev)
        cdef s64 index
        cdef int streams = 0
        while nents > 0:
            head = part = sg
            length = part_length = sg.length
            part_end = sg_phys(sg) + sg.length
            offset = sg_phys(sg) & self.in_page()
            sg.dma_address = 0
            sg.dma_length = 0
            while True:
                sg = sg_next(sg)
                nents -= 1
                if nents <= 0:
                    break
                sg.dma_address = 0
                sg.dma_length = 0
                if self.round_up(length + offset + sg.length) > limit or length + sg.length > max_seg:
                    break
                if sg_phys(sg) == part_end:
                    part_length += sg.length
                    part_end += sg.length
                    length += sg.length
                    continue
                part.dma_length = part_length
                part = sg
                part_length = sg.length
                if (part_end | sg_phys(sg)) & self.in_page():
                    break
                part_end = sg_phys(sg) + part_length
                length += part_length
            part.dma_length = part_length
            index = self.alloc_range(self.round_up(length + offset),
                                     dma_get_seg_boundary_nr_pages(dev, self.iovp_shift))
            if index < 0:
                head.dma_length = 0
                return -1
            # the flag takes the lowest bit of the offset
            head.dma_address = PIDE_FLAG | <u64>index << self.iovp_shift | offset
            streams += 1
        return streams

    cdef int fill_pdir(self, scatterlist *sgl, int nents) except -9999 nogil:
        """Fill in the streams' entries and move the results to the front."""
        cdef scatterlist *sg = sgl
        cdef scatterlist *out = sgl
        cdef phys_addr_t phys
        cdef u64 index = 0, offset = 0
        cdef s32 left
        cdef u32 pide
        cdef int _i, streams = 0
        for _i in range(nents):
            left = sg.dma_length
            sg.dma_length = 0
            if sg.dma_address & PIDE_FLAG:
                pide = <u32>(sg.dma_address & ~<u64>PIDE_FLAG)
                offset = pide & self.in_page()
                sg.dma_address = 0
                if streams:
                    out = sg_next(out)
                out.dma_address = pide | self.ibase
                index = pide >> self.iovp_shift
                streams += 1
            if left:
                phys = sg_phys(sg)
                out.dma_length += left
                left = <s32>self.round_up(left + offset)
                offset = 0
                self.fits(index, <u64>max(left, 1) >> self.iovp_shift)
                while True:
                    self.write_entry(index, phys)
                    phys += <u64>1 << self.iovp_shift
                    left -= 1 << self.iovp_shift
                    index += 1
                    if left <= 0:
                        break
            sg = sg_next(sg)
        return streams

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        """Segments, or -EIO (one entry), -ENOMEM (several). Only a list of one may bypass."""
        self.check(dev)
        if nents == 1:
            sgl.dma_length = sgl.length
            sgl.dma_address = self.map_page(dev, sg_phys(sgl), 0, sgl.length, dir, attrs)
            return -EIO if sgl.dma_address == DMA_MAPPING_ERROR else 1
        if self.coalesce_chunks(dev, sgl, nents) < 0:
            self.unmap_sg(dev, sgl, nents, dir, attrs)
            return -ENOMEM
        return self.fill_pdir(sgl, nents)

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        while nents > 0 and sg.dma_length:
            self.unmap_page(dev, sg.dma_address, sg.dma_length, dir, attrs)
            sg = sg_next(sg)
            nents -= 1
        return 0

    # -- masks -------------------------------------------------------------------------------------------------

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        return mask & 0xffffffffu == 0xffffffffu
