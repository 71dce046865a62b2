# SPDX-License-Identifier: MIT
"""What the two IOMMUs of 64-bit SPARC share: pools of table entries, and the loop over a list.

arch/sparc/kernel/iommu-common.c, iommu_common.h; dma_4u_map_sg and dma_4v_map_sg have the same loop.
"""

from libc.errno cimport EINVAL

from scatterlist.core cimport sg_next, sg_phys
from scatterlist.types cimport dma_addr_t

from dma_ops.device cimport dma_get_max_seg_size, dma_get_seg_boundary_nr_pages
from dma_ops.errors cimport kernel_bug
from dma_ops.iommu_helper cimport (
    bitmap_clear,
    bitmap_zalloc,
    iommu_area_alloc,
    iommu_is_span_boundary,
    iommu_num_pages,
)

IOMMU_ERROR_CODE = ~<u64>0


cdef int iommu_tbl_pool_init(iommu_map_table *tbl, u64 base, u64 entries, bint lazy, unsigned int nr_pools) except -1:
    cdef unsigned int i
    tbl.map = bitmap_zalloc(entries)
    if tbl.map == NULL:
        raise MemoryError(f"no memory for a bitmap of {entries} entries")
    tbl.table_map_base = base
    tbl.entries = entries
    tbl.lazy = lazy
    tbl.nr_pools = nr_pools
    tbl.poolsize = entries // nr_pools
    for i in range(nr_pools):
        tbl.pools[i].start = tbl.pools[i].hint = i * tbl.poolsize
        tbl.pools[i].end = (i + 1) * tbl.poolsize - 1
    return 0


cdef u64 iommu_tbl_range_alloc(Device dev, iommu_map_table *tbl, u64 npages,
                               u64 *handle) except? 0xBADBADBADBADBAD nogil:
    """npages entries from this CPU's pool, or from the others in turn; IOMMU_ERROR_CODE.

    handle: where the last part of a list ended, so that its next part follows; NULL for a single mapping. Masks are
    never applied: Linux passes all ones. The hint of the pool goes to the end of what was found, and a table with lazy
    flushing is flushed whenever an entry may be used again.
    """
    cdef unsigned int nr = <u32>(<u32>dev.machine.cpu * <u32>0x61C88647) >> 28 & (tbl.nr_pools - 1)
    cdef iommu_pool *pool = &tbl.pools[nr]
    cdef u64 boundary = dma_get_seg_boundary_nr_pages(dev, IO_PAGE_SHIFT)
    cdef u64 n, start
    cdef unsigned int attempt = 0
    if npages == 0:
        dev.machine.warn(b"WARNING: iommu_tbl_range_alloc of no entries")
        return IOMMU_ERROR_CODE
    if dev.machine.should_fail(b"entries"):
        return IOMMU_ERROR_CODE
    while True:
        start = pool.hint
        if attempt == 0 and handle != NULL and handle[0] and pool.start <= handle[0] < pool.end:
            start = handle[0]
        if start >= pool.end:
            start = pool.start
        n = iommu_area_alloc(tbl.map, pool.end, start, npages, tbl.table_map_base >> IO_PAGE_SHIFT, boundary, 0)
        if n != ~<u64>0:
            break
        if attempt > tbl.nr_pools:
            return IOMMU_ERROR_CODE
        if attempt:                             # the first failure scans the own pool once more
            nr = (nr + 1) & (tbl.nr_pools - 1)
            pool = &tbl.pools[nr]
        pool.hint = pool.start
        tbl.need_flush = True
        attempt += 1
    if tbl.lazy and (n < pool.hint or tbl.need_flush):
        tbl.need_flush = False
        tbl.flushes += 1
    pool.hint = n + npages
    if handle != NULL:
        handle[0] = n + npages
    return n


cdef int iommu_tbl_range_free(iommu_map_table *tbl, u64 dma_addr, u64 npages) except -9999 nogil:
    cdef u64 entry = (dma_addr - tbl.table_map_base) >> IO_PAGE_SHIFT
    if entry // tbl.poolsize >= tbl.nr_pools:
        return kernel_bug(b"kernel BUG at arch/sparc/kernel/iommu-common.c: pool_nr >= tbl->nr_pools")
    if entry + npages > tbl.entries:
        return kernel_bug(b"iommu_tbl_range_free: bits beyond the bitmap")
    bitmap_clear(tbl.map, entry, npages)
    return 0


