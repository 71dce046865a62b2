# SPDX-License-Identifier: MIT
"""iommu-dma's newer half: mapping by physical address, and ranges in two steps (drivers/iommu/dma-iommu.c, 7.x).

A range is one IOVA allocation; links put memory behind parts of it without telling the hardware, one sync does. What
may not be shared with the device in whole granules (untrusted devices, small kmalloc buffers) is bounced: of a link,
only the unaligned head and tail. The domain's table, addresses and flush queue are those of the legacy half.

Linux's faults, kept:
- a bounced head needs a min_align_mask of a granule - 1, or swiotlb loses the offset and the link is -EINVAL;
- nothing checks that a link lies inside its range, or that the range is still one's own: the IOMMU driver's overlap
  test is all there is, and the next owner of an address inherits what was not unlinked;
- unlinking what bounced looks up each granule before it clears any: a hole ends that walk, not the unmapping, so the
  pool's slots behind it are lost (iommu_dma_iova_unlink_range_slow);
- what is freed is not marked as freed (dma_iova_free).
"""

from libc.errno cimport EIO, ENOMEM, EOPNOTSUPP, EPERM

from dma_ops.device cimport (
    DMA_ATTR_REQUIRE_COHERENT,
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_MAPPING_ERROR,
)
from dma_ops.dma_iova cimport DMA_IOVA_USE_SWIOTLB, dma_iova_size
from dma_ops.iommu cimport iommu_unmap_fast, map_no_sync
from dma_ops.phys cimport OP_DMA_IOMMU, OP_MAP_PHYS, warn_once
from dma_ops.swiotlb cimport is_swiotlb_active, is_swiotlb_buffer, swiotlb_tbl_map_single, swiotlb_tbl_unmap_single


