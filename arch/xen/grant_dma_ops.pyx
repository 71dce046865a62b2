# SPDX-License-Identifier: MIT
"""xen_grant_dma_ops: grant references as DMA addresses (drivers/xen/grant-dma-ops.c)."""

from libc.errno cimport EINVAL, EIO, ENOMEM

from scatterlist.core cimport scatterlist, sg_next, sg_page
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, s64, u16, u32, u64

from dma_ops.device cimport (
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_MAPPING_ERROR,
    DMA_NONE,
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
    WALK_MALFORMED,
    WALK_NOT_PRESENT,
    WALK_OK,
    WALK_OUT_OF_RANGE,
    WALK_PERMISSION,
    Device,
    DmaMapOps,
    Walker,
    is_dma_error,
)
from dma_ops.machine cimport PHYS_NONE, Machine
from dma_ops.mapping cimport get_order

from .grant_table cimport (
    ENTRY_V1,
    ENTRY_V2,
    FRAME_V1,
    FRAME_V2,
    GTF_PERMIT_ACCESS,
    GTF_READONLY,
    GTF_TYPE_MASK,
    GrantTable,
)
from .p2m cimport XEN_PAGE_SHIFT, XEN_PAGE_SIZE

cdef u64 ADDR_OFF = <u64>1 << 63                # tells a grant from a guest's address
cdef u64 OFFSET = XEN_PAGE_SIZE - 1
cdef u64 NONE = ~<u64>0


cdef class BackendDomain(Walker):
    """The device: another domain, which has the hypervisor map each reference for it, for writing or only reading."""
    cdef GrantTable grants
    cdef readonly u16 domid

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 ref = (addr & ~ADDR_OFF) >> XEN_PAGE_SHIFT
        cdef u64 at, frame
        cdef u32 header
        if not addr & ADDR_OFF:
            return WALK_MALFORMED
        if ref >= self.grants.size:
            return WALK_OUT_OF_RANGE
        at = self.grants.shared + ref * (ENTRY_V1 if self.grants.version == 1 else ENTRY_V2)
        header = dev.machine.mem.read32(at, False)
        if header & GTF_TYPE_MASK != GTF_PERMIT_ACCESS:
            return WALK_NOT_PRESENT
        if header >> 16 != self.domid or (write and header & GTF_READONLY):
            return WALK_PERMISSION
        frame = (dev.machine.mem.read32(at + FRAME_V1, False) if self.grants.version == 1
                 else dev.machine.mem.read64(at + FRAME_V2, False))
        phys[0] = self.grants.p2m.guest_address(frame << XEN_PAGE_SHIFT | addr & OFFSET)
        run[0] = XEN_PAGE_SIZE - (addr & OFFSET)
        return WALK_OK if phys[0] != NONE else WALK_OUT_OF_RANGE


