# SPDX-License-Identifier: MIT
"""sba_ops of PA-RISC: Astro, Ike, REO and Pluto (drivers/parisc/sba_iommu.c, Linux 6.1)."""

from libc.errno cimport EINVAL
from libc.stdlib cimport calloc, free

from dma_ops.device cimport (
    DMA_MAPPING_ERROR,
    Device,
    dma_get_seg_boundary_nr_pages,
)
from dma_ops.errors cimport kernel_bug, kernel_hang
from dma_ops.iommu_helper cimport iommu_is_span_boundary
from dma_ops.machine cimport Machine
from dma_ops.mapping cimport get_order
from scatterlist.core cimport scatterlist, sg_phys
from scatterlist.types cimport dma_addr_t, phys_addr_t, u32, u64

from .ioa cimport SBA_PDIR_VALID, SbaIoc
from .iommu_helpers cimport IOVP_SHIFT, IOVP_SIZE, L1_CACHE_BYTES, PdirOps

cdef extern int popcountll "__builtin_popcountll"(unsigned long long) noexcept nogil

cdef enum:
    DELAYED_RESOURCE_CNT = 16
    ASTRO_BITS = 44
    PLUTO_BITS = 40
    PIRANHA_ENTRIES = (128 << 10) // 8          # lost to the PA8700's bug where the table is 2 MiB
    PIRANHA_START = (1408 << 10) // 8
    PIRANHA_END = (1536 << 10) // 8

cdef struct saved_t:
    u64 iova
    u64 size


