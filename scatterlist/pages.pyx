# SPDX-License-Identifier: MIT
"""sg_alloc_table_from_pages and append tables (lib/scatterlist.c, Linux 6.1; the pgmap rule of 6.12).

Linux compares the page frame numbers twice, asks for each entry's place by a function call and clears every array
before it fills it. The arrays' sizes depend on the number of chunks, so they are counted first here too; then there is
one allocation for all arrays, and one loop per array that writes whole entries.
"""

from array import array

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EFAULT, EINVAL, ENOMEM, EOPNOTSUPP, ERANGE
from libc.string cimport memset

from scatterlist.core cimport (
    SG_END,
    SgTable,
    raise_errno,
    scatterlist,
    sg_block,
    sg_block_alloc,
    sg_block_free_all,
    sg_block_of,
    sg_chain_entry,
    sg_is_last,
    sg_mark_end,
    sg_next,
    sg_page,
)
from scatterlist.memory cimport _Borrowed, borrow_words


cdef inline int pgmap_of(const sg_pages_how *how, u64 page) noexcept nogil:
    """The number of the pgmap that a page belongs to, -1 for system RAM."""
    cdef unsigned int i
    for i in range(how.n_pgmaps):
        if page - how.pgmaps[i].paddr < how.pgmaps[i].len:
            return i
    return -1


cdef inline bint mergeable(const sg_pages_how *how, u64 before, u64 page) noexcept nogil:
    """Whether page (a raw unit) follows before and 6.12 would put both into one entry."""
    cdef u64 step = 1 if how.unit_shift else <u64>1 << how.page_shift
    if page != before + step:
        return False
    if not how.n_pgmaps:
        return True
    return pgmap_of(how, page << how.unit_shift) == pgmap_of(how, before << how.unit_shift)


cdef inline bint valid(u64 bits, const sg_pages_how *how) noexcept nogil:
    """Whether all pages are possible, given all their bits."""
    if how.unit_shift:
        return bits >> (64 - how.unit_shift) == 0
    return bits & ((<u64>1 << how.page_shift) - 1) == 0


cdef size_t count_chunks(const u64 *pages, unsigned int n, unsigned int max_pages,
                         const sg_pages_how *how) noexcept nogil:
    """The entries that n pages make; 0 if one of them is not a frame's address, or no frame number."""
    cdef u64 bits = pages[0]
    cdef u64 step = 1 if how.unit_shift else <u64>1 << how.page_shift
    cdef size_t chunks = 1
    cdef unsigned int i, run = 1
    if how.n_pgmaps == 0 and max_pages >= n:
        for i in range(1, n):
            bits |= pages[i]
            chunks += pages[i] != pages[i - 1] + step
        return chunks if valid(bits, how) else 0
    for i in range(1, n):
        bits |= pages[i]
        if run >= max_pages or not mergeable(how, pages[i - 1], pages[i]):
            chunks += 1
            run = 0
        run += 1
    return chunks if valid(bits, how) else 0


cdef struct cursor:
    const u64 *pages
    const u64 *end
    unsigned long size
    unsigned int offset
    unsigned int max_pages


cdef void fill(scatterlist *s, size_t n, cursor *at, const sg_pages_how *how) noexcept nogil:
    """Write the next n chunks into n entries, all fields, no flags."""
    # in locals, as every store to an entry could change what at and how point to
    cdef const u64 *p = at.pages
    cdef const u64 *end = at.end
    cdef const u64 *limit
    cdef u64 first, expected, step = 1 if how.unit_shift else <u64>1 << how.page_shift
    cdef unsigned long size = at.size
    cdef size_t max_pages = at.max_pages
    cdef unsigned int chunk, offset = at.offset, unit_shift = how.unit_shift
    cdef bint mixed = how.n_pgmaps != 0
    cdef scatterlist *stop = s + n
    while s != stop:
        first = p[0]
        limit = p + max_pages if <size_t>(end - p) > max_pages else end
        p += 1
        expected = first + step
        if mixed:
            while p != limit and mergeable(how, (p - 1)[0], p[0]):
                p += 1
                expected += step
        else:
            while p != limit and p[0] == expected:
                p += 1
                expected += step
        # unsigned 32-bit, as in Linux: an offset beyond the chunk wraps
        chunk = <unsigned int>((expected - first) << unit_shift) - offset
        s.page_link = first << unit_shift
        s.offset = offset
        s.length = <unsigned int>(size if size < chunk else chunk)
        s.dma_address = 0
        s.dma_length = 0
        s.dma_flags = 0
        size -= chunk           # wraps below zero: the next chunk then is whole (Linux's behaviour)
        offset = 0
        s += 1
    at.pages = p
    at.size = size
    at.offset = offset


