# SPDX-License-Identifier: MIT
"""The calls of linux/scatterlist.h: what C code gets of the scatterlist package."""

from libc.errno cimport EINVAL, ENOMEM
from libc.string cimport memcpy, memset

from scatterlist.copy cimport sg_copy_buffer, sg_zero_buffer
from scatterlist.core cimport (
    scatterlist,
    sg_alloc_table,
    sg_alloc_table_with,
    sg_block_free_all,
    sg_block_of,
    sg_free_table,
    sg_free_table_with,
    sg_init_table,
    sg_last,
    sg_nents,
    sg_nents_for_len,
    sg_set_page,
    sg_table,
)
from scatterlist.iterators cimport (
    sg_dma_page_iter,
    sg_mapping_iter,
    sg_miter_next,
    sg_miter_skip,
    sg_miter_start,
    sg_miter_stop,
    sg_page_iter,
    sg_page_iter_dma_next,
    sg_page_iter_next,
    sg_page_iter_start,
)
from scatterlist.pages cimport (
    sg_alloc_append_table_from_pages,
    sg_alloc_table_from_pages_segment,
    sg_append_table,
    sg_free_append_table,
    sg_pages_how,
)
from scatterlist.sg_split cimport sg_split
from scatterlist.types cimport page_t, s64, u8, u64

from ._c_api cimport dma_conformance_calls, dma_conformance_object
from .c_kernel cimport c_bug, c_kfree, c_kmalloc, facts

cdef enum:
    ENTRY = sizeof(scatterlist)


cdef int c_sg_nents(dma_conformance_object *object, scatterlist *sg) noexcept nogil:
    return <int>sg_nents(sg)


cdef int c_sg_nents_for_len(dma_conformance_object *object, scatterlist *sg, u64 len) noexcept nogil:
    return sg_nents_for_len(sg, len)


cdef scatterlist *c_sg_last(dma_conformance_object *object, scatterlist *sgl, unsigned int nents) noexcept nogil:
    cdef scatterlist *sg = sg_last(sgl, nents)
    if sg == NULL:
        c_bug(object, b"kernel BUG at lib/scatterlist.c: sg_last: !sg_is_last(ret)")
    return sg


cdef void c_sg_init_table(dma_conformance_object *object, scatterlist *sgl, unsigned int nents) noexcept nogil:
    sg_init_table(sgl, nents)


cdef void c_sg_init_one(dma_conformance_object *object, scatterlist *sg, const void *buf,
                        unsigned int buflen) noexcept nogil:
    cdef u64 phys = <u64>buf - object.page_offset
    cdef u64 mask = (<u64>1 << object.page_shift) - 1
    sg_init_table(sg, 1)
    sg_set_page(sg, phys & ~mask, buflen, <unsigned int>(phys & mask))


cdef int c_sg_alloc_table(dma_conformance_object *object, sg_table *table, unsigned int nents,
                          unsigned int gfp) noexcept nogil:
    cdef sg_pages_how *how = &facts(object).how
    if how.no_chain and nents > how.max_ents:
        memset(table, 0, sizeof(sg_table))
        return -EINVAL
    return sg_alloc_table(table, nents, how.max_ents)


cdef void c_sg_free_table(dma_conformance_object *object, sg_table *table) noexcept nogil:
    sg_free_table(table, facts(object).how.max_ents)


ctypedef scatterlist *(*c_alloc_fn)(unsigned int nents, unsigned int gfp) noexcept nogil
ctypedef void (*c_free_fn)(scatterlist *sgl, unsigned int nents) noexcept nogil


cdef struct c_allocator:
    c_alloc_fn alloc
    unsigned int gfp


cdef scatterlist *alloc_with(unsigned int nents, void *context) noexcept nogil:
    return (<c_allocator *>context).alloc(nents, (<c_allocator *>context).gfp)


cdef void free_with(scatterlist *sgl, unsigned int nents, void *context) noexcept nogil:
    (<c_free_fn>context)(sgl, nents)


cdef int c___sg_alloc_table(dma_conformance_object *object, sg_table *table, unsigned int nents, unsigned int max_ents,
                            scatterlist *first_chunk, unsigned int nents_first_chunk, unsigned int gfp,
                            void *alloc) noexcept nogil:
    cdef c_allocator allocator
    allocator.alloc = <c_alloc_fn>alloc
    allocator.gfp = gfp
    return sg_alloc_table_with(table, nents, max_ents, first_chunk, nents_first_chunk, facts(object).how.no_chain,
                               alloc_with, &allocator)


cdef void c___sg_free_table(dma_conformance_object *object, sg_table *table, unsigned int max_ents,
                            unsigned int nents_first_chunk, void *release, unsigned int num_ents) noexcept nogil:
    sg_free_table_with(table, max_ents, nents_first_chunk, free_with, num_ents, release)


cdef int c_sg_alloc_append_table_from_pages(dma_conformance_object *object, sg_append_table *sgt, page_t *pages,
                                            unsigned int n_pages, unsigned int offset, unsigned long size,
                                            unsigned int max_segment, unsigned int left_pages,
                                            unsigned int gfp) noexcept nogil:
    return sg_alloc_append_table_from_pages(sgt, pages, n_pages, offset, size, max_segment, left_pages,
                                            &facts(object).how)


cdef int c_sg_alloc_table_from_pages_segment(dma_conformance_object *object, sg_table *sgt, page_t *pages,
                                             unsigned int n_pages, unsigned int offset, unsigned long size,
                                             unsigned int max_segment, unsigned int gfp) noexcept nogil:
    return sg_alloc_table_from_pages_segment(sgt, pages, n_pages, offset, size, max_segment, &facts(object).how)


