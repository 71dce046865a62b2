# SPDX-License-Identifier: MIT
"""What ccio_ops and sba_ops share: lists in two passes (drivers/parisc/iommu-helpers.h, Linux 6.1).

The first pass finds streams and allocates for each; it leaves the head's index in dma_address under a flag. The second
fills the table and moves the results to the front. An entry joins a stream only if it starts where the one before ends
and that point is page aligned, both. Linux shares this by including the file twice; the callbacks are methods here.
"""

from libc.errno cimport ENOMEM

from dma_ops.device cimport (
    DMA_BIDIRECTIONAL,
    OP_ALLOC,
    OP_ALLOC_PAGES,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_FREE_PAGES,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    dma_get_max_seg_size,
    dma_get_seg_boundary,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport dma_common_alloc_pages, dma_common_free_pages, get_order
from scatterlist.core cimport sg_next, sg_phys
from scatterlist.types cimport page_t, s64, u32

from .ioa cimport IoAdapter

cdef enum:
    IN_PAGE = IOVP_SIZE - 1
    CHUNK_ENTRIES = 512             # of the table in 4 KiB of modelled memory
    BASE_32 = 0x10000000            # __PAGE_OFFSET
    BASE_64 = 0x40000000

cdef u64 PIDE_FLAG = 0x80000000u    # dma_address holds the index of a stream's first entry


cdef class PdirOps(DmaMapOps):
    """An HP I/O adapter with a page directory in memory: everything but its allocator and the form of an entry."""

    cdef int setup(self, Machine machine, u64 entries, u64 table_entries, bint coherence_index) except -9999:
        """What both constructors do. The table is aligned to its size, and at least to a page."""
        cdef u64 size = 8 * table_entries
        if machine.page_shift != IOVP_SHIFT:
            raise ValueError(f"machine {machine.name} has pages of {machine.page_size} bytes, PA-RISC's have 4 KiB")
        self.machine = machine
        self.entries = entries
        self.table_entries = table_entries
        self.coherence_index = coherence_index
        self.linear_base = BASE_32 if machine.bits == 32 else BASE_64
        self.has_ioc = True
        self.pdir = machine.alloc_table(size, size if size > IOVP_SIZE else IOVP_SIZE)
        if self.pdir == PHYS_NONE:
            raise MemoryError("no memory for the I/O page table, where Linux panics")
        self.filled = (OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG | OP_DMA_SUPPORTED
                       | OP_GET_SGTABLE | OP_ALLOC_PAGES | OP_FREE_PAGES)
        return 0

    cdef u64 lci(self, phys_addr_t phys) noexcept nogil:
        """Load Coherence Index of a kernel address: what lets the adapter snoop the CPU's virtually indexed cache."""
        return (phys + self.linear_base) & self.machine.ulong_mask if self.coherence_index else 0

    cdef void command(self, u64 value) noexcept nogil:
        self.commands += 1
        self.last_command = value
        (<IoAdapter>self.walker).command(value)

    cdef int fits(self, u64 index, u64 n) except -9999 nogil:
        """Linux goes on behind the table's end; that is the end of the kernel."""
        if n > self.table_entries or index > self.table_entries - n:
            return kernel_bug(b"memory behind the I/O page table is overwritten")
        return 0

    cdef u64 next_written(self, u64 i) noexcept nogil:
        """The first table entry at or after i that is not all zero; entries if there is none."""
        cdef const u64 *chunk
        while i < self.entries:
            chunk = <const u64 *>self.machine.mem.chunk(self.pdir + 8 * i, False)
            if chunk == NULL:
                i |= CHUNK_ENTRIES - 1
            elif chunk[i & (CHUNK_ENTRIES - 1)]:
                return i
            i += 1
        return self.entries

    cdef u64 align_iovp(self, u64 size) noexcept nogil:
        return (size + IN_PAGE) & ~<u64>IN_PAGE & self.machine.ulong_mask

    # -- what the two differ in --------------------------------------------------------------------------------

    cdef u64 alloc_range(self, Device dev, u64 size) except? 0xBADBADBADBADBAD nogil:
        kernel_bug(b"alloc_range")
        return 0

    cdef void write_entry(self, u64 index, phys_addr_t phys, u64 hint) noexcept nogil:
        pass

    cdef dma_addr_t map_single(self, Device dev, phys_addr_t phys, u64 size,
                               int dir) except? 0xBADBADBADBADBAD nogil:
        kernel_bug(b"map_single")
        return 0

    # -- single mappings and coherent memory -------------------------------------------------------------------

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        return self.map_single(dev, page + offset, size, dir)

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        """0 or -ENOMEM. That the mapping failed (no adapter) is not looked at: ccio_alloc(), sba_alloc()."""
        cdef phys_addr_t page = self.machine.alloc_pages(get_order(size, IOVP_SHIFT), PHYS_NONE)
        if page == PHYS_NONE:
            return -ENOMEM
        dma_handle[0] = self.map_single(dev, page, size, DMA_BIDIRECTIONAL)
        cpu_addr[0] = page
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        self.unmap_page(dev, dma_handle, size, DMA_BIDIRECTIONAL, 0)
        return self.machine.free_pages(cpu_addr, get_order(size, IOVP_SHIFT))

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return dma_common_alloc_pages(self, dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return dma_common_free_pages(self, dev, size, page, dma_handle, dir)

    # -- lists -------------------------------------------------------------------------------------------------

    cdef int coalesce_chunks(self, Device dev, scatterlist *sgl, int nents) except -9999 nogil:
        """Streams, each with its range allocated: iommu_coalesce_chunks()."""
        cdef scatterlist *head
        cdef scatterlist *sg = sgl
        cdef u64 length, end, limit = 64 * IOVP_SIZE if self.machine.bits == 64 else 32 * IOVP_SIZE
        cdef u32 boundary = <u32>dma_get_seg_boundary(dev) + 1
        cdef int streams = 0
        limit = min(limit, <u64>dma_get_max_seg_size(dev))
        if boundary:
            limit = min(limit, <u64>boundary)
        while nents > 0:
            head = sg
            length = sg.length
            while True:
                sg.dma_address = 0
                sg.dma_length = 0
                end = sg_phys(sg) + sg.length
                sg = sg_next(sg)
                nents -= 1
                if nents <= 0 or self.align_iovp(length + head.offset + sg.length) > limit:
                    break
                if sg_phys(sg) != end or end & IN_PAGE:
                    break
                length += sg.length
            head.dma_length = length
            # an offset of a page or more is or-ed into the index and wastes the entries before it
            head.dma_address = PIDE_FLAG | head.offset | self.alloc_range(
                dev, self.align_iovp(length + head.offset)) << IOVP_SHIFT
            streams += 1
        return streams

    cdef int fill_pdir(self, scatterlist *sgl, int nents, u64 hint) except -9999 nogil:
        """Fill in the streams' entries and move the results to the front: iommu_fill_pdir().

        Each list entry takes at least one table entry, even if its length is 0. A head that is no result keeps the
        flag and its index.
        """
        cdef scatterlist *sg = sgl
        cdef scatterlist *out = NULL
        cdef phys_addr_t phys
        cdef u64 index = 0, offset = 0, expected = 0, address
        cdef s64 left
        cdef int _i, streams = 0
        for _i in range(nents):
            if sg.dma_address & PIDE_FLAG:
                if out != NULL and expected != out.dma_length:
                    kernel_bug(b"kernel BUG at drivers/parisc/iommu-helpers.h: dma_len != sg_dma_len(dma_sg)")
                out = sgl if out == NULL else sg_next(out)
                address = <u32>(sg.dma_address & ~PIDE_FLAG)
                expected = sg.dma_length
                sg.dma_length = 0
                offset = address & IN_PAGE
                index = address >> IOVP_SHIFT
                out.dma_address = address | self.ibase
                streams += 1
            elif out == NULL:
                kernel_bug(b"kernel BUG at drivers/parisc/iommu-helpers.h: pdirp == NULL")
            out.dma_length += sg.length
            phys = sg_phys(sg)
            left = sg.length + offset
            offset = 0
            self.fits(index, (left + IN_PAGE) >> IOVP_SHIFT)
            while True:
                self.write_entry(index, phys, hint)
                phys += IOVP_SIZE
                left -= IOVP_SIZE
                index += 1
                if left <= 0:
                    break
            sg = sg_next(sg)
        return streams

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        if not self.has_ioc:
            return self.machine.warn(b"WARNING: unmap_sg: no I/O adapter above the device")
        while nents > 0 and sg.dma_length:
            self.unmap_page(dev, sg.dma_address, sg.dma_length, dir, 0)
            sg = sg_next(sg)
            nents -= 1
        return 0
