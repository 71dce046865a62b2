# SPDX-License-Identifier: MIT
"""An IOMMU that is no hardware's: one entry per granule in a dictionary, and a log of every request.

What compiled runs of Linux's newer DMA API were recorded over, and what tests use that look at the driver calls
themselves. It refuses to map over an entry (-EEXIST), where some drivers overwrite; an unmap stops at the first hole.
Requests are appended to Machine.events where that is a list:
("map", iova, paddr, done, asked, prot, ret), ("unmap", iova, done, asked), ("sync_map", iova, size, ret),
("iotlb_sync", iova, size), ("flush_all",). done and asked count granules.
"""

from libc.errno cimport EEXIST, EIO, ENOMEM

from scatterlist.types cimport dma_addr_t, phys_addr_t, u64

from .device cimport WALK_NOT_PRESENT, WALK_OK, WALK_PERMISSION, Device, Walker
from .iommu cimport IOMMU_READ, IOMMU_WRITE, IommuDomain
from .machine cimport Machine


cdef class FlatWalker(Walker):
    """Looks an access up in the dictionary."""
    cdef readonly dict entries                  # granule number: (physical address, IOMMU_ bits)
    cdef unsigned int shift

    def __cinit__(self):
        self.entries = {}

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 offset = addr & ((<u64>1 << self.shift) - 1)
        with gil:
            entry = self.entries.get(addr >> self.shift)
            if entry is None:
                return WALK_NOT_PRESENT
            if not entry[1] & (IOMMU_WRITE if write else IOMMU_READ):
                return WALK_PERMISSION
            phys[0] = <u64>entry[0] + offset
        run[0] = (<u64>1 << self.shift) - offset
        return WALK_OK


cdef class FlatDomain(IommuDomain):
    """granule: bytes, the only page size.

    fail_map, fail_part: let the fail_map-th map request from now answer -ENOMEM after fail_part entries, if that is
    less than all. fail_sync: let the fail_sync-th iotlb_sync_map answer -EIO. 0: none.
    """
    cdef FlatWalker flat
    cdef public int fail_map
    cdef public size_t fail_part
    cdef public int fail_sync

    def __cinit__(self, Machine machine not None, u64 granule=4096):
        if granule & (granule - 1) or not 1 << 10 <= granule <= 1 << 30:
            raise ValueError(f"granule {granule} is no power of two from 1 KiB to 1 GiB")
        self.machine = machine
        self.pgsize_bitmap = granule
        self.aperture_end = ~<u64>0
        self.force_aperture = True
        self.flat = FlatWalker()
        self.flat.shift = granule.bit_length() - 1
        self.walker = self.flat

    cdef int log(self, tuple event) except -1:
        if self.machine.events is not None:
            self.machine.events.append(event)
        return 0

    cdef int map_pages(self, u64 iova, phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
                       size_t *mapped) except -9999 nogil:
        with gil:
            return self._map(iova, paddr, pgsize, pgcount, prot, mapped)

    cdef int _map(self, u64 iova, phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
                  size_t *mapped) except -9999:
        cdef size_t done = 0, room = pgcount
        cdef int ret = 0
        if self.fail_map:
            self.fail_map -= 1
            if self.fail_map == 0 and self.fail_part < pgcount:
                ret = -ENOMEM
                room = self.fail_part
        while done < room:
            if (iova >> self.flat.shift) + done in self.flat.entries:
                ret = -EEXIST
                break
            self.flat.entries[(iova >> self.flat.shift) + done] = paddr + done * pgsize, prot
            done += 1
        mapped[0] += done * pgsize
        self.log(("map", iova, paddr, done, pgcount, prot, ret))
        return ret

    cdef size_t unmap_pages(self, u64 iova, size_t pgsize, size_t pgcount) except? 0xBADBADBADBADBAD nogil:
        cdef size_t done = 0
        with gil:
            while done < pgcount and self.flat.entries.pop((iova >> self.flat.shift) + done, None) is not None:
                done += 1
            self.log(("unmap", iova, done, pgcount))
        return done * pgsize

    cdef phys_addr_t iova_to_phys(self, u64 iova) noexcept nogil:
        with gil:
            entry = self.flat.entries.get(iova >> self.flat.shift)
            return 0 if entry is None else <u64>entry[0] + (iova & ((<u64>1 << self.flat.shift) - 1))

    cdef int iotlb_sync_map(self, u64 iova, size_t size) except -9999 nogil:
        cdef int ret = 0
        if self.fail_sync:
            self.fail_sync -= 1
            if self.fail_sync == 0:
                ret = -EIO
        with gil:
            self.log(("sync_map", iova, size, ret))
        return ret

    cdef int iotlb_sync(self, u64 iova, size_t size) except -9999 nogil:
        with gil:
            self.log(("iotlb_sync", iova, size))
        return 0

    cdef int flush_iotlb_all(self) except -9999 nogil:
        with gil:
            self.log(("flush_all",))
        return 0

    def table(self):
        """{granule number: (physical address, IOMMU_ bits)}."""
        return dict(self.flat.entries)