cdef int sg_alloc_append_table_from_pages(sg_append_table *append, const u64 *pages, unsigned int n_pages,
                                          unsigned int offset, unsigned long size, unsigned int max_segment,
                                          unsigned int left_pages, const sg_pages_how *how) noexcept nogil:
    """Add the pages to a table, contiguous ones merged up to max_segment bytes an entry. Nothing changes on an error.

    0, -EINVAL (max_segment below a page; offset when there is a last entry; no pages for a first entry), -EOPNOTSUPP
    (a second call without chaining), -ENOMEM, -EFAULT where Linux would dereference NULL: more entries after a call
    that said left_pages 0, -ERANGE for a page that is none (a struct page * always is one). max_segment is rounded
    down to pages. The first call chains a list over max_ents even where the architecture cannot chain: get_next_sg()
    does not ask, unlike __sg_alloc_table().
    """
    cdef u64 page_size = <u64>1 << how.page_shift
    cdef unsigned int max_pages = max_segment >> how.page_shift
    cdef scatterlist *prv = append.prv
    cdef scatterlist *s
    cdef scatterlist *link = NULL       # the end slot that becomes the link to the new block
    cdef scatterlist *region = NULL
    cdef u64 next_pfn, before, merged = 0
    cdef size_t chunks, needed, avail, take, slots, total
    cdef cursor at
    if max_pages == 0:
        return -EINVAL
    if how.no_chain and prv != NULL:
        return -EOPNOTSUPP
    if prv != NULL:
        if offset:
            return -EINVAL
        next_pfn = (sg_page(prv) + prv.offset + prv.length) >> how.page_shift
        before = (next_pfn - 1) if how.unit_shift else (next_pfn - 1) << how.page_shift
        while n_pages and mergeable(how, before, pages[0]):
            if prv.length + merged + page_size > <u64>max_pages << how.page_shift:
                break
            merged += page_size
            before = pages[0]
            pages += 1
            n_pages -= 1
        if n_pages == 0:
            prv.length += <unsigned int>merged
            if not left_pages:
                sg_mark_end(prv)
            return 0
    if n_pages == 0:
        return -EINVAL          # Linux reads pages[0]

    chunks = count_chunks(pages, n_pages, max_pages, how)
    if chunks == 0:
        return -ERANGE
    needed = chunks + left_pages
    at.pages = pages
    at.end = pages + n_pages
    at.size = size
    at.offset = offset
    at.max_pages = max_pages

    # The slots behind prv in its array come first. An array's last slot holds data only if nothing more is needed.
    s = NULL
    avail = 0
    if prv != NULL:
        s = sg_next(prv)
        if s == NULL:
            return -EFAULT
        while not sg_is_last(s + avail):
            avail += 1
        avail += 1
    take = min(chunks, avail if needed <= avail else avail - 1) if avail else 0

    # Then new arrays of min(needed, max_ents) slots, as many as these chunks reach.
    slots = 0
    total = append.total_nents
    if chunks > take:
        slots = new_slots(chunks - take, needed - take, how.max_ents, &total, prv == NULL)
        region = sg_block_alloc(slots, False)
        if region == NULL:
            return -ENOMEM
        if prv == NULL:
            append.sgt.sgl = region
        else:
            link = s + avail - 1
            add_block(append.sgt.sgl, region)

    if prv != NULL:
        prv.length += <unsigned int>merged
    if take:
        fill(s, take, &at, how)
        if take == avail:
            s[take - 1].page_link |= SG_END
        prv = s + take - 1
    if link != NULL:
        sg_chain_entry(link, region)
    if region != NULL:
        prv = fill_region(region, chunks - take, needed - take, &at, how)
    append.total_nents = <unsigned int>total
    append.sgt.nents += <unsigned int>chunks
    append.sgt.orig_nents = append.sgt.nents
    append.prv = prv
    if not left_pages:
        sg_mark_end(prv)
    return 0