cdef void c_sg_free_append_table(dma_conformance_object *object, sg_append_table *sgt) noexcept nogil:
    sg_free_append_table(sgt)


cdef int c_sg_split(dma_conformance_object *object, scatterlist *sgl, int in_mapped_nents, s64 skip, int nb_splits,
                    const size_t *split_sizes, scatterlist **out, int *out_mapped_nents,
                    unsigned int gfp) noexcept nogil:
    """Each array is kmalloc'ed: the caller has to kfree it."""
    cdef scatterlist *made
    cdef scatterlist *array
    cdef size_t bytes_
    cdef bint failed = False
    cdef int i
    cdef int ret = sg_split(sgl, in_mapped_nents, skip, nb_splits, split_sizes, out, out_mapped_nents, True)
    if ret:
        return ret
    for i in range(nb_splits):
        made = out[i]
        bytes_ = sg_block_of(made).n * ENTRY
        array = <scatterlist *>c_kmalloc(object, bytes_, gfp)
        if array != NULL:
            memcpy(array, made, bytes_)
        else:
            failed = True
        out[i] = array
        sg_block_free_all(sg_block_of(made))
    if failed:
        for i in range(nb_splits):
            c_kfree(object, out[i])
        return -ENOMEM
    return 0


cdef void c___sg_page_iter_start(dma_conformance_object *object, sg_page_iter *piter, scatterlist *sgl,
                                 unsigned int nents, unsigned long pgoffset) noexcept nogil:
    sg_page_iter_start(piter, sgl, nents, pgoffset)


cdef u8 c___sg_page_iter_next(dma_conformance_object *object, sg_page_iter *piter) noexcept nogil:
    return sg_page_iter_next(piter, object.page_shift)


cdef u8 c___sg_page_iter_dma_next(dma_conformance_object *object, sg_dma_page_iter *dma_iter) noexcept nogil:
    return sg_page_iter_dma_next(dma_iter, object.page_shift, True)


cdef void c_sg_miter_start(dma_conformance_object *object, sg_mapping_iter *miter, scatterlist *sgl,
                           unsigned int nents, unsigned int flags) noexcept nogil:
    sg_miter_start(miter, sgl, nents, flags)


cdef u8 c_sg_miter_skip(dma_conformance_object *object, sg_mapping_iter *miter, s64 offset) noexcept nogil:
    return sg_miter_skip(miter, offset, object.page_shift)


cdef u8 c_sg_miter_next(dma_conformance_object *object, sg_mapping_iter *miter) noexcept nogil:
    if not sg_miter_next(miter, object.page_shift):
        return False
    miter.addr += object.page_offset
    return True


cdef void c_sg_miter_stop(dma_conformance_object *object, sg_mapping_iter *miter) noexcept nogil:
    sg_miter_stop(miter)


ctypedef s64 (*copy_fn)(scatterlist *, unsigned int, void *, void *, size_t, s64, bint, unsigned int) noexcept nogil
ctypedef s64 (*zero_fn)(scatterlist *, unsigned int, void *, size_t, s64, unsigned int) noexcept nogil


cdef size_t c_sg_copy_buffer(dma_conformance_object *object, scatterlist *sgl, unsigned int nents, void *buf,
                             size_t buflen, s64 skip, u8 to_buffer) noexcept nogil:
    cdef s64 done = (<copy_fn><void *>sg_copy_buffer)(sgl, nents, facts(object).mem, buf, buflen, skip, to_buffer,
                                                      object.page_shift)
    return done if done > 0 else 0


cdef size_t c_sg_zero_buffer(dma_conformance_object *object, scatterlist *sgl, unsigned int nents, size_t buflen,
                             s64 skip) noexcept nogil:
    cdef s64 done = (<zero_fn><void *>sg_zero_buffer)(sgl, nents, facts(object).mem, buflen, skip, object.page_shift)
    return done if done > 0 else 0

cdef void fill_list_calls(dma_conformance_calls *calls) noexcept:
    calls.sg_nents = c_sg_nents
    calls.sg_nents_for_len = c_sg_nents_for_len
    calls.sg_last = c_sg_last
    calls.sg_init_table = c_sg_init_table
    calls.sg_init_one = c_sg_init_one
    calls.sg_alloc_table = c_sg_alloc_table
    calls.sg_free_table = c_sg_free_table
    calls.__sg_alloc_table = c___sg_alloc_table
    calls.__sg_free_table = c___sg_free_table
    calls.sg_alloc_append_table_from_pages = c_sg_alloc_append_table_from_pages
    calls.sg_alloc_table_from_pages_segment = c_sg_alloc_table_from_pages_segment
    calls.sg_free_append_table = c_sg_free_append_table
    calls.sg_split = c_sg_split
    calls.__sg_page_iter_start = c___sg_page_iter_start
    calls.__sg_page_iter_next = c___sg_page_iter_next
    calls.__sg_page_iter_dma_next = c___sg_page_iter_dma_next
    calls.sg_miter_start = c_sg_miter_start
    calls.sg_miter_skip = c_sg_miter_skip
    calls.sg_miter_next = c_sg_miter_next
    calls.sg_miter_stop = c_sg_miter_stop
    calls.sg_copy_buffer = c_sg_copy_buffer
    calls.sg_zero_buffer = c_sg_zero_buffer
