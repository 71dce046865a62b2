# SPDX-License-Identifier: MIT
"""struct iommu_table and its allocator (arch/powerpc/kernel/iommu.c, Linux 6.1).

The I/O pages of a window are one bitmap. From 1 GiB on, three quarters of it are four pools, chosen by a hash of the
CPU; below that, one pool. The last quarter is for requests over 15 pages. Each pool is searched from its hint, which a
small request leaves at the next block of it_blocksize pages, so that neighbours in time share no cache line of the
table. Nothing is freed lazily.
"""

from libc.errno cimport EINVAL, EIO, ENOMEM

from dma_ops.device cimport (
    DMA_ATTR_WEAK_ORDERING,
    DMA_BIDIRECTIONAL,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    dma_get_max_seg_size,
    dma_get_seg_boundary_nr_pages,
)
from dma_ops.iommu_helper cimport (
    bitmap_clear,
    bitmap_free,
    bitmap_set,
    bitmap_weight,
    bitmap_zalloc,
    iommu_area_alloc,
)
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport get_order
from scatterlist.core cimport sg_next, sg_phys
from scatterlist.types cimport u8, u32

from .tce cimport find_format, read_tce

cdef extern from *:
    u64 bswap64 "__builtin_bswap64"(u64) noexcept nogil
    u32 bswap32 "__builtin_bswap32"(u32) noexcept nogil

cdef enum:
    CHUNK = 4096                            # bytes of modelled memory that follow one another in the host's, too
    LARGE_ALLOC = 15                        # pages; more than these come from the large pool
    GOLDEN_RATIO_32 = 0x61C88647

cdef u64 NO_ENTRY = ~<u64>0
cdef u64 MAX_BLOCK = 16 << 20               # powerpc's MAX_ORDER, with pages of 4 and of 64 KiB


cdef inline unsigned int pool_hash(int cpu) noexcept nogil:
    """hash_32(cpu, IOMMU_POOL_HASHBITS)."""
    return (<unsigned int>cpu * <unsigned int>GOLDEN_RATIO_32) >> (32 - IOMMU_POOL_HASHBITS)


