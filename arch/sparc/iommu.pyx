# SPDX-License-Identifier: MIT
"""sun4u_dma_ops: the IOMMUs of UltraSPARC host bridges (arch/sparc/kernel/iommu.c)."""

from libc.errno cimport ENOMEM

from scatterlist.core cimport scatterlist, sg_next
from scatterlist.types cimport page_t

from dma_ops.device cimport (
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    OP_ALLOC,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_SYNC_SG_FOR_CPU,
    OP_SYNC_SINGLE_FOR_CPU,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    WALK_NOT_PRESENT,
    WALK_OK,
    WALK_OUT_OF_RANGE,
    WALK_PERMISSION,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iommu_helper cimport (
    bitmap_clear,
    bitmap_free,
    bitmap_set,
    bitmap_weight,
    bitmap_zalloc,
    find_next_zero_bit,
    iommu_num_pages,
)
from dma_ops.iotlb cimport Iotlb
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport get_order

from .iommu_common cimport (
    IO_PAGE_OFFSET,
    IO_PAGE_SHIFT,
    IO_PAGE_SIZE,
    IOMMU_ERROR_CODE,
    iommu_tbl_pool_init,
    iommu_tbl_range_free,
)

cdef enum:
    IOMMU_NUM_CTXS = 4096
    MAX_ALLOC_ORDER = 10        # dma_4u_alloc_coherent refuses this order and above

cdef u64 IOPTE_VALID = 0x8000000000000000
cdef u64 IOPTE_STBUF = 0x1000000000000000
cdef u64 IOPTE_CONTEXT = 0x07ff800000000000
cdef u64 IOPTE_PAGE = 0x00007fffffffe000
cdef u64 IOPTE_CACHE = 0x10
cdef u64 IOPTE_WRITE = 0x02


cdef class Sun4uIommu(Walker):
    """The chip: a TSB of 64-bit IOPTEs in memory, big-endian, one per 8 KiB of its window."""

    def __cinit__(self):
        self.iotlb = Iotlb(IO_PAGE_SHIFT)

    cdef void flushinv(self) noexcept nogil:
        """A write of IOMMU_FLUSHINV; older chips have their 16 tags written with 0."""
        self.iotlb.invalidate_all()

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 iopte
        if addr < self.base or (addr - self.base) >> IO_PAGE_SHIFT >= self.entries:
            return WALK_OUT_OF_RANGE
        iopte = self.machine.mem.read64(self.tsb + ((addr - self.base) >> IO_PAGE_SHIFT) * 8, True)
        if not iopte & IOPTE_VALID:
            return WALK_NOT_PRESENT
        if write and not iopte & IOPTE_WRITE:
            return WALK_PERMISSION
        phys[0] = (iopte & IOPTE_PAGE) | (addr & IO_PAGE_OFFSET)
        run[0] = IO_PAGE_SIZE - (addr & IO_PAGE_OFFSET)
        return WALK_OK


cdef class Sun4uDmaOps(SparcIommuOps):
    """UltraSPARC I to IV: one TSB per PCI or SBus host bridge, 8 KiB pages, a window below 4 GiB.

    Unmapped entries are not invalidated: they point at a dummy page and keep all other bits, so that a late access of
    the device goes nowhere instead of failing. Entries are used again only after the allocator has wrapped, which
    flushes the IOMMU's TLB. Bridges with a streaming cache (Psycho, Schizo, SYSIO) have it flushed at unmap and sync;
    bridges with contexts (Schizo, Tomatillo) tag each mapping, a whole list with one number, so that one flush
    suffices. Pools lose their last two entries. A list that fails answers -EINVAL and keeps its context for ever. The
    DMA mask is only compared with the window when it is set. Coherent memory leaves valid entries behind.
    """

    def __cinit__(self, Machine machine not None, *, u64 base=0xc0000000, u64 entries=128 * 1024,
                  u64 dma_addr_mask=0xffffffff, bint streaming=True, bint contexts=False, dummy_page=None):
        cdef u64 i, first
        if machine.page_shift != IO_PAGE_SHIFT or not machine.big_endian:
            raise ValueError(f"machine {machine.name}: sun4u needs a big-endian machine of 8 KiB pages")
        if base & IO_PAGE_OFFSET or entries < 4 or base + (entries << IO_PAGE_SHIFT) > 1 << 32:
            raise ValueError(f"a window of {entries} pages from {base:#x} does not fit below 4 GiB")
        self.machine = machine
        self.filled = (OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG
                       | OP_SYNC_SINGLE_FOR_CPU | OP_SYNC_SG_FOR_CPU | OP_DMA_SUPPORTED)
        self.strbuf_enabled = streaming
        self.ctxflush = contexts
        self.dma_addr_mask = dma_addr_mask
        iommu_tbl_pool_init(&self.tbl, base, entries, True, 1)
        self.ctx_bitmap = bitmap_zalloc(IOMMU_NUM_CTXS)
        if self.ctx_bitmap == NULL:
            raise MemoryError("no memory for the context bitmap")
        self.ctx_lowest_free = 1
        self.dummy_page = machine.alloc_table(IO_PAGE_SIZE, IO_PAGE_SIZE) if dummy_page is None else dummy_page
        self.chip = Sun4uIommu.__new__(Sun4uIommu)
        self.chip.machine = machine
        self.chip.base = base
        self.chip.entries = entries
        self.chip.tsb = machine.alloc_table(entries * 8, IO_PAGE_SIZE)
        self.walker = self.chip
        first = min(entries, 4096 // 8)
        for i in range(first):
            machine.mem.write64(self.chip.tsb + i * 8, self.dummy_page, True)
        machine.mem.copy(self.chip.tsb + 4096, self.chip.tsb, (entries - first) * 8)

    def __dealloc__(self):
        bitmap_free(self.tbl.map)
        bitmap_free(self.ctx_bitmap)

    def resources(self):
        return {"iopte entries": bitmap_weight(self.tbl.map, self.tbl.entries),
                "contexts": bitmap_weight(self.ctx_bitmap, IOMMU_NUM_CTXS)}

    def table(self):
        """{index: IOPTE} of every entry that was ever written."""
        cdef u64 i, entry
        cdef dict live = {}
        for i in range(self.tbl.entries):
            entry = self.iopte(i)
            if entry != self.dummy_page:
                live[i] = entry
        return live

    @property
    def flushes(self):
        """How often the whole TLB of the IOMMU was flushed."""
        return self.tbl.flushes

    def preset(self, *, hint=None):
        """Let the next search begin at an entry."""
        if hint is not None:
            if not 0 <= hint < self.tbl.entries:
                raise ValueError(f"hint {hint} is not within the {self.tbl.entries} entries of the table")
            self.tbl.pools[0].hint = hint

    def flush(self):
        """Let the IOMMU forget what was unmapped, as the next wrap of the allocator does."""
        self.flush_all()

    cdef void flush_all(self) noexcept nogil:
        self.chip.flushinv()

    # -- IOPTEs and contexts -----------------------------------------------------------------------------------

    cdef u64 iopte(self, u64 entry) noexcept nogil:
        return self.machine.mem.read64(self.chip.tsb + entry * 8, True)

    cdef void write_range(self, u64 entry, u64 npages, phys_addr_t paddr, u64 protection) noexcept nogil:
        cdef u64 i
        for i in range(npages):
            self.machine.mem.write64(self.chip.tsb + (entry + i) * 8, protection | (paddr + (i << IO_PAGE_SHIFT)), True)

    cdef int make_dummy(self, u64 entry, u64 npages) except -9999 nogil:
        """Point entries at the dummy page; their other bits, VALID among them, stay."""
        cdef u64 i
        if entry >= self.tbl.entries or npages > self.tbl.entries - entry:
            return kernel_bug(b"iopte_make_dummy: write beyond the TSB")
        for i in range(entry, entry + npages):
            self.machine.mem.write64(self.chip.tsb + i * 8, (self.iopte(i) & ~IOPTE_PAGE) | self.dummy_page, True)
        return 0

    cdef u64 alloc_ctx(self) noexcept nogil:
        """The lowest free context from the hint on; 0, which all then share, if there is none."""
        cdef u64 n
        if not self.ctxflush:
            return 0
        n = find_next_zero_bit(self.ctx_bitmap, IOMMU_NUM_CTXS, self.ctx_lowest_free)
        if n == IOMMU_NUM_CTXS:
            n = find_next_zero_bit(self.ctx_bitmap, self.ctx_lowest_free, 1)
            if n == self.ctx_lowest_free:
                return 0
        bitmap_set(self.ctx_bitmap, n, 1)
        return n

    cdef void free_ctx(self, u64 ctx) noexcept nogil:
        if ctx:
            bitmap_clear(self.ctx_bitmap, ctx, 1)
            if ctx < self.ctx_lowest_free:
                self.ctx_lowest_free = ctx

    cdef u64 ctx_of(self, u64 bus_addr) except? 0xBADBADBADBADBAD nogil:
        """The context in the IOPTE of a bus address, which Linux reads wherever the address points."""
        cdef u64 entry = (<u64><u32>bus_addr - self.tbl.table_map_base) >> IO_PAGE_SHIFT
        if entry >= self.tbl.entries:
            kernel_bug(b"Unable to handle kernel paging request: an IOPTE beyond the TSB")
        return (self.iopte(entry) & IOPTE_CONTEXT) >> 47

    cdef u64 protection(self, u64 ctx, int dir) noexcept nogil:
        cdef u64 bits = IOPTE_VALID | IOPTE_CACHE | (ctx << 47 & IOPTE_CONTEXT)
        if self.strbuf_enabled:
            bits |= IOPTE_STBUF
        if dir != DMA_TO_DEVICE:
            bits |= IOPTE_WRITE
        return bits

    cdef int strbuf_flush(self, u64 bus_addr, u64 ctx, u64 npages, int dir) except -9999 nogil:
        """Push what the streaming cache holds of a range to memory."""
        if self.machine.events is not None:
            with gil:
                self.machine.events.append(("strbuf_flush", bus_addr, npages << IO_PAGE_SHIFT, dir))
        return 0

    # -- SparcIommuOps -----------------------------------------------------------------------------------------

    cdef iommu_map_table *table_of(self, u64 mask) noexcept nogil:
        return &self.tbl

    cdef int sg_begin(self, Device dev, int dir, unsigned long attrs) except -9999 nogil:
        self.sg_protection = self.protection(self.alloc_ctx(), dir)     # never freed if the list fails
        return 0

    cdef int sg_write(self, Device dev, u64 entry, phys_addr_t paddr, u64 npages) except -9999 nogil:
        self.write_range(entry, npages, paddr, self.sg_protection)
        return 0

    cdef int sg_undo(self, u64 entry, u64 npages) except -9999 nogil:
        return self.make_dummy(entry, npages)

    # -- dma_map_ops -------------------------------------------------------------------------------------------

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef u64 addr = page + offset
        cdef u64 npages = (((addr + size + IO_PAGE_OFFSET) & ~<u64>IO_PAGE_OFFSET)
                           - (addr & ~<u64>IO_PAGE_OFFSET)) >> IO_PAGE_SHIFT
        cdef u64 entry = self.range_alloc(dev, &self.tbl, npages, NULL)
        cdef u64 ctx = self.alloc_ctx()
        if entry == IOMMU_ERROR_CODE:
            self.free_ctx(ctx)
            return DMA_MAPPING_ERROR
        self.write_range(entry, npages, addr & ~<u64>IO_PAGE_OFFSET, self.protection(ctx, dir))
        return <u32>(self.tbl.table_map_base + (entry << IO_PAGE_SHIFT)) | (addr & IO_PAGE_OFFSET)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        cdef u64 npages = (((addr + size + IO_PAGE_OFFSET) & ~<u64>IO_PAGE_OFFSET)
                           - (addr & ~<u64>IO_PAGE_OFFSET)) >> IO_PAGE_SHIFT
        cdef u64 ctx = 0
        addr &= ~<u64>IO_PAGE_OFFSET
        if self.ctxflush:
            ctx = self.ctx_of(addr)
        if self.strbuf_enabled and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            self.strbuf_flush(addr, ctx, npages, dir)
        self.make_dummy((addr - self.tbl.table_map_base) >> IO_PAGE_SHIFT, npages)
        self.free_ctx(ctx)
        return iommu_tbl_range_free(&self.tbl, addr, npages)

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef u64 npages, addr, ctx = 0
        if self.ctxflush:
            ctx = self.ctx_of(sgl.dma_address)      # of slot 0, even if nothing was mapped through it
        while nents and sg.dma_length:
            npages = iommu_num_pages(sg.dma_address, sg.dma_length, IO_PAGE_SIZE)
            addr = sg.dma_address & ~<u64>IO_PAGE_OFFSET
            if self.strbuf_enabled and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
                self.strbuf_flush(addr, ctx, npages, dir)
            self.make_dummy((addr - self.tbl.table_map_base) >> IO_PAGE_SHIFT, npages)
            iommu_tbl_range_free(&self.tbl, addr, npages)
            nents -= 1
            sg = sg_next(sg)
            if sg == NULL:
                break
        self.free_ctx(ctx)
        return 0

    cdef int sync_single_for_cpu(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        cdef u64 npages = (((addr + size + IO_PAGE_OFFSET) & ~<u64>IO_PAGE_OFFSET)
                           - (addr & ~<u64>IO_PAGE_OFFSET)) >> IO_PAGE_SHIFT
        if not self.strbuf_enabled:
            return 0
        addr &= ~<u64>IO_PAGE_OFFSET
        return self.strbuf_flush(addr, self.ctx_of(addr) if self.ctxflush else 0, npages, dir)

    cdef int sync_sg_for_cpu(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        """One flush from slot 0 to the end of the last slot that has a length, whatever lies between them."""
        cdef scatterlist *sg = sgl
        cdef scatterlist *last = NULL
        cdef u64 addr, ctx = 0
        if not self.strbuf_enabled:
            return 0
        if self.ctxflush:
            ctx = self.ctx_of(sgl.dma_address)
        while nents and sg != NULL and sg.dma_length:
            last = sg
            sg = sg_next(sg)
            nents -= 1
        if last == NULL:
            return kernel_bug(b"Unable to handle kernel NULL pointer dereference in dma_4u_sync_sg_for_cpu")
        addr = sgl.dma_address & ~<u64>IO_PAGE_OFFSET
        return self.strbuf_flush(
            addr, ctx, (last.dma_address + last.dma_length + IO_PAGE_OFFSET - addr) >> IO_PAGE_SHIFT, dir)

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        return mask >= self.dma_addr_mask

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef unsigned int order
        cdef phys_addr_t page
        cdef u64 entry
        size = (size + IO_PAGE_OFFSET) & ~<size_t>IO_PAGE_OFFSET
        order = get_order(size, IO_PAGE_SHIFT)
        if order >= MAX_ALLOC_ORDER:
            return -ENOMEM
        page = self.machine.alloc_pages(order, PHYS_NONE)
        if page == PHYS_NONE:
            return -ENOMEM
        entry = self.range_alloc(dev, &self.tbl, size >> IO_PAGE_SHIFT, NULL)
        if entry == IOMMU_ERROR_CODE:
            self.machine.free_pages(page, order)
            return -ENOMEM
        self.write_range(entry, size >> IO_PAGE_SHIFT, page, IOPTE_VALID | IOPTE_CACHE | IOPTE_WRITE)
        dma_handle[0] = self.tbl.table_map_base + (entry << IO_PAGE_SHIFT)
        cpu_addr[0] = page
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        iommu_tbl_range_free(&self.tbl, dma_handle, (size + IO_PAGE_OFFSET) >> IO_PAGE_SHIFT)
        return self.machine.free_pages(cpu_addr, get_order(size, IO_PAGE_SHIFT))    # the IOPTEs stay valid
