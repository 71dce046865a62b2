# SPDX-License-Identifier: MIT
"""vduse_dev_dma_ops: a vDPA device whose hardware is a process (drivers/vdpa/vdpa_user/vduse_dev.c)."""

from libc.errno cimport ENOMEM

from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u32, u64

from dma_ops.device cimport (
    DMA_MAPPING_ERROR,
    OP_ALLOC,
    OP_FREE,
    OP_MAP_PAGE,
    OP_MAX_MAPPING_SIZE,
    OP_UNMAP_PAGE,
    Device,
    DmaMapOps,
    is_dma_error,
)
from dma_ops.iova cimport iova_live_pages
from dma_ops.machine cimport PHYS_NONE, Machine
from dma_ops.mapping cimport get_order

from .iova_domain cimport VduseDaemon, VduseIovaDomain

cdef enum:
    VDUSE_BOUNCE_SIZE = 64 << 20
    VDUSE_IOVA_SIZE = 128 << 20


cdef class VduseDmaOps(DmaMapOps):
    """vDPA device in userspace: 128 MiB of address space, whose lower half is a file of bounce pages.

    A streaming mapping is a run of 4 KiB bounce maps; the CPU copies the buffer in at map and out at unmap, whatever
    the attributes say. The address is that of a bounce page, the buffer's own offset is lost. Bounce pages come as they
    are needed and stay: the device still sees the last content after unmap, and whatever was there before under a
    FROM_DEVICE mapping. Coherent memory has the upper half, one IOTLB entry each; with CPU pages over 4 KiB that half
    begins behind its own end and every allocation fails. Both halves are IOVA domains with magazines. No mapping over
    32 MiB fits, as sizes are aligned to their power of two and address 0 is kept, though max_mapping_size says 64. No
    map_sg and no sync: dma_map_sg is a call of NULL, and what the device wrote is the CPU's only at unmap.
    """
    cdef readonly Machine machine
    cdef readonly VduseIovaDomain domain

    def __cinit__(self, Machine machine not None, u32 max_iotlb_entries=2048):
        cdef VduseDaemon daemon = VduseDaemon.__new__(VduseDaemon)
        self.machine = machine
        self.filled = OP_MAP_PAGE | OP_UNMAP_PAGE | OP_ALLOC | OP_FREE | OP_MAX_MAPPING_SIZE
        self.domain = daemon.domain = VduseIovaDomain(machine, VDUSE_IOVA_SIZE - 1, VDUSE_BOUNCE_SIZE,
                                                      max_iotlb_entries)
        self.walker = daemon

    def resources(self):
        """Bounce pages and the bounce space's IOTLB entry are not counted: they stay for the next mapping."""
        return {"stream granules": iova_live_pages(&self.domain.stream.d),
                "coherent granules": iova_live_pages(&self.domain.consistent.d),
                "coherent entries": self.domain.iotlb.nmaps - self.domain.bounce_map}

    def table(self):
        """{streaming page of 4 KiB: (original's physical address, bounce page)}; domain.iotlb has its own."""
        return self.domain.bounce_table()

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        return self.domain.map_page(page + offset, size, dir)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        return self.domain.unmap_page(addr, size, dir)

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef unsigned int order = get_order(size, self.machine.page_shift)
        cdef phys_addr_t page = self.machine.alloc_pages(order, PHYS_NONE)
        dma_handle[0] = DMA_MAPPING_ERROR
        if page == PHYS_NONE:
            return -ENOMEM
        dma_handle[0] = self.domain.alloc_coherent(page, size)
        if is_dma_error(dev, dma_handle[0]):
            self.machine.free_pages(page, order)
            return -ENOMEM
        cpu_addr[0] = page
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        self.domain.free_coherent(dma_handle, size)
        return self.machine.free_pages(cpu_addr, get_order(size, self.machine.page_shift))

    cdef size_t max_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        return self.domain.bounce_size
