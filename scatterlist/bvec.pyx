# SPDX-License-Identifier: MIT
"""struct bio_vec and its iterators for Python (include/linux/bvec.h, Linux 6.1; the 6.12 additions are marked).

A bio_vec may span many pages that are contiguous in physical memory.
"""

import warnings

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from libc.stdlib cimport calloc, free

from scatterlist.memory cimport PhysMem, _Borrowed, borrow

cdef char *FORMAT = b"T{L:bv_page:I:bv_len:I:bv_offset:}"
cdef enum:
    GUARDS = 3                  # entries of 4 GiB - 1 behind the array, where an advance stops


cdef class BioVecs:
    """BioVecs(rows, *, page_shift=12): an array of struct bio_vec from (page, length, offset) rows.

    Linux's order of bv_page, bv_len, bv_offset. A read-only buffer of its rows, with Linux's field names.
    """

    def __init__(self, rows, *, unsigned int page_shift=12):
        cdef list made = [(page, length, offset) for page, length, offset in rows]
        cdef Py_ssize_t i
        if self.bv != NULL:
            raise TypeError("an array of bio_vec is made once")
        if not 12 <= page_shift <= 30:
            raise ValueError(f"page_shift {page_shift} is not between 12 and 30")
        if len(made) > 0x7FFFFFFF:
            raise ValueError(f"{len(made)} entries are more than bi_idx can count")
        self.page_shift = page_shift
        self.bv = <bio_vec *>calloc(len(made) + GUARDS, sizeof(bio_vec))
        if self.bv == NULL:
            raise MemoryError
        for i, (page, length, offset) in enumerate(made):
            bvec_set_page(&self.bv[i], page, length, offset)
        for i in range(GUARDS):
            self.bv[len(made) + i].bv_len = 0xFFFFFFFF
        self.n = len(made)

    def __dealloc__(self):
        free(self.bv)

    def __len__(self):
        return self.n

    def __getitem__(self, Py_ssize_t i):
        """(page, length, offset) of an entry."""
        cdef bio_vec *bv = entry(self, i)
        return bv.bv_page, bv.bv_len, bv.bv_offset

    def rows(self):
        return [self[i] for i in range(self.n)]

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if flags & PyBUF_WRITABLE == PyBUF_WRITABLE:
            raise BufferError("the entries are read-only through a view")
        if self.bv == NULL:
            raise BufferError("no entries")
        self.shape[0] = self.n
        buffer.buf = self.bv
        buffer.obj = self
        buffer.len = self.n * sizeof(bio_vec)
        buffer.itemsize = sizeof(bio_vec)
        buffer.readonly = 1
        buffer.ndim = 1
        buffer.format = FORMAT if flags & PyBUF_FORMAT else NULL
        buffer.shape = self.shape if flags & PyBUF_ND else NULL
        buffer.strides = &buffer.itemsize if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
        buffer.suboffsets = NULL
        buffer.internal = NULL


cdef bio_vec *entry(BioVecs bvecs, Py_ssize_t i) except NULL:
    if not 0 <= i < bvecs.n:
        raise IndexError(f"bio_vec {i} of {bvecs.n}")
    return &bvecs.bv[i]


cdef class BvecIter:
    """BvecIter(bi_size=0xFFFFFFFF, bi_idx=0, bi_bvec_done=0, bi_sector=0): struct bvec_iter.

    The defaults are BVEC_ITER_ALL_INIT.
    """

    def __init__(self, unsigned int bi_size=0xFFFFFFFF, unsigned int bi_idx=0, unsigned int bi_bvec_done=0,
                 u64 bi_sector=0):
        self.it.bi_sector = bi_sector
        self.it.bi_size = bi_size
        self.it.bi_idx = bi_idx
        self.it.bi_bvec_done = bi_bvec_done

    @property
    def bi_sector(self):
        return self.it.bi_sector

    @property
    def bi_size(self):
        return self.it.bi_size

    @property
    def bi_idx(self):
        return self.it.bi_idx

    @property
    def bi_bvec_done(self):
        return self.it.bi_bvec_done

    def __repr__(self):
        return f"<BvecIter at {self.it.bi_idx}, {self.it.bi_bvec_done} done, {self.it.bi_size} left>"


