# SPDX-License-Identifier: MIT
"""sg_table from page lists (lib/scatterlist.c)."""

from scatterlist._structs cimport phys_vec, sg_append_table, sg_table
from scatterlist.types cimport page_t, u64


cdef struct sg_pages_how:
    unsigned int page_shift
    unsigned int max_ents           # SG_MAX_SINGLE_ALLOC
    unsigned int unit_shift         # 0: pages are addresses, page_shift: they are frame numbers
    bint no_chain                   # CONFIG_ARCH_NO_SG_CHAIN
    unsigned int n_pgmaps           # 6.12: pages of two pgmaps are not merged
    const phys_vec *pgmaps

cdef int sg_alloc_append_table_from_pages(sg_append_table *append, const u64 *pages, unsigned int n_pages,
                                          unsigned int offset, unsigned long size, unsigned int max_segment,
                                          unsigned int left_pages, const sg_pages_how *how) noexcept nogil
cdef int sg_alloc_table_from_pages_segment(sg_table *sgt, const u64 *pages, unsigned int n_pages, unsigned int offset,
                                           unsigned long size, unsigned int max_segment,
                                           const sg_pages_how *how) noexcept nogil
cdef void sg_free_append_table(sg_append_table *append) noexcept nogil