cdef size_t new_slots(size_t chunks, size_t needed, size_t max_ents, size_t *total, bint first) noexcept nogil:
    """The slots of the new arrays that these chunks reach; adds to total what Linux adds to total_nents."""
    cdef size_t slots = 0, n, room
    while chunks:
        n = min(needed, max_ents)
        room = n if needed <= max_ents else n - 1
        slots += n
        total[0] += n if first else n - 1       # the slot that becomes the link was counted
        first = False
        room = min(room, chunks)
        chunks -= room
        needed -= room
    return slots


cdef void add_block(scatterlist *sgl, scatterlist *region) noexcept nogil:
    cdef sg_block *block = sg_block_of(sgl)
    while block.next != NULL:
        block = block.next
    block.next = sg_block_of(region)


cdef scatterlist *fill_region(scatterlist *s, size_t chunks, size_t needed, cursor *at,
                              const sg_pages_how *how) noexcept nogil:
    """Fill new arrays and chain them; the last entry filled. The last array keeps its end mark on its last slot."""
    cdef size_t n, room, take
    while True:
        n = min(needed, <size_t>how.max_ents)
        room = n if needed <= how.max_ents else n - 1
        take = min(room, chunks)
        fill(s, take, at, how)
        chunks -= take
        needed -= take
        if chunks == 0:
            break
        memset(&s[n - 1], 0, sizeof(scatterlist))
        sg_chain_entry(&s[n - 1], s + n)
        s += n
    memset(&s[take], 0, (n - take) * sizeof(scatterlist))
    s[n - 1].page_link |= SG_END
    return &s[take - 1]


cdef int sg_alloc_table_from_pages_segment(sg_table *sgt, const u64 *pages, unsigned int n_pages, unsigned int offset,
                                           unsigned long size, unsigned int max_segment,
                                           const sg_pages_how *how) noexcept nogil:
    """One append call for a whole table; sgt is written only on success."""
    cdef sg_append_table append
    cdef int ret
    memset(&append, 0, sizeof(append))
    ret = sg_alloc_append_table_from_pages(&append, pages, n_pages, offset, size, max_segment, 0, how)
    if ret == 0:
        sgt[0] = append.sgt
    return ret


cdef void sg_free_append_table(sg_append_table *append) noexcept nogil:
    if append.sgt.sgl != NULL:
        sg_block_free_all(sg_block_of(append.sgt.sgl))
    append.sgt.sgl = NULL


# -- Python ----------------------------------------------------------------------------------------------------

