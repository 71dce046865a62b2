# SPDX-License-Identifier: MIT
"""Linux's scatterlist, bio_vec and physical memory in userspace, under Linux's names.

    >>> from scatterlist import SgTable, sg_alloc_table_from_pages
    >>> sgt = SgTable()
    >>> sg_alloc_table_from_pages(sgt, [0x1000, 0x2000, 0x9000], offset=16)
    >>> [(hex(sg.page_link & ~3), sg.offset, sg.length) for sg in sgt]
    [('0x1000', 16, 8176), ('0x9000', 0, 4096)]

Functions raise OSError with Linux's errno where Linux answers a negative one, and ValueError where Linux would BUG() or
leave its memory. Cython code cimports the C functions from scatterlist.core and its sister modules; C code finds
<linux/scatterlist.h> in get_include().
"""

from .bvec import (
    BioVecs,
    BvecIter,
    bvec_advance_all,
    bvec_to_phys_vec,
    bvec_virt,
    for_each_bvec,
    memcpy_from_bvec,
    memcpy_to_bvec,
    memzero_bvec,
)
from .bvec import (
    bvec_iter_advance_ as bvec_iter_advance,
)
from .bvec import (
    bvec_iter_advance_single_ as bvec_iter_advance_single,
)
from .bvec import (
    bvec_iter_bvec_ as bvec_iter_bvec,
)
from .bvec import (
    bvec_iter_len_ as bvec_iter_len,
)
from .bvec import (
    bvec_iter_offset_ as bvec_iter_offset,
)
from .bvec import (
    bvec_iter_page_ as bvec_iter_page,
)
from .bvec import (
    bvec_phys_ as bvec_phys,
)
from .bvec import (
    bvec_set_folio_ as bvec_set_folio,
)
from .bvec import (
    bvec_set_page_ as bvec_set_page,
)
from .bvec import (
    bvec_set_virt_ as bvec_set_virt,
)
from .bvec import (
    mp_bvec_iter_bvec_ as mp_bvec_iter_bvec,
)
from .bvec import (
    mp_bvec_iter_len_ as mp_bvec_iter_len,
)
from .bvec import (
    mp_bvec_iter_offset_ as mp_bvec_iter_offset,
)
from .bvec import (
    mp_bvec_iter_page_ as mp_bvec_iter_page,
)
from .bvec import (
    mp_bvec_iter_page_idx_ as mp_bvec_iter_page_idx,
)
from .constants import (
    SG_CHAIN,
    SG_CHUNK_SIZE,
    SG_DMA_BUS_ADDRESS,
    SG_DMA_SWIOTLB,
    SG_END,
    SG_MAX_SEGMENTS,
    SG_MITER_ATOMIC,
    SG_MITER_FROM_SG,
    SG_MITER_LOCAL,
    SG_MITER_TO_SG,
    SG_PAGE_LINK_MASK,
    SG_PCI_P2PDMA,
)
from .copy import (
    sg_copy_buffer_ as sg_copy_buffer,
)
from .copy import (
    sg_copy_from_buffer,
    sg_copy_to_buffer,
    sg_pcopy_from_buffer,
    sg_pcopy_to_buffer,
)
from .copy import (
    sg_zero_buffer_ as sg_zero_buffer,
)
from .core import SgTable
from .entry import (
    SgEntry,
    __sg_alloc_table,
    __sg_flags,
    __sg_free_table,
    for_each_sg,
    for_each_sgtable_dma_sg,
    for_each_sgtable_sg,
    sg_alloc_table,
    sg_assign_page,
    sg_chain,
    sg_dma_address,
    sg_dma_is_bus_address,
    sg_dma_is_swiotlb,
    sg_dma_len,
    sg_dma_mark_bus_address,
    sg_dma_mark_swiotlb,
    sg_dma_unmark_bus_address,
    sg_free_append_table,
    sg_free_table,
    sg_init_marker,
    sg_init_one,
    sg_init_table,
    sg_is_chain,
    sg_is_dma_bus_address,
    sg_is_last,
    sg_is_pci_p2pdma,
    sg_last,
    sg_mark_end,
    sg_mark_pci_p2pdma,
    sg_nents,
    sg_nents_for_len,
    sg_next,
    sg_page,
    sg_phys,
    sg_set_buf,
    sg_set_folio,
    sg_set_page,
    sg_unmark_end,
    sg_unmark_pci_p2pdma,
    sg_virt,
)
from .extract import IovIter, extract_iter_to_sg
from .iterators import (
    PageIter,
    SgMappingIter,
    for_each_sg_dma_page,
    for_each_sg_page,
    for_each_sgtable_dma_page,
    for_each_sgtable_page,
)
from .iterators import (
    sg_miter_next_ as sg_miter_next,
)
from .iterators import (
    sg_miter_skip_ as sg_miter_skip,
)
from .iterators import (
    sg_miter_start_ as sg_miter_start,
)
from .iterators import (
    sg_miter_stop_ as sg_miter_stop,
)
from .layout import LAYOUTS, Layout, get_include
from .memory import PhysMem
from .pages import (
    sg_alloc_append_table_from_pages_ as sg_alloc_append_table_from_pages,
)
from .pages import (
    sg_alloc_table_from_pages_ as sg_alloc_table_from_pages,
)
from .pages import (
    sg_alloc_table_from_pages_segment_ as sg_alloc_table_from_pages_segment,
)
from .sg_pool import sg_alloc_table_chained, sg_free_table_chained, sg_pool_index, sg_pool_usage
from .sgl_alloc import sgl_alloc, sgl_alloc_order, sgl_free, sgl_free_n_order, sgl_free_order

