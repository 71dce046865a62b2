# SPDX-License-Identifier: MIT
"""Page, dma-page and mapping iterators (lib/scatterlist.c). page_shift, a constant in Linux, is an argument."""

from scatterlist._structs cimport scatterlist, sg_dma_page_iter, sg_mapping_iter, sg_page_iter
from scatterlist.core cimport sg_page
from scatterlist.types cimport dma_addr_t, page_t, s64

cdef enum:
    SG_MITER_ATOMIC = 1 << 0
    SG_MITER_TO_SG = 1 << 1
    SG_MITER_FROM_SG = 1 << 2
    SG_MITER_LOCAL = 1 << 3         # 6.15
    MITER_MAPPED = 1 << 31          # ours: Linux tests addr, but here a page may be at address 0

cdef void sg_page_iter_start(sg_page_iter *piter, scatterlist *sgl, unsigned int nents,
                             unsigned long pgoffset) noexcept nogil
cdef bint sg_page_iter_next(sg_page_iter *piter, unsigned int page_shift) noexcept nogil
cdef bint sg_page_iter_dma_next(sg_dma_page_iter *piter, unsigned int page_shift, bint dma_length) noexcept nogil

cdef inline page_t sg_page_iter_page(const sg_page_iter *piter, unsigned int page_shift) noexcept nogil:
    return sg_page(piter.sg) + (<page_t>piter.sg_pgoffset << page_shift)

cdef inline dma_addr_t sg_page_iter_dma_address(const sg_dma_page_iter *piter, unsigned int page_shift) noexcept nogil:
    """Not rounded to a page, and the shift is 32 bits wide: both as in Linux."""
    return piter.base.sg.dma_address + <unsigned int>(piter.base.sg_pgoffset << page_shift)

cdef void sg_miter_start(sg_mapping_iter *miter, scatterlist *sgl, unsigned int nents,
                         unsigned int flags) noexcept nogil
cdef bint sg_miter_skip(sg_mapping_iter *miter, s64 offset, unsigned int page_shift) noexcept nogil
cdef bint sg_miter_next(sg_mapping_iter *miter, unsigned int page_shift) noexcept nogil
cdef void sg_miter_stop(sg_mapping_iter *miter) noexcept nogil