cdef int from_pages(SgTable table, pages, unsigned int offset, object size, unsigned int max_segment,
                    unsigned int left_pages, bint pfns, pgmaps, str what) except -1:
    cdef _Borrowed words
    cdef sg_pages_how how
    cdef sg_append_table append
    cdef phys_vec *maps = NULL
    cdef const u64 *first = NULL
    cdef unsigned long bytes_
    cdef unsigned int n
    cdef Py_ssize_t i
    cdef int ret
    table.check_resizable()
    if not hasattr(pages, "__buffer__") and isinstance(pages, (list, tuple, range)):
        pages = array("Q", pages)
    words = borrow_words(pages)
    if words.view.len // 8 > 0xFFFFFFFF:
        raise ValueError(f"{words.view.len // 8} pages are more than Linux can count")
    n = <unsigned int>(words.view.len // 8)
    if n:
        first = <const u64 *>words.view.buf
    if table.loose or table.held:
        raise ValueError("a list whose structure was changed by hand cannot grow")
    bytes_ = (<unsigned long>n << table.page_shift) - offset if size is None else size
    how.page_shift = table.page_shift
    how.max_ents = table.max_ents
    how.unit_shift = table.page_shift if pfns else 0
    how.no_chain = not table.chaining
    how.n_pgmaps = len(pgmaps)
    how.pgmaps = NULL
    append.sgt = table.sgt
    append.prv = table.prv
    append.total_nents = table.total_nents
    if table.sgt.sgl == &table.none[0]:
        append.sgt.sgl = NULL
    elif table.prv == NULL:
        raise ValueError("a list that sg_alloc_table made cannot be appended to: Linux would leak it")
    try:
        if how.n_pgmaps:
            maps = <phys_vec *>PyMem_Malloc(how.n_pgmaps * sizeof(phys_vec))
            if maps == NULL:
                raise MemoryError
            for i, (start, length) in enumerate(pgmaps):
                maps[i].paddr = start
                maps[i].len = length
            how.pgmaps = maps
        with nogil:
            ret = sg_alloc_append_table_from_pages(&append, first, n, offset, bytes_, max_segment, left_pages, &how)
    finally:
        PyMem_Free(maps)
    if ret == -EFAULT:
        raise ValueError(f"{what}: the last call said left_pages 0; Linux would dereference NULL")
    if ret == -ERANGE:
        raise ValueError("a page that is not a frame's address (or a frame number too large)")
    raise_errno(ret, what)
    if append.sgt.sgl != NULL:
        table.blocks = sg_block_of(append.sgt.sgl)
        table.sgt = append.sgt
        table.prv = append.prv
        table.total_nents = append.total_nents
    return 0


def sg_alloc_append_table_from_pages_(SgTable sgt not None, pages, unsigned int offset=0, size=None,
                                      unsigned int max_segment=0xFFFFFFFF, unsigned int left_pages=0, *,
                                      bint pfns=False, pgmaps=()):
    """Append pages to a table, contiguous ones merged up to max_segment bytes (rounded down to pages) an entry.

    pages       a buffer of unsigned 64-bit page addresses (frame numbers with pfns=True), or a list of them
    offset      of the data in the first page; only in the first call
    size        bytes of data; Linux expects them to fill the pages. None: all of the pages after offset
    left_pages  how many more pages the caller will append: sizes the arrays, and 0 ends the list
    pgmaps      (start, length) of each ZONE_DEVICE range: 6.12 merges no pages of different pgmaps; 6.1 has none

    Raises OSError EINVAL (max_segment below a page, an offset when appending, no pages), EOPNOTSUPP (appending without
    chaining), ENOMEM (a retry can help); ValueError where Linux would read out of bounds. The table is unchanged then.
    """
    from_pages(sgt, pages, offset, size, max_segment, left_pages, pfns, pgmaps, "sg_alloc_append_table_from_pages")


def sg_alloc_table_from_pages_segment_(SgTable sgt not None, pages, unsigned int offset=0, size=None,
                                       unsigned int max_segment=0xFFFFFFFF, *, bint pfns=False, pgmaps=()):
    """Build a whole table from pages; see sg_alloc_append_table_from_pages. What the table held is freed first."""
    sgt.release()
    from_pages(sgt, pages, offset, size, max_segment, 0, pfns, pgmaps, "sg_alloc_table_from_pages_segment")


def sg_alloc_table_from_pages_(SgTable sgt not None, pages, unsigned int offset=0, size=None, *, bint pfns=False,
                               pgmaps=()):
    """sg_alloc_table_from_pages_segment with the largest segment."""
    sgt.release()
    from_pages(sgt, pages, offset, size, 0xFFFFFFFF, 0, pfns, pgmaps, "sg_alloc_table_from_pages")
