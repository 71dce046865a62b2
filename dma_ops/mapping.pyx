# SPDX-License-Identifier: MIT
"""The DMA API for C: dispatch and errno filter of kernel/dma/mapping.c, Linux 6.1. Python's is dma_ops.api.

The results are Linux's. Whoever calls has a device of an initialised machine and lists that end where they say; the
Python API makes sure of that.
"""

from libc.errno cimport EINVAL, EIO, ENOMEM, EOPNOTSUPP, EREMOTEIO

from scatterlist.core cimport sg_alloc_table, sg_free_table, sg_next, sg_page, sg_set_page

from .device cimport (
    DMA_ATTR_MMIO,
    DMA_ATTR_REQUIRE_COHERENT,
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_F_PCI_P2PDMA_SUPPORTED,
    DMA_FROM_DEVICE,
    DMA_MAPPING_ERROR,
    OP_ALLOC,
    OP_ALLOC_NONCONTIGUOUS,
    OP_ALLOC_PAGES,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_FREE_NONCONTIGUOUS,
    OP_FREE_PAGES,
    OP_GET_MERGE_BOUNDARY,
    OP_GET_REQUIRED_MASK,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_RESOURCE,
    OP_MAP_SG,
    OP_MAX_MAPPING_SIZE,
    OP_MMAP,
    OP_OPT_MAPPING_SIZE,
    OP_SYNC_SG_FOR_CPU,
    OP_SYNC_SG_FOR_DEVICE,
    OP_SYNC_SINGLE_FOR_CPU,
    OP_SYNC_SINGLE_FOR_DEVICE,
    OP_UNMAP_PAGE,
    OP_UNMAP_RESOURCE,
    OP_UNMAP_SG,
    is_dma_error,
    min_not_zero,
)
from .errors cimport kernel_bug
from .machine cimport PHYS_NONE, is_pci_p2pdma_page
from .phys cimport OP_DMA_IOMMU


cdef inline int check_direction(int dir) except -9999 nogil:
    if not 0 <= dir <= DMA_FROM_DEVICE:
        return kernel_bug(b"kernel BUG at kernel/dma/mapping.c: !valid_dma_direction(dir)")
    return 0


cdef inline bint may_map(Device dev, unsigned long attrs) noexcept nogil:
    """7.x: who requires coherence gets nothing else."""
    return dev.dma_coherent or not attrs & DMA_ATTR_REQUIRE_COHERENT or dev.machine.kernel < 617


cdef bint go_direct(Device dev, u64 mask) except -1 nogil:
    if dev.dma_ops is None:
        return True
    if dev.dma_ops_bypass:
        return min_not_zero(mask, dev.bus_dma_limit) >= dev.direct.get_required_mask(dev)
    return False


cdef bint dma_map_direct(Device dev) except -1 nogil:
    return go_direct(dev, dev.dma_mask)


cdef bint dma_alloc_direct(Device dev) except -1 nogil:
    return go_direct(dev, dev.coherent_dma_mask)


# -- streaming -------------------------------------------------------------------------------------------------

