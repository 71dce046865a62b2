# SPDX-License-Identifier: MIT
"""The DMA API: dispatch and errno filter of kernel/dma/mapping.c, Linux 6.1.

The Python functions have Linux's names and take an SgTable where Linux takes a list and its count; they raise DmaError
where Linux answers an error, and KernelBug where it would die. Sizes and offsets are in bytes, addresses are integers.
"""

from libc.errno cimport EINVAL, EIO, ENOMEM, ENXIO, EREMOTEIO

from scatterlist.core cimport SgTable, sg_next, sg_page, sg_set_page

from .device cimport (
    DMA_ATTR_ALLOC_SINGLE_PAGES,
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
    OP_MAP_RESOURCE,
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
    dma_get_max_seg_size as c_max_seg_size,
    dma_get_min_align_mask as c_min_align_mask,
    dma_get_seg_boundary as c_seg_boundary,
    is_dma_error,
    min_not_zero,
)
from .errors cimport kernel_bug
from .machine cimport PHYS_NONE

from .errors import DmaError


cdef inline int check_direction(int dir) except -9999 nogil:
    if not 0 <= dir <= DMA_FROM_DEVICE:
        return kernel_bug(b"kernel BUG at kernel/dma/mapping.c: !valid_dma_direction(dir)")
    return 0


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


# -- streaming: C ----------------------------------------------------------------------------------------------

