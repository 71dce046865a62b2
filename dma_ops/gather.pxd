# SPDX-License-Identifier: MIT
"""Buffers gathered from blocks of pages that need not follow one another (__iommu_dma_alloc_pages, 6.1)."""

from scatterlist.core cimport sg_table
from scatterlist.types cimport phys_addr_t, u64

from .machine cimport Machine

cdef list gather_pages(Machine machine, u64 count, u64 orders)
cdef int free_page_blocks(Machine machine, pages) except -9999
cdef list sg_pages(Machine machine, sg_table *sgt)
cdef list joined(list pages, u64 page_size, u64 size)
