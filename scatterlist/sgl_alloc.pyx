# SPDX-License-Identifier: MIT
"""Lists with their pages: sgl_alloc and sgl_free (CONFIG_SGL_ALLOC in lib/scatterlist.c, Linux 6.1).

The pages come from the caller: alloc_pages(order) answers a frame's address, or None without memory; free_pages(page,
order) takes it back.
"""

from scatterlist.core cimport (
    SG_LINK_FLAGS,
    SgTable,
    scatterlist,
    sg_block_alloc,
    sg_block_of,
    sg_init_table,
    sg_next,
    sg_page,
    sg_set_page,
    sg_table,
)
from scatterlist.types cimport u32, u64

cdef enum:
    MAX_ORDER = 10


def sgl_alloc_order(u64 length, unsigned int order, bint chainable, alloc_pages, free_pages=None, **options):
    """A list of ceil(length / (PAGE_SIZE << order)) entries with their pages: (table, count), or (None, 0) for NULL.

    chainable adds an unused slot for a link; it carries the end mark and sg_nents() counts it, the answered count does
    not. All entries are one array, whatever their number. Linux answers NULL without memory, and because it multiplies
    in 32 bits, for a length over 4 GiB - (PAGE_SIZE << order). options are SgTable's.
    """
    cdef SgTable table = SgTable(None, **options)
    cdef unsigned int shift = table.page_shift + order
    cdef u64 unit, page
    cdef u32 nent, count
    cdef sg_table made
    cdef scatterlist *sg
    if order > MAX_ORDER:
        return None, 0
    unit = <u64>1 << shift
    nent = <u32>(((length + unit - 1) & ~(unit - 1)) >> shift)
    if length > <u32>(nent << shift):
        return None, 0
    count = nent + 1 if chainable else nent
    if count == 0:
        raise ValueError("sgl_alloc of 0 bytes: Linux would write before the array")
    made.sgl = sg_block_alloc(count, False)
    if made.sgl == NULL:
        return None, 0
    sg_init_table(made.sgl, count)
    made.nents = made.orig_nents = nent
    table.adopt(&made, sg_block_of(made.sgl))
    table.exports += 1          # the allocator is the caller's code
    sg = made.sgl
    try:
        while length:
            got = alloc_pages(order)
            if got is None:
                break
            page = got
            if page & SG_LINK_FLAGS:
                raise ValueError(f"page {page:#x} is not a frame's address")
            sg_set_page(sg, page, <u32>min(length, unit), 0)
            length -= min(length, unit)
            sg = sg_next(sg)
    finally:
        table.exports -= 1
        if length:
            sgl_free_order(table, order, free_pages)
    if length:
        return None, 0
    return table, nent


def sgl_alloc(u64 length, alloc_pages, free_pages=None, **options):
    """sgl_alloc_order of single pages, without the spare slot."""
    return sgl_alloc_order(length, 0, False, alloc_pages, free_pages, **options)


def sgl_free_n_order(SgTable sgl not None, int nents, int order, free_pages=None):
    """Free the pages of up to nents entries, then the list. Entries without a page (address 0) are passed over."""
    cdef scatterlist *sg = sgl.first()
    cdef list pages = []
    sgl.check_resizable()
    while sg != NULL and nents > 0:
        if sg_page(sg):
            pages.append(sg_page(sg))
        sg = sg_next(sg)
        nents -= 1
    sgl.release()
    if free_pages is not None:
        for page in pages:
            free_pages(page, order)


def sgl_free_order(SgTable sgl not None, int order, free_pages=None):
    sgl_free_n_order(sgl, 0x7FFFFFFF, order, free_pages)


def sgl_free(SgTable sgl not None, free_pages=None):
    sgl_free_order(sgl, 0, free_pages)
