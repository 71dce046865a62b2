# SPDX-License-Identifier: MIT
"""vio_dma_mapping_ops: VIO devices of a partition whose I/O memory is entitled (arch/powerpc/platforms/pseries/vio.c,
Linux 6.1).

Under Cooperative Memory Overcommit the hypervisor lets a partition pin only so many bytes for I/O. The bus keeps a
reserve, of which each device is entitled to a part, an excess that any device may use, and a spare for a device that
is plugged in; sizes are in bytes.
"""

from libc.errno cimport EINVAL, ENOMEM

from dma_ops.device cimport DMA_MAPPING_ERROR, Device
from dma_ops.errors cimport kernel_bug
from scatterlist.core cimport scatterlist, sg_next
from scatterlist.types cimport dma_addr_t, page_t, u64

from .dma_iommu cimport DmaIommuOps
from .iommu cimport IommuTable

from dma_ops.errors import DmaError, KernelBug

cdef u64 VIO_CMO_MIN_ENT = 1562624
cdef u64 VIO_CMO_BALANCE_CHUNK = 131072


cdef inline u64 roundup(u64 n, u64 unit) noexcept nogil:
    return (n + unit - 1) // unit * unit


cdef class VioCmo:
    """struct vio_cmo: the bus's accounts. entitlement: bytes that the partition may pin; devices: those of the device
    tree that have a DMA window, with a driver or without."""

    cdef readonly u64 entitled
    cdef readonly u64 reserve_size
    cdef readonly u64 excess_size
    cdef readonly u64 excess_free
    cdef public u64 spare
    cdef readonly u64 min
    cdef readonly u64 desired
    cdef readonly u64 curr
    cdef readonly u64 high
    cdef readonly bint balance_queued       # delayed work: balance() runs it
    cdef readonly unsigned int nr_devices
    cdef readonly list devices              # those with a driver, the newest first

    def __init__(self, u64 entitlement, unsigned int devices):
        self.entitled = entitlement
        self.nr_devices = devices
        self.spare = VIO_CMO_MIN_ENT
        self.reserve_size = (devices + 1) * VIO_CMO_MIN_ENT
        if self.reserve_size > entitlement:
            raise KernelBug("vio_cmo_bus_init: Insufficient system entitlement")
        self.excess_size = self.excess_free = entitlement - self.reserve_size
        self.min = self.desired = self.reserve_size
        self.devices = []

    cdef int charge(self, VioDmaMappingOps dev, u64 size) noexcept nogil:
        """vio_cmo_alloc(): from the device's own entitlement, then from the excess if the spare is whole."""
        cdef u64 reserve = dev.entitled - dev.allocated if dev.entitled > dev.allocated else 0
        cdef u64 excess = self.excess_free if self.spare >= VIO_CMO_MIN_ENT else 0
        if reserve + excess < size:
            return -ENOMEM
        self.curr += size
        self.high = max(self.high, self.curr)
        dev.allocated += size
        self.excess_free -= size - min(reserve, size)
        return 0

    cdef int uncharge(self, VioDmaMappingOps dev, u64 size) noexcept nogil:
        """vio_cmo_dealloc(): what came from the excess tops up the spare, then the reserve, then the excess; what came
        from the device's entitlement may go to the spare. Nothing checks that size was charged."""
        cdef u64 freed = 0, kept = size, need, part
        self.curr -= size
        if dev.allocated > dev.entitled:
            freed = min(kept, dev.allocated - dev.entitled)
            kept -= freed
        dev.allocated -= size
        need = VIO_CMO_MIN_ENT - self.spare
        if need and freed:
            part = min(freed, need)
            self.excess_size -= part
            self.reserve_size += part
            self.spare += part
            freed -= part
            need -= part
            self.balance_queued = True
        if need and kept:
            part = min(min(need, kept), dev.entitled - VIO_CMO_MIN_ENT)
            self.spare += part
            dev.entitled -= part
            self.balance_queued = True
        if freed and self.desired > self.reserve_size:
            part = min(freed, self.desired - self.reserve_size)
            self.excess_size -= part
            self.reserve_size += part
            freed -= part
            self.balance_queued = True
        self.excess_free += freed
        return 0

    def balance(self):
        """vio_cmo_balance(): the delayed work that portions the entitlement out to the devices, chunk by chunk."""
        cdef VioDmaMappingOps dev
        cdef u64 avail, level = VIO_CMO_MIN_ENT, used = 0
        self.balance_queued = False
        self.min = self.nr_devices * VIO_CMO_MIN_ENT
        if self.min > self.entitled:
            raise KernelBug("kernel BUG at arch/powerpc/platforms/pseries/vio.c: cmo->min > cmo->entitled")
        self.spare = min(VIO_CMO_MIN_ENT, self.entitled - self.min)
        self.min += self.spare
        self.desired = self.min
        avail = self.entitled - self.spare
        for dev in self.devices:
            dev.entitled = VIO_CMO_MIN_ENT
            self.desired += dev.desired - VIO_CMO_MIN_ENT
            avail -= max(dev.allocated, VIO_CMO_MIN_ENT)
        while avail:
            hungry = False
            for dev in self.devices:
                if dev.desired <= level:
                    continue
                hungry = True
                dev.entitled += min(min(avail, VIO_CMO_BALANCE_CHUNK), dev.desired - dev.entitled)
                avail -= max(dev.allocated, dev.entitled) - max(dev.allocated, level)
            if not hungry:
                break
            level += VIO_CMO_BALANCE_CHUNK
        self.reserve_size = self.min
        for dev in self.devices:
            if dev.entitled:
                self.reserve_size += dev.entitled - VIO_CMO_MIN_ENT
            if dev.allocated > dev.entitled:
                used += dev.allocated - dev.entitled
        self.excess_size = self.entitled - self.reserve_size
        self.excess_free = self.excess_size - used

    cdef u64 idle(self, VioDmaMappingOps dev) noexcept nogil:
        """What a device could give up: entitlement above the minimum that it does not use."""
        if dev.entitled > dev.allocated and dev.entitled > VIO_CMO_MIN_ENT:
            return dev.entitled - max(dev.allocated, VIO_CMO_MIN_ENT)
        return 0

    def entitlement_update(self, u64 entitlement):
        """vio_cmo_entitlement_update(). Raises DmaError(ENOMEM): more is in use.

        An increase tops up the spare first, and that part is missing from entitled for good; a decrease takes from the
        devices what the reserve still counts, until the next balance (arch/powerpc/platforms/pseries/vio.c).
        """
        cdef VioDmaMappingOps dev
        cdef u64 delta, part, avail = self.excess_free
        if entitlement > self.entitled:
            delta = entitlement - self.entitled
            if self.spare < VIO_CMO_MIN_ENT:
                part = min(delta, VIO_CMO_MIN_ENT - self.spare)
                self.spare += part
                self.reserve_size += part
                delta -= part
            self.entitled += delta
            self.excess_size += delta
            self.excess_free += delta
        else:
            delta = self.entitled - entitlement
            for dev in self.devices:
                if avail >= delta:
                    break
                avail += self.idle(dev)
            if delta > avail:
                raise DmaError(ENOMEM, f"the entitlement cannot shrink by {delta} bytes: {avail} are free")
            self.entitled -= delta
            part = min(self.excess_free, delta)
            self.excess_size -= part
            self.excess_free -= part
            delta -= part
            for dev in self.devices:
                part = min(self.idle(dev), delta)
                dev.entitled -= part
                delta -= part
        self.balance_queued = True


