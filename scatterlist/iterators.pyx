# SPDX-License-Identifier: MIT
"""Page, dma-page and mapping iterators (lib/scatterlist.c, Linux 6.1).

All sums are 32 bits wide as in Linux: an entry whose offset + length exceeds 4 GiB - PAGE_SIZE counts fewer pages than
it has. The mapping iterator moves on to the page of an entry's offset, even if the entry is empty and has no such page:
the first page of the next entry is then passed over (Linux's fault). Linux's linear address of a page (kmap) is its
physical address here.
"""

import warnings

from libc.string cimport memset

from scatterlist.core cimport SgTable, sg_dma_len, sg_next
from scatterlist.entry cimport as_sg, entry_at, table_of
from scatterlist.types cimport u32


cdef inline unsigned int pages_of(unsigned int length, unsigned int page_shift) noexcept nogil:
    """PAGE_ALIGN(length) >> PAGE_SHIFT in 32 bits."""
    cdef unsigned int mask = (<unsigned int>1 << page_shift) - 1
    return ((length + mask) & ~mask) >> page_shift


cdef void sg_page_iter_start(sg_page_iter *piter, scatterlist *sgl, unsigned int nents,
                             unsigned long pgoffset) noexcept nogil:
    """__sg_page_iter_start: before the page number pgoffset of the list."""
    piter.__pg_advance = 0
    piter.__nents = nents
    piter.sg = sgl
    piter.sg_pgoffset = <unsigned int>pgoffset


cdef bint sg_page_iter_next(sg_page_iter *piter, unsigned int page_shift) noexcept nogil:
    """__sg_page_iter_next: False at the end of the list or after nents entries."""
    cdef unsigned int n
    if not piter.__nents or piter.sg == NULL:
        return False
    piter.sg_pgoffset += piter.__pg_advance
    piter.__pg_advance = 1
    while True:
        n = pages_of(piter.sg.offset + piter.sg.length, page_shift)
        if piter.sg_pgoffset < n:
            return True
        piter.sg_pgoffset -= n
        piter.sg = sg_next(piter.sg)
        piter.__nents -= 1
        if not piter.__nents or piter.sg == NULL:
            return False


cdef bint sg_page_iter_dma_next(sg_dma_page_iter *dma_iter, unsigned int page_shift, bint dma_length) noexcept nogil:
    """__sg_page_iter_dma_next. It adds the slot's dma length to the slot's CPU offset, which after a merge belong to
    different buffers: Linux's behaviour."""
    cdef sg_page_iter *piter = &dma_iter.base
    cdef unsigned int n
    if not piter.__nents or piter.sg == NULL:
        return False
    piter.sg_pgoffset += piter.__pg_advance
    piter.__pg_advance = 1
    while True:
        n = pages_of(piter.sg.offset + sg_dma_len(piter.sg, dma_length), page_shift)
        if piter.sg_pgoffset < n:
            return True
        piter.sg_pgoffset -= n
        piter.sg = sg_next(piter.sg)
        piter.__nents -= 1
        if not piter.__nents or piter.sg == NULL:
            return False


cdef void sg_miter_start(sg_mapping_iter *miter, scatterlist *sgl, unsigned int nents,
                         unsigned int flags) noexcept nogil:
    memset(miter, 0, sizeof(sg_mapping_iter))
    sg_page_iter_start(&miter.piter, sgl, nents, 0)
    miter.__flags = flags & ~<unsigned int>MITER_MAPPED


cdef bint next_page(sg_mapping_iter *miter, unsigned int page_shift) noexcept nogil:
    """Make sure that there are bytes left on the current page; False at the end of the list."""
    cdef scatterlist *sg
    cdef unsigned int page_size = <unsigned int>1 << page_shift
    if miter.__remaining:
        return True
    if not sg_page_iter_next(&miter.piter, page_shift):
        return False
    sg = miter.piter.sg
    miter.__offset = 0 if miter.piter.sg_pgoffset else sg.offset
    miter.piter.sg_pgoffset += miter.__offset >> page_shift
    miter.__offset &= page_size - 1
    miter.__remaining = sg.offset + sg.length - (miter.piter.sg_pgoffset << page_shift) - miter.__offset
    if miter.__remaining > page_size - miter.__offset:
        miter.__remaining = page_size - miter.__offset
    return True


cdef bint sg_miter_skip(sg_mapping_iter *miter, s64 offset, unsigned int page_shift) noexcept nogil:
    """Move on by offset bytes, which must not be negative (Linux does not ask). False beyond the end of the list."""
    cdef s64 step
    sg_miter_stop(miter)
    while offset:
        if not next_page(miter, page_shift):
            return False
        step = offset if offset < <s64>miter.__remaining else <s64>miter.__remaining
        miter.__offset += <unsigned int>step
        miter.__remaining -= <unsigned int>step
        offset -= step
    return True


cdef bint sg_miter_next(sg_mapping_iter *miter, unsigned int page_shift) noexcept nogil:
    """The next piece of at most a page in page, addr and length. A zero-length entry with an offset is a piece of 0."""
    sg_miter_stop(miter)
    if not next_page(miter, page_shift):
        return False
    miter.page = sg_page_iter_page(&miter.piter, page_shift)
    miter.consumed = miter.length = miter.__remaining
    miter.addr = miter.page + miter.__offset
    miter.__flags |= <unsigned int>MITER_MAPPED
    return True


