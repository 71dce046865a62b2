# SPDX-License-Identifier: MIT
"""The DMA API for Python, under Linux's names.

A function takes an SgTable where Linux takes a list and its count. It raises DmaError where Linux answers an error,
KernelBug where Linux would die, ValueError for what Python cannot be allowed to ask: a device or table that was never
initialised, or a table of another page size than the device's machine. Sizes and offsets are in bytes, addresses are
integers.
"""

from libc.errno cimport EINVAL, EIO, ENOMEM, ENXIO

from scatterlist.core cimport SgTable, scatterlist
from scatterlist.types cimport dma_addr_t, page_t, u64

from .device cimport (
    DMA_ATTR_ALLOC_SINGLE_PAGES,
    DMA_MAPPING_ERROR,
    Device,
    dma_get_max_seg_size as c_get_max_seg_size,
    dma_get_min_align_mask as c_get_min_align_mask,
    dma_get_seg_boundary as c_get_seg_boundary,
    is_dma_error,
)
from .mapping cimport (
    dma_addressing_limited as c_addressing_limited,
    dma_alloc_attrs as c_alloc_attrs,
    dma_alloc_noncontiguous as c_alloc_noncontiguous,
    dma_alloc_pages as c_alloc_pages,
    dma_can_mmap as c_can_mmap,
    dma_free_attrs as c_free_attrs,
    dma_free_noncontiguous as c_free_noncontiguous,
    dma_free_pages as c_free_pages,
    dma_get_mask as c_get_mask,
    dma_get_merge_boundary as c_get_merge_boundary,
    dma_get_required_mask as c_get_required_mask,
    dma_has_get_sgtable,
    dma_map_page_attrs,
    dma_map_resource as c_map_resource,
    dma_map_sg_attrs,
    dma_map_sgtable as c_map_sgtable,
    dma_mapping_error as c_mapping_error,
    dma_max_mapping_size as c_max_mapping_size,
    dma_need_sync as c_need_sync,
    dma_opt_mapping_size as c_opt_mapping_size,
    dma_pci_p2pdma_supported as c_pci_p2pdma_supported,
    dma_set_coherent_mask as c_set_coherent_mask,
    dma_set_mask as c_set_mask,
    dma_set_mask_and_coherent as c_set_mask_and_coherent,
    dma_set_max_seg_size as c_set_max_seg_size,
    dma_set_min_align_mask as c_set_min_align_mask,
    dma_set_seg_boundary as c_set_seg_boundary,
    dma_sync_sg_for_cpu as c_sync_sg_for_cpu,
    dma_sync_sg_for_device as c_sync_sg_for_device,
    dma_sync_single_for_cpu as c_sync_single_for_cpu,
    dma_sync_single_for_device as c_sync_single_for_device,
    dma_unmap_page_attrs,
    dma_unmap_resource as c_unmap_resource,
    dma_unmap_sg_attrs,
)

from .errors import DmaError

MAX_MAPPING = <u64>1 << 40

# -- what C code may rely on -----------------------------------------------------------------------------------

cdef int check_device(Device dev) except -1:
    if dev.machine is None or dev.machine.nr_ram == 0:
        raise ValueError("the device was made without __init__, so it is on no machine")
    if dev.direct is None:
        raise ValueError(f"{dev.name}: device.direct is None")
    if dev.dma_ops is not None and dev.dma_ops.filled and dev.dma_ops.walker is None:
        raise ValueError(f"{dev.name}: its {type(dev.dma_ops).__name__} was made without __init__")
    return 0


cdef int check_mapped(Device dev, size_t size) except -1:
    """What cannot have been mapped is neither unmapped nor synced: C code would go through all of it, page by page."""
    check_device(dev)
    if size > MAX_MAPPING:
        raise ValueError(f"{dev.name}: {size} bytes cannot have been mapped")
    return 0


