# SPDX-License-Identifier: MIT
"""struct scatterlist, struct sg_table and the accessors of include/linux/scatterlist.h (Linux 6.1).

The structs come from structs.toml through _structs.pxd. Everything here is nogil and answers what Linux answers; the
Python API is in entry.pyx and the modules of the other mechanisms.
"""

from scatterlist._structs cimport scatterlist, sg_append_table, sg_table
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u32, u64

cdef enum:
    SG_CHAIN = 0x01
    SG_END = 0x02
    SG_PAGE_LINK_MASK = 0x03
    SG_PCI_P2PDMA = 0x04            # proposed in 2021, never merged: the third free bit, 64-bit only
    SG_LINK_FLAGS = 0x07            # what never is part of a pointer here; frames and arrays are aligned to more
    SG_DMA_BUS_ADDRESS = 0x01       # dma_flags bit 0
    SG_DMA_SWIOTLB = 0x02           # dma_flags bit 1 (6.12)
    SG_CHUNK_SIZE = 128             # entries of the largest pool of lib/sg_pool.c
    SG_MAX_SEGMENTS = 2048          # SG_CHUNK_SIZE where the architecture cannot chain

cdef inline bint sg_is_chain(const scatterlist *sg) noexcept nogil:
    return (sg.page_link & SG_CHAIN) != 0

cdef inline bint sg_is_last(const scatterlist *sg) noexcept nogil:
    return (sg.page_link & SG_END) != 0

cdef inline scatterlist *sg_chain_ptr(const scatterlist *sg) noexcept nogil:
    return <scatterlist *>(sg.page_link & ~<unsigned long>SG_LINK_FLAGS)

cdef inline page_t sg_page(const scatterlist *sg) noexcept nogil:
    return <page_t>(sg.page_link & ~<unsigned long>SG_LINK_FLAGS)

cdef inline phys_addr_t sg_phys(const scatterlist *sg) noexcept nogil:
    """The entry's first byte; the offset is already in it."""
    return <phys_addr_t>sg_page(sg) + sg.offset

cdef inline void sg_assign_page(scatterlist *sg, page_t page) noexcept nogil:
    """Keeps SG_CHAIN and SG_END, loses SG_PCI_P2PDMA (as the proposal did)."""
    sg.page_link = (sg.page_link & SG_PAGE_LINK_MASK) | <unsigned long>page

cdef inline void sg_set_page(scatterlist *sg, page_t page, unsigned int length, unsigned int offset) noexcept nogil:
    sg_assign_page(sg, page)
    sg.offset = offset
    sg.length = length

cdef inline void sg_set_buf(scatterlist *sg, unsigned long buf, unsigned int length,
                            unsigned int page_shift) noexcept nogil:
    """buf is a linear address: here, a physical one."""
    cdef unsigned long mask = (<unsigned long>1 << page_shift) - 1
    sg_set_page(sg, buf & ~mask, length, buf & mask)

cdef inline void sg_mark_end(scatterlist *sg) noexcept nogil:
    sg.page_link = (sg.page_link | SG_END) & ~<unsigned long>SG_CHAIN

cdef inline void sg_unmark_end(scatterlist *sg) noexcept nogil:
    sg.page_link &= ~<unsigned long>SG_END

cdef inline void sg_chain_entry(scatterlist *sg, scatterlist *sgl) noexcept nogil:
    """__sg_chain: sg becomes a link; its dma_flags stay."""
    sg.offset = 0
    sg.length = 0
    sg.page_link = (<unsigned long>sgl | SG_CHAIN) & ~<unsigned long>SG_END

cdef inline void sg_chain(scatterlist *prv, unsigned int prv_nents, scatterlist *sgl) noexcept nogil:
    """Entry prv_nents - 1 of prv becomes a link to sgl; what it held is lost."""
    sg_chain_entry(&prv[prv_nents - 1], sgl)

cdef inline bint sg_is_dma_bus_address(const scatterlist *sg) noexcept nogil:
    return (sg.dma_flags & SG_DMA_BUS_ADDRESS) != 0

cdef inline bint sg_dma_is_bus_address(const scatterlist *sg) noexcept nogil:
    """6.12's name of sg_is_dma_bus_address."""
    return (sg.dma_flags & SG_DMA_BUS_ADDRESS) != 0

cdef inline void sg_dma_mark_bus_address(scatterlist *sg) noexcept nogil:
    sg.dma_flags |= SG_DMA_BUS_ADDRESS

cdef inline void sg_dma_unmark_bus_address(scatterlist *sg) noexcept nogil:
    sg.dma_flags &= ~<unsigned int>SG_DMA_BUS_ADDRESS

cdef inline bint sg_dma_is_swiotlb(const scatterlist *sg) noexcept nogil:
    return (sg.dma_flags & SG_DMA_SWIOTLB) != 0

cdef inline void sg_dma_mark_swiotlb(scatterlist *sg) noexcept nogil:
    """6.12; set on the first entry of a list, and never taken away."""
    sg.dma_flags |= SG_DMA_SWIOTLB