cdef class IommuTable:
    """One DMA window: its allocator's state, and the table in memory.

    window, size: first bus address and length in bytes. format: see arch/powerpc/tce.pyx; ioid is or-ed into each
    valid entry. reserved: (first, end) bus pages that are never handed out. dummy_page: cleared entries point to a page
    of their own instead of faulting (DART, PA Semi). reserve_last: the last entry is never handed out (DART).
    pad_page: page 0 is reserved and mapped, for the device to read (Cell).
    """

    def __init__(self, Machine machine not None, *, u64 size, u64 window=0, unsigned int page_shift=12,
                 u64 blocksize=16, str format="tce", u64 ioid=0, reserved=(0, 0), bint dummy_page=False,
                 bint reserve_last=False, bint pad_page=False, bint novmerge=False):
        cdef unsigned int n
        if self.it_map != NULL:
            raise TypeError("an IommuTable is initialised once")
        if not 12 <= page_shift <= 34:
            raise ValueError(f"I/O pages of 1 << {page_shift} bytes")
        if not size >> page_shift or blocksize & (blocksize - 1) or not blocksize:
            raise ValueError(f"a window of {size:#x} bytes in blocks of {blocksize} I/O pages")
        self.machine = machine
        self.it_offset = window >> page_shift
        self.it_size = size >> page_shift
        self.it_page_shift = page_shift
        self.it_blocksize = blocksize
        self.novmerge = novmerge
        self.format = find_format(format)
        self.ioid = ioid
        self.it_map = bitmap_zalloc(self.it_size)
        if self.it_map == NULL:
            raise MemoryError("no memory for the bitmap of the window")
        self.it_base = machine.alloc_table(self.it_size * self.format.size, 4096)
        if self.it_base == PHYS_NONE:
            raise MemoryError("no memory for the table of the window")
        if dummy_page:
            self.empty = self.entry_of(machine.alloc_ram(0), DMA_BIDIRECTIONAL, 0)
            self.clear_entries(0, self.it_size)
        if self.it_offset == 0:
            bitmap_set(self.it_map, 0, 1)       # drivers that take bus address 0 for an error
        if reserve_last:
            bitmap_set(self.it_map, self.it_size - 1, 1)
        if pad_page:
            bitmap_set(self.it_map, 0, 1)
            self.put_entries(0, 1, self.entry_of(machine.alloc_ram(0), DMA_TO_DEVICE, 0), 0, 0)
        first = max(reserved[0], self.it_offset)
        end = min(reserved[1], self.it_offset + self.it_size)
        if first < end:
            bitmap_set(self.it_map, first - self.it_offset, end - first)
        self.nr_pools = IOMMU_NR_POOLS if self.it_size << page_shift >= 1 << 30 else 1
        self.poolsize = (self.it_size * 3 // 4) // self.nr_pools
        for n in range(self.nr_pools):
            self.pools[n].start = self.pools[n].hint = self.poolsize * n
            self.pools[n].end = self.poolsize * (n + 1)
        self.large_pool.start = self.large_pool.hint = self.poolsize * self.nr_pools
        self.large_pool.end = self.it_size

    def __dealloc__(self):
        bitmap_free(self.it_map)

    @property
    def pages_used(self):
        """Set bits of the bitmap, the reserved ones with them."""
        return bitmap_weight(self.it_map, self.it_size)

    @property
    def hints(self):
        """Where the search of each pool begins next, the large pool's last (indices without it_offset)."""
        return [self.pools[i].hint for i in range(self.nr_pools)] + [self.large_pool.hint]

    def entries(self):
        """{I/O page number with it_offset: entry} of all entries that are not empty, read from memory."""
        cdef dict live = {}
        cdef u64 i, entry, first = 0, step
        if self.machine is None:
            raise ValueError("the IommuTable was made without __init__")
        step = 4096 // self.format.size
        while first < self.it_size:                 # a chunk of memory, which may never have been written
            if self.empty or self.machine.mem.chunk(self.it_base + first * self.format.size, False) != NULL:
                for i in range(first, min(first + step, self.it_size)):
                    entry = read_tce(self.machine, self.it_base, i, self.format.size)
                    if entry != self.empty:
                        live[self.it_offset + i] = entry
            first += step
        return live

    # -- the table in memory -----------------------------------------------------------------------------------

    cdef u64 num_pages(self, u64 addr, u64 size) noexcept nogil:
        """iommu_num_pages() of this table, without a division."""
        cdef u64 mask = (<u64>1 << self.it_page_shift) - 1
        return ((addr & mask) + size + mask) >> self.it_page_shift

    cdef u64 entry_of(self, phys_addr_t phys, int dir, unsigned long attrs) noexcept nogil:
        cdef u64 entry = self.format.prot[dir]
        if attrs & DMA_ATTR_WEAK_ORDERING:
            entry &= ~self.format.weak
        return entry | self.ioid | ((phys >> self.format.rpn_shift) & self.format.rpn_mask)

    cdef int put_entries(self, u64 index, u64 n, u64 fixed, phys_addr_t phys, u64 step) noexcept nogil:
        """n entries from index on: fixed, and the frames of phys, phys + step, ..."""
        cdef unsigned int size = self.format.size, shift = self.format.rpn_shift
        cdef u64 mask = self.format.rpn_mask, here, value
        cdef phys_addr_t at = self.it_base + index * size
        cdef u8 *place
        while n:
            place = self.machine.mem.chunk(at, True)
            if place == NULL:
                return -ENOMEM
            place += at & (CHUNK - 1)
            here = min(n, CHUNK - (at & (CHUNK - 1)) >> (3 if size == 8 else 2))
            n -= here
            at += here * size
            while here:
                value = fixed | (phys >> shift & mask)
                if size == 8:
                    (<u64 *>place)[0] = bswap64(value)
                else:
                    (<u32 *>place)[0] = bswap32(<u32>value)
                phys += step
                place += size
                here -= 1
        return 0

    cdef int set_entries(self, u64 index, u64 npages, phys_addr_t phys, int dir,
                         unsigned long attrs) except -9999 nogil:
        """Non-zero if the hypervisor is out of resources (H_NOT_ENOUGH_RESOURCES); then nothing is set."""
        if self.machine.fail_armed and self.machine.should_fail(b"set"):
            return -ENOMEM
        self.put_entries(index, npages, self.entry_of(0, dir, attrs), phys, <u64>1 << self.it_page_shift)
        return 0

    cdef int clear_entries(self, u64 index, u64 npages) noexcept nogil:
        return self.put_entries(index, npages, self.empty, 0, 0)

    # -- the allocator -----------------------------------------------------------------------------------------

    cdef u64 range_alloc(self, Device dev, u64 npages, u64 *handle, u64 mask,
                         unsigned int align_order) except? 0xBADBADBADBADBAD nogil:
        """iommu_range_alloc(): the index of npages free I/O pages, or NO_ENTRY. mask is in I/O pages; handle is where a
        list of requests goes on."""
        cdef bint large = npages > LARGE_ALLOC
        cdef unsigned int passes = 0
        cdef unsigned int pool_nr = pool_hash(self.machine.cpu) & (self.nr_pools - 1)
        cdef iommu_pool *pool
        cdef u64 start, limit, n
        if npages == 0:
            self.machine.warn(b"WARNING: iommu_range_alloc: 0 pages")
            return NO_ENTRY
        if self.machine.fail_armed and self.machine.should_fail(b"iova"):
            return NO_ENTRY
        pool = &self.large_pool if large else &self.pools[pool_nr]
        while True:
            if passes == 0 and handle != NULL and handle[0] and pool.start <= handle[0] < pool.end:
                start = handle[0]
            else:
                start = pool.hint
            limit = pool.end
            if start >= limit:
                start = pool.start
            if limit + self.it_offset > mask:
                # the device cannot reach the end of this pool; what the mask leaves may belong to another pool
                limit = mask - self.it_offset + 1
                if (start & mask) >= limit or passes > 0:
                    pool = &self.pools[0]
                    start = pool.start
                else:
                    start &= mask
            n = iommu_area_alloc(self.it_map, limit, start, npages, self.it_offset,
                                 dma_get_seg_boundary_nr_pages(dev, self.it_page_shift),
                                 (<u64>1 << align_order) - 1)
            if n != NO_ENTRY:
                break
            if passes == 0:
                pool.hint = pool.start
            elif passes <= self.nr_pools:
                pool_nr = (pool_nr + 1) & (self.nr_pools - 1)
                pool = &self.pools[pool_nr]
                pool.hint = pool.start
            elif passes == self.nr_pools + 1:
                pool = &self.large_pool
                pool.hint = pool.start
            else:
                return NO_ENTRY
            passes += 1
        # the hint is that of the pool looked at last, though the mask may have led the search elsewhere
        pool.hint = n + npages
        if not large:
            pool.hint = (pool.hint + self.it_blocksize - 1) & ~(self.it_blocksize - 1)
        if handle != NULL:
            handle[0] = n + npages
        return n

    cdef unsigned int align_order(self, phys_addr_t phys, u64 size) noexcept nogil:
        """A page-aligned buffer of a page or more keeps its alignment where I/O pages are smaller than pages."""
        if (self.it_page_shift < self.machine.page_shift and size >= self.machine.page_size
                and not phys & (self.machine.page_size - 1)):
            return self.machine.page_shift - self.it_page_shift
        return 0

    cdef dma_addr_t iommu_alloc(self, Device dev, phys_addr_t phys, unsigned int npages, int dir, u64 mask,
                                unsigned int align_order, unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        """The bus address of phys's I/O page. mask in I/O pages."""
        cdef u64 entry = self.range_alloc(dev, npages, NULL, mask, align_order)
        cdef u64 page = <u64>1 << self.it_page_shift
        if entry == NO_ENTRY:
            return DMA_MAPPING_ERROR
        if self.set_entries(entry, npages, phys & ~(page - 1), dir, attrs):
            self.iommu_free((entry + self.it_offset) << self.it_page_shift, npages)
            return DMA_MAPPING_ERROR
        return (entry + self.it_offset) << self.it_page_shift

    cdef int iommu_free(self, dma_addr_t addr, unsigned int npages) except -9999 nogil:
        """Clear the entries, then the bits; what is outside the table is logged and leaks. Nothing checks that the
        pages were allocated."""
        cdef u64 index = (addr >> self.it_page_shift) - self.it_offset
        if index + npages > self.it_size or addr >> self.it_page_shift < self.it_offset:
            return self.machine.warn(b"WARNING: iommu_free: invalid entry")
        self.clear_entries(index, npages)
        bitmap_clear(self.it_map, index, npages)
        return 0

    # -- what the ops tables are made of -----------------------------------------------------------------------

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, u64 mask, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef phys_addr_t phys = page + offset
        cdef u64 iopage = <u64>1 << self.it_page_shift
        cdef dma_addr_t addr = self.iommu_alloc(dev, phys, <unsigned int>self.num_pages(phys, size), dir,
                                                mask >> self.it_page_shift, self.align_order(phys, size), attrs)
        if addr == DMA_MAPPING_ERROR:
            return addr
        return addr | (phys & (iopage - 1))

    cdef int unmap_page(self, dma_addr_t addr, size_t size) except -9999 nogil:
        return self.iommu_free(addr, <unsigned int>self.num_pages(addr, size))

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nelems, u64 mask, int dir,
                    unsigned long attrs) except -9999 nogil:
        """Segments written to the list's first slots, or -EIO, or -EINVAL for no entries.

        Each entry has an allocation of its own; entries whose allocations touch are one segment if it stays within
        max_seg_size. The segment boundary binds each allocation only: a segment may cross it
        (arch/powerpc/kernel/iommu.c, ppc_iommu_map_sg).
        """
        cdef scatterlist *s = sgl
        cdef scatterlist *outs = sgl
        cdef scatterlist *segstart = sgl
        cdef int outcount = 1
        cdef u64 handle = 0, iopage = <u64>1 << self.it_page_shift, npages, entry
        cdef phys_addr_t phys
        cdef dma_addr_t addr, following = 0
        cdef unsigned int max_seg_size = dma_get_max_seg_size(dev)
        if nelems == 0:
            return -EINVAL
        outs.dma_length = 0
        for _ in range(nelems):
            if s.length == 0:
                # a leading one leaves slot 0 as it was, with length 0, where unmap_sg stops: all that follows leaks
                following = 0
                s = sg_next(s)
                continue
            phys = sg_phys(s)
            npages = self.num_pages(phys, s.length)
            entry = self.range_alloc(dev, npages, &handle, mask >> self.it_page_shift,
                                     self.align_order(phys, s.length))
            if entry == NO_ENTRY:
                return self.undo_sg(sgl, outs, nelems)
            if self.set_entries(entry, npages, phys & ~(iopage - 1), dir, attrs):
                # in no slot yet, so the bits of this entry leak (arch/powerpc/kernel/iommu.c, ppc_iommu_map_sg)
                return self.undo_sg(sgl, outs, nelems)
            addr = ((entry + self.it_offset) << self.it_page_shift) | (phys & (iopage - 1))
            if segstart != s:
                if self.novmerge or addr != following or outs.dma_length + s.length > max_seg_size:
                    segstart = s
                    outcount += 1
                    outs = sg_next(outs)
                else:
                    outs.dma_length += s.length
            if segstart == s:
                outs.dma_address = addr
                outs.dma_length = s.length
            following = addr + s.length
            s = sg_next(s)
        if outcount < nelems:
            sg_next(outs).dma_length = 0
        return outcount

    cdef int undo_sg(self, scatterlist *s, scatterlist *last, int nelems) except -9999 nogil:
        cdef u64 iopage = <u64>1 << self.it_page_shift
        for _ in range(nelems):
            if s.dma_length:
                self.iommu_free(s.dma_address & ~(iopage - 1),
                                <unsigned int>self.num_pages(s.dma_address, s.dma_length))
                s.dma_length = 0
            if s == last:
                break
            s = sg_next(s)
        return -EIO

    cdef int unmap_sg(self, scatterlist *sg, int nelems) except -9999 nogil:
        while nelems > 0 and sg.dma_length:
            self.unmap_page(sg.dma_address, sg.dma_length)
            sg = sg_next(sg)
            nelems -= 1
        return 0

    cdef int alloc_coherent(self, Device dev, size_t size, dma_addr_t *handle, u64 *cpu_addr,
                            u64 mask) except -9999 nogil:
        """0 or -ENOMEM. The I/O pages are aligned to the power of two that holds size."""
        cdef u64 iopage = <u64>1 << self.it_page_shift
        cdef unsigned int order
        cdef phys_addr_t phys
        cdef dma_addr_t addr
        size = (size + self.machine.page_size - 1) & ~(self.machine.page_size - 1)
        order = get_order(size, self.machine.page_shift)
        if order >= IOMAP_MAX_ORDER or self.machine.page_size << order > MAX_BLOCK:
            return -ENOMEM
        phys = self.machine.alloc_pages(order, PHYS_NONE)
        if phys == PHYS_NONE:
            return -ENOMEM
        addr = self.iommu_alloc(dev, phys, <unsigned int>((size + iopage - 1) >> self.it_page_shift),
                                DMA_BIDIRECTIONAL, mask >> self.it_page_shift, get_order(size, self.it_page_shift), 0)
        if addr == DMA_MAPPING_ERROR:
            self.machine.free_pages(phys, order)
            return -ENOMEM
        handle[0] = addr | (phys & (iopage - 1))
        cpu_addr[0] = phys
        return 0

    cdef int free_coherent(self, size_t size, u64 cpu_addr, dma_addr_t handle) except -9999 nogil:
        cdef u64 iopage = <u64>1 << self.it_page_shift
        size = (size + self.machine.page_size - 1) & ~(self.machine.page_size - 1)
        self.iommu_free(handle, <unsigned int>((size + iopage - 1) >> self.it_page_shift))
        return self.machine.free_pages(cpu_addr, get_order(size, self.machine.page_shift))
