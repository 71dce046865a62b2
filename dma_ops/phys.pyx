# SPDX-License-Identifier: MIT
"""Mapping by physical address: dma_map_phys() of kernel/dma/mapping.c, Linux 6.18 and later. For Python: phys_api.

It works on every Machine.kernel, and always as the newest kernel has it. The order of asking is direct, iommu-dma, the
table's map_phys. The tables of 6.1 have no such member; they are served as a mechanical conversion of them would be:
memory through map_page, DMA_ATTR_MMIO through map_resource where there is one, and refused where there is none, for
map_page has to find a struct page. The other attributes are handed on; 6.1's backends ignore the ones that are new.
"""

from .device cimport DMA_ATTR_MMIO, DMA_ATTR_REQUIRE_COHERENT, DMA_FROM_DEVICE, DMA_MAPPING_ERROR
from .device cimport OP_MAP_PAGE, OP_MAP_RESOURCE, OP_UNMAP_PAGE, OP_UNMAP_RESOURCE
from .errors cimport kernel_bug
from .mapping cimport dma_map_direct


cdef int warn_once(Machine machine, const char *message) except -9999 nogil:
    """WARN_ONCE: the line is in the machine's log at most once. An empty log forgets."""
    with gil:
        line = message.decode()
        if line not in machine.dmesg:
            machine.dmesg.append(line)
    return 0


cdef class PhysMapOps(DmaMapOps):
    """A table that is made for physical addresses: it needs no struct page."""

    cdef dma_addr_t map_phys(self, Device dev, phys_addr_t phys, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        return DMA_MAPPING_ERROR

    cdef int unmap_phys(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        return 0

    cdef bint iova_try_alloc(self, Device dev, dma_iova_state *state, phys_addr_t phys, u64 size) except -1 nogil:
        return False

    cdef int iova_link(self, Device dev, dma_iova_state *state, phys_addr_t phys, u64 offset, u64 size, int dir,
                       unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"BUG: kernel NULL pointer dereference in dma_iova_link")

    cdef int iova_sync(self, Device dev, dma_iova_state *state, u64 offset, u64 size) except -9999 nogil:
        return kernel_bug(b"BUG: kernel NULL pointer dereference in dma_iova_sync")

    cdef int iova_unlink(self, Device dev, dma_iova_state *state, u64 offset, u64 size, int dir,
                         unsigned long attrs) except -9999 nogil:
        return kernel_bug(b"BUG: kernel NULL pointer dereference in dma_iova_unlink")

    cdef int iova_free(self, Device dev, dma_iova_state *state) except -9999 nogil:
        return kernel_bug(b"BUG: kernel NULL pointer dereference in dma_iova_free")


# -- tables without map_phys -----------------------------------------------------------------------------------

cdef dma_addr_t ops_map_phys(DmaMapOps ops, Device dev, phys_addr_t phys, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
    cdef u64 mask = dev.machine.page_size - 1
    if ops.filled & OP_MAP_PHYS:
        return (<PhysMapOps>ops).map_phys(dev, phys, size, dir, attrs)
    if attrs & DMA_ATTR_MMIO:
        if ops.filled & OP_MAP_RESOURCE:
            return ops.map_resource(dev, phys, size, dir, attrs)
    elif ops.filled & OP_MAP_PAGE:
        return ops.map_page(dev, phys & ~mask, phys & mask, size, dir, attrs)
    return DMA_MAPPING_ERROR


cdef int ops_unmap_phys(DmaMapOps ops, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
    if ops.filled & OP_MAP_PHYS:
        return (<PhysMapOps>ops).unmap_phys(dev, addr, size, dir, attrs)
    if attrs & DMA_ATTR_MMIO:
        if ops.filled & OP_UNMAP_RESOURCE:
            return ops.unmap_resource(dev, addr, size, dir, attrs)
    elif ops.filled & OP_UNMAP_PAGE:
        return ops.unmap_page(dev, addr, size, dir, attrs)
    return 0


# -- the API ---------------------------------------------------------------------------------------------------

cdef inline int check_direction(int dir) except -9999 nogil:
    if not 0 <= dir <= DMA_FROM_DEVICE:
        return kernel_bug(b"kernel BUG at kernel/dma/mapping.c: !valid_dma_direction(dir)")
    return 0


cdef dma_addr_t dma_map_phys(Device dev, phys_addr_t phys, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
    """Map size bytes at phys: RAM, or with DMA_ATTR_MMIO what has no struct page. DMA_MAPPING_ERROR, also for
    DMA_ATTR_REQUIRE_COHERENT and a device that is not, or where the memory would have to be bounced."""
    cdef bint mmio = attrs & DMA_ATTR_MMIO != 0
    cdef dma_addr_t addr
    check_direction(dir)
    if not dev.has_dma_mask:
        warn_once(dev.machine, b"WARNING: dma_map_phys: dev->dma_mask is NULL")
        return DMA_MAPPING_ERROR
    if attrs & DMA_ATTR_REQUIRE_COHERENT and not dev.dma_coherent:
        return DMA_MAPPING_ERROR
    if dma_map_direct(dev) or (not mmio and dev.dma_ops.arch_map_page_direct(dev, phys + size)):
        addr = ops_map_phys(dev.direct, dev, phys, size, dir, attrs)
    else:
        addr = ops_map_phys(dev.dma_ops, dev, phys, size, dir, attrs)
    if dev.debug is not None:
        debug_map(dev, phys, size, dir, addr, attrs)
    return addr


cdef int dma_unmap_phys(Device dev, dma_addr_t addr, size_t size, int dir, unsigned long attrs) except -9999 nogil:
    """attrs are those of the map call: DMA_ATTR_MMIO and DMA_ATTR_REQUIRE_COHERENT decide what there is to undo."""
    cdef bint mmio = attrs & DMA_ATTR_MMIO != 0
    check_direction(dir)
    if dma_map_direct(dev) or (not mmio and dev.dma_ops.arch_unmap_page_direct(dev, addr + size)):
        ops_unmap_phys(dev.direct, dev, addr, size, dir, attrs)
    else:
        ops_unmap_phys(dev.dma_ops, dev, addr, size, dir, attrs)
    if dev.debug is not None:
        with gil:
            if mmio:
                dev.debug.unmap_resource(dev, addr, size, dir)
            else:
                dev.debug.unmap_page(dev, addr, size, dir)
    return 0


cdef int debug_map(Device dev, phys_addr_t phys, size_t size, int dir, dma_addr_t addr,
                   unsigned long attrs) except -9999 nogil:
    cdef u64 mask = dev.machine.page_size - 1
    with gil:
        if attrs & DMA_ATTR_MMIO:
            dev.debug.map_resource(dev, phys, size, dir, addr, attrs)
        else:
            dev.debug.map_page(dev, phys & ~mask, phys & mask, size, dir, addr, attrs)
    return 0


cdef bint dma_need_unmap(Device dev) except -1 nogil:
    """False: unmap calls would do nothing, so nobody need remember addresses. Ask after the last map call: the first
    bounce buffer makes it True for good. Before 6.12 nothing keeps that count, and it always is True."""
    return not dma_map_direct(dev) or not dev.dma_skip_sync or dev.debug is not None
