# SPDX-License-Identifier: MIT
"""Buffers gathered from blocks of pages that need not follow one another (__iommu_dma_alloc_pages, 6.1)."""

from scatterlist.core cimport scatterlist, sg_next, sg_page

from .machine cimport PHYS_NONE

cdef enum:
    MAX_ORDER = 11


cdef list gather_pages(Machine machine, u64 count, u64 orders):
    """count pages in blocks of the orders whose bits are set, large ones first; None: not enough memory."""
    cdef list pages = []
    cdef unsigned int order
    cdef phys_addr_t block = PHYS_NONE
    orders &= (1 << MAX_ORDER) - 1      # the page allocator has no larger block
    while count:
        while orders > count:
            orders &= ~(<u64>1 << (orders.bit_length() - 1))
        while orders:
            order = orders.bit_length() - 1
            block = machine.alloc_pages(order, PHYS_NONE)
            if block != PHYS_NONE:
                break
            orders &= ~(<u64>1 << order)
        if not orders:
            free_page_blocks(machine, pages)
            return None
        pages.extend(range(block, block + (machine.page_size << order), machine.page_size))
        count -= <u64>1 << order
    return pages


cdef int free_page_blocks(Machine machine, pages) except -9999:
    """Give pages back, cached again, as the blocks that they were allocated in."""
    cdef size_t i = 0
    cdef unsigned int order
    while i < len(pages):
        order = machine.allocated.get(pages[i], 0)
        machine.set_uncached(pages[i], machine.page_size << order, False)
        machine.free_pages(pages[i], order)
        i += <size_t>1 << order
    return 0


cdef list sg_pages(Machine machine, sg_table *sgt):
    cdef list pages = []
    cdef scatterlist *s = sgt.sgl
    while s != NULL:
        pages.extend(range(sg_page(s), sg_page(s) + s.length, machine.page_size))
        s = sg_next(s)
    return pages


cdef list joined(list pages, u64 page_size, u64 size):
    """(first page, bytes) of each run of neighbours among pages, size bytes in all."""
    cdef list rows = []
    cdef u64 start = 0, length = 0, step, page
    for page in pages:
        step = page_size if page_size < size else size
        if length and start + length == page and length + step < <u64>1 << 32:
            length += step
        else:
            if length:
                rows.append((start, length))
            start = page
            length = step
        size -= step
    rows.append((start, length))
    return rows