cdef class XenGrantDmaOps(DmaMapOps):
    """virtio in a Xen guest whose backend may not see all of its memory: every 4 KiB frame is granted one by one.

    An address is bit 63, the first reference and the offset in its frame; a mapping takes as many consecutive
    references as it touches frames, so its length is limited by the longest run of free ones. A TO_DEVICE mapping is
    read-only for the other domain. Only a mask of all 64 bits is taken. Nothing merges, and segment limits are ignored.
    A reference that the other domain still has mapped cannot be ended: unmap then declares the device broken and stops
    where it is, every later map fails, and every later unmap or free does nothing, so whatever was mapped stays granted
    and allocated. A mapping of no bytes at a frame's start takes no reference, but cuts the free list.
    """
    cdef readonly Machine machine
    cdef readonly GrantTable grants
    cdef readonly u16 backend_domid
    cdef public bint has_data                   # False: xen_grant_setup_dma_ops was never done for the device
    cdef public bint broken

    def __init__(self, GrantTable grants not None, u16 backend_domid=0):
        cdef BackendDomain backend = BackendDomain.__new__(BackendDomain)
        self.machine = grants.machine
        self.grants = backend.grants = grants
        self.backend_domid = backend.domid = backend_domid
        self.has_data = True
        self.filled = (OP_ALLOC | OP_FREE | OP_ALLOC_PAGES | OP_FREE_PAGES | OP_MMAP | OP_GET_SGTABLE | OP_MAP_PAGE
                       | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG | OP_DMA_SUPPORTED)
        self.walker = backend

    def resources(self):
        return {"grant references": self.grants.used}

    def table(self):
        """{reference: (flags, domain, frame, status)}."""
        return self.grants.table()

    cdef inline bint usable(self) noexcept nogil:
        return self.has_data and not self.broken

    cdef s64 grant_run(self, phys_addr_t phys, u32 n, bint readonly) except -9999 nogil:
        """Grant n frames from phys on: the first reference, or -ENOSPC."""
        cdef s64 first = self.grants.alloc(n)
        cdef u32 i
        if first >= 0:
            for i in range(n):
                self.grants.grant(<u32>first + i, self.backend_domid,
                                  self.grants.p2m.pfn_to_mfn((phys >> XEN_PAGE_SHIFT) + i), readonly)
        return first

    cdef bint end_run(self, dma_addr_t addr, u32 n) except -1 nogil:
        """False, and broken, if one is still mapped: those before it are ended, but none goes back to the list."""
        cdef u32 first = (addr & ~ADDR_OFF) >> XEN_PAGE_SHIFT
        cdef u32 i
        for i in range(n):
            if not self.grants.end_access(first + i):
                self.machine.warn(b"Grant still in use by backend domain, disabled for further use")
                self.broken = True
                return False
        self.grants.put(first, n)
        return True

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef s64 first
        if dir == DMA_NONE:
            self.machine.warn(b"WARNING: xen_grant_dma_map_page")
            return DMA_MAPPING_ERROR
        if not self.usable():
            return DMA_MAPPING_ERROR
        first = self.grant_run(page + (offset & ~OFFSET), ((offset & OFFSET) + size + OFFSET) >> XEN_PAGE_SHIFT,
                               dir == DMA_TO_DEVICE)
        if first < 0:
            return DMA_MAPPING_ERROR
        return ADDR_OFF | <u64>first << XEN_PAGE_SHIFT | offset & OFFSET

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        if dir == DMA_NONE:
            return self.machine.warn(b"WARNING: xen_grant_dma_unmap_page")
        if self.usable():
            self.end_run(addr, ((addr & OFFSET) + size + OFFSET) >> XEN_PAGE_SHIFT)
        return 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int i
        if dir == DMA_NONE:
            self.machine.warn(b"WARNING: xen_grant_dma_map_sg")
            return -EINVAL
        for i in range(nents):
            sg.dma_address = self.map_page(dev, sg_page(sg), sg.offset, sg.length, dir, attrs)
            if is_dma_error(dev, sg.dma_address):
                self.unmap_sg(dev, sgl, i, dir, attrs | DMA_ATTR_SKIP_CPU_SYNC)
                sgl.dma_length = 0
                return -EIO
            sg.dma_length = sg.length
            sg = sg_next(sg)
        return nents

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _i
        if dir == DMA_NONE:
            return self.machine.warn(b"WARNING: xen_grant_dma_unmap_sg")
        for _i in range(nents):
            self.unmap_page(dev, sg.dma_address, sg.dma_length, dir, attrs)
            sg = sg_next(sg)
        return 0

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        return mask == ~<u64>0

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef u32 n = (size + OFFSET) >> XEN_PAGE_SHIFT
        cdef unsigned int order = get_order(<u64>n << XEN_PAGE_SHIFT, self.machine.page_shift)
        cdef phys_addr_t phys
        cdef s64 first
        if not self.usable():
            return -ENOMEM
        phys = self.machine.alloc_pages(order, PHYS_NONE)
        if phys == PHYS_NONE:
            return -ENOMEM
        first = self.grant_run(phys, n, False)
        if first < 0:
            self.machine.free_pages(phys, order)
            return -ENOMEM
        dma_handle[0] = ADDR_OFF | <u64>first << XEN_PAGE_SHIFT
        cpu_addr[0] = phys
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        cdef u32 n = (size + OFFSET) >> XEN_PAGE_SHIFT
        if self.usable() and self.end_run(dma_handle, n):
            return self.machine.free_pages(cpu_addr, get_order(<u64>n << XEN_PAGE_SHIFT, self.machine.page_shift))
        return 0

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return self.alloc(dev, size, dma_handle, page, 0)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return self.free(dev, size, page, dma_handle, 0)