cdef class IommuIovaOps(PhysMapOps):
    """What the table of an IOMMU domain has of the newer API; IommuDmaOps is the whole."""

    def __cinit__(self, IommuDomain domain not None, Device dev not None, **facts):
        self.filled = OP_MAP_PHYS | OP_DMA_IOMMU
        self.cookie = IommuDmaCookie(domain, dev, **facts)
        self.domain = domain
        self.walker = domain.walker
        self.kernel = dev.machine.kernel
        self.mask = self.cookie.mask

    cdef phys_addr_t bounce(self, Device dev, phys_addr_t phys, size_t size, int dir,
                            unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        """Copy into the pool; the device will see whole granules there, which hold nothing of others, nor old bytes.
        DMA_MAPPING_ERROR."""
        cdef u64 aligned = (size + self.mask) & ~self.mask
        cdef u64 start
        if not is_swiotlb_active(dev):
            warn_once(dev.machine, b"DMA bounce buffers are inactive, unable to map unaligned transaction.")
            return DMA_MAPPING_ERROR
        phys = swiotlb_tbl_map_single(dev, phys, size, aligned, self.mask, dir, attrs)
        if phys == DMA_MAPPING_ERROR:
            return DMA_MAPPING_ERROR
        if self.kernel >= 612:
            if dev_is_untrusted(dev):
                start = phys & ~self.mask
                dev.machine.mem.fill(start, 0, phys - start)
                start = phys + size
                dev.machine.mem.fill(start, 0, ((start + self.mask) & ~self.mask) - start)
        elif not attrs & DMA_ATTR_SKIP_CPU_SYNC and dir != DMA_FROM_DEVICE:
            dev.machine.mem.fill(phys + size, 0, aligned - size)
        else:
            dev.machine.mem.fill(phys, 0, aligned)
        return phys

    # -- by physical address -----------------------------------------------------------------------------------

    cdef dma_addr_t map_phys(self, Device dev, phys_addr_t phys, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef int prot = dma_info_to_prot(dir, dev.dma_coherent, attrs)
        cdef bint movable = not attrs & (DMA_ATTR_MMIO | DMA_ATTR_REQUIRE_COHERENT)
        cdef dma_addr_t iova
        if (phys | size) & self.mask and dev_use_swiotlb(dev, size, dir):
            if not movable:
                return DMA_MAPPING_ERROR
            phys = self.bounce(dev, phys, size, dir, attrs)
            if phys == DMA_MAPPING_ERROR:
                return DMA_MAPPING_ERROR
        if not dev.dma_coherent and not attrs & (DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_MMIO):
            dev.machine.sync_for_device(phys, size, dir)
        iova = self.cookie.map_phys(dev, phys, size, prot, dma_get_mask(dev))
        if iova == DMA_MAPPING_ERROR and movable and is_swiotlb_buffer(dev, phys):
            swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs)
        return iova

    cdef int unmap_phys(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        """The two attributes promise that there is neither a bounce buffer nor a cache line: with the wrong ones, the
        buffer's slots are lost."""
        cdef phys_addr_t phys
        if attrs & (DMA_ATTR_MMIO | DMA_ATTR_REQUIRE_COHERENT):
            return self.cookie.unmap_iova(dev, addr, size)
        phys = self.domain.iova_to_phys(addr)
        if phys == 0:
            return dev.machine.warn(b"WARNING: iommu_dma_unmap_phys: !phys")
        if not attrs & DMA_ATTR_SKIP_CPU_SYNC and not dev.dma_coherent:
            dev.machine.sync_for_cpu(phys, size, dir)
        self.cookie.unmap_iova(dev, addr, size)
        if is_swiotlb_buffer(dev, phys):
            swiotlb_tbl_unmap_single(dev, phys, size, dir, attrs)
        return 0

    # -- in two steps ------------------------------------------------------------------------------------------

    cdef bint iova_try_alloc(self, Device dev, dma_iova_state *state, phys_addr_t phys, u64 size) except -1 nogil:
        cdef u64 offset = phys & self.mask
        cdef u64 iova
        if size == 0:
            warn_once(dev.machine, b"WARNING: dma_iova_try_alloc: !size")
            return False
        if size & DMA_IOVA_USE_SWIOTLB:
            warn_once(dev.machine, b"WARNING: dma_iova_try_alloc: size & DMA_IOVA_USE_SWIOTLB")
            return False
        iova = self.cookie.alloc_iova(dev, (size + offset + self.mask) & ~self.mask, dma_get_mask(dev))
        if iova == 0:
            return False
        state.addr = iova + offset
        state.size = size
        return True

    cdef int iova_free(self, Device dev, dma_iova_state *state) except -9999 nogil:
        cdef u64 offset = state.addr & self.mask
        return self.cookie.free_iova(state.addr - offset, (dma_iova_size(state) + offset + self.mask) & ~self.mask,
                                     False)

    cdef int link(self, Device dev, u64 iova, phys_addr_t phys, u64 size, int dir,
                  unsigned long attrs) except -9999 nogil:
        """Whole granules; a link that fails has written back their cache lines all the same."""
        if not dev.dma_coherent and not attrs & (DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_MMIO):
            dev.machine.sync_for_device(phys, size, dir)
        return map_no_sync(self.domain, iova, phys, size, dma_info_to_prot(dir, dev.dma_coherent, attrs))

    cdef int iova_link(self, Device dev, dma_iova_state *state, phys_addr_t phys, u64 offset, u64 size, int dir,
                       unsigned long attrs) except -9999 nogil:
        cdef u64 pad = phys & self.mask
        if pad and offset:
            warn_once(dev.machine, b"WARNING: dma_iova_link: iova_start_pad && offset > 0")
            return -EIO
        if attrs & DMA_ATTR_REQUIRE_COHERENT:
            if state.size & DMA_IOVA_USE_SWIOTLB:
                warn_once(dev.machine, b"WARNING: dma_iova_link: a bounced range cannot become coherent")
                return -EOPNOTSUPP
            if not dev.dma_coherent:
                return -EOPNOTSUPP
        if (phys | size) & self.mask and dev_use_swiotlb(dev, size, dir):
            if attrs & (DMA_ATTR_MMIO | DMA_ATTR_REQUIRE_COHERENT):
                return -EPERM
            return self.link_bounced(dev, state, phys, offset, size, dir, attrs)
        # an offset into the granule that is not the one of dma_iova_try_alloc() is left to the IOMMU core: -EINVAL
        return self.link(dev, state.addr + offset - pad, phys - pad, (size + pad + self.mask) & ~self.mask, dir, attrs)

    cdef int link_bounce(self, Device dev, u64 addr, phys_addr_t phys, u64 size, u64 pad, int dir,
                         unsigned long attrs) except -9999 nogil:
        """Link a bounce buffer for less than a granule, pad bytes into it."""
        cdef phys_addr_t buffer = self.bounce(dev, phys, size, dir, attrs)
        cdef int ret
        if buffer == DMA_MAPPING_ERROR:
            return -ENOMEM
        ret = self.link(dev, addr - pad, buffer - pad, (size + self.mask) & ~self.mask, dir, attrs)
        if ret and is_swiotlb_buffer(dev, buffer):
            swiotlb_tbl_unmap_single(dev, buffer, size, dir, attrs)
        return ret

    cdef int link_bounced(self, Device dev, dma_iova_state *state, phys_addr_t phys, u64 offset, u64 size, int dir,
                          unsigned long attrs) except -9999 nogil:
        """Head and tail bounced, the granules between them as they are. On failure nothing of it stays linked, as of
        7.x: before, the unwinding began at the range's start and took what others had linked there."""
        cdef u64 head = phys & self.mask, tail = (phys + size) & self.mask
        cdef u64 addr = state.addr + offset, mapped = 0
        cdef int ret = 0
        if head:
            mapped = min(size, self.mask + 1 - head)
            ret = self.link_bounce(dev, addr, phys, mapped, head, dir, attrs)
            if ret:
                return ret
            state.size |= DMA_IOVA_USE_SWIOTLB
            size -= mapped
            if size == 0:
                return 0
        size -= tail
        if size:
            ret = self.link(dev, addr + mapped, phys + mapped, size, dir, attrs)
            if ret == 0:
                mapped += size
        if ret == 0 and tail:
            ret = self.link_bounce(dev, addr + mapped, phys + mapped, tail, 0, dir, attrs)
            if ret == 0:
                state.size |= DMA_IOVA_USE_SWIOTLB
        if ret and mapped:
            self.iova_unlink(dev, state, offset, mapped, dir, attrs)
        return ret

    cdef int iova_sync(self, Device dev, dma_iova_state *state, u64 offset, u64 size) except -9999 nogil:
        cdef u64 addr = state.addr + offset
        cdef u64 pad = addr & self.mask
        return self.domain.iotlb_sync_map(addr - pad, (size + pad + self.mask) & ~self.mask)

    cdef int undo_granules(self, Device dev, u64 addr, u64 size, int dir, unsigned long attrs) except -9999 nogil:
        """Cache and bounce buffers, granule by granule, at least one."""
        cdef u64 end = addr + size, step
        cdef phys_addr_t phys
        cdef bint sync = not dev.dma_coherent and not attrs & (DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_MMIO)
        while True:
            phys = self.domain.iova_to_phys(addr)
            if phys == 0:
                return dev.machine.warn(b"WARNING: iommu_dma_iova_unlink_range_slow: !phys")
            step = min(end - addr, self.mask + 1 - (addr & self.mask))
            if sync:
                dev.machine.sync_for_cpu(phys, step, dir)
            if is_swiotlb_buffer(dev, phys):
                swiotlb_tbl_unmap_single(dev, phys, step, dir, attrs)
            addr += step
            if addr >= end:
                return 0

    cdef int iova_unlink(self, Device dev, dma_iova_state *state, u64 offset, u64 size, int dir,
                         unsigned long attrs) except -9999 nogil:
        cdef u64 addr = state.addr + offset
        cdef u64 pad = addr & self.mask
        cdef size_t unmapped
        if state.size & DMA_IOVA_USE_SWIOTLB or (not dev.dma_coherent
                                                 and not attrs & (DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_MMIO)):
            self.undo_granules(dev, addr, size, dir, attrs)
        size = (size + pad + self.mask) & ~self.mask
        unmapped = iommu_unmap_fast(self.domain, addr - pad, size)
        if unmapped != size:
            dev.machine.warn(b"WARNING: dma_iova_unlink: unmapped != size")
        return self.domain.iotlb_sync(addr - pad, unmapped)