# the module and its one function share Linux's name; the function is what callers mean
from .sg_split import sg_split_ as sg_split  # isort: skip

__all__ = [
    "LAYOUTS",
    "SG_CHAIN",
    "SG_CHUNK_SIZE",
    "SG_DMA_BUS_ADDRESS",
    "SG_DMA_SWIOTLB",
    "SG_END",
    "SG_MAX_SEGMENTS",
    "SG_MITER_ATOMIC",
    "SG_MITER_FROM_SG",
    "SG_MITER_LOCAL",
    "SG_MITER_TO_SG",
    "SG_PAGE_LINK_MASK",
    "SG_PCI_P2PDMA",
    "BioVecs",
    "BvecIter",
    "IovIter",
    "Layout",
    "PageIter",
    "PhysMem",
    "SgEntry",
    "SgMappingIter",
    "SgTable",
    "__sg_alloc_table",
    "__sg_flags",
    "__sg_free_table",
    "bvec_advance_all",
    "bvec_iter_advance",
    "bvec_iter_advance_single",
    "bvec_iter_bvec",
    "bvec_iter_len",
    "bvec_iter_offset",
    "bvec_iter_page",
    "bvec_phys",
    "bvec_set_folio",
    "bvec_set_page",
    "bvec_set_virt",
    "bvec_to_phys_vec",
    "bvec_virt",
    "extract_iter_to_sg",
    "for_each_bvec",
    "for_each_sg",
    "for_each_sg_dma_page",
    "for_each_sg_page",
    "for_each_sgtable_dma_page",
    "for_each_sgtable_dma_sg",
    "for_each_sgtable_page",
    "for_each_sgtable_sg",
    "get_include",
    "memcpy_from_bvec",
    "memcpy_to_bvec",
    "memzero_bvec",
    "mp_bvec_iter_bvec",
    "mp_bvec_iter_len",
    "mp_bvec_iter_offset",
    "mp_bvec_iter_page",
    "mp_bvec_iter_page_idx",
    "sg_alloc_append_table_from_pages",
    "sg_alloc_table",
    "sg_alloc_table_chained",
    "sg_alloc_table_from_pages",
    "sg_alloc_table_from_pages_segment",
    "sg_assign_page",
    "sg_chain",
    "sg_copy_buffer",
    "sg_copy_from_buffer",
    "sg_copy_to_buffer",
    "sg_dma_address",
    "sg_dma_is_bus_address",
    "sg_dma_is_swiotlb",
    "sg_dma_len",
    "sg_dma_mark_bus_address",
    "sg_dma_mark_swiotlb",
    "sg_dma_unmark_bus_address",
    "sg_free_append_table",
    "sg_free_table",
    "sg_free_table_chained",
    "sg_init_marker",
    "sg_init_one",
    "sg_init_table",
    "sg_is_chain",
    "sg_is_dma_bus_address",
    "sg_is_last",
    "sg_is_pci_p2pdma",
    "sg_last",
    "sg_mark_end",
    "sg_mark_pci_p2pdma",
    "sg_miter_next",
    "sg_miter_skip",
    "sg_miter_start",
    "sg_miter_stop",
    "sg_nents",
    "sg_nents_for_len",
    "sg_next",
    "sg_page",
    "sg_pcopy_from_buffer",
    "sg_pcopy_to_buffer",
    "sg_phys",
    "sg_pool_index",
    "sg_pool_usage",
    "sg_set_buf",
    "sg_set_folio",
    "sg_set_page",
    "sg_split",
    "sg_unmark_end",
    "sg_unmark_pci_p2pdma",
    "sg_virt",
    "sg_zero_buffer",
    "sgl_alloc",
    "sgl_alloc_order",
    "sgl_free",
    "sgl_free_n_order",
    "sgl_free_order",
]
