# SPDX-License-Identifier: MIT
"""The bounce-buffer IOMMU of a vDPA device in userspace (drivers/vdpa/vdpa_user/iova_domain.c)."""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u32, u64

from dma_ops.device cimport Walker
from dma_ops.iova cimport IovaDomain, iova_domain
from dma_ops.machine cimport Machine

from .iotlb cimport VhostIotlb

cdef enum:
    BOUNCE_MAP_SHIFT = 12                       # whatever the CPU's page is
    BOUNCE_MAP_SIZE = 1 << BOUNCE_MAP_SHIFT

cdef enum:                                      # a bounce map: u64 page, u64 physical address of the original
    MAP_PAGE = 0
    MAP_ORIG = 8
    MAP_ENTRY = 16

cdef class VduseIovaDomain:
    cdef readonly Machine machine
    cdef readonly VhostIotlb iotlb
    cdef readonly IovaDomain stream
    cdef readonly IovaDomain consistent
    cdef readonly u64 iova_limit                # the highest address
    cdef readonly u64 bounce_size               # the streaming space is [0, bounce_size)
    cdef readonly phys_addr_t bounce_maps
    cdef readonly bint bounce_map               # the IOTLB has the streaming space's entry

    cdef u64 bounce_entry(self, u64 iova) except? 0xBADBADBADBADBAD nogil
    cdef u64 bounce_page(self, u64 iova) except? 0xBADBADBADBADBAD nogil
    cdef dma_addr_t alloc_iova(self, iova_domain *space, u64 size, u64 limit) noexcept nogil
    cdef void free_iova(self, iova_domain *space, dma_addr_t iova, u64 size) noexcept nogil
    cdef int map_bounce_pages(self, u64 iova, u64 size, phys_addr_t orig) except -9999 nogil
    cdef int unmap_bounce_pages(self, u64 iova, u64 size) except -9999 nogil
    cdef int bounce(self, u64 iova, u64 size, int dir) except -9999 nogil
    cdef dma_addr_t map_page(self, phys_addr_t orig, u64 size, int dir) except? 0xBADBADBADBADBAD nogil
    cdef int unmap_page(self, dma_addr_t iova, u64 size, int dir) except -9999 nogil
    cdef dma_addr_t alloc_coherent(self, phys_addr_t orig, u64 size) except? 0xBADBADBADBADBAD nogil
    cdef int free_coherent(self, dma_addr_t iova, u64 size) except -9999 nogil

cdef class VduseDaemon(Walker):
    cdef VduseIovaDomain domain