cdef scatterlist *entries_of(Device dev, SgTable sgt) except NULL:
    """The table's first entry, if C code may walk the list on the device's machine."""
    check_device(dev)
    if sgt.sgt.sgl == NULL:         # orig_nents 0 over real entries is a caller's mistake that backends answer for
        raise ValueError(f"{dev.name}: the table has no entries")
    if sgt.page_shift != dev.machine.page_shift:
        raise ValueError(f"{dev.name}: the table is for pages of {1 << sgt.page_shift} bytes, but machine "
                         f"{dev.machine.name} has {dev.machine.page_size}")
    return sgt.sgt.sgl


cdef inline int check_page(Device dev, u64 page) except -1:
    check_device(dev)
    if page & (dev.machine.page_size - 1):
        raise ValueError(f"{dev.name}: page {page:#x} is not the address of a frame of {dev.machine.page_size} bytes")
    return 0


cdef inline int check_nents(Device dev, SgTable sgt, int nents) except -1:
    if not 0 <= nents <= <int>sgt.sgt.orig_nents:
        raise ValueError(f"{dev.name}: {nents} entries of a table that has {sgt.sgt.orig_nents}")
    return 0


# -- streaming -------------------------------------------------------------------------------------------------

def dma_map_page(Device dev not None, u64 page, u64 offset, size_t size, int dir, unsigned long attrs=0):
    """Map size bytes at offset into a page; the bus address. Raises DmaError(ENOMEM) where Linux answers
    DMA_MAPPING_ERROR."""
    cdef dma_addr_t addr
    check_page(dev, page)
    addr = DMA_MAPPING_ERROR
    if size <= MAX_MAPPING:
        addr = dma_map_page_attrs(dev, page, offset, size, dir, attrs)
    if is_dma_error(dev, addr):
        raise DmaError(ENOMEM, f"{dev.name}: dma_map_page of {size} bytes at {page:#x} + {offset:#x} failed")
    return addr & dev.machine.dma_addr_mask


def dma_unmap_page(Device dev not None, u64 addr, size_t size, int dir, unsigned long attrs=0):
    check_mapped(dev, size)
    dma_unmap_page_attrs(dev, addr, size, dir, attrs)


def dma_map_single(Device dev not None, u64 ptr, size_t size, int dir, unsigned long attrs=0):
    """Map size bytes at a kernel address of the linear map (its physical address here). Raises DmaError(ENOMEM)."""
    cdef u64 mask
    check_device(dev)
    mask = dev.machine.page_size - 1
    if dev.debug is not None:
        dev.debug.map_single(dev, ptr, size)
    return dma_map_page(dev, ptr & ~mask, ptr & mask, size, dir, attrs)


def dma_unmap_single(Device dev not None, u64 addr, size_t size, int dir, unsigned long attrs=0):
    check_mapped(dev, size)
    dma_unmap_page_attrs(dev, addr, size, dir, attrs)


def dma_map_sg(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0):
    """Map all orig_nents entries; the count of mapped segments. sgt.nents is not written, as in Linux.

    Raises DmaError(EIO) where Linux answers 0, which says nothing of the reason: dma_map_sgtable does.
    """
    cdef scatterlist *sgl = entries_of(dev, sgt)
    cdef int ret = dma_map_sg_attrs(dev, sgl, sgt.sgt.orig_nents, dir, attrs)
    if ret == 0:
        raise DmaError(EIO, f"{dev.name}: dma_map_sg of {sgt.sgt.orig_nents} entries answered 0")
    return ret


def dma_unmap_sg(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0):
    """Unmap the table's orig_nents entries."""
    dma_unmap_sg_attrs(dev, entries_of(dev, sgt), sgt.sgt.orig_nents, dir, attrs)


def dma_map_sgtable(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0):
    """Map all orig_nents entries and write sgt.nents. Raises DmaError with EINVAL (misuse), EIO (unknown), EREMOTEIO
    (the device cannot reach this P2P memory): never retry; or ENOMEM: retry later."""
    cdef int ret
    entries_of(dev, sgt)
    ret = c_map_sgtable(dev, &sgt.sgt, dir, attrs)
    if ret:
        raise DmaError(ret, f"{dev.name}: dma_map_sgtable of {sgt.sgt.orig_nents} entries failed with errno {-ret}")


