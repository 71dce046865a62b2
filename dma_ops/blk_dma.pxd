# SPDX-License-Identifier: MIT
"""struct request and struct blk_dma_iter, as far as mapping sees them (block/blk-mq-dma.c, Linux 7.x)."""

from scatterlist.bvec cimport bio_vec, bvec_iter
from scatterlist.types cimport dma_addr_t, u32, u64

from .p2pdma cimport pci_p2pdma_map_state

cdef struct blk_bio:
    bio_vec *bvecs
    unsigned int size               # bytes

cdef class Request:
    cdef readonly tuple bios        # BioVecs
    cdef blk_bio *bio
    cdef int nr_bios
    cdef readonly int dir
    cdef readonly u64 payload       # bytes
    cdef public u32 max_segment_size
    cdef public u64 seg_boundary_mask
    cdef public u64 phys_gap_mask

cdef struct blk_map_iter:
    bvec_iter iter
    int bio                         # index into Request.bio

cdef class BlkDmaIter:
    cdef readonly dma_addr_t addr
    cdef readonly u32 len
    cdef readonly unsigned long attrs
    cdef pci_p2pdma_map_state p2pdma
    cdef blk_map_iter iter
    cdef Request req                # that it was started on
    cdef object _status
