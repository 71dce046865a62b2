# SPDX-License-Identifier: MIT
"""Mapping by physical address (kernel/dma/mapping.c, Linux 6.18 and later), and what a backend may fill for it."""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

from .device cimport Device, DmaMapOps
from .dma_iova cimport dma_iova_state
from .machine cimport Machine

# further bits of DmaMapOps.filled
cdef enum:
    OP_MAP_PHYS = 1 << 24           # map_phys and unmap_phys: the backend is a PhysMapOps
    OP_DMA_IOMMU = 1 << 25          # use_dma_iommu(): the iova_ methods, too

cdef class PhysMapOps(DmaMapOps):
    """A table that is made for physical addresses: it needs no struct page.

    The methods without a bit in filled answer as for a device that iommu-dma does not serve.
    """

    cdef dma_addr_t map_phys(self, Device dev, phys_addr_t phys, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil
    cdef int unmap_phys(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil
    cdef bint iova_try_alloc(self, Device dev, dma_iova_state *state, phys_addr_t phys, u64 size) except -1 nogil
    cdef int iova_link(self, Device dev, dma_iova_state *state, phys_addr_t phys, u64 offset, u64 size, int dir,
                       unsigned long attrs) except -9999 nogil
    cdef int iova_sync(self, Device dev, dma_iova_state *state, u64 offset, u64 size) except -9999 nogil
    cdef int iova_unlink(self, Device dev, dma_iova_state *state, u64 offset, u64 size, int dir,
                         unsigned long attrs) except -9999 nogil
    cdef int iova_free(self, Device dev, dma_iova_state *state) except -9999 nogil

cdef dma_addr_t dma_map_phys(Device dev, phys_addr_t phys, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil
cdef int dma_unmap_phys(Device dev, dma_addr_t addr, size_t size, int dir, unsigned long attrs) except -9999 nogil
cdef bint dma_need_unmap(Device dev) except -1 nogil
cdef int warn_once(Machine machine, const char *message) except -9999 nogil
