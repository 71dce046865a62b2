# SPDX-License-Identifier: MIT
"""The newer DMA API for Python, under Linux's names: by physical address (6.18), and in two steps (6.16).

Errors are those of dma_ops.api. An address of 64 bits is taken whole; sizes and offsets are in bytes.
"""

from libc.errno cimport ENOMEM

from scatterlist.types cimport dma_addr_t, u64

from .api cimport MAX_MAPPING, check_device, check_mapped
from .device cimport DMA_MAPPING_ERROR, Device, is_dma_error
from .dma_iova cimport (
    DmaIovaState,
    dma_iova_destroy as c_iova_destroy,
    dma_iova_free as c_iova_free,
    dma_iova_link as c_iova_link,
    dma_iova_size as c_iova_size,
    dma_iova_sync as c_iova_sync,
    dma_iova_try_alloc as c_iova_try_alloc,
    dma_iova_unlink as c_iova_unlink,
    dma_use_iova as c_use_iova,
)
from .phys cimport dma_map_phys as c_map_phys, dma_need_unmap as c_need_unmap, dma_unmap_phys as c_unmap_phys

from .errors import DmaError


# -- by physical address ---------------------------------------------------------------------------------------

def dma_map_phys(Device dev not None, u64 phys, size_t size, int dir, unsigned long attrs=0):
    """Map size bytes at phys, RAM or with DMA_ATTR_MMIO what has no struct page; the bus address.

    Raises DmaError(ENOMEM) where Linux answers DMA_MAPPING_ERROR, which says nothing of the reason.
    """
    cdef dma_addr_t addr = DMA_MAPPING_ERROR
    check_device(dev)
    if size <= MAX_MAPPING:
        addr = c_map_phys(dev, phys, size, dir, attrs)
    if is_dma_error(dev, addr):
        raise DmaError(ENOMEM, f"{dev.name}: dma_map_phys of {size} bytes at {phys:#x} failed")
    return addr & dev.machine.dma_addr_mask


def dma_unmap_phys(Device dev not None, u64 addr, size_t size, int dir, unsigned long attrs=0):
    """attrs must be those of the map call."""
    check_mapped(dev, size)
    c_unmap_phys(dev, addr, size, dir, attrs)


def dma_need_unmap(Device dev not None):
    """False: unmap calls would do nothing, so the addresses need not be kept. Ask after the last map call."""
    check_device(dev)
    return bool(c_need_unmap(dev))


# -- in two steps ----------------------------------------------------------------------------------------------

def dma_iova_try_alloc(Device dev not None, DmaIovaState state not None, u64 phys, size_t size):
    """Take size bytes of IOVA space, at phys's offset into a granule; nothing is mapped yet.

    False, with state cleared, for a device without iommu-dma, or if there is no space: use dma_map_phys().
    """
    check_device(dev)
    return bool(c_iova_try_alloc(dev, &state.state, phys, size))


def dma_iova_link(Device dev not None, DmaIovaState state not None, u64 phys, size_t offset, size_t size, int dir,
                  unsigned long attrs=0):
    """Let offset of the range mean phys, without telling the hardware. That it fits is not checked.

    Raises DmaError, no retry helps but for ENOMEM: EIO (phys is inside a granule and offset is not 0), EINVAL (offset
    and phys are differently aligned), EPERM (must bounce and may not), EOPNOTSUPP (DMA_ATTR_REQUIRE_COHERENT),
    EEXIST or another errno of the IOMMU driver.
    """
    cdef int ret = -ENOMEM
    check_device(dev)
    if size <= MAX_MAPPING:
        ret = c_iova_link(dev, &state.state, phys, offset, size, dir, attrs)
    if ret:
        raise DmaError(ret, f"{dev.name}: dma_iova_link of {size} bytes at {phys:#x} to offset {offset:#x} failed "
                            f"with errno {-ret}")


def dma_iova_sync(Device dev not None, DmaIovaState state not None, size_t offset, size_t size):
    """Tell the hardware of the links in a part of the range. Raises DmaError; the links are still there then."""
    cdef int ret
    check_device(dev)
    ret = c_iova_sync(dev, &state.state, offset, size)
    if ret:
        raise DmaError(ret, f"{dev.name}: dma_iova_sync failed with errno {-ret}")


def dma_iova_unlink(Device dev not None, DmaIovaState state not None, size_t offset, size_t size, int dir,
                    unsigned long attrs=0):
    """Undo links, whole ones only; the range stays."""
    check_mapped(dev, size)
    c_iova_unlink(dev, &state.state, offset, size, dir, attrs)


def dma_iova_free(Device dev not None, DmaIovaState state not None):
    """Give the range back; what is still linked stays in the table, under the next owner of the addresses."""
    check_device(dev)
    c_iova_free(dev, &state.state)


def dma_iova_destroy(Device dev not None, DmaIovaState state not None, size_t mapped_len, int dir,
                     unsigned long attrs=0):
    """Unlink the first mapped_len bytes, which must be all that is linked, and give the range back."""
    check_mapped(dev, mapped_len)
    c_iova_destroy(dev, &state.state, mapped_len, dir, attrs)


def dma_use_iova(DmaIovaState state not None):
    return bool(c_use_iova(&state.state))


def dma_iova_size(DmaIovaState state not None):
    return c_iova_size(&state.state)