cdef int check_iter(BioVecs bvecs, BvecIter it) except -1:
    if it.it.bi_idx >= bvecs.n:
        raise ValueError(f"the iterator is at entry {it.it.bi_idx} of {bvecs.n}: Linux would read behind the array")
    return 0


# -- one entry -------------------------------------------------------------------------------------------------

def bvec_set_page_(BioVecs bvecs not None, Py_ssize_t i, u64 page, u32 length, u32 offset):
    bvec_set_page(entry(bvecs, i), page, length, offset)


def bvec_set_folio_(BioVecs bvecs not None, Py_ssize_t i, u64 folio, u64 length, u64 offset):
    """6.12; a length over 32 bits is a warning, and is cut off."""
    if length > 0xFFFFFFFF:
        warnings.warn("WARNING: bvec_set_folio: a length over 32 bits is cut off", RuntimeWarning, stacklevel=2)
    bvec_set_folio(entry(bvecs, i), folio, length, offset, bvecs.page_shift)


def bvec_set_virt_(BioVecs bvecs not None, Py_ssize_t i, u64 vaddr, u32 length):
    """6.12; vaddr is a linear address: here a physical one."""
    bvec_set_virt(entry(bvecs, i), vaddr, length, bvecs.page_shift)


def bvec_phys_(BioVecs bvecs not None, Py_ssize_t i):
    """6.12: the physical address of the first byte."""
    return bvec_phys(entry(bvecs, i))


def bvec_virt(BioVecs bvecs not None, Py_ssize_t i):
    """The linear address of the first byte: here the physical one."""
    return bvec_phys(entry(bvecs, i))


cdef bio_vec *single_page(BioVecs bvecs, Py_ssize_t i) except NULL:
    cdef bio_vec *bv = entry(bvecs, i)
    if <u64>bv.bv_offset + bv.bv_len > <u64>1 << bvecs.page_shift:
        raise ValueError("kernel BUG at include/linux/highmem.h: the bio_vec is not within one page")
    return bv


def memcpy_from_bvec(PhysMem mem not None, BioVecs bvecs not None, Py_ssize_t i):
    """The bytes of a single-page bio_vec."""
    cdef bio_vec *bv = single_page(bvecs, i)
    return mem.peek(bvec_phys(bv), bv.bv_len)


def memcpy_to_bvec(PhysMem mem not None, BioVecs bvecs not None, Py_ssize_t i, data):
    """Fill a single-page bio_vec from a buffer of at least its length."""
    cdef bio_vec *bv = single_page(bvecs, i)
    cdef _Borrowed source = borrow(data)
    if source.view.len < bv.bv_len:
        raise ValueError(f"{source.view.len} bytes for a bio_vec of {bv.bv_len}")
    if mem.write(bvec_phys(bv), source.view.buf, bv.bv_len):
        raise MemoryError


def memzero_bvec(PhysMem mem not None, BioVecs bvecs not None, Py_ssize_t i):
    """Zero a single-page bio_vec."""
    cdef bio_vec *bv = single_page(bvecs, i)
    mem.fill(bvec_phys(bv), 0, bv.bv_len)


# -- positions -------------------------------------------------------------------------------------------------

def mp_bvec_iter_bvec_(BioVecs bvecs not None, BvecIter it not None):
    """(page, length, offset) of what is left of the current bio_vec, across pages."""
    check_iter(bvecs, it)
    cdef bio_vec bv = mp_bvec_iter_bvec(bvecs.bv, &it.it)
    return bv.bv_page, bv.bv_len, bv.bv_offset


def mp_bvec_iter_page_(BioVecs bvecs not None, BvecIter it not None):
    return mp_bvec_iter_bvec_(bvecs, it)[0]


def mp_bvec_iter_len_(BioVecs bvecs not None, BvecIter it not None):
    return mp_bvec_iter_bvec_(bvecs, it)[1]


def mp_bvec_iter_offset_(BioVecs bvecs not None, BvecIter it not None):
    return mp_bvec_iter_bvec_(bvecs, it)[2]


