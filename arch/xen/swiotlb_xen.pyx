# SPDX-License-Identifier: MIT
"""xen_swiotlb_dma_ops: bounce buffers of a guest that sees machine memory (drivers/xen/swiotlb-xen.c)."""

from libc.errno cimport EIO, ENOMEM

from scatterlist.core cimport scatterlist, sg_next, sg_page
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u64

from dma_ops.device cimport (
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_FROM_DEVICE,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    OP_ALLOC,
    OP_ALLOC_PAGES,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_FREE_PAGES,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_MAX_MAPPING_SIZE,
    OP_MMAP,
    OP_SYNC_SG_FOR_CPU,
    OP_SYNC_SG_FOR_DEVICE,
    OP_SYNC_SINGLE_FOR_CPU,
    OP_SYNC_SINGLE_FOR_DEVICE,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    WALK_NOT_PRESENT,
    WALK_OK,
    Device,
    DmaMapOps,
    Walker,
    dma_capable,
    is_dma_error,
)
from dma_ops.machine cimport PHYS_NONE, Machine
from dma_ops.mapping cimport dma_common_alloc_pages, dma_common_free_pages, get_order
from dma_ops.swiotlb cimport (
    IO_TLB_SEGSIZE,
    IO_TLB_SHIFT,
    IoTlbMem,
    is_swiotlb_buffer,
    is_swiotlb_force_bounce,
    swiotlb_max_mapping_size,
    swiotlb_sync_single_for_cpu,
    swiotlb_sync_single_for_device,
    swiotlb_tbl_map_single,
    swiotlb_tbl_unmap_single,
)

from .p2m cimport XEN_ARM, XEN_PAGE_SHIFT, XEN_PAGE_SIZE, P2m

cdef enum:
    MAX_DMA_BITS = 32
    SEGMENT_SHIFT = 18                          # 128 slots: what the pool is made contiguous by

cdef u64 OFFSET = XEN_PAGE_SIZE - 1
cdef u64 NONE = ~<u64>0


cdef class XenBus(Walker):
    """The machine's memory bus: what a device addresses is a machine frame, which belongs to the guest or does not."""
    cdef P2m p2m

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        if self.p2m is None:
            return WALK_NOT_PRESENT
        phys[0] = self.p2m.guest_address(dev.dma_to_phys(addr))
        run[0] = XEN_PAGE_SIZE - (addr & OFFSET)
        return WALK_OK if phys[0] != NONE else WALK_NOT_PRESENT