cdef class VioDmaMappingOps(DmaIommuOps):
    """A VIO device with entitlement: the table of dma_iommu_ops, and bytes charged to an account before it is touched.

    Own to it: a map is first charged by its length in whole I/O pages, the page offset left out, so that 32 bytes over
    a page's edge cost 4096 and use 8192. A list is charged entry by entry and refunded what merging saved. Without a
    charge a list fails with -ENOMEM, where a retry can help, without I/O pages with -EIO, where it could too.
    What is freed rebuilds the spare and the reserve first, and a delayed balance (flush) gives it back. unmap_sg
    credits every slot of the list, also stale ones behind the terminator, and the accounts wrap below 0. Never PCI: no
    direct window; a device without a table is a NULL dereference. One object per device: its table and its account.
    """

    cdef readonly VioCmo cmo
    cdef readonly u64 desired
    cdef readonly u64 entitled
    cdef readonly u64 allocated
    cdef readonly int allocs_failed
    cdef bint probed

    def __cinit__(self, IommuTable tbl=None, *, VioCmo cmo not None, desired=VIO_CMO_MIN_ENT):
        self.cmo = cmo

    def __init__(self, tbl=None, *, VioCmo cmo not None, desired=VIO_CMO_MIN_ENT):
        """vio_cmo_bus_probe(): desired is what the driver's get_desired_dma() answers; a driver without one is refused
        with DmaError(EINVAL). Raises DmaError(ENOMEM) if a device too many finds no entitlement."""
        cdef u64 part
        if self.probed:
            raise TypeError("a VioDmaMappingOps is initialised once")
        if desired is None:
            raise DmaError(EINVAL, "the device driver does not support CMO")
        if self.tbl is not None:
            self.desired = roundup(desired, <u64>1 << self.tbl.it_page_shift)
        self.desired = max(self.desired, VIO_CMO_MIN_ENT)
        if cmo.min == (cmo.nr_devices + 1) * VIO_CMO_MIN_ENT:
            cmo.desired += self.desired - VIO_CMO_MIN_ENT
        else:
            if cmo.spare + cmo.excess_free < VIO_CMO_MIN_ENT:
                raise DmaError(ENOMEM, "insufficient free entitlement to add a device")
            part = min(VIO_CMO_MIN_ENT, cmo.excess_free)
            cmo.excess_free -= part
            cmo.excess_size -= part
            cmo.reserve_size += part
            cmo.spare -= VIO_CMO_MIN_ENT - part
            cmo.min += VIO_CMO_MIN_ENT
            cmo.desired += self.desired
        cmo.devices.insert(0, self)
        self.probed = True

    def set_desired(self, u64 desired):
        """vio_cmo_set_dev_desired(), also behind sysfs: not aligned, and a balance is queued."""
        cdef VioCmo cmo = self.cmo
        desired = max(desired, VIO_CMO_MIN_ENT)
        cmo.desired += desired - self.desired
        if desired < self.desired and self.entitled > desired:
            cmo.reserve_size -= self.entitled - desired
            cmo.excess_size += self.entitled - desired
            if self.allocated < self.entitled:
                cmo.excess_free += self.entitled - max(self.allocated, desired)
            self.entitled = desired
        self.desired = desired
        cmo.balance_queued = True

    def remove(self):
        """vio_cmo_bus_remove(). KernelBug if the device still has bytes allocated."""
        cdef VioCmo cmo = self.cmo
        cdef u64 part
        if self.allocated:
            raise KernelBug(f"device had {self.allocated} bytes of IO allocated after remove operation")
        cmo.devices.remove(self)
        if self.entitled:
            cmo.desired -= self.desired - VIO_CMO_MIN_ENT
            self.entitled -= VIO_CMO_MIN_ENT
            if self.entitled and cmo.spare < VIO_CMO_MIN_ENT:
                part = min(self.entitled, VIO_CMO_MIN_ENT - cmo.spare)
                cmo.spare += part
                self.entitled -= part
            cmo.excess_size += self.entitled
            cmo.excess_free += self.entitled
            cmo.reserve_size -= self.entitled
            self.entitled = self.desired = VIO_CMO_MIN_ENT
            self.allocs_failed = 0

    def resources(self):
        return {"allocated": self.allocated, **super().resources()}

    def flush(self):
        if self.cmo.balance_queued:
            self.cmo.balance()

    cdef int need_table(self) except -9999 nogil:
        if self.tbl is None:
            return kernel_bug(b"Kernel attempted to read a NULL struct iommu_table (vio_dma_iommu_map_*)")
        return 0

    cdef u64 in_io_pages(self, u64 size) noexcept nogil:
        return roundup(size, <u64>1 << self.tbl.it_page_shift)

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef dma_addr_t addr
        self.need_table()
        if self.cmo.charge(self, self.in_io_pages(size)) == 0:
            addr = self.tbl.map_page(dev, page, offset, size, self.mask_of(dev), dir, attrs)
            if addr != DMA_MAPPING_ERROR:
                return addr
            self.cmo.uncharge(self, self.in_io_pages(size))
        self.allocs_failed += 1
        return DMA_MAPPING_ERROR

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        self.need_table()
        self.tbl.unmap_page(addr, size)
        return self.cmo.uncharge(self, self.in_io_pages(size))

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef u64 size = 0
        cdef int ret
        self.need_table()
        for _ in range(nents):
            size += self.in_io_pages(sg.length)
            sg = sg_next(sg)
        if self.cmo.charge(self, size):
            self.allocs_failed += 1
            return -ENOMEM
        # a failure is negative and not 0, which is what vio_dma_iommu_map_sg() looks for: refunded, but not counted
        ret = self.tbl.map_sg(dev, sgl, nents, self.mask_of(dev), dir, attrs)
        sg = sgl
        for _ in range(ret):
            size -= self.in_io_pages(sg.dma_length)
            sg = sg_next(sg)
        if size:
            self.cmo.uncharge(self, size)
        return ret

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef u64 size = 0
        self.need_table()
        # all slots, though those behind the terminator hold what they held before the map (vio_dma_iommu_unmap_sg)
        for _ in range(nents):
            size += self.in_io_pages(sg.dma_length)
            sg = sg_next(sg)
        self.tbl.unmap_sg(sgl, nents)
        return self.cmo.uncharge(self, size)

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef u64 charged = roundup(size, dev.machine.page_size)
        if self.cmo.charge(self, charged) == 0:
            if DmaIommuOps.alloc(self, dev, size, dma_handle, cpu_addr, attrs) == 0:
                return 0
            self.cmo.uncharge(self, charged)
        self.allocs_failed += 1
        return -ENOMEM

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        DmaIommuOps.free(self, dev, size, cpu_addr, dma_handle, attrs)
        return self.cmo.uncharge(self, roundup(size, dev.machine.page_size))