def mp_bvec_iter_page_idx_(BioVecs bvecs not None, BvecIter it not None):
    check_iter(bvecs, it)
    return mp_bvec_iter_page_idx(bvecs.bv, &it.it, bvecs.page_shift)


def bvec_iter_bvec_(BioVecs bvecs not None, BvecIter it not None):
    """(page, length, offset) of what is left of the current page."""
    check_iter(bvecs, it)
    cdef bio_vec bv = bvec_iter_bvec(bvecs.bv, &it.it, bvecs.page_shift)
    return bv.bv_page, bv.bv_len, bv.bv_offset


def bvec_iter_page_(BioVecs bvecs not None, BvecIter it not None):
    return bvec_iter_bvec_(bvecs, it)[0]


def bvec_iter_len_(BioVecs bvecs not None, BvecIter it not None):
    return bvec_iter_bvec_(bvecs, it)[1]


def bvec_iter_offset_(BioVecs bvecs not None, BvecIter it not None):
    return bvec_iter_bvec_(bvecs, it)[2]


def bvec_iter_advance_(BioVecs bvecs not None, BvecIter it not None, u32 nbytes):
    """Move on; False, with a warning and nothing left, for more bytes than there are.

    Raises ValueError, with the iterator unmoved, where the bytes lie behind the array.
    """
    cdef bvec_iter moved = it.it
    if nbytes > it.it.bi_size:
        warnings.warn("Attempted to advance past end of bvec iter", RuntimeWarning, stacklevel=2)
    elif nbytes or it.it.bi_bvec_done:
        check_iter(bvecs, it)
    if not bvec_iter_advance(bvecs.bv, &moved, nbytes):
        it.it = moved
        return False
    if moved.bi_idx > bvecs.n or (moved.bi_idx == bvecs.n and moved.bi_bvec_done):
        raise ValueError(f"{nbytes} bytes lie behind the array: Linux would read there")
    it.it = moved
    return True


def bvec_iter_advance_single_(BioVecs bvecs not None, BvecIter it not None, u32 nbytes):
    """Move on within the current bio_vec, at most to its end."""
    check_iter(bvecs, it)
    if nbytes > it.it.bi_size or <u64>it.it.bi_bvec_done + nbytes > bvecs.bv[it.it.bi_idx].bv_len:
        raise ValueError(f"{nbytes} bytes cross the end of the bio_vec")
    bvec_iter_advance_single(bvecs.bv, &it.it, nbytes)


def for_each_bvec(BioVecs bvecs not None, BvecIter start not None):
    """The single-page pieces (page, length, offset) from start on; start is not moved.

    Raises ValueError where the array ends before bi_size is used up: Linux would read on.
    """
    cdef BvecIter it = BvecIter.__new__(BvecIter)
    cdef bio_vec bv
    it.it = start.it
    while it.it.bi_size:
        check_iter(bvecs, it)
        bv = bvec_iter_bvec(bvecs.bv, &it.it, bvecs.page_shift)
        yield bv.bv_page, bv.bv_len, bv.bv_offset
        bvec_iter_advance_single(bvecs.bv, &it.it, bv.bv_len)


def bvec_advance_all(BioVecs bvecs not None):
    """Every page of every bio_vec, as bvec_init_iter_all and bvec_advance walk them (bio_for_each_segment_all).

    A zero-length entry gives one piece of length 0.
    """
    cdef bvec_iter_all it
    bvec_init_iter_all(&it)
    it.bv.bv_page = 0
    it.bv.bv_len = it.bv.bv_offset = 0
    while it.idx < bvecs.n:
        bvec_advance(&bvecs.bv[it.idx], &it, bvecs.page_shift)
        yield it.bv.bv_page, it.bv.bv_len, it.bv.bv_offset


def bvec_to_phys_vec(BioVecs bvecs not None):
    """Each entry as a struct phys_vec (7.0): (paddr, len)."""
    return [(bvec_phys(&bvecs.bv[i]), bvecs.bv[i].bv_len) for i in range(bvecs.n)]