cdef class SparcIommuOps(DmaMapOps):
    """The list side of both tables; subclasses write and clear entries.

    Every entry of a list is allocated on its own, right behind the last if it can, and merged if it follows. The test
    of the segment boundary is always made as if the segment began at entry 0 of the table, since the variable that
    should hold its first entry is set to 0 in every turn (dma_4u_map_sg, dma_4v_map_sg): a merged segment may cross
    the boundary, or stop early where the table does not begin on one.
    """

    cdef iommu_map_table *table_of(self, u64 mask) noexcept nogil:
        return NULL

    cdef void flush_all(self) noexcept nogil:
        """tbl->lazy_flush: let the IOMMU forget everything."""

    cdef u64 range_alloc(self, Device dev, iommu_map_table *tbl, u64 npages,
                         u64 *handle) except? 0xBADBADBADBADBAD nogil:
        """iommu_tbl_range_alloc() with the flush that it asks for."""
        cdef u64 flushes = tbl.flushes
        cdef u64 entry = iommu_tbl_range_alloc(dev, tbl, npages, handle)
        if tbl.flushes != flushes:
            self.flush_all()
        return entry

    cdef int sg_begin(self, Device dev, int dir, unsigned long attrs) except -9999 nogil:
        return 0

    cdef int sg_write(self, Device dev, u64 entry, phys_addr_t paddr, u64 npages) except -9999 nogil:
        """Map npages from a page address on at an entry; negative if the hardware refuses."""
        return 0

    cdef int sg_end(self, Device dev) except -9999 nogil:
        return 0

    cdef int sg_undo(self, u64 entry, u64 npages) except -9999 nogil:
        return 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef iommu_map_table *tbl = self.table_of(dev.dma_mask)
        cdef scatterlist *sg = sgl
        cdef scatterlist *outs = sgl
        cdef scatterlist *segstart = sgl
        cdef u64 handle = 0, entry, npages
        cdef dma_addr_t dma_addr, dma_next = 0
        cdef unsigned int max_seg_size = dma_get_max_seg_size(dev)
        cdef u64 boundary = dma_get_seg_boundary_nr_pages(dev, IO_PAGE_SHIFT)
        cdef u64 base_shift = tbl.table_map_base >> IO_PAGE_SHIFT
        cdef int count = 1, i
        cdef bint failed = False
        if nents == 0:
            return -EINVAL
        self.sg_begin(dev, dir, attrs)
        outs.dma_length = 0
        for i in range(nents):
            if i:
                sg = sg_next(sg)
            if sg.length == 0:
                dma_next = 0
                continue
            npages = iommu_num_pages(sg_phys(sg), sg.length, IO_PAGE_SIZE)
            entry = self.range_alloc(dev, tbl, npages, &handle)
            if entry == IOMMU_ERROR_CODE or self.sg_write(dev, entry, sg_phys(sg) & ~<u64>IO_PAGE_OFFSET, npages) < 0:
                failed = True
                break
            dma_addr = (tbl.table_map_base + (entry << IO_PAGE_SHIFT)) | (sg.offset & IO_PAGE_OFFSET)
            if segstart != sg:
                if (dma_addr != dma_next or outs.dma_length + sg.length > max_seg_size
                        or iommu_is_span_boundary(0, iommu_num_pages(sg_phys(outs), outs.dma_length + sg.length,
                                                                     IO_PAGE_SIZE), base_shift, boundary)):
                    segstart = sg
                    count += 1
                    outs = sg_next(outs)
                else:
                    outs.dma_length += sg.length
            if segstart == sg:
                outs.dma_address = dma_addr
                outs.dma_length = sg.length
            dma_next = dma_addr + sg.length
        if not failed and self.sg_end(dev) >= 0:
            if count < nents:
                sg_next(outs).dma_length = 0
            return count
        sg = sgl
        while True:
            if sg.dma_length:
                npages = iommu_num_pages(sg.dma_address, sg.dma_length, IO_PAGE_SIZE)
                self.sg_undo((sg.dma_address - tbl.table_map_base) >> IO_PAGE_SHIFT, npages)
                iommu_tbl_range_free(tbl, sg.dma_address & ~<u64>IO_PAGE_OFFSET, npages)
                sg.dma_length = 0
            if sg == outs:
                return -EINVAL
            sg = sg_next(sg)
