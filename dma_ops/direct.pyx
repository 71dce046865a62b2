# SPDX-License-Identifier: MIT
"""dma-direct: what a device without a dma_map_ops table gets (kernel/dma/direct.c and direct.h, Linux 6.1).

A DMA address is the physical address, moved by the dma_range_map if the device has one. There is nothing to allocate
and nothing ever merges. What the device cannot reach is bounced through swiotlb if the device has a pool, P2P memory
never. P2PDMA is native: a bus address bypasses mask, limits and bouncing altogether.

From 6.17 on everything is mapped by physical address (map_phys, as in 7.x), and P2P memory is bounced like RAM.
"""

from libc.errno cimport EIO, ENOMEM, EREMOTEIO

from scatterlist.core cimport (
    scatterlist,
    sg_dma_unmark_bus_address,
    sg_is_dma_bus_address,
    sg_next,
    sg_page,
)
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u64

from .device cimport (
    DMA_ATTR_MMIO,
    DMA_ATTR_NO_KERNEL_MAPPING,
    DMA_ATTR_REQUIRE_COHERENT,
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    OP_ALLOC,
    OP_ALLOC_PAGES,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_FREE_PAGES,
    OP_GET_REQUIRED_MASK,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_RESOURCE,
    OP_MAP_SG,
    OP_MAX_MAPPING_SIZE,
    OP_MMAP,
    OP_SYNC_SG_FOR_CPU,
    OP_SYNC_SG_FOR_DEVICE,
    OP_SYNC_SINGLE_FOR_CPU,
    OP_SYNC_SINGLE_FOR_DEVICE,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    WALK_OK,
    WALK_OUT_OF_RANGE,
    Walker,
    dma_capable,
    is_dma_error,
    min_not_zero,
)
from .machine cimport PHYS_NONE, Machine, is_pci_p2pdma_page
from .mapping cimport dma_addressing_limited, get_order
from .p2pdma cimport (
    PCI_P2PDMA_MAP_BUS_ADDR,
    PCI_P2PDMA_MAP_THRU_HOST_BRIDGE,
    pci_p2pdma_map_segment,
    pci_p2pdma_map_state,
)
from .phys cimport OP_MAP_PHYS, warn_once
from .swiotlb cimport (
    is_swiotlb_active,
    is_swiotlb_buffer,
    is_swiotlb_for_alloc,
    is_swiotlb_force_bounce,
    swiotlb_alloc,
    swiotlb_free,
    swiotlb_map,
    swiotlb_max_mapping_size,
    swiotlb_sync_single_for_cpu,
    swiotlb_sync_single_for_device,
    swiotlb_tbl_unmap_single,
)

cdef extern int clzll "__builtin_clzll"(unsigned long long) noexcept nogil

cdef enum:
    ZONE_DMA = 0
    ZONE_DMA32 = 1
    ZONE_NORMAL = 2

cdef u64 BITS_32 = 0xffffffff


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


cdef inline dma_addr_t phys_to_dma(Device dev, phys_addr_t phys) noexcept nogil:
    phys &= dev.machine.phys_addr_mask
    return (phys + dev.dma_offset if dev.nr_ranges == 0 else dev.phys_to_dma(phys)) & dev.machine.dma_addr_mask


cdef inline phys_addr_t dma_to_phys(Device dev, dma_addr_t addr) noexcept nogil:
    addr &= dev.machine.dma_addr_mask
    return (addr - dev.dma_offset if dev.nr_ranges == 0 else dev.dma_to_phys(addr)) & dev.machine.phys_addr_mask


cdef inline u64 sg_dma_len(Device dev, const scatterlist *sg) noexcept nogil:
    return sg.dma_length if dev.machine.need_sg_dma_length else sg.length


cdef inline u64 last_page(Machine m) noexcept nogil:
    """Physical address of max_pfn - 1. P2P memory does not count, wherever its BAR lies."""
    return ((m.end_of_ram() >> m.page_shift) - 1) << m.page_shift


cdef bint kmalloc_needs_bounce(Device dev, size_t size, int dir) noexcept nogil:
    """6.12, arm64: small buffers may share a cache line with other kmalloc memory. Which buckets of kmalloc are not
    whole cache lines: 8 to 32 bytes, and 96."""
    if not dev.machine.bounce_unaligned_kmalloc or dev.dma_coherent or dir == DMA_TO_DEVICE:
        return False
    return 0 < size <= 32 or 64 < size <= 96


cdef bint coherent_ok(Device dev, phys_addr_t phys, size_t size) noexcept nogil:
    cdef dma_addr_t addr = phys_to_dma(dev, phys)
    if is_dma_error(dev, addr):
        return False
    return addr + size - 1 <= min_not_zero(dev.coherent_dma_mask, dev.bus_dma_limit)


