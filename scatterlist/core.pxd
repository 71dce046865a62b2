# SPDX-License-Identifier: MIT
"""struct scatterlist, struct sg_table and the accessors of include/linux/scatterlist.h (Linux 6.1)."""

from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u32, u64

cdef enum:
    SG_CHAIN = 0x01
    SG_END = 0x02
    SG_PAGE_LINK_MASK = 0x03
    SG_DMA_BUS_ADDRESS = 0x01       # dma_flags bit 0
    SG_DMA_SWIOTLB = 0x02           # dma_flags bit 1 (6.12)

cdef struct scatterlist:
    unsigned long page_link
    unsigned int offset
    unsigned int length
    dma_addr_t dma_address
    unsigned int dma_length
    unsigned int dma_flags

cdef struct sg_table:
    scatterlist *sgl
    unsigned int nents              # mapped entries
    unsigned int orig_nents         # entries of the CPU side, and the size of the allocation

cdef inline bint sg_is_chain(const scatterlist *sg) noexcept nogil:
    return (sg.page_link & SG_CHAIN) != 0

cdef inline bint sg_is_last(const scatterlist *sg) noexcept nogil:
    return (sg.page_link & SG_END) != 0

cdef inline scatterlist *sg_chain_ptr(const scatterlist *sg) noexcept nogil:
    return <scatterlist *>(sg.page_link & ~<unsigned long>SG_PAGE_LINK_MASK)

cdef inline page_t sg_page(const scatterlist *sg) noexcept nogil:
    return <page_t>(sg.page_link & ~<unsigned long>SG_PAGE_LINK_MASK)

cdef inline phys_addr_t sg_phys(const scatterlist *sg) noexcept nogil:
    """The entry's first byte; the offset is already in it."""
    return <phys_addr_t>sg_page(sg) + sg.offset

cdef inline void sg_assign_page(scatterlist *sg, page_t page) noexcept nogil:
    sg.page_link = (sg.page_link & SG_PAGE_LINK_MASK) | <unsigned long>page

cdef inline void sg_set_page(scatterlist *sg, page_t page, unsigned int length, unsigned int offset) noexcept nogil:
    sg_assign_page(sg, page)
    sg.offset = offset
    sg.length = length

cdef inline void sg_mark_end(scatterlist *sg) noexcept nogil:
    sg.page_link = (sg.page_link | SG_END) & ~<unsigned long>SG_CHAIN

cdef inline void sg_unmark_end(scatterlist *sg) noexcept nogil:
    sg.page_link &= ~<unsigned long>SG_END

cdef inline bint sg_is_dma_bus_address(const scatterlist *sg) noexcept nogil:
    return (sg.dma_flags & SG_DMA_BUS_ADDRESS) != 0

cdef inline void sg_dma_mark_bus_address(scatterlist *sg) noexcept nogil:
    sg.dma_flags |= SG_DMA_BUS_ADDRESS

cdef inline void sg_dma_unmark_bus_address(scatterlist *sg) noexcept nogil:
    sg.dma_flags &= ~<unsigned int>SG_DMA_BUS_ADDRESS

cdef inline scatterlist *sg_next(scatterlist *sg) noexcept nogil:
    """The next data entry, across one chain link; NULL after the entry that carries SG_END."""
    if sg.page_link & SG_END:
        return NULL
    sg += 1
    if sg.page_link & SG_CHAIN:
        return sg_chain_ptr(sg)
    return sg

cdef int sg_alloc_table(sg_table *table, unsigned int nents, unsigned int max_ents) noexcept nogil
cdef void sg_free_table(sg_table *table, unsigned int max_ents) noexcept nogil

cdef class SgTable:
    """A struct sg_table with the memory of its entries; sgt is what C code is given."""
    cdef sg_table sgt
    cdef readonly unsigned int page_shift
    cdef unsigned int max_ents
    cdef unsigned int total_nents       # entries allocated: what the free path needs, whatever orig_nents says
    cdef object __weakref__