def dma_unmap_sgtable(Device dev not None, SgTable sgt not None, int dir, unsigned long attrs=0):
    dma_unmap_sg_attrs(dev, entries_of(dev, sgt), sgt.sgt.orig_nents, dir, attrs)


def dma_map_resource(Device dev not None, u64 phys, size_t size, int dir, unsigned long attrs=0):
    """Map MMIO, which must not be RAM; the bus address. Raises DmaError(ENOMEM), also where the backend has no
    map_resource."""
    cdef dma_addr_t addr
    check_device(dev)
    addr = DMA_MAPPING_ERROR
    if size <= MAX_MAPPING:
        addr = c_map_resource(dev, phys, size, dir, attrs)
    if is_dma_error(dev, addr):
        raise DmaError(ENOMEM, f"{dev.name}: dma_map_resource of {size} bytes at {phys:#x} failed")
    return addr & dev.machine.dma_addr_mask


def dma_unmap_resource(Device dev not None, u64 addr, size_t size, int dir, unsigned long attrs=0):
    check_mapped(dev, size)
    c_unmap_resource(dev, addr, size, dir, attrs)


def dma_sync_single_for_cpu(Device dev not None, u64 addr, size_t size, int dir):
    check_mapped(dev, size)
    c_sync_single_for_cpu(dev, addr, size, dir)


def dma_sync_single_for_device(Device dev not None, u64 addr, size_t size, int dir):
    check_mapped(dev, size)
    c_sync_single_for_device(dev, addr, size, dir)


def dma_sync_sgtable_for_cpu(Device dev not None, SgTable sgt not None, int dir):
    c_sync_sg_for_cpu(dev, entries_of(dev, sgt), sgt.sgt.orig_nents, dir)


def dma_sync_sgtable_for_device(Device dev not None, SgTable sgt not None, int dir):
    c_sync_sg_for_device(dev, entries_of(dev, sgt), sgt.sgt.orig_nents, dir)


def dma_sync_sg_for_cpu(Device dev not None, SgTable sgt not None, int nents, int dir):
    """nents is what was mapped: orig_nents, not the count that dma_map_sg answered."""
    check_nents(dev, sgt, nents)
    c_sync_sg_for_cpu(dev, entries_of(dev, sgt), nents, dir)


def dma_sync_sg_for_device(Device dev not None, SgTable sgt not None, int nents, int dir):
    check_nents(dev, sgt, nents)
    c_sync_sg_for_device(dev, entries_of(dev, sgt), nents, dir)


def dma_mapping_error(Device dev not None, u64 addr):
    """0, or -ENOMEM for DMA_MAPPING_ERROR."""
    check_device(dev)
    return c_mapping_error(dev, addr)


# -- coherent --------------------------------------------------------------------------------------------------

def dma_alloc_attrs(Device dev not None, size_t size, unsigned long attrs=0):
    """Coherent memory: (cpu_addr, dma_handle), both aligned to the smallest page order that holds size.
    Raises DmaError(ENOMEM); a retry can help. 0 bytes are DmaError(EINVAL)."""
    cdef dma_addr_t handle = DMA_MAPPING_ERROR
    cdef u64 cpu_addr = 0
    check_device(dev)
    if size == 0:
        raise DmaError(EINVAL, f"{dev.name}: dma_alloc_attrs of 0 bytes")
    if c_alloc_attrs(dev, size, &handle, &cpu_addr, attrs):
        raise DmaError(ENOMEM, f"{dev.name}: dma_alloc_attrs of {size} bytes failed")
    return cpu_addr, handle & dev.machine.dma_addr_mask