cdef inline bint sg_is_pci_p2pdma(const scatterlist *sg) noexcept nogil:
    return (sg.page_link & SG_PCI_P2PDMA) != 0

cdef inline void sg_mark_pci_p2pdma(scatterlist *sg) noexcept nogil:
    sg.page_link |= SG_PCI_P2PDMA

cdef inline void sg_unmark_pci_p2pdma(scatterlist *sg) noexcept nogil:
    sg.page_link &= ~<unsigned long>SG_PCI_P2PDMA

cdef inline unsigned int sg_dma_len(const scatterlist *sg, bint dma_length) noexcept nogil:
    """Without CONFIG_NEED_SG_DMA_LENGTH (dma_length False) this is the CPU's length."""
    return sg.dma_length if dma_length else sg.length

cdef inline void sg_set_dma_len(scatterlist *sg, unsigned int length, bint dma_length) noexcept nogil:
    if dma_length:
        sg.dma_length = length
    else:
        sg.length = length

cdef inline scatterlist *sg_next(scatterlist *sg) noexcept nogil:
    """The next data entry, across one chain link; NULL after the entry that carries SG_END."""
    if sg.page_link & SG_END:
        return NULL
    sg += 1
    if sg.page_link & SG_CHAIN:
        return sg_chain_ptr(sg)
    return sg

# The entries of a table lie in blocks: a header, the slots of one or more chained arrays, and a guard entry that
# carries SG_END, so that a list whose mark was taken away ends in memory that exists.
cdef struct sg_block:
    sg_block *next
    size_t n                        # slots without the guard

cdef inline sg_block *sg_block_of(scatterlist *first) noexcept nogil:
    return <sg_block *>(first - 1)

cdef inline scatterlist *sg_block_slots(sg_block *block) noexcept nogil:
    return <scatterlist *>block + 1

ctypedef scatterlist *(*sg_alloc_fn)(unsigned int nents, void *context) noexcept nogil
ctypedef void (*sg_free_fn)(scatterlist *sgl, unsigned int nents, void *context) noexcept nogil

cdef scatterlist *sg_block_alloc(size_t n, bint zero) noexcept nogil
cdef void sg_block_free_all(sg_block *block) noexcept nogil

cdef void sg_init_table(scatterlist *sgl, unsigned int nents) noexcept nogil
cdef void sg_init_one(scatterlist *sg, unsigned long buf, unsigned int length, unsigned int page_shift) noexcept nogil
cdef unsigned int sg_nents(scatterlist *sg) noexcept nogil
cdef int sg_nents_for_len(scatterlist *sg, u64 length) noexcept nogil
cdef scatterlist *sg_last(scatterlist *sgl, unsigned int nents) noexcept nogil
cdef u64 sg_length(scatterlist *sg) noexcept nogil

cdef int sg_alloc_table(sg_table *table, unsigned int nents, unsigned int max_ents) noexcept nogil
cdef void sg_free_table(sg_table *table, unsigned int max_ents) noexcept nogil
cdef int sg_alloc_table_with(sg_table *table, unsigned int nents, unsigned int max_ents, scatterlist *first_chunk,
                             unsigned int nents_first_chunk, bint no_chain, sg_alloc_fn alloc_fn,
                             void *context) noexcept nogil
cdef void sg_free_table_with(sg_table *table, unsigned int max_ents, unsigned int nents_first_chunk,
                             sg_free_fn free_fn, unsigned int num_ents, void *context) noexcept nogil

cdef class SgTable:
    """A struct sg_table with the memory of its entries; sgt is what C code is given."""
    cdef sg_table sgt
    cdef readonly unsigned int page_shift
    cdef unsigned int max_ents
    cdef readonly bint dma_length   # has a dma_length of its own
    cdef readonly bint chaining     # False: CONFIG_ARCH_NO_SG_CHAIN
    cdef readonly bint p2pdma_bit   # may carry SG_PCI_P2PDMA
    cdef bint loose                 # an end mark was taken away: walks must be checked
    cdef sg_block *blocks           # the memory it owns
    cdef scatterlist *prv           # append tables: the last filled entry
    cdef unsigned int total_nents
    cdef Py_ssize_t exports         # live views, and tables that chain to this one
    cdef unsigned long generation   # counts frees, to tell stale entries
    cdef list held                  # tables whose memory this one reaches
    cdef scatterlist none[2]        # what sgl points at while there is no list
    cdef Py_ssize_t shape[1]
    cdef object __weakref__

    cdef unsigned int reachable(self) noexcept
    cdef int check_resizable(self) except -1
    cdef int release(self) except -1
    cdef int adopt(self, const sg_table *table, sg_block *blocks) except -1
    cdef int check_walk(self, scatterlist *sg) except -1
    cdef scatterlist *first(self) except NULL

cdef int raise_errno(int ret, str what) except -1