cdef inline int sync_one_for_cpu(Device dev, phys_addr_t phys, size_t size, int dir) except -9999 nogil:
    if not dev.dma_coherent:
        dev.machine.sync_for_cpu(phys, size, dir)
    if is_swiotlb_buffer(dev, phys):
        swiotlb_sync_single_for_cpu(dev, phys, size, dir)
    return 0


cdef inline int unmap_one(Device dev, dma_addr_t addr, size_t size, int dir, unsigned long attrs) except -9999 nogil:
    cdef phys_addr_t phys = dma_to_phys(dev, addr)
    if not attrs & DMA_ATTR_SKIP_CPU_SYNC:
        sync_one_for_cpu(dev, phys, size, dir)
    if is_swiotlb_buffer(dev, phys):
        swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs | DMA_ATTR_SKIP_CPU_SYNC)
    return 0


cdef inline dma_addr_t map_one(DmaDirect ops, Device dev, page_t page, u64 offset, size_t size, int dir,
                               unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
    """map_page, for lists without a call for each entry."""
    cdef phys_addr_t phys = (page + offset) & dev.machine.phys_addr_mask
    cdef dma_addr_t addr = phys_to_dma(dev, phys)
    cdef bint forced = is_swiotlb_force_bounce(dev)
    if dev.machine.kernel >= 617:
        return ops.map_phys(dev, phys, size, dir, attrs)
    if forced or not dma_capable(dev, addr, size, True) or kmalloc_needs_bounce(dev, size, dir):
        if is_pci_p2pdma_page(dev.machine, page):
            return DMA_MAPPING_ERROR
        if forced or is_swiotlb_active(dev):
            return swiotlb_map(dev, phys, size, dir, attrs)
        dev.machine.warn(b"WARNING: dma_direct_map_page: DMA addr overflow")
        return DMA_MAPPING_ERROR
    if not dev.dma_coherent and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
        dev.machine.sync_for_device(phys, size, dir)
    return addr


cdef class DmaDirect(PhysMapOps):
    """dma-direct: no table, no allocator, no merging; what the device cannot reach bounces through swiotlb.

    unmap_sg_is_stub: a kernel with neither CONFIG_SWIOTLB nor cache maintenance, where dma_direct_unmap_sg() is an
    empty function: bus-address marks then stay in the list for ever.
    """

    def __cinit__(self, *, bint unmap_sg_is_stub=False):
        self.walker = DirectWalker()
        self.unmap_sg_is_stub = unmap_sg_is_stub
        self.filled = (OP_ALLOC | OP_FREE | OP_ALLOC_PAGES | OP_FREE_PAGES | OP_MMAP | OP_GET_SGTABLE |
                       OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG | OP_MAP_RESOURCE |
                       OP_SYNC_SINGLE_FOR_CPU | OP_SYNC_SINGLE_FOR_DEVICE | OP_SYNC_SG_FOR_CPU |
                       OP_SYNC_SG_FOR_DEVICE | OP_DMA_SUPPORTED | OP_GET_REQUIRED_MASK | OP_MAX_MAPPING_SIZE |
                       OP_MAP_PHYS)

    # -- streaming ---------------------------------------------------------------------------------------------

    cdef dma_addr_t map_phys(self, Device dev, phys_addr_t phys, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        """7.x. DMA_MAPPING_ERROR where the device cannot reach the memory and it may not bounce. A dma_range_map moves
        MMIO, too. P2P memory may bounce (a fault of Linux: the pool then has a copy of a peer's registers).
        """
        cdef dma_addr_t addr
        cdef bint mmio = attrs & DMA_ATTR_MMIO != 0
        phys &= dev.machine.phys_addr_mask
        if is_swiotlb_force_bounce(dev):
            if attrs & (DMA_ATTR_MMIO | DMA_ATTR_REQUIRE_COHERENT):
                return DMA_MAPPING_ERROR
            return swiotlb_map(dev, phys, size, dir, attrs)
        addr = phys_to_dma(dev, phys)
        if not dma_capable(dev, addr, size, not mmio) or (not mmio and kmalloc_needs_bounce(dev, size, dir)):
            if not mmio and not attrs & DMA_ATTR_REQUIRE_COHERENT and is_swiotlb_active(dev):
                return swiotlb_map(dev, phys, size, dir, attrs)
            warn_once(dev.machine, b"WARNING: dma_direct_map_phys: DMA addr overflow")
            return DMA_MAPPING_ERROR
        if not dev.dma_coherent and not attrs & (DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_MMIO):
            dev.machine.sync_for_device(phys, size, dir)
        return addr

    cdef int unmap_phys(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        return 0 if attrs & DMA_ATTR_MMIO else unmap_one(dev, addr, size, dir, attrs)

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        """DMA_MAPPING_ERROR where the device cannot reach the page and nothing can bounce. P2P pages are taken as they
        are: whether the device may reach its peer was map_sg's question, and map_page never asks it."""
        return map_one(self, dev, page, offset, size, dir, attrs)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        if dev.machine.kernel >= 617:
            return self.unmap_phys(dev, addr, size, dir, attrs)
        return unmap_one(dev, addr, size, dir, attrs)

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        """nents, always: one segment per entry. -EREMOTEIO: P2P memory that the device cannot reach, the entry is left
        alone; -EIO: an entry that cannot be mapped, its dma_address is DMA_MAPPING_ERROR. Entries before it keep
        their stale addresses, and nothing is copied back to them."""
        cdef pci_p2pdma_map_state state
        cdef scatterlist *sg = sgl
        cdef int i, map
        state.pgmap = 0
        state.map = 0
        state.bus_off = 0
        for i in range(nents):
            if is_pci_p2pdma_page(dev.machine, sg_page(sg)):
                map = pci_p2pdma_map_segment(&state, dev, sg)
                if map == PCI_P2PDMA_MAP_BUS_ADDR:
                    sg = sg_next(sg)
                    continue
                if map != PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
                    self.unmap_sg(dev, sgl, i, dir, attrs | DMA_ATTR_SKIP_CPU_SYNC)
                    return -EREMOTEIO
            sg.dma_address = map_one(self, dev, sg_page(sg), sg.offset, sg.length, dir,
                                     attrs) & dev.machine.dma_addr_mask
            if is_dma_error(dev, sg.dma_address):
                self.unmap_sg(dev, sgl, i, dir, attrs | DMA_ATTR_SKIP_CPU_SYNC)
                return -EIO
            sg.dma_length = sg.length           # and a bus-address mark of an earlier mapping stays set
            sg = sg_next(sg)
        return nents

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _i
        if self.unmap_sg_is_stub:
            return 0
        for _i in range(nents):
            if sg_is_dma_bus_address(sg):
                sg_dma_unmark_bus_address(sg)
            else:
                if attrs & DMA_ATTR_MMIO == 0 or dev.machine.kernel < 617:
                    unmap_one(dev, sg.dma_address, sg_dma_len(dev, sg), dir, attrs)
            sg = sg_next(sg)
        return 0

    cdef dma_addr_t map_resource(self, Device dev, phys_addr_t phys, size_t size, int dir,
                                 unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        """The physical address as it is: before 6.18, a dma_range_map does not move it."""
        if dev.machine.kernel >= 617:
            return self.map_phys(dev, phys, size, dir, attrs | DMA_ATTR_MMIO)
        if not dma_capable(dev, phys & dev.machine.dma_addr_mask, size, False):
            dev.machine.warn(b"WARNING: dma_direct_map_resource: DMA addr overflow")
            return DMA_MAPPING_ERROR
        return phys & dev.machine.dma_addr_mask

    cdef int unmap_resource(self, Device dev, dma_addr_t addr, size_t size, int dir,
                            unsigned long attrs) except -9999 nogil:
        return 0

    # -- sync --------------------------------------------------------------------------------------------------
    # Bounce buffer and cache in the order in which the bytes travel.

    cdef int sync_single_for_device(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        cdef phys_addr_t phys = dma_to_phys(dev, addr)
        if is_swiotlb_buffer(dev, phys):
            swiotlb_sync_single_for_device(dev, phys, size, dir)
        if not dev.dma_coherent:
            dev.machine.sync_for_device(phys, size, dir)
        return 0

    cdef int sync_single_for_cpu(self, Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
        return sync_one_for_cpu(dev, dma_to_phys(dev, addr), size, dir)

    # The two list forms do not look at the bus-address mark: a peer's bus address is taken for a DMA address, and
    # whatever memory has that number, a slot of the bounce pool even, is flushed or copied (dma_direct_sync_sg_for_*).

    cdef int sync_sg_for_device(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _i
        for _i in range(nents):
            self.sync_single_for_device(dev, sg.dma_address, sg.length, dir)
            sg = sg_next(sg)
        return 0

    cdef int sync_sg_for_cpu(self, Device dev, scatterlist *sgl, int nents, int dir) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _i
        for _i in range(nents):
            self.sync_single_for_cpu(dev, sg.dma_address, sg.length, dir)
            sg = sg_next(sg)
        return 0

    # -- coherent ----------------------------------------------------------------------------------------------

    cdef page_t get_pages(self, Device dev, size_t size) except? 0xBADBADBADBADBAD nogil:
        """__dma_direct_alloc_pages(): pages the device can reach, first from the zone that its mask points to, then
        from the lower ones; PHYS_NONE if there are none. A restricted pool is asked instead of RAM."""
        cdef unsigned int order = get_order(size, dev.machine.page_shift)
        cdef u64 limit
        cdef page_t page
        cdef int zone = ZONE_NORMAL
        if is_swiotlb_for_alloc(dev):
            page = swiotlb_alloc(dev, size)
            if page != PHYS_NONE and not coherent_ok(dev, page, size):
                swiotlb_free(dev, page, size)
                return PHYS_NONE
            if page != PHYS_NONE:
                dev.machine.zero(page, size)
            return page
        limit = dma_to_phys(dev, min_not_zero(dev.coherent_dma_mask, dev.bus_dma_limit))
        if limit <= (<u64>1 << dev.machine.zone_dma_bits) - 1:
            zone = ZONE_DMA
        elif limit <= BITS_32:
            zone = ZONE_DMA32
        while True:
            page = dev.machine.alloc_pages(order, zone_limit(dev.machine, zone))
            if page == PHYS_NONE or coherent_ok(dev, page, size):
                return page
            dev.machine.free_pages(page, order)
            if zone == ZONE_NORMAL and has_zone_dma32(dev.machine) and limit != ~<u64>0:
                zone = ZONE_DMA32
            elif zone != ZONE_DMA and dev.machine.has_zone_dma:
                zone = ZONE_DMA
            else:
                return PHYS_NONE

    cdef int put_pages(self, Device dev, page_t page, size_t size) except -9999 nogil:
        if swiotlb_free(dev, page, size):
            return 0
        return dev.machine.free_pages(page, get_order(size, dev.machine.page_shift))

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        """Zeroed pages, by smallest order. For a device that is not coherent cpu_addr stands for an uncached mapping of
        them; it still equals their physical address. With DMA_ATTR_NO_KERNEL_MAPPING it is the page's cookie."""
        cdef page_t page
        size = (size + dev.machine.page_size - 1) & ~(dev.machine.page_size - 1)
        page = self.get_pages(dev, size)
        if page == PHYS_NONE:
            return -ENOMEM
        if not dev.dma_coherent:
            dev.machine.set_uncached(page, size, True)
        dma_handle[0] = phys_to_dma(dev, page)
        cpu_addr[0] = page
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        """The pages are found by dma_handle, but those without a kernel mapping by cpu_addr."""
        cdef page_t page = dma_to_phys(dev, dma_handle) & ~(dev.machine.page_size - 1)
        if attrs & DMA_ATTR_NO_KERNEL_MAPPING and not is_swiotlb_for_alloc(dev):
            page = cpu_addr
        if not dev.dma_coherent:
            dev.machine.set_uncached(page, size, False)
        return self.put_pages(dev, page, size)

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        cdef page_t found = self.get_pages(dev, size)
        if found == PHYS_NONE:
            return -ENOMEM
        dma_handle[0] = phys_to_dma(dev, found)
        page[0] = found
        return 0

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return self.put_pages(dev, page, size)

    # -- limits ------------------------------------------------------------------------------------------------

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        """Any mask of 32 bits and more; a smaller one if it covers ZONE_DMA, or all RAM where there is no such zone."""
        cdef u64 lowest = last_page(dev.machine) & dev.machine.ulong_mask
        if mask >= BITS_32:
            return 1
        if dev.machine.has_zone_dma:
            lowest = min(lowest, (<u64>1 << dev.machine.zone_dma_bits) - 1)
        return mask >= phys_to_dma(dev, lowest)

    cdef u64 get_required_mask(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        """The smallest 2^n - 1 that covers the last page of RAM; all ones if the dma_range_map leaves that out."""
        cdef u64 highest = phys_to_dma(dev, last_page(dev.machine))
        if highest == 0:
            return 0
        return ~<u64>0 >> clzll(highest)

    cdef size_t max_mapping_size(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        if is_swiotlb_active(dev) and (is_swiotlb_force_bounce(dev) or dma_addressing_limited(dev)):
            return swiotlb_max_mapping_size(dev)
        return dev.machine.ulong_mask

    def need_sync(self, Device dev not None, u64 addr):
        """dma_direct_need_sync(): must the driver sync a mapping at this DMA address?"""
        return not dev.dma_coherent or bool(is_swiotlb_buffer(dev, dma_to_phys(dev, addr)))


cdef inline bint has_zone_dma32(Machine m) noexcept nogil:
    return m.bits == 64


cdef u64 zone_limit(Machine m, int zone) noexcept nogil:
    """The last byte that GFP_DMA, GFP_DMA32 or neither may answer; a zone that does not exist has no effect."""
    if zone == ZONE_DMA and m.has_zone_dma:
        return (<u64>1 << m.zone_dma_bits) - 1
    if zone == ZONE_DMA32 and has_zone_dma32(m):
        return BITS_32
    return PHYS_NONE