def dma_free_attrs(Device dev not None, size_t size, u64 cpu_addr, u64 dma_handle, unsigned long attrs=0):
    check_device(dev)
    check_size(dev, size)
    c_free_attrs(dev, size, cpu_addr, dma_handle, attrs)


def dma_alloc_coherent(Device dev not None, size_t size):
    return dma_alloc_attrs(dev, size)


def dma_free_coherent(Device dev not None, size_t size, u64 cpu_addr, u64 dma_handle):
    dma_free_attrs(dev, size, cpu_addr, dma_handle)


def dma_alloc_pages(Device dev not None, size_t size, int dir):
    """Pages that need syncs: (page, dma_handle). Raises DmaError(ENOMEM); 0 bytes are DmaError(EINVAL)."""
    cdef dma_addr_t handle = DMA_MAPPING_ERROR
    cdef page_t page = 0
    check_device(dev)
    if size == 0:
        raise DmaError(EINVAL, f"{dev.name}: dma_alloc_pages of 0 bytes")
    if c_alloc_pages(dev, size, &handle, &page, dir):
        raise DmaError(ENOMEM, f"{dev.name}: dma_alloc_pages of {size} bytes failed")
    return page, handle & dev.machine.dma_addr_mask


def dma_free_pages(Device dev not None, size_t size, u64 page, u64 dma_handle, int dir):
    check_page(dev, page)
    check_size(dev, size)
    c_free_pages(dev, size, page, dma_handle, dir)


cdef inline int check_size(Device dev, size_t size) except -1:
    """What cannot have been allocated is not freed: C code would go through all of it."""
    if not 0 < size <= dev.machine.end_of_ram():
        raise ValueError(f"{dev.name}: {size} bytes cannot have been allocated")
    return 0


def dma_alloc_noncontiguous(Device dev not None, size_t size, int dir, unsigned long attrs=0):
    """An SgTable with exactly one mapped segment. Raises DmaError(ENOMEM), or EINVAL for any attribute but
    DMA_ATTR_ALLOC_SINGLE_PAGES."""
    cdef SgTable sgt
    check_device(dev)
    if attrs & ~<unsigned long>DMA_ATTR_ALLOC_SINGLE_PAGES:
        raise DmaError(EINVAL, f"{dev.name}: dma_alloc_noncontiguous takes no attributes {attrs:#x}")
    sgt = SgTable.__new__(SgTable)
    sgt.page_shift = dev.machine.page_shift
    sgt.max_ents = dev.machine.page_size // sizeof(scatterlist)
    if c_alloc_noncontiguous(dev, size, &sgt.sgt, sgt.max_ents, dir, attrs):
        raise DmaError(ENOMEM, f"{dev.name}: dma_alloc_noncontiguous of {size} bytes failed")
    return sgt


def dma_free_noncontiguous(Device dev not None, size_t size, SgTable sgt not None, int dir):
    entries_of(dev, sgt)
    check_size(dev, size)
    c_free_noncontiguous(dev, size, &sgt.sgt, dir)


def dma_get_sgtable(Device dev not None, u64 cpu_addr, u64 dma_addr, size_t size, unsigned long attrs=0):
    """The SgTable of a coherent allocation, not mapped: one entry, or one per run of pages where these were gathered
    behind one kernel address. Raises DmaError(ENXIO) if the backend has none."""
    cdef u64 mask
    check_device(dev)
    check_size(dev, size)
    if not dma_has_get_sgtable(dev):
        raise DmaError(ENXIO, f"{dev.name}: the backend has no get_sgtable")
    pages = dev.machine.vmap_pages(cpu_addr)
    if pages is not None:
        return SgTable(_runs(pages, dev.machine.page_size, size), page_shift=dev.machine.page_shift)
    mask = dev.machine.page_size - 1
    return SgTable([(cpu_addr & ~mask, 0, (size + mask) & ~mask)], page_shift=dev.machine.page_shift)


