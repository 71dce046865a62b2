# SPDX-License-Identifier: MIT
"""dma-direct: what a device without a dma_map_ops table gets (kernel/dma/direct.c)."""

from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

from .device cimport WALK_OK, WALK_OUT_OF_RANGE, Device, Walker


cdef class DirectWalker(Walker):
    """The host bridge: bus addresses are physical addresses, but for the inbound windows of the dma_range_map."""

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef int i
        if dev.nr_ranges == 0:
            phys[0] = addr - dev.dma_offset
            run[0] = ~<u64>0 - addr
            return WALK_OK
        for i in range(dev.nr_ranges):
            if addr >= dev.ranges[i].dma_start and addr - dev.ranges[i].dma_start < dev.ranges[i].size:
                phys[0] = dev.ranges[i].cpu_start + (addr - dev.ranges[i].dma_start)
                run[0] = dev.ranges[i].size - (addr - dev.ranges[i].dma_start)
                return WALK_OK
        return WALK_OUT_OF_RANGE


cdef class DmaDirect(DmaMapOps):
    """Filled whole: the core calls it where Linux calls dma_direct_*()."""

    def __cinit__(self):
        self.walker = DirectWalker()
