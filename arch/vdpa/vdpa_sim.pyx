# SPDX-License-Identifier: MIT
"""vdpasim_dma_ops: the vDPA device simulator (drivers/vdpa/vdpa_sim/vdpa_sim.c)."""

from libc.errno cimport ENOMEM

from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u32, u64

from dma_ops.device cimport (
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    OP_ALLOC,
    OP_FREE,
    OP_MAP_PAGE,
    OP_UNMAP_PAGE,
    WALK_NOT_PRESENT,
    Device,
    DmaMapOps,
    Walker,
    is_dma_error,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iova cimport IovaDomain, alloc_iova, free_iova, iova
from dma_ops.machine cimport PHYS_NONE, Machine
from dma_ops.mapping cimport get_order

from .iotlb cimport VHOST_MAP_RO, VHOST_MAP_RW, VHOST_MAP_WO, VhostIotlb

cdef u64 LIMIT = ~<u64>0 - 1                    # the highest address that is given out: ULONG_MAX - 1


cdef class Simulator(Walker):
    """The device: software that looks each address up in its IOTLB and copies by CPU (drivers/vhost/vringh.c)."""
    cdef VhostIotlb iotlb

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        if self.iotlb is None:
            return WALK_NOT_PRESENT
        return self.iotlb.translate(addr, write, phys, run)


cdef class VdpasimDmaOps(DmaMapOps):
    """The software vDPA device (vdpa_sim_net, vdpa_sim_blk): the whole 64-bit space, byte by byte.

    There is no page: an address is a multiple of the size rounded up to a power of two, the buffer's own offset in its
    page is lost, and 16 bytes take 16 bytes of space. The allocator is the IOVA tree without magazines, with a granule
    of one byte, from the top down. Each mapping is one entry of the IOTLB, of which there are max_iotlb_entries; unmap
    removes every entry that overlaps what it is told, but gives back only the address range that it begins in. A mask
    is taken whatever it is and then ignored. There is no map_sg: dma_map_sg is a call of NULL. An empty mapping fails,
    after it has broken the IOVA tree: the next mapping oopses.
    """
    cdef readonly Machine machine
    cdef readonly VhostIotlb iotlb
    cdef readonly IovaDomain space
    cdef readonly bint corrupted                # the IOVA tree lost its root

    def __cinit__(self, Machine machine not None, u32 max_iotlb_entries=2048):
        if max_iotlb_entries < 2:
            raise ValueError(f"vdpasim refuses max_iotlb_entries {max_iotlb_entries}: 2 is the least")
        cdef Simulator device = Simulator.__new__(Simulator)
        self.machine = machine
        self.filled = OP_MAP_PAGE | OP_UNMAP_PAGE | OP_ALLOC | OP_FREE
        self.iotlb = device.iotlb = VhostIotlb(machine, max_iotlb_entries)
        self.space = IovaDomain(1, 0, page_size=machine.page_size)
        self.walker = device

    def resources(self):
        return {"iova ranges": self.space.d.nodes, "iotlb entries": self.iotlb.nmaps}

    def table(self):
        """{place in ascending order: (start, last, physical address, permission)}; 1 the device may read, 2 write."""
        if self.corrupted:
            kernel_bug(b"oops: the IOVA tree has no root")
        return self.iotlb.table()

    cdef dma_addr_t map_range(self, phys_addr_t phys, size_t size, u32 perm) except? 0xBADBADBADBADBAD nogil:
        cdef iova *range
        cdef u64 addr
        if self.corrupted:
            kernel_bug(b"BUG: kernel NULL pointer dereference in __alloc_and_insert_iova_range")
        if self.machine.should_fail(b"iova"):
            return DMA_MAPPING_ERROR
        if size == 0:
            # iova_insert_rbtree refuses a range that begins where the anchor does, alloc_iova answers it all the same,
            # and freeing it erases a node that is in no tree: the root and cached_node become NULL (iova.c, 6.1)
            self.machine.warn(b"WARNING: iova_insert_rbtree")
            self.corrupted = True
            return DMA_MAPPING_ERROR
        range = alloc_iova(&self.space.d, size, LIMIT, True)
        if range == NULL:
            return DMA_MAPPING_ERROR
        addr = range.pfn_lo
        if self.iotlb.add_range(addr, addr + size - 1, phys, perm):
            free_iova(&self.space.d, addr)
            return DMA_MAPPING_ERROR
        return addr

    cdef void unmap_range(self, dma_addr_t addr, size_t size) noexcept nogil:
        self.iotlb.del_range(addr, addr + size - 1)
        if not self.corrupted:                  # a tree without a root has no range to find
            free_iova(&self.space.d, addr)

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef u32 perm
        if dir == DMA_TO_DEVICE:
            perm = VHOST_MAP_RO
        elif dir == DMA_FROM_DEVICE:
            perm = VHOST_MAP_WO
        elif dir == DMA_BIDIRECTIONAL:
            perm = VHOST_MAP_RW
        else:
            return DMA_MAPPING_ERROR
        return self.map_range(page + offset, size, perm)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        self.unmap_range(addr, size)
        return 0

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        """kmalloc: the model gives whole pages, Linux no more than the size and its alignment."""
        cdef unsigned int order = get_order(size, self.machine.page_shift)
        cdef phys_addr_t page = self.machine.alloc_pages(order, PHYS_NONE)
        if page == PHYS_NONE:
            dma_handle[0] = DMA_MAPPING_ERROR
            return -ENOMEM
        dma_handle[0] = self.map_range(page, size, VHOST_MAP_RW)
        if is_dma_error(dev, dma_handle[0]):
            self.machine.free_pages(page, order)
            return -ENOMEM
        cpu_addr[0] = page
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        self.unmap_range(dma_handle, size)
        return self.machine.free_pages(cpu_addr, get_order(size, self.machine.page_shift))