cdef class SbaOps(PdirOps):
    """PA-RISC Astro, Ike, REO, Pluto: a resource map in words, bits from the left, and frees in batches of 16.

    Next-fit by word (res_hint) and bit (res_bitshift, from the most significant one). A request of up to half a word
    is looked for in steps of its power of two, but takes only its own bits; a larger one needs a word that is wholly
    clear; more than a word is undefined in C. An unmapped entry loses its valid byte and is purged at once, its bits
    are cleared with the 16th unmapping; an allocation that finds nothing does not clear them, it panics. Entries are
    little-endian on a big-endian machine and have no permission bits; the direction is ignored.
    """

    cdef readonly u64 words                 # of the resource map
    cdef readonly unsigned int word_bits
    cdef readonly u64 res_hint              # word
    cdef readonly u64 res_bitshift
    cdef readonly int saved_cnt
    cdef u64 word_mask
    cdef u64 iovp_mask
    cdef saved_t saved[DELAYED_RESOURCE_CNT]
    cdef u64 *res_map

    def __cinit__(self, Machine machine not None, u64 window, *, u64 ibase=0, bint pluto=False, entries=None,
                  bint coherence_index=True, bint piranha=False):
        """window: bytes of bus addresses, a power of two from 1 MiB to 2 GiB (see iova_space); ibase: its start, 0
        except on Pluto. entries: if the table is smaller. piranha: a PA8700 before 2.3, which cannot use all of a
        2 MiB table."""
        if not 1 << 20 <= window <= 1 << 31 or window & (window - 1):
            raise ValueError(f"a window of {window} bytes is not a power of two from 1 MiB to 2 GiB")
        if ibase & (window - 1):
            raise ValueError(f"the window's start {ibase:#x} is not a multiple of its size")
        table = window >> IOVP_SHIFT if entries is None else entries
        if not 0 < table <= window >> IOVP_SHIFT:
            raise ValueError(f"{table} table entries for a window of {window} bytes")
        piranha = piranha and table == 1 << 18
        self.setup(machine, table - PIRANHA_ENTRIES if piranha else table, table, coherence_index)
        self.ibase = ibase
        self.word_bits = machine.bits
        self.word_mask = machine.ulong_mask
        self.words = self.entries // self.word_bits
        self.res_hint = L1_CACHE_BYTES * 8 // self.word_bits
        self.iovp_mask = ~((~(window - 1) & 0xffffffffu) + IOVP_SIZE - 1)
        self.res_map = <u64 *>calloc(self.words + 1, sizeof(u64))
        if self.res_map == NULL:
            raise MemoryError("no memory for the resource map")
        if piranha:
            for i in range(PIRANHA_START // self.word_bits, PIRANHA_END // self.word_bits):
                self.res_map[i] = self.word_mask
        self.walker = SbaIoc(machine, ibase | 1, ~(window - 1), self.pdir, PLUTO_BITS if pluto else ASTRO_BITS)

    def __dealloc__(self):
        free(self.res_map)

    @staticmethod
    def iova_space(u64 ram, int iocs=1):
        """The window that sba_ioc_init() chooses: RAM per IOC, rounded up, 1 MiB to 1 GiB. Linux counts each IOC twice,
        whatever the chip: the test that should tell them apart is always true (sba_driver_callback)."""
        cdef u64 size = min(max(ram // (2 * iocs), 1 << 20), 1 << 30)
        return 1 << (int(size) - 1).bit_length()

    def resources(self):
        """{"pages": pages of bus addresses that are taken, "delayed": unmapped ranges that still are}."""
        cdef u64 i, n = 0
        for i in range(self.words):
            n += popcountll(self.res_map[i])
        return {"pages": n, "delayed": self.saved_cnt}

    def flush(self):
        """Free what waits for the 16th unmapping."""
        self.free_saved()

    def table(self):
        """{index: entry} of the valid entries."""
        cdef u64 i = self.next_written(0), entry
        cdef dict found = {}
        while i < self.entries:
            entry = self.machine.mem.read64(self.pdir + 8 * i, False)
            if entry & SBA_PDIR_VALID:
                found[i] = entry
            i = self.next_written(i + 1)
        return found

    # -- the resource map --------------------------------------------------------------------------------------

    # PA-RISC takes a shift's count modulo the word. C leaves counts of a word and more, and negative ones, undefined;
    # requests of no pages and of more than a word get there.

    cdef u64 shr(self, u64 value, u64 n) noexcept nogil:
        return value >> (n & (self.word_bits - 1))

    cdef u64 leftmost(self, u64 n) noexcept nogil:
        """RESMAP_MASK()"""
        return self.word_mask << ((self.word_bits - n) & (self.word_bits - 1)) & self.word_mask

    cdef u64 granule(self, u64 n) noexcept nogil:
        """1 << get_order(n pages) as an int; get_order(0) is 20, or 52, which as a shift of an int is 20."""
        return <u64>1 << (get_order(n << IOVP_SHIFT, IOVP_SHIFT) if n else 20)

    cdef u64 search(self, Device dev, u64 n) except? 0xBADBADBADBADBAD nogil:
        """Take n bits: the index of the first, or all ones (sba_search_bitmap)."""
        cdef u64 word = self.res_hint, found = ~<u64>0, index, mask, step
        cdef u64 boundary = dma_get_seg_boundary_nr_pages(dev, IOVP_SHIFT), shift = self.ibase >> IOVP_SHIFT
        cdef u32 bit
        if n > self.word_bits // 2:
            while word < self.words:
                index = word * self.word_bits
                if not iommu_is_span_boundary(index, n, shift, boundary) and self.res_map[word] == 0:
                    self.res_map[word] = self.leftmost(n)
                    found = index
                    break
                word += 1
            word += 1
            self.res_bitshift = 0
        else:
            step = self.granule(n)
            bit = <u32>((self.res_bitshift + step - 1) & ~(step - 1))
            if bit >= self.word_bits:
                bit = 0
                word += 1
            mask = self.shr(self.leftmost(n), bit)
            while word < self.words:
                index = word * self.word_bits + bit
                if not iommu_is_span_boundary(index, n, shift, boundary) and not self.res_map[word] & mask:
                    self.res_map[word] |= mask
                    found = index
                    break
                if n == 0:
                    kernel_hang(b"sba_search_bitmap: the mask of a zero-length request never moves on")
                mask = self.shr(mask, step)
                bit += step
                if mask == 0:
                    mask = self.leftmost(n)
                    bit = 0
                    word += 1
            self.res_bitshift = bit + n
        if word >= self.words:
            self.res_hint = 0
            self.res_bitshift = 0
        else:
            self.res_hint = word
        return found

    cdef u64 alloc_range(self, Device dev, u64 size) except? 0xBADBADBADBADBAD nogil:
        """The index of the first of size bytes' pages. Ranges that wait to be freed are not freed for it."""
        cdef u64 n = <u32>(size >> IOVP_SHIFT), found = self.search(dev, n)
        if found >= self.entries:
            found = self.search(dev, n)
        if found >= self.entries or self.machine.should_fail(b"entries"):
            kernel_bug(b"Kernel panic - not syncing: sba_iommu.c: I/O MMU is out of mapping resources")
        return found

    cdef u64 iovp(self, u64 iova) noexcept nogil:
        """SBA_IOVP(): 32-bit kernels know no window but the one at 0."""
        return iova & self.iovp_mask if self.machine.bits == 64 else iova

    cdef void free_range(self, u64 iova, u64 size) noexcept nogil:
        cdef u32 index = <u32>(self.iovp(iova) >> IOVP_SHIFT)
        cdef u64 word = index // self.word_bits
        if word < self.words:                   # else Linux clears bits of whatever lies behind the map
            self.res_map[word] &= ~self.shr(self.leftmost(size >> IOVP_SHIFT), index % self.word_bits)

    cdef void free_saved(self) noexcept nogil:
        while self.saved_cnt:
            self.saved_cnt -= 1
            self.free_range(self.saved[self.saved_cnt].iova, self.saved[self.saved_cnt].size)

    # -- the table ---------------------------------------------------------------------------------------------

    cdef void write_entry(self, u64 index, phys_addr_t phys, u64 hint) noexcept nogil:
        cdef u64 entry = phys >> IOVP_SHIFT << IOVP_SHIFT | (self.lci(phys) >> 12) & 0xff | SBA_PDIR_VALID
        self.machine.mem.write64(self.pdir + 8 * index, entry, False)

    cdef int mark_invalid(self, u64 iova, u64 size) except -9999 nogil:
        """Clear the valid byte of each entry (of one, if size is 0) and purge the range by its power of two."""
        cdef u32 iovp = <u32>self.iovp(iova)
        cdef u64 i, n = size >> IOVP_SHIFT if size > IOVP_SIZE else 1
        self.fits(iovp >> IOVP_SHIFT, n)
        for i in range(n):
            self.machine.mem.fill(self.pdir + 8 * ((iovp >> IOVP_SHIFT) + i) + 7, 0, 1)
        self.command(self.ibase | iovp | (get_order(n << IOVP_SHIFT, IOVP_SHIFT) + IOVP_SHIFT))
        return 0

    # -- dma_map_ops -------------------------------------------------------------------------------------------

    cdef dma_addr_t map_single(self, Device dev, phys_addr_t phys, u64 size,
                               int dir) except? 0xBADBADBADBADBAD nogil:
        cdef u64 offset = phys & (IOVP_SIZE - 1), index, i
        if not self.has_ioc:
            return DMA_MAPPING_ERROR
        size = self.align_iovp(size + offset)
        index = self.alloc_range(dev, size)
        self.fits(index, size >> IOVP_SHIFT)
        for i in range(size >> IOVP_SHIFT):
            self.write_entry(index + i, phys + (i << IOVP_SHIFT), 0)
        return self.ibase | index << IOVP_SHIFT | offset

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        cdef u64 offset = addr & (IOVP_SIZE - 1)
        if not self.has_ioc:
            return self.machine.warn(b"WARNING: sba_unmap_page: no I/O adapter above the device")
        addr ^= offset
        size = self.align_iovp(size + offset)
        self.mark_invalid(addr, size)
        self.saved[self.saved_cnt].iova = addr
        self.saved[self.saved_cnt].size = size
        self.saved_cnt += 1
        if self.saved_cnt >= DELAYED_RESOURCE_CNT:
            self.free_saved()
        return 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        """Segments, or -EINVAL without an adapter."""
        if not self.has_ioc:
            return -EINVAL
        if nents == 1:
            sgl.dma_address = self.map_single(dev, sg_phys(sgl), sgl.length, dir)
            sgl.dma_length = sgl.length
            return 1
        self.coalesce_chunks(dev, sgl, nents)
        return self.fill_pdir(sgl, nents, 0)

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        """Is every bus address of the table below the mask?"""
        return self.has_ioc and mask >= ((self.ibase - 1 + self.entries * IOVP_SIZE) & self.machine.ulong_mask)