cdef dma_addr_t dma_map_page_attrs(Device dev, page_t page, u64 offset, size_t size, int dir,
                                   unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
    cdef dma_addr_t addr
    check_direction(dir)
    if not dev.has_dma_mask:
        dev.machine.warn(b"WARNING: dma_map_page_attrs: dev->dma_mask is NULL")
        return DMA_MAPPING_ERROR
    if dma_map_direct(dev) or dev.dma_ops.arch_map_page_direct(dev, page + offset + size):
        addr = dev.direct.map_page(dev, page, offset, size, dir, attrs)
    else:
        addr = dev.dma_ops.map_page(dev, page, offset, size, dir, attrs)
    if dev.debug is not None:
        with gil:
            dev.debug.map_page(dev, page, offset, size, dir, addr, attrs)
    return addr


cdef int dma_unmap_page_attrs(Device dev, dma_addr_t addr, size_t size, int dir,
                              unsigned long attrs) except -9999 nogil:
    check_direction(dir)
    if dma_map_direct(dev) or dev.dma_ops.arch_unmap_page_direct(dev, addr + size):
        dev.direct.unmap_page(dev, addr, size, dir, attrs)
    elif dev.dma_ops.filled & OP_UNMAP_PAGE:
        dev.dma_ops.unmap_page(dev, addr, size, dir, attrs)
    if dev.debug is not None:
        with gil:
            dev.debug.unmap_page(dev, addr, size, dir)
    return 0


cdef int map_sg_filtered(Device dev, scatterlist *sg, int nents, int dir, unsigned long attrs) except -9999 nogil:
    """Entries mapped, or one of the four errnos that callers may see; 0 only where dev->dma_mask is NULL."""
    cdef int ents
    check_direction(dir)
    if not dev.has_dma_mask:
        dev.machine.warn(b"WARNING: __dma_map_sg_attrs: dev->dma_mask is NULL")
        return 0
    if dma_map_direct(dev) or dev.dma_ops.arch_map_sg_direct(dev, sg, nents):
        ents = dev.direct.map_sg(dev, sg, nents, dir, attrs)
    else:
        ents = dev.dma_ops.map_sg(dev, sg, nents, dir, attrs)
    if ents > 0:
        if dev.debug is not None:
            debug_map_sg(dev, sg, nents, ents, dir, attrs)
    elif ents != -EINVAL and ents != -ENOMEM and ents != -EIO and ents != -EREMOTEIO:
        dev.machine.warn(b"WARNING: __dma_map_sg_attrs: the backend answered an errno that is not allowed")
        return -EIO
    return ents


cdef int debug_map_sg(Device dev, scatterlist *sg, int nents, int ents, int dir, unsigned long attrs) except -9999 nogil:
    with gil:
        dev.debug.map_sg(dev, sg_rows(sg, ents), nents, dir, attrs)
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


# -- coherent: C -----------------------------------------------------------------------------------------------

cdef int dma_alloc_attrs(Device dev, size_t size, dma_addr_t *handle, u64 *cpu_addr,
                         unsigned long attrs) except -9999 nogil:
    """0 with handle and cpu_addr written, or -ENOMEM where Linux answers NULL."""
    cdef int ret
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


# -- the Python API --------------------------------------------------------------------------------------------

def dma_map_page(Device dev not None, u64 page, u64 offset, size_t size, int dir, unsigned long attrs=0):
    """Map size bytes at offset into a page; the bus address. Raises DmaError(ENOMEM) where Linux answers
    DMA_MAPPING_ERROR."""
    cdef dma_addr_t addr = dma_map_page_attrs(dev, page, offset, size, dir, attrs)
    if is_dma_error(dev, addr):
        raise DmaError(ENOMEM, f"{dev.name}: dma_map_page of {size} bytes at {page + offset:#x} failed")
    return addr & dev.machine.dma_addr_mask


def dma_unmap_page(Device dev not None, u64 addr, size_t size, int dir, unsigned long attrs=0):
    dma_unmap_page_attrs(dev, addr, size, dir, attrs)


def dma_map_single(Device dev not None, u64 ptr, size_t size, int dir, unsigned long attrs=0):
    """Map size bytes at a kernel address of the linear map (its physical address here). Raises DmaError(ENOMEM)."""
    cdef u64 mask = dev.machine.page_size - 1
    return dma_map_page(dev, ptr & ~mask, ptr & mask, size, dir, attrs)


def dma_unmap_single(Device dev not None, u64 addr, size_t size, int dir, unsigned long attrs=0):
    dma_unmap_page_attrs(dev, addr, size, dir, attrs)


def dma_map_sg(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0):
    """Map all orig_nents entries; the count of mapped segments. sgt.nents is not written, as in Linux.

    Raises DmaError(EIO) where Linux answers 0, which says nothing of the reason: dma_map_sgtable does.
    """
    cdef int ret = dma_map_sg_attrs(dev, sgt.sgt.sgl, sgt.sgt.orig_nents, dir, attrs)
    if ret == 0:
        raise DmaError(EIO, f"{dev.name}: dma_map_sg of {sgt.sgt.orig_nents} entries answered 0")
    return ret


def dma_unmap_sg(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0):
    dma_unmap_sg_attrs(dev, sgt.sgt.sgl, sgt.sgt.orig_nents, dir, attrs)


def dma_map_sgtable_(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0):
    """Map all orig_nents entries and write sgt.nents. Raises DmaError with EINVAL (misuse), EIO (unknown), EREMOTEIO
    (the device cannot reach this P2P memory): never retry; or ENOMEM: retry later."""
    cdef int ret = dma_map_sgtable(dev, &sgt.sgt, dir, attrs)
    if ret:
        raise DmaError(ret, f"{dev.name}: dma_map_sgtable of {sgt.sgt.orig_nents} entries failed with errno {-ret}")


def dma_unmap_sgtable(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0):
    dma_unmap_sg_attrs(dev, sgt.sgt.sgl, sgt.sgt.orig_nents, dir, attrs)


def dma_map_resource_(Device dev not None, u64 phys, size_t size, int dir, unsigned long attrs=0):
    """Map MMIO, which must not be RAM; the bus address. Raises DmaError(ENOMEM), also where the backend has no
    map_resource."""
    cdef dma_addr_t addr = dma_map_resource(dev, phys, size, dir, attrs)
    if is_dma_error(dev, addr):
        raise DmaError(ENOMEM, f"{dev.name}: dma_map_resource of {size} bytes at {phys:#x} failed")
    return addr & dev.machine.dma_addr_mask


def dma_unmap_resource_(Device dev not None, u64 addr, size_t size, int dir, unsigned long attrs=0):
    dma_unmap_resource(dev, addr, size, dir, attrs)


def dma_sync_single_for_cpu(Device dev not None, u64 addr, size_t size, int dir):
    sync_single(dev, addr, size, dir, True)


def dma_sync_single_for_device(Device dev not None, u64 addr, size_t size, int dir):
    sync_single(dev, addr, size, dir, False)


def dma_sync_sgtable_for_cpu(Device dev not None, SgTable sgt not None, int dir):
    sync_sg(dev, sgt.sgt.sgl, sgt.sgt.orig_nents, dir, True)


def dma_sync_sgtable_for_device(Device dev not None, SgTable sgt not None, int dir):
    sync_sg(dev, sgt.sgt.sgl, sgt.sgt.orig_nents, dir, False)


def dma_sync_sg_for_cpu(Device dev not None, SgTable sgt not None, int nents, int dir):
    _check_nents(sgt, nents)
    sync_sg(dev, sgt.sgt.sgl, nents, dir, True)


def dma_sync_sg_for_device(Device dev not None, SgTable sgt not None, int nents, int dir):
    _check_nents(sgt, nents)
    sync_sg(dev, sgt.sgt.sgl, nents, dir, False)


def _check_nents(SgTable sgt, int nents):
    if not 0 <= nents <= <int>sgt.sgt.orig_nents:
        raise ValueError(f"{nents} entries of a table that has {sgt.sgt.orig_nents}")


def dma_alloc_attrs_(Device dev not None, size_t size, unsigned long attrs=0):
    """Coherent memory: (cpu_addr, dma_handle), both aligned to the smallest page order that holds size.
    Raises DmaError(ENOMEM); a retry can help."""
    cdef dma_addr_t handle = DMA_MAPPING_ERROR
    cdef u64 cpu_addr = 0
    if size == 0:
        raise DmaError(EINVAL, f"{dev.name}: dma_alloc_attrs of 0 bytes")
    if dma_alloc_attrs(dev, size, &handle, &cpu_addr, attrs):
        raise DmaError(ENOMEM, f"{dev.name}: dma_alloc_attrs of {size} bytes failed")
    return cpu_addr, handle & dev.machine.dma_addr_mask


def dma_free_attrs_(Device dev not None, size_t size, u64 cpu_addr, u64 dma_handle, unsigned long attrs=0):
    dma_free_attrs(dev, size, cpu_addr, dma_handle, attrs)


def dma_alloc_pages(Device dev not None, size_t size, int dir):
    """Pages that need syncs: (page, dma_handle). Raises DmaError(ENOMEM)."""
    cdef dma_addr_t handle = DMA_MAPPING_ERROR
    cdef page_t page = 0
    cdef u64 mask = dev.machine.page_size - 1
    cdef int ret
    if size == 0:
        raise DmaError(EINVAL, f"{dev.name}: dma_alloc_pages of 0 bytes")
    if not dev.coherent_dma_mask:
        raise DmaError(ENOMEM, f"{dev.name}: the coherent mask is 0")
    size = (size + mask) & ~mask
    if dma_alloc_direct(dev):
        ret = dev.direct.alloc_pages(dev, size, &handle, &page, dir)
    elif dev.dma_ops.filled & OP_ALLOC_PAGES:
        ret = dev.dma_ops.alloc_pages(dev, size, &handle, &page, dir)
    else:
        ret = -ENOMEM
    if ret:
        raise DmaError(ENOMEM, f"{dev.name}: dma_alloc_pages of {size} bytes failed")
    if dev.debug is not None:
        dev.debug.map_page(dev, page, 0, size, dir, handle, 0)
    return page, handle & dev.machine.dma_addr_mask


def dma_free_pages(Device dev not None, size_t size, u64 page, u64 dma_handle, int dir):
    cdef u64 mask = dev.machine.page_size - 1
    if dev.debug is not None:
        dev.debug.unmap_page(dev, dma_handle, size, dir)
    size = (size + mask) & ~mask
    if dma_alloc_direct(dev):
        dev.direct.free_pages(dev, size, page, dma_handle, dir)
    elif dev.dma_ops.filled & OP_FREE_PAGES:
        dev.dma_ops.free_pages(dev, size, page, dma_handle, dir)


def dma_alloc_noncontiguous(Device dev not None, size_t size, int dir, unsigned long attrs=0):
    """An SgTable with exactly one mapped segment. Raises DmaError(ENOMEM), or EINVAL for any attribute but
    DMA_ATTR_ALLOC_SINGLE_PAGES."""
    cdef SgTable sgt
    cdef int ret
    if attrs & ~<unsigned long>DMA_ATTR_ALLOC_SINGLE_PAGES:
        raise DmaError(EINVAL, f"{dev.name}: dma_alloc_noncontiguous takes no attributes {attrs:#x}")
    if dev.dma_ops is not None and dev.dma_ops.filled & OP_ALLOC_NONCONTIGUOUS:
        sgt = SgTable.__new__(SgTable)
        ret = dev.dma_ops.alloc_noncontiguous(dev, size, &sgt.sgt, dir, attrs)
        if ret:
            raise DmaError(ret, f"{dev.name}: dma_alloc_noncontiguous of {size} bytes failed")
    else:
        page, handle = dma_alloc_pages(dev, size, dir)
        size = (size + dev.machine.page_size - 1) & ~(dev.machine.page_size - 1)
        sgt = SgTable([(page, 0, size)], page_shift=dev.machine.page_shift)
        sgt.sgt.sgl.dma_address = handle
        sgt.sgt.sgl.dma_length = size
    sgt.sgt.nents = 1
    return sgt


def dma_free_noncontiguous(Device dev not None, size_t size, SgTable sgt not None, int dir):
    if dev.dma_ops is not None and dev.dma_ops.filled & OP_FREE_NONCONTIGUOUS:
        dev.dma_ops.free_noncontiguous(dev, size, &sgt.sgt, dir)
    else:
        dma_free_pages(dev, size, sg_page(sgt.sgt.sgl), sgt.sgt.sgl.dma_address, dir)


def dma_get_sgtable(Device dev not None, u64 cpu_addr, u64 dma_addr, size_t size, unsigned long attrs=0):
    """A one-entry SgTable of a coherent allocation, not mapped. Raises DmaError(ENXIO) if the backend has none."""
    cdef u64 mask = dev.machine.page_size - 1
    if not dma_alloc_direct(dev) and not dev.dma_ops.filled & OP_GET_SGTABLE:
        raise DmaError(ENXIO, f"{dev.name}: the backend has no get_sgtable")
    return SgTable([(cpu_addr & ~mask, 0, (size + mask) & ~mask)], page_shift=dev.machine.page_shift)


def dma_can_mmap(Device dev not None):
    return bool(dma_alloc_direct(dev)) or bool(dev.dma_ops.filled & OP_MMAP)


# -- masks and limits ------------------------------------------------------------------------------------------

cdef int dma_supported(Device dev, u64 mask) except -9999:
    if dev.dma_ops is None:
        return dev.direct.dma_supported(dev, mask)
    if not dev.dma_ops.filled & OP_DMA_SUPPORTED:
        return 1
    return dev.dma_ops.dma_supported(dev, mask)     # always asked: it sets dma_ops_bypass


def dma_set_mask(Device dev not None, u64 mask):
    """Set the streaming mask, cut to dma_addr_t. Raises DmaError(EIO): no DMA is possible with it; the old mask
    stays."""
    mask &= dev.machine.dma_addr_mask
    if not dev.has_dma_mask or not dma_supported(dev, mask):
        raise DmaError(EIO, f"{dev.name}: the DMA mask {mask:#x} is not supported")
    dev.dma_mask = mask


def dma_set_coherent_mask(Device dev not None, u64 mask):
    """Set the mask of coherent allocations, cut to dma_addr_t. Raises DmaError(EIO)."""
    mask &= dev.machine.dma_addr_mask
    if not dma_supported(dev, mask):
        raise DmaError(EIO, f"{dev.name}: the coherent DMA mask {mask:#x} is not supported")
    dev.coherent_dma_mask = mask


def dma_set_mask_and_coherent(Device dev not None, u64 mask):
    dma_set_mask(dev, mask)
    dma_set_coherent_mask(dev, mask)


def dma_set_max_seg_size(Device dev not None, unsigned int size):
    """Raises DmaError(EIO) if the device's bus gives it no dma_parms."""
    if not dev.has_dma_parms:
        raise DmaError(EIO, f"{dev.name} has no dma_parms")
    dev.max_segment_size = size


def dma_set_seg_boundary(Device dev not None, u64 mask):
    if not dev.has_dma_parms:
        raise DmaError(EIO, f"{dev.name} has no dma_parms")
    dev.segment_boundary_mask = mask & dev.machine.ulong_mask


def dma_set_min_align_mask(Device dev not None, unsigned int mask):
    if not dev.has_dma_parms:
        raise DmaError(EIO, f"{dev.name} has no dma_parms")
    dev.min_align_mask = mask


def dma_get_max_seg_size(Device dev not None):
    return c_max_seg_size(dev)


def dma_get_seg_boundary(Device dev not None):
    return c_seg_boundary(dev)


def dma_get_min_align_mask(Device dev not None):
    return c_min_align_mask(dev)


def dma_get_required_mask(Device dev not None):
    if dma_alloc_direct(dev):
        return dev.direct.get_required_mask(dev)
    if dev.dma_ops.filled & OP_GET_REQUIRED_MASK:
        return dev.dma_ops.get_required_mask(dev)
    return 0xffffffff


def dma_get_mask(Device dev not None):
    return dev.dma_mask if dev.has_dma_mask and dev.dma_mask else 0xffffffff


def dma_addressing_limited(Device dev not None):
    """Can the device not reach all of the RAM that DMA may have to?"""
    return min_not_zero(dma_get_mask(dev), dev.bus_dma_limit) < dma_get_required_mask(dev)


def dma_max_mapping_size(Device dev not None):
    """The largest single mapping, in bytes; SIZE_MAX where there is no limit."""
    if dma_map_direct(dev):
        return dev.direct.max_mapping_size(dev)
    if dev.dma_ops.filled & OP_MAX_MAPPING_SIZE:
        return dev.dma_ops.max_mapping_size(dev)
    return dev.machine.ulong_mask


def dma_opt_mapping_size(Device dev not None):
    size = dev.machine.ulong_mask
    if dev.dma_ops is not None and dev.dma_ops.filled & OP_OPT_MAPPING_SIZE:
        size = dev.dma_ops.opt_mapping_size(dev)
    return min(dma_max_mapping_size(dev), size)


def dma_get_merge_boundary(Device dev not None):
    """0: the backend cannot merge; else entries that are aligned to this + 1 can merge."""
    if dev.dma_ops is None or not dev.dma_ops.filled & OP_GET_MERGE_BOUNDARY:
        return 0
    return dev.dma_ops.get_merge_boundary(dev)


def dma_need_sync(Device dev not None, u64 dma_addr):
    if dma_map_direct(dev):
        return dev.direct.need_sync(dev, dma_addr)
    return bool(dev.dma_ops.filled & (OP_SYNC_SINGLE_FOR_CPU | OP_SYNC_SINGLE_FOR_DEVICE))


def dma_mapping_error(Device dev not None, u64 addr):
    """0, or -ENOMEM for DMA_MAPPING_ERROR."""
    if dev.debug is not None:
        dev.debug.mapping_error(dev, addr)
    return -ENOMEM if is_dma_error(dev, addr) else 0


def dma_pci_p2pdma_supported(Device dev not None):
    """Policy: would the core let P2P pages reach this device's backend? A bypass does not count (mapping.c, 6.1)."""
    if dev.dma_ops is None:
        return True
    return bool(dev.dma_ops.flags & DMA_F_PCI_P2PDMA_SUPPORTED)