cdef class XenSwiotlbDmaOps(DmaMapOps):
    """Xen x86 PV with PCI devices, and Arm domains that are mapped 1:1: bus addresses are machine addresses.

    Nothing is remapped: a buffer is handed out as it is if its machine frames follow one another and the device reaches
    the machine address; the guest's own address does not count. Else it goes through the swiotlb pool, whose 256 KiB
    segments (x86) are each made contiguous below 2^32, but not with each other, so that masks are only checked against
    the pool's last byte and a mapping can still fail. Coherent memory is exchanged with the hypervisor until it is
    contiguous, aligned and in reach (x86); freeing it under a smaller mask, or with a wrong size, keeps it for ever.
    No merging: one segment per entry, segment limits are ignored but by the search for slots. Nothing translates and
    nothing protects: whatever the guest owns stays in a device's reach.
    """
    cdef readonly Machine machine
    cdef readonly P2m p2m
    cdef readonly IoTlbMem pool
    cdef readonly bint cache_flush              # Arm: the hypervisor has GNTTABOP_cache_flush
    cdef set remapped                           # pages whose frames were exchanged (PG_xen_remapped)

    def __init__(self, P2m p2m not None, IoTlbMem pool=None, *, bint fixup=True, bint cache_flush=True):
        """pool: the default bounce pool, also to be set as the devices' io_tlb_mem. fixup: make its segments contiguous
        in machine memory, as x86 PV does; raises MemoryError where Linux panics."""
        cdef XenBus bus = XenBus.__new__(XenBus)
        self.machine = p2m.machine
        self.p2m = bus.p2m = p2m
        self.pool = pool
        self.cache_flush = cache_flush
        self.remapped = set()
        self.filled = (OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG
                       | OP_SYNC_SINGLE_FOR_CPU | OP_SYNC_SINGLE_FOR_DEVICE | OP_SYNC_SG_FOR_CPU
                       | OP_SYNC_SG_FOR_DEVICE | OP_DMA_SUPPORTED | OP_MMAP | OP_GET_SGTABLE | OP_ALLOC_PAGES
                       | OP_FREE_PAGES | OP_MAX_MAPPING_SIZE)
        self.walker = bus
        if pool is not None and fixup and p2m.nr_frames and p2m.guest != XEN_ARM:
            self.fixup()

    def resources(self):
        """Slots of the pool are counted with the device; here: coherent blocks whose frames were exchanged."""
        return {"remapped blocks": len(self.remapped)}

    def table(self):
        """{slot: (original address, bytes from here on)} of the pool's taken slots: there is no other table."""
        return self.pool.live() if self.pool is not None else {}

    cdef int fixup(self) except -1:
        """xen_swiotlb_fixup: one extent per segment; the address bits that one needed are where the next begins."""
        cdef unsigned int bits = SEGMENT_SHIFT
        cdef dma_addr_t handle
        cdef phys_addr_t start = self.pool.start
        while start < self.pool.end:
            while not self.p2m.create_contiguous_region(start, SEGMENT_SHIFT - XEN_PAGE_SHIFT, bits, &handle):
                bits += 1
                if bits > MAX_DMA_BITS:
                    raise MemoryError("Failed to get contiguous memory for DMA from Xen!")
            start += IO_TLB_SEGSIZE << IO_TLB_SHIFT
        return 0

    # -- addresses ---------------------------------------------------------------------------------------------

    cdef phys_addr_t phys_to_bus(self, phys_addr_t phys) noexcept nogil:
        return self.p2m.pfn_to_mfn(phys >> XEN_PAGE_SHIFT) << XEN_PAGE_SHIFT | phys & OFFSET

    cdef dma_addr_t phys_to_dma(self, Device dev, phys_addr_t phys) noexcept nogil:
        return dev.phys_to_dma(self.phys_to_bus(phys))

    cdef phys_addr_t dma_to_phys(self, Device dev, dma_addr_t addr) noexcept nogil:
        cdef phys_addr_t bus = dev.dma_to_phys(addr)
        return self.p2m.mfn_to_pfn(bus >> XEN_PAGE_SHIFT) << XEN_PAGE_SHIFT | bus & OFFSET

    cdef bint straddles(self, phys_addr_t phys, size_t size) noexcept nogil:
        """range_straddles_page_boundary: do the machine frames not follow one another?"""
        cdef u64 pfn = phys >> XEN_PAGE_SHIFT
        cdef u64 first = self.p2m.pfn_to_mfn(pfn)
        cdef u64 i
        for i in range(1, ((phys & OFFSET) + size + OFFSET) >> XEN_PAGE_SHIFT):
            if self.p2m.pfn_to_mfn(pfn + i) != first + i:
                return True
        return False

    cdef bint misaligned(self, phys_addr_t phys, size_t size) noexcept nogil:
        """range_requires_alignment: is the guest's address aligned to its order, but the machine's is not?"""
        cdef u64 mask = (self.machine.page_size << get_order(size, self.machine.page_shift)) - 1
        return phys & mask == 0 and self.phys_to_bus(phys & ~OFFSET) & mask != 0

    cdef bint arch_needs_swiotlb(self, Device dev, phys_addr_t phys, dma_addr_t addr) noexcept nogil:
        """Arm: another domain's page, whose cache lines nobody can flush, for a device that does not snoop."""
        return (self.p2m.guest == XEN_ARM and not self.cache_flush and not dev.dma_coherent
                and phys >> XEN_PAGE_SHIFT != dev.dma_to_phys(addr) >> XEN_PAGE_SHIFT)

    cdef bint in_pool(self, Device dev, dma_addr_t addr) noexcept nogil:
        """is_xen_swiotlb_buffer: asks for frames of this domain only; another's may have the number of one of ours."""
        cdef u64 pfn = self.p2m.mfn_to_local_pfn(dev.dma_to_phys(addr) >> XEN_PAGE_SHIFT)
        return pfn != NONE and is_swiotlb_buffer(dev, pfn << XEN_PAGE_SHIFT)

    # -- caches ------------------------------------------------------------------------------------------------

    cdef int cache_maint(self, Device dev, dma_addr_t addr, size_t size, bint invalidate) except -9999 nogil:
        """GNTTABOP_cache_flush, page by page of another domain's memory."""
        cdef u64 step, phys
        while size:
            step = min(XEN_PAGE_SIZE - (addr & OFFSET), size)
            phys = self.p2m.guest_address(dev.dma_to_phys(addr))
            if phys != NONE and invalidate:
                self.machine.sync_for_cpu(phys, step, DMA_FROM_DEVICE)
            elif phys != NONE:
                self.machine.sync_for_device(phys, step, DMA_TO_DEVICE)
            addr += step
            size -= step
        return 0

    cdef int cache_for_device(self, Device dev, phys_addr_t phys, dma_addr_t addr, size_t size,
                              int dir) except -9999 nogil:
        """The machine frame is taken for a guest's: fine where they are equal, and other domains' pages are no RAM."""
        if self.machine.is_ram(dev.dma_to_phys(addr)):
            return self.machine.sync_for_device(phys, size, dir)
        return self.cache_maint(dev, addr, size, dir == DMA_FROM_DEVICE)

    cdef int cache_for_cpu(self, Device dev, phys_addr_t phys, dma_addr_t addr, size_t size,
                           int dir) except -9999 nogil:
        if self.machine.is_ram(dev.dma_to_phys(addr)):
            return self.machine.sync_for_cpu(phys, size, dir)
        return self.cache_maint(dev, addr, size, True) if dir != DMA_TO_DEVICE else 0

    # -- streaming ---------------------------------------------------------------------------------------------

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef phys_addr_t phys = page + offset
        cdef dma_addr_t addr = self.phys_to_dma(dev, phys)
        if (not dma_capable(dev, addr, size, True) or self.straddles(phys, size)
                or self.arch_needs_swiotlb(dev, phys, addr) or is_swiotlb_force_bounce(dev)):
            phys = swiotlb_tbl_map_single(dev, phys, size, size, 0, dir, attrs)
            if phys == DMA_MAPPING_ERROR:
                return DMA_MAPPING_ERROR
            addr = self.phys_to_dma(dev, phys)
            if not dma_capable(dev, addr, size, True):
                swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs | DMA_ATTR_SKIP_CPU_SYNC)
                return DMA_MAPPING_ERROR
        if not dev.dma_coherent and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            self.cache_for_device(dev, phys, addr, size, dir)
        return addr

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        cdef phys_addr_t phys = self.dma_to_phys(dev, addr)
        if not dev.dma_coherent and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            self.cache_for_cpu(dev, phys, addr, size, dir)
        if self.in_pool(dev, addr):
            return swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs)
        return 0

    cdef int sync_single_for_cpu(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        cdef phys_addr_t phys = self.dma_to_phys(dev, addr)
        if not dev.dma_coherent:
            self.cache_for_cpu(dev, phys, addr, size, dir)
        if self.in_pool(dev, addr):
            return swiotlb_sync_single_for_cpu(dev, phys, size, dir)
        return 0

    cdef int sync_single_for_device(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        cdef phys_addr_t phys = self.dma_to_phys(dev, addr)
        if self.in_pool(dev, addr):
            swiotlb_sync_single_for_device(dev, phys, size, dir)
        if not dev.dma_coherent:
            return self.cache_for_device(dev, phys, addr, size, dir)
        return 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int i
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
        for _i in range(nents):
            self.unmap_page(dev, sg.dma_address, sg.dma_length, dir, attrs)
            sg = sg_next(sg)
        return 0

    cdef int sync_sg_for_cpu(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _i
        for _i in range(nents):
            self.sync_single_for_cpu(dev, sg.dma_address, sg.length, dir)
            sg = sg_next(sg)
        return 0

    cdef int sync_sg_for_device(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _i
        for _i in range(nents):
            self.sync_single_for_device(dev, sg.dma_address, sg.length, dir)
            sg = sg_next(sg)
        return 0

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        """The pool's last byte decides, whichever segment is the highest; without a pool it is at address -1."""
        return self.phys_to_dma(dev, (self.pool.end if self.pool is not None else 0) - 1) <= mask

    cdef size_t max_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        return swiotlb_max_mapping_size(dev)

    # -- coherent ----------------------------------------------------------------------------------------------

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef u64 mask = dev.coherent_dma_mask
        cdef unsigned int order, bits = 0
        cdef phys_addr_t phys
        if self.p2m.guest == XEN_ARM:
            return dev.direct.alloc(dev, size, dma_handle, cpu_addr, attrs)
        order = get_order(size, self.machine.page_shift)
        size = (size + OFFSET) & ~OFFSET
        phys = self.machine.alloc_pages(order, PHYS_NONE)
        if phys == PHYS_NONE:
            return -ENOMEM
        dma_handle[0] = self.phys_to_dma(dev, phys)
        if dma_handle[0] + size - 1 > mask or self.straddles(phys, size) or self.misaligned(phys, size):
            while bits < 64 and mask >> bits:
                bits += 1
            if not self.p2m.create_contiguous_region(phys, order, bits, dma_handle):
                self.machine.free_pages(phys, order)
                return -ENOMEM
            with gil:
                self.remapped.add(phys)
        self.machine.zero(phys, size)
        cpu_addr[0] = phys
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        cdef unsigned int order
        if self.p2m.guest == XEN_ARM:
            return dev.direct.free(dev, size, cpu_addr, dma_handle, attrs)
        order = get_order(size, self.machine.page_shift)
        size = (size + OFFSET) & ~OFFSET
        if (dma_handle + size - 1 > dev.coherent_dma_mask or self.straddles(cpu_addr, size)
                or self.misaligned(cpu_addr, size)):
            return self.machine.warn(b"WARNING: xen_swiotlb_free_coherent")     # and the memory is never freed
        with gil:
            if cpu_addr in self.remapped:
                self.remapped.remove(cpu_addr)
                self.p2m.destroy_contiguous_region(cpu_addr, order)
        return self.machine.free_pages(cpu_addr, order)

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return dma_common_alloc_pages(self, dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return dma_common_free_pages(self, dev, size, page, dma_handle, dir)
