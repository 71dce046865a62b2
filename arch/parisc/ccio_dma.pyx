# SPDX-License-Identifier: MIT
"""ccio_ops: the first coherent HP PA-RISC I/O adapters, U2 and Uturn (drivers/parisc/ccio-dma.c, Linux 6.1)."""

from libc.errno cimport EINVAL
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from dma_ops.device cimport (
    DMA_FROM_DEVICE,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    Device,
    dma_get_seg_boundary_nr_pages,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iommu_helper cimport iommu_is_span_boundary
from dma_ops.machine cimport Machine
from scatterlist.core cimport scatterlist, sg_next, sg_phys
from scatterlist.types cimport dma_addr_t, phys_addr_t, u8, u32, u64

from .ioa cimport (
    CCIO_CHAINID_SHIFT,
    CMD_TLB_PURGE,
    HINT_PREFETCH,
    HINT_SAFE_DMA,
    HINT_STOP_MOST,
    IOPDIR_VALID,
    CcioIoa,
)
from .iommu_helpers cimport IOVP_SHIFT, IOVP_SIZE, L1_CACHE_BYTES, PdirOps

cdef enum:
    FIRST_HINT = 16                     # bytes of the resource map: the first address given out is 0x80000
    CUJO_20_STEP = 0x10000000


cdef class CcioOps(PdirOps):
    """PA-RISC U2/Uturn: a resource map in bytes that hands out whole units, and panics when it is full.

    A request of up to 8 pages takes a byte of the map, that is 8 pages; up to 16 an aligned half word, 32 a word, 64 a
    double word (64-bit kernels only); more is a BUG. A unit must be wholly clear. The search is circular from res_hint,
    rounded down to the unit. The direction only chooses hints: an entry of two big-endian words has no permission
    bits. Unmapping clears an entry's last byte, purges the TLB once per chain of pages and frees at once. There are no
    errors but that of a device without an adapter: exhaustion, empty and large requests, and unmapping what is not
    mapped kill the kernel.
    """

    cdef readonly bint eisa
    cdef readonly u64 res_size              # bytes
    cdef readonly u64 res_hint
    cdef readonly unsigned int chainid_shift
    cdef u8 *res_map

    def __cinit__(self, Machine machine not None, u64 window, *, bint eisa=False, bint coherence_index=True,
                  chainid_shift=None):
        """window: bytes of bus addresses, a power of two from 1 MiB to 4 GiB (see iova_space). eisa: CONFIG_EISA,
        whose hint every entry gets. chainid_shift: if not what follows from the window."""
        if not 1 << 20 <= window <= 1 << 32 or window & (window - 1):
            raise ValueError(f"a window of {window} bytes is not a power of two from 1 MiB to 4 GiB")
        self.setup(machine, window >> IOVP_SHIFT, window >> IOVP_SHIFT, coherence_index)
        self.eisa = eisa
        self.res_size = self.entries >> 3
        self.res_hint = FIRST_HINT
        self.chainid_shift = window.bit_length() - 1 - CCIO_CHAINID_SHIFT if chainid_shift is None else chainid_shift
        self.res_map = <u8 *>calloc(self.res_size + sizeof(u64), 1)     # what lies behind is taken to be clear
        if self.res_map == NULL:
            raise MemoryError("no memory for the resource map")
        self.walker = CcioIoa(machine, self.pdir, ((1 << CCIO_CHAINID_SHIFT) - 1) << self.chainid_shift & 0xffffffff)

    def __dealloc__(self):
        free(self.res_map)

    @staticmethod
    def iova_space(u64 ram, int adapters=1, int bits=64):
        """The window that ccio_ioc_init() chooses: RAM per adapter, rounded up, 1 MiB to 1 GiB (32-bit: no cap)."""
        cdef u64 size = max(ram // adapters, 1 << 20)
        if bits == 64:
            size = min(size, <u64>1 << 30)
        return 1 << (int(size) - 1).bit_length()

    def cujo20_fixup(self, u64 iovp):
        """Mark 8 pages in every 256 MiB as used, for the Cujo 2.0 bug."""
        cdef u64 i = iovp >> IOVP_SHIFT >> 3
        while i < self.res_size:
            self.res_map[i] = 0xff
            i += CUJO_20_STEP >> IOVP_SHIFT >> 3

    def resources(self):
        """{"pages": pages of bus addresses that are taken}; always a multiple of 8."""
        cdef u64 i, n = 0
        for i in range(self.res_size):
            n += 8 if self.res_map[i] else 0
        return {"pages": n}

    def table(self):
        """{index: word 0 << 32 | word 1} of the valid entries."""
        cdef u64 i = self.next_written(0), entry
        cdef dict found = {}
        while i < self.entries:
            entry = self.machine.mem.read64(self.pdir + 8 * i, True)
            if entry & IOPDIR_VALID:
                found[i] = entry
            i = self.next_written(i + 1)
        return found

    # -- the resource map --------------------------------------------------------------------------------------

    cdef u64 unit(self, u64 pages) except? 0xBADBADBADBADBAD nogil:
        """Bytes of the map that a request takes."""
        if pages > (64 if self.machine.bits == 64 else 32):
            kernel_bug(b"kernel BUG at drivers/parisc/ccio-dma.c: (pages * IOVP_SIZE) > DMA_CHUNK_SIZE")
        return 1 if pages <= 8 else 2 if pages <= 16 else 4 if pages <= 32 else 8

    cdef bint all_are(self, u64 index, u64 unit, u8 value) noexcept nogil:
        cdef u64 i
        for i in range(index, index + unit):
            if self.res_map[i] != value:
                return False
        return True

    cdef u64 search(self, u64 start, u64 unit, u64 pages, u64 boundary) except? 0xBADBADBADBADBAD nogil:
        """The first clear unit at or after start that does not span a boundary, in bytes; res_size if none."""
        cdef u64 i = start
        while i < self.res_size:
            if not iommu_is_span_boundary(i << 3, pages, 0, boundary) and self.all_are(i, unit, 0):
                return i
            i += unit
        return self.res_size

    cdef u64 alloc_range(self, Device dev, u64 size) except? 0xBADBADBADBADBAD nogil:
        """The index of the first of size bytes' pages."""
        cdef u64 pages = <u32>(size >> IOVP_SHIFT), unit, found
        cdef u64 boundary = dma_get_seg_boundary_nr_pages(dev, IOVP_SHIFT)
        if pages == 0:
            kernel_bug(b"kernel BUG at drivers/parisc/ccio-dma.c: ccio_alloc_range: pages_needed == 0")
        unit = self.unit(pages)
        found = self.search(self.res_hint & ~(unit - 1), unit, pages, boundary)
        if found == self.res_size:
            found = self.search(0, unit, pages, boundary)
        if found == self.res_size or self.machine.should_fail(b"entries"):
            kernel_bug(b"Kernel panic - not syncing: ccio_alloc_range() I/O MMU is out of mapping resources.")
        memset(self.res_map + found, 0xff, unit)
        self.res_hint = found + unit
        return found << 3

    cdef int free_range(self, u64 iova, u64 pages) except -9999 nogil:
        cdef u64 index = iova >> IOVP_SHIFT >> 3, unit
        if pages == 0:
            return kernel_bug(b"kernel BUG at drivers/parisc/ccio-dma.c: ccio_free_range: pages_mapped == 0")
        unit = self.unit(pages)
        if index >= self.res_size or not self.all_are(index, unit, 0xff):
            return kernel_bug(b"kernel BUG at drivers/parisc/ccio-dma.c: ccio_free_range: (*res_ptr & mask) != mask")
        memset(self.res_map + index, 0, unit)
        return 0

    # -- the table ---------------------------------------------------------------------------------------------

    cdef u64 hints(self, int dir) noexcept nogil:
        cdef u64 hint = IOPDIR_VALID
        if self.eisa:
            hint |= HINT_STOP_MOST
        return hint if dir == DMA_FROM_DEVICE else hint | (HINT_PREFETCH if dir == DMA_TO_DEVICE else HINT_SAFE_DMA)

    cdef void write_entry(self, u64 index, phys_addr_t phys, u64 hint) noexcept nogil:
        cdef u32 word0 = <u32>((self.lci(phys) >> 12) & 0xfff) << 16
        if self.machine.bits == 64:
            word0 |= <u32>((phys >> 48) & 0xf) << 28 | <u32>(phys >> 32) & 0xffff
        self.machine.mem.write32(self.pdir + 8 * index, word0, True)
        self.machine.mem.write32(self.pdir + 8 * index + 4, <u32>phys & ~<u32>(IOVP_SIZE - 1) | <u32>hint, True)

    cdef int mark_invalid(self, u64 iova, u64 size) except -9999 nogil:
        """Clear the entries' last bytes, then purge the TLB once per chain that the range begins."""
        cdef u64 iovp = <u32>iova, end = iovp + size
        while iovp < end:
            if iovp >> IOVP_SHIFT >= self.entries:
                return kernel_bug(b"kernel BUG at drivers/parisc/ccio-dma.c: ccio_mark_invalid: idx beyond the table")
            self.machine.mem.fill(self.pdir + 8 * (iovp >> IOVP_SHIFT) + 7, 0, 1)
            iovp += IOVP_SIZE
        iovp = iova
        while iovp < iova + size:
            self.command(CMD_TLB_PURGE | iovp)
            iovp += <u64>1 << self.chainid_shift
        return 0

    # -- dma_map_ops -------------------------------------------------------------------------------------------

    cdef dma_addr_t map_single(self, Device dev, phys_addr_t phys, u64 size,
                               int dir) except? 0xBADBADBADBADBAD nogil:
        cdef u64 offset = phys & (IOVP_SIZE - 1), hint = self.hints(dir), index, i
        if not self.has_ioc:
            return DMA_MAPPING_ERROR
        if size == 0:
            kernel_bug(b"kernel BUG at drivers/parisc/ccio-dma.c: ccio_map_single: size <= 0")
        size = self.align_iovp(size + offset)
        index = self.alloc_range(dev, size)
        # Linux means to look at the size as well, but has rounded it to pages by then: ccio_map_single()
        if phys & (L1_CACHE_BYTES - 1):
            hint |= HINT_SAFE_DMA
        for i in range(size >> IOVP_SHIFT):
            self.write_entry(index + i, phys + (i << IOVP_SHIFT), hint)
        return index << IOVP_SHIFT | offset

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        cdef u64 offset = addr & (IOVP_SIZE - 1)
        if not self.has_ioc:
            return self.machine.warn(b"WARNING: ccio_unmap_page: no I/O adapter above the device")
        size = self.align_iovp(size + offset)
        self.mark_invalid(addr ^ offset, size)
        return self.free_range(addr ^ offset, size >> IOVP_SHIFT)

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        """Segments, or -EINVAL without an adapter. There is no other error, so nothing is ever unwound."""
        cdef u64 before = 0, after = 0
        cdef scatterlist *sg = sgl
        cdef int _i, streams, filled
        if not self.has_ioc:
            return -EINVAL
        if nents == 1:
            sgl.dma_address = self.map_single(dev, sg_phys(sgl), sgl.length, dir)
            sgl.dma_length = sgl.length
            return 1
        for _i in range(nents):
            before += sg.length
            sg = sg_next(sg)
        streams = self.coalesce_chunks(dev, sgl, nents)
        filled = self.fill_pdir(sgl, nents, self.hints(dir))
        sg = sgl
        for _i in range(filled):
            after += sg.dma_length
            sg = sg_next(sg)
        if streams != filled or before != after:
            return kernel_bug(b"kernel BUG at drivers/parisc/ccio-dma.c: ccio_map_sg: current_len != prev_len")
        return filled

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        return mask >= 0xffffffffu
