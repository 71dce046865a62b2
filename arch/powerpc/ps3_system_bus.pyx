# SPDX-License-Identifier: MIT
"""ps3_sb_dma_ops and ps3_ioc0_dma_ops: PlayStation 3 devices (arch/powerpc/platforms/ps3/system-bus.c, Linux 6.1)."""

from libc.errno cimport EINVAL, ENOMEM

from dma_ops.device cimport (
    DMA_BIDIRECTIONAL,
    DMA_TO_DEVICE,
    OP_ALLOC,
    OP_ALLOC_PAGES,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_FREE_PAGES,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_MMAP,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    Device,
    DmaMapOps,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport dma_common_alloc_pages, dma_common_free_pages, get_order
from scatterlist.core cimport scatterlist, sg_next, sg_phys
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u64

from .ps3_lv1 cimport IOPTE_COHERENT, IOPTE_ORDER_ALL, IOPTE_ORDER_READ, IOPTE_READ, IOPTE_WRITE
from .ps3_mm cimport DmaRegion, Ioc0Region, SbRegion

cdef u64 FLAGS_ALL = 0xf800000000000000         # W, R, M and SO_RW
cdef u64 MASK_32 = 0xffffffff


cdef class Ps3DmaOps(DmaMapOps):
    """What both tables share: coherent memory, unmap_page and dma_supported. One object per device: its region."""

    cdef readonly DmaRegion region

    def __cinit__(self, DmaRegion region not None):
        self.filled = (OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG | OP_DMA_SUPPORTED
                       | OP_MMAP | OP_GET_SGTABLE | OP_ALLOC_PAGES | OP_FREE_PAGES)
        if region.segment is None:
            raise TypeError("the region was never created")
        self.region = region
        self.walker = region.segment

    def resources(self):
        return {"chunks": len(self.region.chunks), "uses": sum(chunk[3] for chunk in self.region.chunks)}

    def table(self):
        return self.region.segment.entries()

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef phys_addr_t phys = dev.machine.alloc_pages(get_order(size, dev.machine.page_shift), PHYS_NONE)
        if phys == PHYS_NONE:
            return -ENOMEM
        if self.region.map_area(phys, size, dma_handle, FLAGS_ALL):
            return kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/system-bus.c: check region type")
        cpu_addr[0] = phys
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        self.region.unmap_area(dma_handle, size)
        return dev.machine.free_pages(cpu_addr, get_order(size, dev.machine.page_shift))

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return dma_common_alloc_pages(self, dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return dma_common_free_pages(self, dev, size, page, dma_handle, dir)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        return self.region.unmap_area(addr, size)

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        return mask >= MASK_32


cdef class Ps3SbDmaOps(Ps3DmaOps):
    """PlayStation 3 devices on the system bus: ethernet, USB, storage.

    Own to it: no allocator of addresses, bus = region + phys - offset, and the hypervisor's hole in memory cancels out.
    The linear build maps all of a region when it is made, in pages of 16 MiB if it is larger than one: unmap does
    nothing and the device reaches all of the region for ever, in both directions. The dynamic build
    (CONFIG_PS3_DYNAMIC_DMA) shares chunks of I/O pages by count, dies of a range that lies in a part of one, and has no
    lists: map_sg is a BUG. Where lv1 refuses a chunk, map_page answers address 0, which is no DMA_MAPPING_ERROR, and
    alloc dies. Memory outside the region is a BUG, too. Lists are never joined; limits, direction and attributes
    are not looked at. A mask below 32 bits is refused.
    """

    def __cinit__(self, SbRegion region not None):
        pass

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef dma_addr_t bus = 0
        self.region.map_area(page + offset, size, &bus, FLAGS_ALL)
        return bus                              # 0 after a failure, which is taken for success

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        if (<SbRegion>self.region).dynamic:
            return kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/system-bus.c: ps3_sb_map_sg")
        for _ in range(nents):
            if self.region.map_area(sg_phys(sgl), sgl.length, &sgl.dma_address, 0):
                return -EINVAL
            sgl.dma_length = sgl.length
            sgl = sg_next(sgl)
        return nents

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        if (<SbRegion>self.region).dynamic:
            return kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/system-bus.c: ps3_sb_unmap_sg")
        return 0


cdef class Ps3Ioc0DmaOps(Ps3DmaOps):
    """The PlayStation 3's sound, behind the IO controller.

    Own to it: each mapping is a chunk whose addresses follow the newest chunk's; there is no search, no bound, and a
    hole is used again only when everything newer is gone. An I/O page can be mapped once: a second mapping of it is a
    BUG, unless it begins on the page before. Entries carry the direction and an IO identifier. Lists do not exist:
    map_sg and unmap_sg are a BUG. If lv1 refuses an entry, or there is no memory for the chunk, map_page answers
    address 0, which is no DMA_MAPPING_ERROR. Unmapping a part of a chunk unmaps all of it. Length 0 at an
    aligned address is a chunk of length 0, whose address the next one gets too. A mask below 32 bits is refused.
    """

    def __cinit__(self, Ioc0Region region not None):
        pass

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef dma_addr_t bus = 0
        cdef u64 flags = IOPTE_COHERENT
        if dir == DMA_BIDIRECTIONAL:
            flags |= IOPTE_READ | IOPTE_WRITE | IOPTE_ORDER_ALL
        elif dir == DMA_TO_DEVICE:
            flags |= IOPTE_READ | IOPTE_ORDER_READ
        else:
            flags |= IOPTE_WRITE | IOPTE_ORDER_ALL
        self.region.map_area(page + offset, size, &bus, flags)
        return bus                              # 0 after a failure, which is taken for success

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/system-bus.c: ps3_ioc0_map_sg")

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/system-bus.c: ps3_ioc0_unmap_sg")
