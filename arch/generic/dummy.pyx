# SPDX-License-Identifier: MIT
"""dma_dummy_ops: no DMA at all (kernel/dma/dummy.c)."""

from libc.errno cimport EINVAL

from scatterlist.core cimport scatterlist
from scatterlist.types cimport dma_addr_t, page_t, u64

from dma_ops.device cimport (
    DMA_MAPPING_ERROR,
    OP_DMA_SUPPORTED,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_MMAP,
    Device,
    DmaMapOps,
    Walker,
)


cdef class NoWalker(Walker):
    """No path from the device to memory: every access fails."""


cdef class DmaDummyOps(DmaMapOps):
    """A device that firmware says cannot do DMA coherently nor otherwise (ACPI without _CCA on arm64).

    map_page always answers DMA_MAPPING_ERROR and map_sg always -EINVAL, which is not -EIO and not -EREMOTEIO, so that
    callers know not to retry; no mask is supported, so that most drivers give up before. mmap is filled although it
    only refuses: dma_can_mmap says yes. Nothing else is filled: unmap and sync do nothing, coherent allocation answers
    NULL, but for a per-device coherent pool, which the core asks before it looks at the table. Lists are never touched.
    No fallback can help such a device, host memory fails as P2P memory does.
    """

    def __cinit__(self):
        self.filled = OP_MMAP | OP_MAP_PAGE | OP_MAP_SG | OP_DMA_SUPPORTED
        self.walker = NoWalker()

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        return DMA_MAPPING_ERROR

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        return -EINVAL

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        return 0
