# SPDX-License-Identifier: MIT
"""The two-step IOVA API of Linux 6.16 and later: one range first, then what backs it, then one sync.

Here is the dispatch; the only implementation is iommu-dma's (arch/generic/dma_iommu_iova.pyx), and a device without it
gets Linux's answers: False from dma_iova_try_alloc(), a NULL domain from everything else. The Python API is in
dma_ops.phys_api.
"""

from .errors cimport kernel_bug
from .phys cimport OP_DMA_IOMMU, PhysMapOps

DMA_IOVA_USE_SWIOTLB = <u64>1 << 63


cdef class DmaIovaState:
    """struct dma_iova_state: where a device's range is, and how long; all zero while there is none.

    Nothing in Linux clears it when the range is freed: a second free gives the same addresses out twice. What a backend
    in Python allocates, it writes into addr and size.
    """

    @property
    def addr(self):
        return self.state.addr

    @addr.setter
    def addr(self, u64 value):
        self.state.addr = value

    @property
    def size(self):
        """dma_iova_size(): bytes, without DMA_IOVA_USE_SWIOTLB."""
        return dma_iova_size(&self.state)

    @size.setter
    def size(self, u64 value):
        if value & DMA_IOVA_USE_SWIOTLB:
            raise ValueError(f"a range of {value} bytes: bit 63 is DMA_IOVA_USE_SWIOTLB")
        self.state.size = (self.state.size & DMA_IOVA_USE_SWIOTLB) | value

    @property
    def swiotlb(self):
        """Is some of the range a bounce buffer (DMA_IOVA_USE_SWIOTLB)?"""
        return self.state.size >> 63 != 0

    def __bool__(self):
        """dma_use_iova()."""
        return self.state.size != 0

    def __bytes__(self):
        """The 16 bytes that C code sees."""
        return (<char *>&self.state)[:sizeof(dma_iova_state)]

    def clear(self):
        """memset(state, 0, sizeof(*state))."""
        self.state.addr = 0
        self.state.size = 0

    def __repr__(self):
        return f"<DmaIovaState {self.addr:#x}, {self.size} bytes{', bounced' if self.swiotlb else ''}>"


cdef inline bint use_dma_iommu(Device dev) noexcept nogil:
    return dev.dma_ops is not None and dev.dma_ops.filled & OP_DMA_IOMMU != 0


cdef int no_domain() except -9999 nogil:
    return kernel_bug(b"BUG: kernel NULL pointer dereference: the device has no DMA domain")


cdef bint dma_iova_try_alloc(Device dev, dma_iova_state *state, phys_addr_t phys, u64 size) except -1 nogil:
    """Take size bytes of IOVA space; phys only tells the offset into the first granule. False: use dma_map_phys()."""
    state.addr = 0
    state.size = 0
    return use_dma_iommu(dev) and (<PhysMapOps>dev.dma_ops).iova_try_alloc(dev, state, phys, size)


cdef int dma_iova_link(Device dev, dma_iova_state *state, phys_addr_t phys, u64 offset, u64 size, int dir,
                       unsigned long attrs) except -9999 nogil:
    """0; -EIO (in-granule offset behind the first range), -EINVAL (misaligned), -EPERM (needs a bounce buffer and may
    not have one), -EOPNOTSUPP (DMA_ATTR_REQUIRE_COHERENT), -ENOMEM, or what the IOMMU driver answers."""
    if not use_dma_iommu(dev):
        return no_domain()
    return (<PhysMapOps>dev.dma_ops).iova_link(dev, state, phys, offset, size, dir, attrs)


cdef int dma_iova_sync(Device dev, dma_iova_state *state, u64 offset, u64 size) except -9999 nogil:
    """Let the hardware see what was linked; 0 or an errno, after which the range still is linked."""
    if not use_dma_iommu(dev):
        return no_domain()
    return (<PhysMapOps>dev.dma_ops).iova_sync(dev, state, offset, size)


cdef int dma_iova_unlink(Device dev, dma_iova_state *state, u64 offset, u64 size, int dir,
                         unsigned long attrs) except -9999 nogil:
    """Take away what backs a part; the IOVA stays. Never deferred."""
    if not use_dma_iommu(dev):
        return no_domain()
    return (<PhysMapOps>dev.dma_ops).iova_unlink(dev, state, offset, size, dir, attrs)


cdef int dma_iova_free(Device dev, dma_iova_state *state) except -9999 nogil:
    """Give the IOVA back; nothing may be linked any more."""
    if not use_dma_iommu(dev):
        return no_domain()
    return (<PhysMapOps>dev.dma_ops).iova_free(dev, state)


cdef int dma_iova_destroy(Device dev, dma_iova_state *state, u64 mapped_len, int dir,
                          unsigned long attrs) except -9999 nogil:
    """Unlink the first mapped_len bytes, which must be all that is linked, and give the IOVA back.

    As in 7.x; up to 6.19 it went through the flush queue, and gave back no more than mapped_len.
    """
    if mapped_len:
        dma_iova_unlink(dev, state, 0, mapped_len, dir, attrs)
    return dma_iova_free(dev, state)
