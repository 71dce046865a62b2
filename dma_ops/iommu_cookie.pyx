# SPDX-License-Identifier: MIT
"""An IOMMU domain's addresses: what drivers/iommu/dma-iommu.c keeps per domain (Linux 6.1; 6.12 where it differs).

Page 0 is never given out, nor what the host bridge forwards to its devices, nor what the IOMMU reserves. A PCI device
whose mask is larger than 32 bits is tried below 4 GiB first, without emptying the magazines; from 6.4 on only until
that fails once.
"""

from libc.errno cimport EFAULT, EINVAL

from .device cimport DMA_MAPPING_ERROR, dma_get_min_align_mask, min_not_zero
from .iommu cimport iommu_map, iommu_unmap_fast
from .iova cimport alloc_iova_fast, free_iova_fast, iova_tick, reserve_iova

from .errors import DmaError

cdef enum:
    IOMMU_RESV_SW_MSI = 4       # handled by software: not reserved

cdef u64 MASK_32BIT = 0xffffffff


cdef class IommuDmaCookie:
    """What the DMA API needs of one IOMMU domain: struct iommu_dma_cookie and iommu_dma_init_domain().

    dev: the group's first device, whose bus decides what is reserved. base, limit: what firmware allows it (6.1).
    windows: (first, last) bus address of each memory window of its host bridge. dma_ranges: (first, last) of each
    inbound window; the gaps between them are reserved. regions: (start, length, type) of the IOMMU's reserved regions,
    type 4 being handled by software. lazy: unmapped ranges wait in a flush queue; single_queue: in one for all CPUs
    (6.5 and later). Raises DmaError(EFAULT) if the IOMMU cannot reach base to limit, (EINVAL) if dma_ranges overlap.
    """

    def __init__(self, IommuDomain domain not None, Device dev not None, *, u64 base=0, u64 limit=~<u64>0, windows=(),
                 dma_ranges=(), regions=(), bint lazy=False, bint single_queue=False, bint forcedac=False):
        cdef Machine machine = dev.machine
        cdef u64 granule = domain.pgsize_bitmap & (~domain.pgsize_bitmap + 1)
        if self.space is not None:
            raise TypeError("an IommuDmaCookie is initialised once")
        self.domain = domain
        self.kernel = machine.kernel
        self.forcedac = forcedac
        self.start_pfn = self._base_pfn(dev, base, limit)
        self.space = IovaDomain(granule, self.start_pfn, nr_cpus=machine.nr_cpus, kernel=machine.kernel,
                                page_size=machine.page_size)
        self.mask = granule - 1
        self.shift = self.space.d.shift
        if lazy:
            self.queue = FlushQueue(domain, self.space, nr_cpus=machine.nr_cpus, single=single_queue)
        if dev.is_pci:
            self._reserve_windows(windows, sorted(dma_ranges))
        for start, length, kind in regions:
            if kind != IOMMU_RESV_SW_MSI:
                reserve_iova(&self.space.d, start >> self.shift, (start + length - 1) >> self.shift)
        self.attach(dev, base=base, limit=limit)

    def _base_pfn(self, Device dev, u64 base, u64 limit):
        """The lowest pfn to give out: never 0, which means failure."""
        granule = self.domain.pgsize_bitmap & (~self.domain.pgsize_bitmap + 1)
        if self.kernel >= 612:          # the device's range map speaks for itself
            base = 0
            if dev.nr_ranges:
                low = min(dma_start for _, dma_start, _ in dev.dma_ranges)
                high = max(dma_start + size - 1 for _, dma_start, size in dev.dma_ranges)
                if low > self.domain.aperture_end or high < self.domain.aperture_start:
                    raise DmaError(EFAULT, f"{dev.name}: specified DMA range outside IOMMU capability")
        elif self.domain.force_aperture and (base > self.domain.aperture_end or limit < self.domain.aperture_start):
            raise DmaError(EFAULT, f"{dev.name}: specified DMA range outside IOMMU capability")
        pfn = max(1, base // granule)
        if self.domain.force_aperture or self.kernel >= 612:
            pfn = max(pfn, self.domain.aperture_start // granule)
        return pfn

    def _reserve_windows(self, windows, dma_ranges):
        cdef u64 start = 0
        for first, last in windows:
            reserve_iova(&self.space.d, first >> self.shift, last >> self.shift)
        for first, last in [*dma_ranges, (~<u64>0, None)] if dma_ranges else ():
            if first > start:
                reserve_iova(&self.space.d, start >> self.shift, first >> self.shift)
            elif first < start and last is not None:
                raise DmaError(EINVAL, f"failed to reserve IOVA [{start:#x}-{first:#x}]")
            if last is not None:
                start = (last + 1) & ~<u64>0        # a window up to the end wraps: then all is reserved

    def attach(self, Device dev not None, *, u64 base=0, u64 limit=~<u64>0):
        """A device begins to use the domain. Raises DmaError(EFAULT) if its range begins elsewhere."""
        if self._base_pfn(dev, base, limit) != self.start_pfn:
            raise DmaError(EFAULT, f"{dev.name}: incompatible range for DMA domain")
        dev.pci_32bit_workaround = dev.is_pci and not self.forcedac

    # -- addresses ---------------------------------------------------------------------------------------------

    cdef int cpu(self) noexcept nogil:
        cdef int cpu = self.domain.machine.cpu
        return cpu if 0 <= cpu < self.space.d.nr_cpus else 0

    cdef u64 alloc_iova(self, Device dev, u64 size, u64 limit) except? 0xBADBADBADBADBAD nogil:
        """size bytes, a multiple of the granule, below limit (inclusive) and what else bounds the device; 0: none."""
        cdef u64 pfn = 0
        limit = min_not_zero(limit, dev.bus_dma_limit)
        if self.domain.force_aperture and self.domain.aperture_end < limit:
            limit = self.domain.aperture_end
        if dev.machine.should_fail(b"iova"):
            return 0
        if limit > MASK_32BIT and (not self.forcedac and dev.is_pci if self.kernel < 612 else dev.pci_32bit_workaround):
            pfn = alloc_iova_fast(&self.space.d, size >> self.shift, MASK_32BIT >> self.shift, False, self.cpu())
            if pfn == 0 and self.kernel >= 612:
                dev.pci_32bit_workaround = False
        if pfn == 0:
            pfn = alloc_iova_fast(&self.space.d, size >> self.shift, limit >> self.shift, True, self.cpu())
        return pfn << self.shift

    cdef int free_iova(self, u64 iova, u64 size, bint queued) except -9999 nogil:
        if queued:
            return self.queue.queue_iova(iova >> self.shift, size >> self.shift, self.cpu())
        free_iova_fast(&self.space.d, iova >> self.shift, size >> self.shift, self.cpu())
        return 0

    cdef dma_addr_t map_phys(self, Device dev, phys_addr_t phys, u64 size, int prot,
                             u64 limit) except? 0xBADBADBADBADBAD nogil:
        cdef u64 offset = phys & self.mask
        cdef u64 iova
        if self.kernel >= 612 and dma_get_min_align_mask(dev) > self.mask:
            if not self.warned_align:
                self.warned_align = True
                dev.machine.warn(b"WARNING: Unsupported alignment constraint")
            return DMA_MAPPING_ERROR
        size = (size + offset + self.mask) & ~self.mask
        iova = self.alloc_iova(dev, size, limit)
        if iova == 0:
            return DMA_MAPPING_ERROR
        if iommu_map(self.domain, iova, phys - offset, size, prot):
            self.free_iova(iova, size, False)
            return DMA_MAPPING_ERROR
        return iova + offset

    cdef int unmap_iova(self, Device dev, dma_addr_t addr, u64 size) except -9999 nogil:
        cdef u64 offset = addr & self.mask
        cdef bint queued = self.queue is not None
        cdef size_t unmapped
        addr -= offset
        size = (size + offset + self.mask) & ~self.mask
        unmapped = iommu_unmap_fast(self.domain, addr, size)
        if unmapped != size:
            dev.machine.warn(b"WARNING: __iommu_dma_unmap: unmapped != size")
        if not queued:
            self.domain.iotlb_sync(addr, unmapped)
        return self.free_iova(addr, size, queued)

    def tick(self, u64 ms):
        """Let time pass: the flush queue's timer, the depot's trimming (6.7 and later)."""
        if self.queue is not None:
            self.queue.tick(ms, cpu=self.cpu())
        iova_tick(&self.space.d, ms)

    def flush(self):
        """Let the flush queue's timer fire."""
        if self.queue is not None:
            self.queue.flush(cpu=self.cpu())
