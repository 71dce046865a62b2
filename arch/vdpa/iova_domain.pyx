# SPDX-License-Identifier: MIT
"""The bounce-buffer IOMMU of a vDPA device in userspace (drivers/vdpa/vdpa_user/iova_domain.c, Linux 6.1).

Not modelled: the daemon's own memory as bounce pages, and the maps that a vhost-vdpa user sets.
"""

from dma_ops.device cimport (
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    WALK_NOT_PRESENT,
    WALK_OK,
    Device,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iova cimport alloc_iova_fast, free_iova_fast
from dma_ops.machine cimport PHYS_NONE
from dma_ops.swiotlb cimport bounce_copy

from .iotlb cimport VHOST_MAP_RW

cdef enum:
    IOVA_START_PFN = 1

cdef u64 INVALID = ~<u64>0                      # orig_phys of a bounce map that stands for nothing


cdef class VduseIovaDomain:
    """bounce_size: bytes of streaming space; iova_limit: the highest address, the coherent space's end."""

    def __init__(self, Machine machine not None, u64 iova_limit, u64 bounce_size, u32 max_iotlb_entries):
        cdef u64 i
        if bounce_size & (machine.page_size - 1) or iova_limit <= bounce_size:
            raise ValueError(f"{bounce_size} bytes of bounce space, not pages below {iova_limit:#x}")
        self.machine = machine
        self.iova_limit = iova_limit
        self.bounce_size = bounce_size
        self.iotlb = VhostIotlb(machine, max_iotlb_entries)
        self.bounce_maps = machine.alloc_table((bounce_size >> BOUNCE_MAP_SHIFT) * MAP_ENTRY, machine.page_size)
        for i in range(bounce_size >> BOUNCE_MAP_SHIFT):
            machine.mem.write64(self.bounce_maps + i * MAP_ENTRY + MAP_ORIG, INVALID, machine.big_endian)
        self.stream = IovaDomain(BOUNCE_MAP_SIZE, IOVA_START_PFN, nr_cpus=machine.nr_cpus,
                                 page_size=machine.page_size)
        # the start is counted in bounce units, the space in pages: with larger pages it begins behind its own limit
        self.consistent = IovaDomain(machine.page_size, bounce_size >> BOUNCE_MAP_SHIFT, nr_cpus=machine.nr_cpus,
                                     page_size=machine.page_size)

    def bounce_table(self):
        """{streaming page of 4 KiB: (original's physical address, bounce page)}; 0: no page, all ones: no original."""
        cdef dict out = {}
        cdef u64 pfn, entry, page, orig
        for pfn in range(self.bounce_size >> BOUNCE_MAP_SHIFT):
            entry = self.bounce_maps + pfn * MAP_ENTRY
            page = self.machine.mem.read64(entry + MAP_PAGE, self.machine.big_endian)
            orig = self.machine.mem.read64(entry + MAP_ORIG, self.machine.big_endian)
            if page or orig != INVALID:
                out[pfn] = orig, page
        return out

    cdef u64 bounce_entry(self, u64 iova) except? 0xBADBADBADBADBAD nogil:
        if iova >= self.bounce_size:
            kernel_bug(b"BUG: unable to handle page fault: vduse_domain_unmap_bounce_page beyond bounce_maps")
        return self.bounce_maps + (iova >> BOUNCE_MAP_SHIFT) * MAP_ENTRY

    cdef u64 bounce_page(self, u64 iova) except? 0xBADBADBADBADBAD nogil:
        """The page for iova, 0 without memory: that of the head of its CPU page, allocated at first use and, as page
        tables are, for the domain's life."""
        cdef u64 entry = self.bounce_entry(iova)
        cdef u64 head = self.bounce_entry(iova & ~(self.machine.page_size - 1))
        cdef u64 page = self.machine.mem.read64(entry + MAP_PAGE, self.machine.big_endian)
        if page:
            return page
        page = self.machine.mem.read64(head + MAP_PAGE, self.machine.big_endian)
        if page == 0:
            page = self.machine.alloc_table(self.machine.page_size, self.machine.page_size)
            if page == PHYS_NONE:
                return 0
            self.machine.mem.write64(head + MAP_PAGE, page, self.machine.big_endian)
        self.machine.mem.write64(entry + MAP_PAGE, page, self.machine.big_endian)
        return page

    # -- addresses ---------------------------------------------------------------------------------------------

    cdef dma_addr_t alloc_iova(self, iova_domain *space, u64 size, u64 limit) noexcept nogil:
        """0: there is no room; so the first granule is never given out."""
        if self.machine.should_fail(b"iova"):
            return 0
        return alloc_iova_fast(space, (size + space.granule - 1) >> space.shift, limit >> space.shift, True,
                               self.machine.cpu) << space.shift

    cdef void free_iova(self, iova_domain *space, dma_addr_t iova, u64 size) noexcept nogil:
        free_iova_fast(space, iova >> space.shift, (size + space.granule - 1) >> space.shift, self.machine.cpu)

    # -- streaming ---------------------------------------------------------------------------------------------

    cdef int map_bounce_pages(self, u64 iova, u64 size, phys_addr_t orig) except -9999 nogil:
        """0, or -1 without memory: the originals of the pages before stay set (vduse_domain_map_bounce_page)."""
        cdef u64 end = iova + size
        while iova < end:
            if self.bounce_page(iova) == 0:
                return -1
            self.machine.mem.write64(self.bounce_entry(iova) + MAP_ORIG, orig, self.machine.big_endian)
            orig += BOUNCE_MAP_SIZE
            iova += BOUNCE_MAP_SIZE
        return 0

    cdef int unmap_bounce_pages(self, u64 iova, u64 size) except -9999 nogil:
        cdef u64 end = iova + size
        while iova < end:
            self.machine.mem.write64(self.bounce_entry(iova) + MAP_ORIG, INVALID, self.machine.big_endian)
            iova += BOUNCE_MAP_SIZE
        return 0

    cdef int bounce(self, u64 iova, u64 size, int dir) except -9999 nogil:
        """Copy from the original (TO_DEVICE) or back to it (FROM_DEVICE)."""
        cdef u64 entry, page, orig, step, offset
        if iova >= self.bounce_size:
            return 0
        while size:
            entry = self.bounce_entry(iova)
            offset = iova & (BOUNCE_MAP_SIZE - 1)
            step = min(BOUNCE_MAP_SIZE - offset, size)
            page = self.machine.mem.read64(entry + MAP_PAGE, self.machine.big_endian)
            orig = self.machine.mem.read64(entry + MAP_ORIG, self.machine.big_endian)
            if page == 0 or orig == INVALID:
                return self.machine.warn(b"WARNING: vduse_domain_bounce")
            page += iova & (self.machine.page_size - 1)
            bounce_copy(self.machine, page, orig + offset, step, dir)
            size -= step
            iova += step
        return 0

    cdef dma_addr_t map_page(self, phys_addr_t orig, u64 size, int dir) except? 0xBADBADBADBADBAD nogil:
        cdef dma_addr_t iova = self.alloc_iova(&self.stream.d, size, self.bounce_size - 1)
        if iova == 0:
            return DMA_MAPPING_ERROR
        if not self.bounce_map:
            if self.iotlb.add_range(0, self.bounce_size - 1, 0, VHOST_MAP_RW):
                self.free_iova(&self.stream.d, iova, size)
                return DMA_MAPPING_ERROR
            self.bounce_map = True
        if self.map_bounce_pages(iova, size, orig):
            self.free_iova(&self.stream.d, iova, size)
            return DMA_MAPPING_ERROR
        if dir == DMA_TO_DEVICE or dir == DMA_BIDIRECTIONAL:
            self.bounce(iova, size, DMA_TO_DEVICE)
        return iova

    cdef int unmap_page(self, dma_addr_t iova, u64 size, int dir) except -9999 nogil:
        if dir == DMA_FROM_DEVICE or dir == DMA_BIDIRECTIONAL:
            self.bounce(iova, size, DMA_FROM_DEVICE)
        self.unmap_bounce_pages(iova, size)
        self.free_iova(&self.stream.d, iova, size)
        return 0

    # -- coherent ----------------------------------------------------------------------------------------------

    cdef dma_addr_t alloc_coherent(self, phys_addr_t orig, u64 size) except? 0xBADBADBADBADBAD nogil:
        cdef dma_addr_t iova = self.alloc_iova(&self.consistent.d, size, self.iova_limit)
        if iova == 0:
            return DMA_MAPPING_ERROR
        if self.iotlb.add_range(iova, iova + size - 1, orig, VHOST_MAP_RW):
            self.free_iova(&self.consistent.d, iova, size)
            return DMA_MAPPING_ERROR
        return iova

    cdef int free_coherent(self, dma_addr_t iova, u64 size) except -9999 nogil:
        """Frees the lowest entry that overlaps, whichever that is; keeps the address if there is none."""
        if self.iotlb.first(iova, iova + size - 1) < 0:
            return self.machine.warn(b"WARNING: vduse_domain_free_coherent")
        self.iotlb.remove(self.iotlb.first(iova, iova + size - 1))
        self.free_iova(&self.consistent.d, iova, size)
        return 0


cdef class VduseDaemon(Walker):
    """The device: a process that asks for the IOTLB's entries and maps their file, whose offset is the address.

    A fault below the bounce space's end is answered with the page of the bounce map, any other with the page behind
    the IOTLB's entry: always whole CPU pages.
    """

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 inside = addr & (dev.machine.page_size - 1)
        cdef u64 page
        cdef int ret
        if self.domain is None:
            return WALK_NOT_PRESENT
        ret = self.domain.iotlb.translate(addr, write, phys, run)
        if ret:
            return ret
        run[0] = min(run[0], dev.machine.page_size - inside)
        if addr < self.domain.bounce_size:
            page = self.domain.bounce_maps + ((addr - inside) >> BOUNCE_MAP_SHIFT) * MAP_ENTRY + MAP_PAGE
            page = dev.machine.mem.read64(page, dev.machine.big_endian)
            if page == 0:
                return WALK_NOT_PRESENT         # SIGBUS
            phys[0] = page + inside
        return WALK_OK