cdef void sg_miter_stop(sg_mapping_iter *miter) noexcept nogil:
    """Resume later behind the consumed bytes, which must not exceed length."""
    if miter.__flags & <unsigned int>MITER_MAPPED:
        miter.__flags &= ~<unsigned int>MITER_MAPPED
        miter.__offset += <unsigned int>miter.consumed
        miter.__remaining -= <unsigned int>miter.consumed
        miter.page = 0
        miter.addr = 0
        miter.length = 0
        miter.consumed = 0


# -- Python ----------------------------------------------------------------------------------------------------

cdef class PageIter:
    """The pages of a list; the iterator of for_each_sg_page and, over dma addresses, of for_each_sg_dma_page."""
    cdef SgTable table
    cdef unsigned long generation
    cdef sg_dma_page_iter it
    cdef bint dma

    def __init__(self):
        raise TypeError("use for_each_sg_page(...) or for_each_sg_dma_page(...)")

    def __iter__(self):
        return self

    def __next__(self):
        if self.table is None or self.generation != self.table.generation:
            raise ValueError("the table was freed during the iteration")
        if self.dma:
            if not sg_page_iter_dma_next(&self.it, self.table.page_shift, self.table.dma_length):
                raise StopIteration
            return sg_page_iter_dma_address(&self.it, self.table.page_shift)
        if not sg_page_iter_next(&self.it.base, self.table.page_shift):
            raise StopIteration
        return sg_page_iter_page(&self.it.base, self.table.page_shift)

    @property
    def sg(self):
        """The entry that holds the current page, None at the end."""
        if self.table is None or self.generation != self.table.generation:
            raise ValueError("the table was freed during the iteration")
        return None if self.it.base.sg == NULL else entry_at(self.table, self.it.base.sg)

    @property
    def sg_pgoffset(self):
        """The current page's number within its entry."""
        return self.it.base.sg_pgoffset


cdef PageIter page_iter(object sgl, unsigned int nents, unsigned long pgoffset, bint dma):
    cdef PageIter pages = PageIter.__new__(PageIter)
    sg_page_iter_start(&pages.it.base, as_sg(sgl), nents, pgoffset)
    pages.table = table_of(sgl)
    pages.generation = pages.table.generation
    pages.dma = dma
    return pages


def for_each_sg_page(sgl, u32 nents, u32 pgoffset=0):
    """The pages (frames' addresses) of at most nents entries, from page number pgoffset of the list on.

    The pages before an entry's offset count too: offset 8197 and length 10 are three pages.
    """
    return page_iter(sgl, nents, pgoffset, False)


def for_each_sg_dma_page(sgl, u32 dma_nents, u32 pgoffset=0):
    """The dma address of each page of at most dma_nents entries; not rounded down to a page."""
    return page_iter(sgl, dma_nents, pgoffset, True)


def for_each_sgtable_page(SgTable sgt not None, u32 pgoffset=0):
    return page_iter(sgt, sgt.sgt.orig_nents, pgoffset, False)


def for_each_sgtable_dma_page(SgTable sgt not None, u32 pgoffset=0):
    return page_iter(sgt, sgt.sgt.nents, pgoffset, True)


cdef class SgMappingIter:
    """struct sg_mapping_iter: the constructor is sg_miter_start, the methods are sg_miter_next, _skip and _stop.

    page, addr, length and consumed are Linux's fields; consumed may be lowered before the next step, which resumes
    there.
    """
    cdef SgTable table
    cdef unsigned long generation
    cdef sg_mapping_iter it

    def __init__(self, sgl, u32 nents, u32 flags):
        cdef SgTable table = table_of(sgl)
        if not flags & (SG_MITER_TO_SG | SG_MITER_FROM_SG):
            warnings.warn("WARNING: sg_miter_start: neither SG_MITER_TO_SG nor SG_MITER_FROM_SG", RuntimeWarning,
                          stacklevel=2)
        sg_miter_start(&self.it, as_sg(sgl), nents, flags)
        self.table = table
        self.generation = table.generation

    cdef int check(self) except -1:
        if self.table is None or self.generation != self.table.generation:
            raise ValueError("the iterator was not started, or its table was freed")
        return 0

    def next(self):
        """sg_miter_next: whether there is another piece."""
        self.check()
        return bool(sg_miter_next(&self.it, self.table.page_shift))

    def skip(self, long long offset):
        """sg_miter_skip: whether the list reaches that far."""
        self.check()
        if offset < 0:
            raise ValueError("sg_miter_skip backwards: Linux would leave the page")
        return bool(sg_miter_skip(&self.it, offset, self.table.page_shift))

    def stop(self):
        """sg_miter_stop; next() resumes behind the consumed bytes."""
        self.check()
        sg_miter_stop(&self.it)

    @property
    def page(self):
        return self.it.page

    @property
    def addr(self):
        return self.it.addr

    @property
    def length(self):
        return self.it.length

    @property
    def consumed(self):
        return self.it.consumed

    @consumed.setter
    def consumed(self, size_t value):
        if value > self.it.length:
            raise ValueError(f"WARN: consumed {value} of {self.it.length} bytes")
        self.it.consumed = value

    def __iter__(self):
        return self

    def __next__(self):
        """(page, offset within the page, length) of the next piece."""
        if not self.next():
            raise StopIteration
        return self.it.page, self.it.addr - self.it.page, self.it.length


def sg_miter_start_(sgl, u32 nents, u32 flags):
    """A mapping iterator before the first piece of at most nents entries."""
    return SgMappingIter(sgl, nents, flags)


def sg_miter_next_(SgMappingIter miter not None):
    return miter.next()


def sg_miter_skip_(SgMappingIter miter not None, long long offset):
    return miter.skip(offset)


def sg_miter_stop_(SgMappingIter miter not None):
    miter.stop()
