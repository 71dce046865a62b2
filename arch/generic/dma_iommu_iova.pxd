# SPDX-License-Identifier: MIT
"""iommu-dma's newer half: mapping by physical address, and ranges in two steps (drivers/iommu/dma-iommu.c, 7.x)."""

from dma_ops.device cimport (
    DMA_ATTR_MMIO,
    DMA_ATTR_PRIVILEGED,
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
)
from dma_ops.direct cimport kmalloc_needs_bounce
from dma_ops.dma_iova cimport dma_iova_state
from dma_ops.iommu cimport IOMMU_CACHE, IOMMU_MMIO, IOMMU_PRIV, IOMMU_READ, IOMMU_WRITE, IommuDomain
from dma_ops.iommu_cookie cimport IommuDmaCookie
from dma_ops.phys cimport PhysMapOps
from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

cdef class IommuIovaOps(PhysMapOps):
    """What the table of an IOMMU domain has of the newer API; IommuDmaOps is the whole."""
    cdef readonly IommuDmaCookie cookie
    cdef readonly IommuDomain domain
    cdef u64 mask                               # granule - 1
    cdef int kernel

    cdef phys_addr_t bounce(self, Device dev, phys_addr_t phys, size_t size, int dir,
                            unsigned long attrs) except? 0xBADBADBADBADBAD nogil
    cdef int link(self, Device dev, u64 iova, phys_addr_t phys, u64 size, int dir,
                  unsigned long attrs) except -9999 nogil
    cdef int link_bounce(self, Device dev, u64 addr, phys_addr_t phys, u64 size, u64 pad, int dir,
                         unsigned long attrs) except -9999 nogil
    cdef int link_bounced(self, Device dev, dma_iova_state *state, phys_addr_t phys, u64 offset, u64 size, int dir,
                          unsigned long attrs) except -9999 nogil
    cdef int undo_granules(self, Device dev, u64 addr, u64 size, int dir, unsigned long attrs) except -9999 nogil

cdef inline int dma_info_to_prot(int dir, bint coherent, unsigned long attrs) noexcept nogil:
    """IOMMU_ bits of a mapping. DMA_ATTR_MMIO is of 6.18; before, nobody sets it."""
    cdef int prot = IOMMU_MMIO if attrs & DMA_ATTR_MMIO else IOMMU_CACHE if coherent else 0
    if attrs & DMA_ATTR_PRIVILEGED:
        prot |= IOMMU_PRIV
    if dir == DMA_BIDIRECTIONAL:
        return prot | IOMMU_READ | IOMMU_WRITE
    if dir == DMA_TO_DEVICE:
        return prot | IOMMU_READ
    if dir == DMA_FROM_DEVICE:
        return prot | IOMMU_WRITE
    return 0

cdef inline u64 dma_get_mask(Device dev) noexcept nogil:
    return dev.dma_mask if dev.has_dma_mask and dev.dma_mask else <u64>0xffffffff

cdef inline bint dev_is_untrusted(Device dev) noexcept nogil:
    return dev.is_pci and dev.untrusted

cdef inline bint dev_use_swiotlb(Device dev, size_t size, int dir) noexcept nogil:
    return dev_is_untrusted(dev) or kmalloc_needs_bounce(dev, size, dir)
