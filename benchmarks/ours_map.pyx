# SPDX-License-Identifier: MIT
"""dma_map_sg and dma_unmap_sg of dma_ops.mapping, and the processor time around them: our side of map.c.

In the copy that is measured this file is dma_ops/_benchmark.pyx.
"""

from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from dma_ops.device cimport DMA_BIDIRECTIONAL, Device
from dma_ops.mapping cimport dma_map_sg_attrs, dma_unmap_sg_attrs
from scatterlist.core cimport SgTable, scatterlist


cdef inline uint64_t now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t)
    return <uint64_t>t.tv_sec * 1000000000u + <uint64_t>t.tv_nsec


cdef unsigned int round_(Device dev, SgTable table, unsigned int times) except? 0 nogil:
    cdef scatterlist *sg = table.sgt.sgl
    cdef int n = 0
    while times:
        n = dma_map_sg_attrs(dev, sg, table.sgt.orig_nents, DMA_BIDIRECTIONAL, 0)
        dma_unmap_sg_attrs(dev, sg, table.sgt.orig_nents, DMA_BIDIRECTIONAL, 0)
        times -= 1
    return n


def map_unmap(Device dev not None, SgTable table not None, unsigned int times):
    """The segments of the last time, and the nanoseconds of all."""
    cdef uint64_t start
    cdef unsigned int n
    with nogil:
        start = now()
        n = round_(dev, table, times)
        start = now() - start
    return n, start
