# SPDX-License-Identifier: MIT
"""dma-direct: what a device without a dma_map_ops table gets (kernel/dma/direct.c)."""

from scatterlist.types cimport dma_addr_t, page_t, u64

from .device cimport Device
from .phys cimport PhysMapOps

cdef class DmaDirect(PhysMapOps):
    """Filled whole: the core calls it where Linux calls dma_direct_*()."""
    cdef readonly bint unmap_sg_is_stub

    cdef page_t get_pages(self, Device dev, size_t size) except? 0xBADBADBADBADBAD nogil
    cdef int put_pages(self, Device dev, page_t page, size_t size) except -9999 nogil

cdef bint kmalloc_needs_bounce(Device dev, size_t size, int dir) noexcept nogil