def _runs(pages, u64 page_size, u64 size):
    """(page, offset, length) of each run of neighbours among pages, size bytes in all."""
    rows = []
    for page in pages:
        step = min(page_size, size)
        start, _, length = rows.pop() if rows else (page, 0, 0)
        if start + length == page:
            rows.append((start, 0, length + step))
        else:
            rows += [(start, 0, length), (page, 0, step)]
        size -= step
    return rows


def dma_can_mmap(Device dev not None):
    check_device(dev)
    return bool(c_can_mmap(dev))


# -- masks and limits ------------------------------------------------------------------------------------------

def dma_set_mask(Device dev not None, u64 mask):
    """Set the streaming mask, cut to dma_addr_t. Raises DmaError(EIO): no DMA is possible with it; the old mask
    stays."""
    check_device(dev)
    if c_set_mask(dev, mask):
        raise DmaError(EIO, f"{dev.name}: the DMA mask {mask:#x} is not supported")


def dma_set_coherent_mask(Device dev not None, u64 mask):
    """Set the mask of coherent allocations, cut to dma_addr_t. Raises DmaError(EIO)."""
    check_device(dev)
    if c_set_coherent_mask(dev, mask):
        raise DmaError(EIO, f"{dev.name}: the coherent DMA mask {mask:#x} is not supported")


def dma_set_mask_and_coherent(Device dev not None, u64 mask):
    """Both; that the coherent mask is refused after the streaming one was taken is no error (as in Linux)."""
    check_device(dev)
    if c_set_mask_and_coherent(dev, mask):
        raise DmaError(EIO, f"{dev.name}: the DMA mask {mask:#x} is not supported")


def dma_set_max_seg_size(Device dev not None, unsigned int size):
    """Raises DmaError(EIO) if the device's bus gives it no dma_parms."""
    check_parms(dev, c_set_max_seg_size(dev, size))


def dma_set_seg_boundary(Device dev not None, u64 mask):
    check_device(dev)
    check_parms(dev, c_set_seg_boundary(dev, mask))


def dma_set_min_align_mask(Device dev not None, unsigned int mask):
    check_parms(dev, c_set_min_align_mask(dev, mask))


cdef int check_parms(Device dev, int ret) except -1:
    if ret:
        raise DmaError(EIO, f"{dev.name} has no dma_parms")
    return 0


def dma_get_max_seg_size(Device dev not None):
    return c_get_max_seg_size(dev)


def dma_get_seg_boundary(Device dev not None):
    check_device(dev)
    return c_get_seg_boundary(dev)


def dma_get_min_align_mask(Device dev not None):
    return c_get_min_align_mask(dev)


def dma_get_required_mask(Device dev not None):
    """The mask that reaches all memory there is; the device's own mask is not changed."""
    check_device(dev)
    return c_get_required_mask(dev)


def dma_get_mask(Device dev not None):
    return c_get_mask(dev)


def dma_addressing_limited(Device dev not None):
    """Can the device not reach all of the RAM that DMA may have to?"""
    check_device(dev)
    return bool(c_addressing_limited(dev))


def dma_max_mapping_size(Device dev not None):
    """The largest single mapping, in bytes; SIZE_MAX where there is no limit."""
    check_device(dev)
    return c_max_mapping_size(dev)


def dma_opt_mapping_size(Device dev not None):
    """Up to how many bytes mappings are fast: advice only."""
    check_device(dev)
    return c_opt_mapping_size(dev)


def dma_get_merge_boundary(Device dev not None):
    """0: the backend cannot merge; else entries that are aligned to this + 1 can merge."""
    check_device(dev)
    return c_get_merge_boundary(dev)


def dma_need_sync(Device dev not None, u64 dma_addr):
    """False: syncs of this mapping do nothing."""
    check_device(dev)
    return bool(c_need_sync(dev, dma_addr))


def dma_pci_p2pdma_supported(Device dev not None):
    """Policy: would the core let P2P pages reach this device's backend? A bypass does not count (mapping.c, 6.1)."""
    return bool(c_pci_p2pdma_supported(dev))
