# SPDX-License-Identifier: MIT
"""struct bio_vec and its iterators (include/linux/bvec.h). page_shift, a constant in Linux, is an argument."""

from scatterlist._structs cimport bio_vec, bvec_iter, bvec_iter_all, phys_vec
from scatterlist.types cimport page_t, phys_addr_t, u32, u64

cdef inline void bvec_set_page(bio_vec *bv, page_t page, unsigned int length, unsigned int offset) noexcept nogil:
    bv.bv_page = page
    bv.bv_len = length
    bv.bv_offset = offset

cdef inline void bvec_set_folio(bio_vec *bv, page_t folio, size_t length, size_t offset,
                                unsigned int page_shift) noexcept nogil:
    """6.12: the page of the folio that holds offset; a length over 32 bits is cut off."""
    cdef size_t mask = (<size_t>1 << page_shift) - 1
    bvec_set_page(bv, folio + (offset & ~mask), <unsigned int>length, <unsigned int>(offset & mask))

cdef inline void bvec_set_virt(bio_vec *bv, u64 vaddr, unsigned int length, unsigned int page_shift) noexcept nogil:
    """6.12: vaddr is a linear address, here a physical one."""
    cdef u64 mask = (<u64>1 << page_shift) - 1
    bvec_set_page(bv, vaddr & ~mask, length, <unsigned int>(vaddr & mask))

cdef inline phys_addr_t bvec_phys(const bio_vec *bv) noexcept nogil:
    return bv.bv_page + bv.bv_offset

cdef inline page_t mp_bvec_iter_page(const bio_vec *bv, const bvec_iter *it) noexcept nogil:
    return bv[it.bi_idx].bv_page

cdef inline unsigned int mp_bvec_iter_len(const bio_vec *bv, const bvec_iter *it) noexcept nogil:
    cdef unsigned int rest = bv[it.bi_idx].bv_len - it.bi_bvec_done
    return it.bi_size if it.bi_size < rest else rest

cdef inline unsigned int mp_bvec_iter_offset(const bio_vec *bv, const bvec_iter *it) noexcept nogil:
    return bv[it.bi_idx].bv_offset + it.bi_bvec_done

cdef inline unsigned int mp_bvec_iter_page_idx(const bio_vec *bv, const bvec_iter *it,
                                               unsigned int page_shift) noexcept nogil:
    return mp_bvec_iter_offset(bv, it) >> page_shift

cdef inline bio_vec mp_bvec_iter_bvec(const bio_vec *bv, const bvec_iter *it) noexcept nogil:
    """The rest of the current bio_vec, across pages."""
    cdef bio_vec out
    bvec_set_page(&out, mp_bvec_iter_page(bv, it), mp_bvec_iter_len(bv, it), mp_bvec_iter_offset(bv, it))
    return out

cdef inline unsigned int bvec_iter_offset(const bio_vec *bv, const bvec_iter *it,
                                          unsigned int page_shift) noexcept nogil:
    return mp_bvec_iter_offset(bv, it) & ((<unsigned int>1 << page_shift) - 1)

cdef inline unsigned int bvec_iter_len(const bio_vec *bv, const bvec_iter *it, unsigned int page_shift) noexcept nogil:
    cdef unsigned int length = mp_bvec_iter_len(bv, it)
    cdef unsigned int rest = (<unsigned int>1 << page_shift) - bvec_iter_offset(bv, it, page_shift)
    return length if length < rest else rest

cdef inline page_t bvec_iter_page(const bio_vec *bv, const bvec_iter *it, unsigned int page_shift) noexcept nogil:
    return mp_bvec_iter_page(bv, it) + (<page_t>mp_bvec_iter_page_idx(bv, it, page_shift) << page_shift)

cdef inline bio_vec bvec_iter_bvec(const bio_vec *bv, const bvec_iter *it, unsigned int page_shift) noexcept nogil:
    """The rest of the current page."""
    cdef bio_vec out
    bvec_set_page(&out, bvec_iter_page(bv, it, page_shift), bvec_iter_len(bv, it, page_shift),
                  bvec_iter_offset(bv, it, page_shift))
    return out

cdef inline bint bvec_iter_advance(const bio_vec *bv, bvec_iter *it, unsigned int nbytes) noexcept nogil:
    """False, with nothing left, for more bytes than there are. Zero-length entries are passed while bytes remain."""
    cdef unsigned int idx = it.bi_idx
    if nbytes > it.bi_size:
        it.bi_size = 0
        return False
    it.bi_size -= nbytes
    nbytes += it.bi_bvec_done
    while nbytes and nbytes >= bv[idx].bv_len:
        nbytes -= bv[idx].bv_len
        idx += 1
    it.bi_idx = idx
    it.bi_bvec_done = nbytes
    return True

cdef inline void bvec_iter_advance_single(const bio_vec *bv, bvec_iter *it, unsigned int nbytes) noexcept nogil:
    """Must not cross the entry's end; 0 bytes of a zero-length entry go to the next one."""
    cdef unsigned int done = it.bi_bvec_done + nbytes
    if done == bv[it.bi_idx].bv_len:
        done = 0
        it.bi_idx += 1
    it.bi_bvec_done = done
    it.bi_size -= nbytes

cdef inline bio_vec *bvec_init_iter_all(bvec_iter_all *it) noexcept nogil:
    it.done = 0
    it.idx = 0
    return &it.bv

cdef inline void bvec_advance(const bio_vec *bvec, bvec_iter_all *it, unsigned int page_shift) noexcept nogil:
    """The next page of a bio_vec into it.bv; idx and done move on."""
    cdef unsigned int page_size = <unsigned int>1 << page_shift
    cdef unsigned int rest = bvec.bv_len - it.done
    if it.done:
        it.bv.bv_page += page_size
        it.bv.bv_offset = 0
    else:
        it.bv.bv_page = bvec.bv_page + (bvec.bv_offset & ~(page_size - 1))
        it.bv.bv_offset = bvec.bv_offset & (page_size - 1)
    it.bv.bv_len = page_size - it.bv.bv_offset
    if it.bv.bv_len > rest:
        it.bv.bv_len = rest
    it.done += it.bv.bv_len
    if it.done == bvec.bv_len:
        it.idx += 1
        it.done = 0

cdef class BioVecs:
    """An array of struct bio_vec."""
    cdef bio_vec *bv
    cdef readonly Py_ssize_t n
    cdef readonly unsigned int page_shift
    cdef Py_ssize_t shape[1]
    cdef object __weakref__

cdef class BvecIter:
    cdef bvec_iter it