cdef dma_addr_t dma_map_page_attrs(Device dev, page_t page, u64 offset, size_t size, int dir,
                                   unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
    cdef dma_addr_t addr
    check_direction(dir)
    if not dev.has_dma_mask:
        dev.machine.warn(b"WARNING: dma_map_page_attrs: dev->dma_mask is NULL")
        return DMA_MAPPING_ERROR
    if dev.machine.kernel >= 617:
        if attrs & DMA_ATTR_MMIO or not may_map(dev, attrs):
            return DMA_MAPPING_ERROR
        if dev.debug is not None and is_pci_p2pdma_page(dev.machine, page):
            dev.machine.warn(b"WARNING: dma_map_page_attrs: is_zone_device_page(page)")
            return DMA_MAPPING_ERROR
    if dma_map_direct(dev) or dev.dma_ops.arch_map_page_direct(dev, page + offset + size):
        addr = dev.direct.map_page(dev, page, offset, size, dir, attrs)
    elif not dev.dma_ops.filled & OP_MAP_PAGE:
        kernel_bug(b"call of NULL dma_map_ops.map_page")
        return DMA_MAPPING_ERROR
    else:
        addr = dev.dma_ops.map_page(dev, page, offset, size, dir, attrs)
    if dev.debug is not None:
        with gil:
            dev.debug.map_page(dev, page, offset, size, dir, addr, attrs)
    return addr


cdef int dma_unmap_page_attrs(Device dev, dma_addr_t addr, size_t size, int dir,
                              unsigned long attrs) except -9999 nogil:
    check_direction(dir)
    if attrs & DMA_ATTR_MMIO and dev.machine.kernel >= 617:
        return 0
    if dma_map_direct(dev) or dev.dma_ops.arch_unmap_page_direct(dev, addr + size):
        dev.direct.unmap_page(dev, addr, size, dir, attrs)
    elif dev.dma_ops.filled & OP_UNMAP_PAGE:
        dev.dma_ops.unmap_page(dev, addr, size, dir, attrs)
    if dev.debug is not None:
        with gil:
            dev.debug.unmap_page(dev, addr, size, dir)
    return 0


cdef int map_sg_filtered(Device dev, scatterlist *sg, int nents, int dir, unsigned long attrs) except -9999 nogil:
    """Entries mapped, or one of the four errnos that callers may see; 0 only where dev->dma_mask is NULL. 7.x:
    -EOPNOTSUPP for DMA_ATTR_REQUIRE_COHERENT and a device that is not."""
    cdef int ents
    check_direction(dir)
    if not may_map(dev, attrs):
        return -EOPNOTSUPP
    if not dev.has_dma_mask:
        dev.machine.warn(b"WARNING: __dma_map_sg_attrs: dev->dma_mask is NULL")
        return 0
    if dma_map_direct(dev) or dev.dma_ops.arch_map_sg_direct(dev, sg, nents):
        ents = dev.direct.map_sg(dev, sg, nents, dir, attrs)
    elif not dev.dma_ops.filled & OP_MAP_SG:
        return kernel_bug(b"call of NULL dma_map_ops.map_sg")
    else:
        ents = dev.dma_ops.map_sg(dev, sg, nents, dir, attrs)
    if ents > 0:
        if dev.debug is not None:
            debug_map_sg(dev, sg, nents, ents, dir, attrs)
    elif ents != -EINVAL and ents != -ENOMEM and ents != -EIO and ents != -EREMOTEIO:
        dev.machine.warn(b"WARNING: __dma_map_sg_attrs: the backend answered an errno that is not allowed")
        return -EIO
    return ents


cdef int debug_map_sg(Device dev, scatterlist *sg, int nents, int ents, int dir,
                      unsigned long attrs) except -9999 nogil:
    with gil:
        dev.debug.map_sg(dev, sg_rows(sg, nents), ents, dir, attrs)
    return 0


cdef list sg_rows(scatterlist *sg, int n):
    """(page, offset, length, dma_address, dma_length, dma_flags) of n entries, for dma-debug."""
    cdef list rows = []
    while n > 0 and sg != NULL:
        rows.append((sg_page(sg), sg.offset, sg.length, sg.dma_address, sg.dma_length, sg.dma_flags))
        sg = sg_next(sg)
        n -= 1
    return rows


cdef int dma_map_sg_attrs(Device dev, scatterlist *sg, int nents, int dir, unsigned long attrs) except -9999 nogil:
    """Entries mapped, 0 for every error."""
    cdef int ret = map_sg_filtered(dev, sg, nents, dir, attrs)
    return 0 if ret < 0 else ret


cdef int dma_map_sgtable(Device dev, sg_table *sgt, int dir, unsigned long attrs) except -9999 nogil:
    """0 with sgt.nents written, or -EINVAL, -EIO, -EREMOTEIO (a retry cannot help), -ENOMEM (it can)."""
    cdef int nents = map_sg_filtered(dev, sgt.sgl, sgt.orig_nents, dir, attrs)
    if nents < 0:
        return nents
    sgt.nents = nents
    return 0


cdef int dma_unmap_sg_attrs(Device dev, scatterlist *sg, int nents, int dir, unsigned long attrs) except -9999 nogil:
    """nents is what was passed to map, not what it answered."""
    check_direction(dir)
    if dev.debug is not None:
        with gil:
            dev.debug.unmap_sg(dev, sg_rows(sg, nents), nents, dir)
    if dma_map_direct(dev) or dev.dma_ops.arch_unmap_sg_direct(dev, sg, nents):
        dev.direct.unmap_sg(dev, sg, nents, dir, attrs)
    elif dev.dma_ops.filled & OP_UNMAP_SG:
        dev.dma_ops.unmap_sg(dev, sg, nents, dir, attrs)
    return 0


cdef dma_addr_t dma_map_resource(Device dev, phys_addr_t phys, size_t size, int dir,
                                 unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
    cdef dma_addr_t addr = DMA_MAPPING_ERROR
    check_direction(dir)
    if not dev.has_dma_mask:
        dev.machine.warn(b"WARNING: dma_map_resource: dev->dma_mask is NULL")
        return DMA_MAPPING_ERROR
    if not may_map(dev, attrs):
        return DMA_MAPPING_ERROR
    if dma_map_direct(dev):
        addr = dev.direct.map_resource(dev, phys, size, dir, attrs)
    elif dev.dma_ops.filled & OP_MAP_RESOURCE:
        addr = dev.dma_ops.map_resource(dev, phys, size, dir, attrs)
    if dev.debug is not None:
        with gil:
            dev.debug.map_resource(dev, phys, size, dir, addr, attrs)
    return addr


cdef int dma_unmap_resource(Device dev, dma_addr_t addr, size_t size, int dir,
                            unsigned long attrs) except -9999 nogil:
    check_direction(dir)
    if not dma_map_direct(dev) and dev.dma_ops.filled & OP_UNMAP_RESOURCE:
        dev.dma_ops.unmap_resource(dev, addr, size, dir, attrs)
    if dev.debug is not None:
        with gil:
            dev.debug.unmap_resource(dev, addr, size, dir)
    return 0


cdef int sync_single(Device dev, dma_addr_t addr, size_t size, int dir, bint for_cpu) except -9999 nogil:
    check_direction(dir)
    if dma_map_direct(dev):
        if for_cpu:
            dev.direct.sync_single_for_cpu(dev, addr, size, dir)
        else:
            dev.direct.sync_single_for_device(dev, addr, size, dir)
    elif for_cpu:
        if dev.dma_ops.filled & OP_SYNC_SINGLE_FOR_CPU:
            dev.dma_ops.sync_single_for_cpu(dev, addr, size, dir)
    elif dev.dma_ops.filled & OP_SYNC_SINGLE_FOR_DEVICE:
        dev.dma_ops.sync_single_for_device(dev, addr, size, dir)
    if dev.debug is not None:
        with gil:
            dev.debug.sync_single(dev, addr, size, dir, bool(for_cpu))
    return 0


cdef int sync_sg(Device dev, scatterlist *sg, int nents, int dir, bint for_cpu) except -9999 nogil:
    check_direction(dir)
    if dma_map_direct(dev):
        if for_cpu:
            dev.direct.sync_sg_for_cpu(dev, sg, nents, dir)
        else:
            dev.direct.sync_sg_for_device(dev, sg, nents, dir)
    elif for_cpu:
        if dev.dma_ops.filled & OP_SYNC_SG_FOR_CPU:
            dev.dma_ops.sync_sg_for_cpu(dev, sg, nents, dir)
    elif dev.dma_ops.filled & OP_SYNC_SG_FOR_DEVICE:
        dev.dma_ops.sync_sg_for_device(dev, sg, nents, dir)
    if dev.debug is not None:
        with gil:
            dev.debug.sync_sg(dev, sg_rows(sg, nents), nents, dir, bool(for_cpu))
    return 0


cdef int dma_sync_single_for_cpu(Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
    return sync_single(dev, addr, size, dir, True)


cdef int dma_sync_single_for_device(Device dev, dma_addr_t addr, size_t size, int dir) except -9999 nogil:
    return sync_single(dev, addr, size, dir, False)


cdef int dma_sync_sg_for_cpu(Device dev, scatterlist *sg, int nents, int dir) except -9999 nogil:
    return sync_sg(dev, sg, nents, dir, True)


cdef int dma_sync_sg_for_device(Device dev, scatterlist *sg, int nents, int dir) except -9999 nogil:
    return sync_sg(dev, sg, nents, dir, False)


cdef int dma_mapping_error(Device dev, dma_addr_t addr) except -9999 nogil:
    """0, or -ENOMEM for DMA_MAPPING_ERROR."""
    if dev.debug is not None:
        with gil:
            dev.debug.mapping_error(dev, addr)
    return -ENOMEM if is_dma_error(dev, addr) else 0


# -- coherent --------------------------------------------------------------------------------------------------

cdef inline bint sane_size(Device dev, size_t size) noexcept nogil:
    """No page allocator has 0 bytes, or more than there is."""
    return 0 < size <= dev.machine.end_of_ram()


cdef int dma_alloc_attrs(Device dev, size_t size, dma_addr_t *handle, u64 *cpu_addr,
                         unsigned long attrs) except -9999 nogil:
    """0 with handle and cpu_addr written, or -ENOMEM where Linux answers NULL."""
    cdef int ret
    if not sane_size(dev, size):
        return -ENOMEM
    if not dev.coherent_dma_mask:
        dev.machine.warn(b"WARNING: dma_alloc_attrs: the coherent mask is 0")
    if dev.coherent_pool is not None:
        with gil:
            got = dev.coherent_pool.alloc(size)     # its answer is final, even a refusal
            if got is None:
                return -ENOMEM
            handle[0], cpu_addr[0] = got
            return 0
    if dma_alloc_direct(dev):
        ret = dev.direct.alloc(dev, size, handle, cpu_addr, attrs)
    elif dev.dma_ops.filled & OP_ALLOC:
        ret = dev.dma_ops.alloc(dev, size, handle, cpu_addr, attrs)
    else:
        return -ENOMEM
    if ret == 0 and dev.debug is not None:
        with gil:
            dev.debug.alloc_coherent(dev, size, handle[0], cpu_addr[0], attrs)
    return ret


cdef int dma_free_attrs(Device dev, size_t size, u64 cpu_addr, dma_addr_t handle,
                        unsigned long attrs) except -9999 nogil:
    if dev.coherent_pool is not None:
        with gil:
            if dev.coherent_pool.free(cpu_addr, size):
                return 0
    if dev.debug is not None:
        with gil:
            dev.debug.free_coherent(dev, size, cpu_addr, handle)
    if dma_alloc_direct(dev):
        dev.direct.free(dev, size, cpu_addr, handle, attrs)
    elif dev.dma_ops.filled & OP_FREE:
        dev.dma_ops.free(dev, size, cpu_addr, handle, attrs)
    return 0


cdef int dma_common_alloc_pages(DmaMapOps ops, Device dev, size_t size, dma_addr_t *handle, page_t *page,
                                int dir) except -9999 nogil:
    """kernel/dma/ops_helpers.c: pages, then ops.map_page without cache maintenance. 0 or -ENOMEM."""
    cdef unsigned int order = get_order(size, dev.machine.page_shift)
    cdef page_t p = dev.machine.alloc_pages(order, PHYS_NONE)
    if p == PHYS_NONE:
        return -ENOMEM
    handle[0] = ops.map_page(dev, p, 0, size, dir, DMA_ATTR_SKIP_CPU_SYNC)
    if is_dma_error(dev, handle[0]):
        dev.machine.free_pages(p, order)
        return -ENOMEM
    page[0] = p
    return 0


cdef int dma_common_free_pages(DmaMapOps ops, Device dev, size_t size, page_t page, dma_addr_t handle,
                               int dir) except -9999 nogil:
    if ops.filled & OP_UNMAP_PAGE:
        ops.unmap_page(dev, handle, size, dir, DMA_ATTR_SKIP_CPU_SYNC)
    return dev.machine.free_pages(page, get_order(size, dev.machine.page_shift))


cdef int alloc_pages_untracked(Device dev, size_t size, dma_addr_t *handle, page_t *page, int dir) except -9999 nogil:
    cdef u64 mask = dev.machine.page_size - 1
    check_direction(dir)
    if not dev.coherent_dma_mask:
        dev.machine.warn(b"WARNING: dma_alloc_pages: the coherent mask is 0")
        return -ENOMEM
    if not sane_size(dev, size):
        return -ENOMEM
    size = (size + mask) & ~mask
    if dma_alloc_direct(dev):
        return dev.direct.alloc_pages(dev, size, handle, page, dir)
    if dev.dma_ops.filled & OP_ALLOC_PAGES:
        return dev.dma_ops.alloc_pages(dev, size, handle, page, dir)
    return -ENOMEM


cdef int free_pages_untracked(Device dev, size_t size, page_t page, dma_addr_t handle, int dir) except -9999 nogil:
    cdef u64 mask = dev.machine.page_size - 1
    size = (size + mask) & ~mask
    if dma_alloc_direct(dev):
        return dev.direct.free_pages(dev, size, page, handle, dir)
    if dev.dma_ops.filled & OP_FREE_PAGES:
        return dev.dma_ops.free_pages(dev, size, page, handle, dir)
    return 0


cdef int dma_alloc_pages(Device dev, size_t size, dma_addr_t *handle, page_t *page, int dir) except -9999 nogil:
    """0 with handle and page written, or -ENOMEM where Linux answers NULL."""
    cdef int ret = alloc_pages_untracked(dev, size, handle, page, dir)
    if ret == 0 and dev.debug is not None:
        with gil:
            dev.debug.map_page(dev, page[0], 0, size, dir, handle[0], 0)
    return ret


cdef int dma_free_pages(Device dev, size_t size, page_t page, dma_addr_t handle, int dir) except -9999 nogil:
    if dev.debug is not None:
        with gil:
            dev.debug.unmap_page(dev, handle, size, dir)
    return free_pages_untracked(dev, size, page, handle, dir)


cdef int dma_alloc_noncontiguous(Device dev, size_t size, sg_table *sgt, unsigned int max_ents, int dir,
                                 unsigned long attrs) except -9999 nogil:
    """A table with one mapped segment, its arrays of max_ents entries: 0, or -ENOMEM where Linux answers NULL."""
    cdef dma_addr_t handle = DMA_MAPPING_ERROR
    cdef page_t page = 0
    cdef int ret
    check_direction(dir)
    if not sane_size(dev, size):
        return -ENOMEM
    if dev.dma_ops is not None and dev.dma_ops.filled & OP_ALLOC_NONCONTIGUOUS:
        ret = dev.dma_ops.alloc_noncontiguous(dev, size, sgt, dir, attrs)
        if ret:
            return ret
        sgt.nents = 1
    else:
        ret = sg_alloc_table(sgt, 1, max_ents)
        if ret:
            return ret
        ret = alloc_pages_untracked(dev, size, &handle, &page, dir)
        if ret:
            sg_free_table(sgt, max_ents)
            return ret
        size = (size + dev.machine.page_size - 1) & ~(dev.machine.page_size - 1)
        sg_set_page(sgt.sgl, page, size, 0)
        sgt.sgl.dma_address = handle
        sgt.sgl.dma_length = size
    if dev.debug is not None:
        debug_map_sg(dev, sgt.sgl, sgt.orig_nents, 1, dir, attrs)
    return 0


cdef int dma_free_noncontiguous(Device dev, size_t size, sg_table *sgt, int dir) except -9999 nogil:
    """The list itself stays for the caller to free."""
    if dev.debug is not None:
        with gil:
            dev.debug.unmap_sg(dev, sg_rows(sgt.sgl, sgt.orig_nents), sgt.orig_nents, dir)
    if dev.dma_ops is not None and dev.dma_ops.filled & OP_FREE_NONCONTIGUOUS:
        return dev.dma_ops.free_noncontiguous(dev, size, sgt, dir)
    return free_pages_untracked(dev, size, sg_page(sgt.sgl), sgt.sgl.dma_address, dir)


cdef bint dma_can_mmap(Device dev) except -1 nogil:
    return dma_alloc_direct(dev) or (dev.dma_ops.filled & OP_MMAP) != 0


cdef bint dma_has_get_sgtable(Device dev) except -1 nogil:
    """Does dma_get_sgtable() answer anything but -ENXIO?"""
    return dma_alloc_direct(dev) or (dev.dma_ops.filled & OP_GET_SGTABLE) != 0


# -- masks and limits ------------------------------------------------------------------------------------------

cdef int dma_supported(Device dev, u64 mask) except -9999 nogil:
    if dev.dma_ops is None:
        return dev.direct.dma_supported(dev, mask)
    if not dev.dma_ops.filled & OP_DMA_SUPPORTED:
        return 1
    return dev.dma_ops.dma_supported(dev, mask)     # always asked: it sets dma_ops_bypass


cdef int dma_set_mask(Device dev, u64 mask) except -9999 nogil:
    """0, or -EIO with the old mask kept. A mask is cut to dma_addr_t."""
    mask &= dev.machine.dma_addr_mask
    if not dev.has_dma_mask or not dma_supported(dev, mask):
        return -EIO
    dev.dma_mask = mask
    if dev.machine.kernel >= 612:
        setup_need_sync(dev)
    return 0


cdef int setup_need_sync(Device dev) except -9999 nogil:
    """6.10 and later: may syncs be skipped, until the first bounce buffer?"""
    cdef unsigned long syncs = (OP_SYNC_SINGLE_FOR_CPU | OP_SYNC_SINGLE_FOR_DEVICE | OP_SYNC_SG_FOR_CPU
                                | OP_SYNC_SG_FOR_DEVICE)
    if dma_map_direct(dev) or dev.dma_ops.filled & OP_DMA_IOMMU:
        dev.dma_skip_sync = dev.dma_coherent
    else:
        dev.dma_skip_sync = not dev.dma_ops.filled & syncs
    return 0


cdef int dma_set_coherent_mask(Device dev, u64 mask) except -9999 nogil:
    mask &= dev.machine.dma_addr_mask
    if not dma_supported(dev, mask):
        return -EIO
    dev.coherent_dma_mask = mask
    return 0


cdef int dma_set_mask_and_coherent(Device dev, u64 mask) except -9999 nogil:
    cdef int ret = dma_set_mask(dev, mask)
    if ret == 0:
        dma_set_coherent_mask(dev, mask)            # its answer is ignored
    return ret


cdef int dma_set_max_seg_size(Device dev, unsigned int size) noexcept nogil:
    """0, or -EIO if the device's bus gives it no dma_parms; so the next two."""
    if not dev.has_dma_parms:
        return -EIO
    dev.max_segment_size = size
    return 0


cdef int dma_set_seg_boundary(Device dev, u64 mask) noexcept nogil:
    if not dev.has_dma_parms:
        return -EIO
    dev.segment_boundary_mask = mask & dev.machine.ulong_mask
    return 0


cdef int dma_set_min_align_mask(Device dev, unsigned int mask) noexcept nogil:
    if not dev.has_dma_parms:
        return -EIO
    dev.min_align_mask = mask
    return 0


cdef u64 dma_get_required_mask(Device dev) except? 0xBADBADBADBADBAD nogil:
    if dma_alloc_direct(dev):
        return dev.direct.get_required_mask(dev)
    if dev.dma_ops.filled & OP_GET_REQUIRED_MASK:
        return dev.dma_ops.get_required_mask(dev)
    return 0xffffffff


cdef u64 dma_get_mask(Device dev) noexcept nogil:
    return dev.dma_mask if dev.has_dma_mask and dev.dma_mask else 0xffffffff


cdef bint dma_addressing_limited(Device dev) except -1 nogil:
    """Can the device not reach all of the RAM that DMA may have to?"""
    if min_not_zero(dma_get_mask(dev), dev.bus_dma_limit) < dma_get_required_mask(dev):
        return True
    return dev.machine.kernel >= 612 and dev.dma_ops is None and not dev.all_ram_mapped()


cdef size_t dma_max_mapping_size(Device dev) except? 0xBADBADBADBADBAD nogil:
    """The largest single mapping, in bytes; SIZE_MAX where there is no limit."""
    if dma_map_direct(dev):
        return dev.direct.max_mapping_size(dev)
    if dev.dma_ops.filled & OP_MAX_MAPPING_SIZE:
        return dev.dma_ops.max_mapping_size(dev)
    return dev.machine.ulong_mask


cdef size_t dma_opt_mapping_size(Device dev) except? 0xBADBADBADBADBAD nogil:
    cdef size_t size = dev.machine.ulong_mask
    if dev.dma_ops is not None and dev.dma_ops.filled & OP_OPT_MAPPING_SIZE:
        size = dev.dma_ops.opt_mapping_size(dev)
    return min(dma_max_mapping_size(dev), size)


cdef u64 dma_get_merge_boundary(Device dev) except? 0xBADBADBADBADBAD nogil:
    """0: the backend cannot merge; else entries that are aligned to this + 1 can merge."""
    if dev.dma_ops is None or not dev.dma_ops.filled & OP_GET_MERGE_BOUNDARY:
        return 0
    return dev.dma_ops.get_merge_boundary(dev)


cdef bint dma_need_sync(Device dev, dma_addr_t addr) except -1 nogil:
    """6.10 and later: what dma_set_mask() found out comes first, and a table that may sync always has to."""
    if dev.machine.kernel >= 612 and dev.dma_skip_sync and dev.debug is None:
        return False
    if dma_map_direct(dev):
        with gil:
            return dev.direct.need_sync(dev, addr)
    return dev.machine.kernel >= 612 or (dev.dma_ops.filled & (OP_SYNC_SINGLE_FOR_CPU | OP_SYNC_SINGLE_FOR_DEVICE)) != 0


cdef bint dma_pci_p2pdma_supported(Device dev) noexcept nogil:
    """Policy: would the core let P2P pages reach this device's backend? A bypass does not count (mapping.c, 6.1)."""
    return dev.dma_ops is None or (dev.dma_ops.flags & DMA_F_PCI_P2PDMA_SUPPORTED) != 0
