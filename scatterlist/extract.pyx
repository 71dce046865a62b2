# SPDX-License-Identifier: MIT
"""extract_iter_to_sg (lib/scatterlist.c, Linux 6.12; 6.1 has no such function) for kernel memory.

UBUF and IOVEC iterators pin a user process's pages, FOLIOQ and XARRAY walk the page cache: neither exists here.
"""

from scatterlist.bvec cimport BioVecs
from scatterlist.core cimport SgTable, scatterlist, sg_is_last, sg_set_page
from scatterlist.types cimport s64, u32, u64


cdef class IovIter:
    """IovIter(segments, *, iov_offset=0): a struct iov_iter over a BioVecs, or over (linear address, length) pairs.

    nr_segs, iov_offset and count move as data is extracted.
    """
    cdef readonly BioVecs bvec          # ITER_BVEC, else None
    cdef readonly list kvec             # ITER_KVEC, else None
    cdef Py_ssize_t first               # segments used up
    cdef readonly u64 iov_offset
    cdef readonly u64 count

    def __init__(self, segments, *, u64 iov_offset=0):
        cdef u64 start, length
        cdef list made = []
        self.first = 0
        if isinstance(segments, BioVecs):
            self.bvec = segments
            self.kvec = None
            self.count = sum(length for _, length, _ in (<BioVecs>segments).rows())
        else:
            for start, length in segments:
                made.append((start, length))
            self.bvec = None
            self.kvec = made
            if sum(row[1] for row in made) >> 63:
                raise ValueError("more bytes than a signed 64-bit count holds")
            self.count = sum(row[1] for row in made)
        if iov_offset > self.count:
            raise ValueError(f"iov_offset {iov_offset} of {self.count} bytes")
        self.iov_offset = iov_offset
        self.count -= iov_offset

    @property
    def nr_segs(self):
        return self.total() - self.first

    cdef Py_ssize_t total(self):
        return len(self.kvec) if self.bvec is None else self.bvec.n

    cdef u64 length_of(self, Py_ssize_t i):
        return self.kvec[i][1] if self.bvec is None else self.bvec.bv[i].bv_len

    cdef int advance(self, u64 n) except -1:
        """iov_iter_advance of n bytes, which are there."""
        self.count -= n
        n += self.iov_offset
        while self.first < self.total() and n >= self.length_of(self.first):
            n -= self.length_of(self.first)
            self.first += 1
        self.iov_offset = n
        return 0


def extract_iter_to_sg(IovIter iter not None, u64 maxsize, SgTable sgtable not None, u32 sg_max, u32 flags=0):
    """Add up to maxsize bytes of an iterator, in at most sg_max entries, behind the table's nents; the bytes added.

    One entry for each bio_vec, or for each page of kernel memory. Only nents grows: orig_nents stays and no end mark
    is set, as in Linux. So give a table whose nents is 0 (sgt.nents = 0), of enough entries; Linux indexes the first
    array and would write over a link. Raises ValueError there.
    """
    cdef scatterlist *sg = sgtable.first()
    cdef u64 start = iter.iov_offset, length, address, piece, done = 0
    cdef u64 page_size = <u64>1 << sgtable.page_shift
    cdef u32 room = 0, used = 0
    cdef Py_ssize_t i
    cdef list rows = []
    if maxsize == 0 or sg_max == 0:
        return 0
    for i in range(iter.first, iter.total()):
        length = iter.length_of(i)
        if start >= length:
            start -= length
            continue
        length = min(maxsize, length - start)
        maxsize -= length
        if iter.bvec is not None:
            rows.append((iter.bvec.bv[i].bv_page, length, (iter.bvec.bv[i].bv_offset + start) & 0xFFFFFFFF))
            done += length
            used += 1
        else:
            address = <u64>iter.kvec[i][0] + start
            while length and used < sg_max:
                piece = min(length, page_size - (address & (page_size - 1)))
                rows.append((address & ~(page_size - 1), piece, address & (page_size - 1)))
                address += piece
                length -= piece
                done += piece
                used += 1
        if <s64>maxsize <= 0 or used == sg_max:     # ssize_t in Linux: 2^63 and more end after one segment
            break
        start = 0
    while room < sgtable.sgt.orig_nents and not sg_is_last(sg + room):
        if (sg + room).page_link & 1:
            break
        room += 1
    if room < sgtable.sgt.orig_nents and sg_is_last(sg + room):
        room += 1
    if sgtable.sgt.nents + used > room:
        raise ValueError(f"{used} entries behind {sgtable.sgt.nents} of an array of {room}: out of bounds")
    sg += sgtable.sgt.nents
    for page, length, offset in rows:
        if page & 7:
            raise ValueError(f"page {page:#x} is not a frame's address")
        sg_set_page(sg, page, <u32>length, offset)
        sg += 1
    sgtable.sgt.nents += used
    if done:
        iter.advance(done)
    return done
