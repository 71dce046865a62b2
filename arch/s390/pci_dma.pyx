# SPDX-License-Identifier: MIT
"""s390_pci_dma_ops: the three-level tables of a zPCI function (arch/s390/pci/pci_dma.c)."""

from libc.errno cimport EINVAL, ENOMEM

from scatterlist.core cimport sg_next, sg_page
from scatterlist.types cimport page_t

from dma_ops.device cimport (
    DMA_BIDIRECTIONAL,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    OP_ALLOC,
    OP_ALLOC_PAGES,
    OP_FREE,
    OP_FREE_PAGES,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_MMAP,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    WALK_MALFORMED,
    WALK_NOT_PRESENT,
    WALK_OK,
    WALK_OUT_OF_RANGE,
    WALK_PERMISSION,
    dma_get_max_seg_size,
    dma_get_seg_boundary_nr_pages,
    is_dma_error,
)
from dma_ops.iommu_helper cimport (
    bitmap_clear,
    bitmap_free,
    bitmap_set,
    bitmap_weight,
    bitmap_zalloc,
    iommu_area_alloc,
    iommu_num_pages,
)
from dma_ops.iotlb cimport Iotlb
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport dma_common_alloc_pages, dma_common_free_pages, get_order

cdef enum:
    PAGE_SHIFT = 12
    PAGE_SIZE = 1 << PAGE_SHIFT
    PAGE_OFFSET = PAGE_SIZE - 1
    ST_SHIFT = 20                   # a page table maps 1 MiB
    RT_SHIFT = 31                   # a segment table maps 2 GiB
    INDEX_MASK = 0x7ff              # region and segment tables have 2048 entries
    PT_MASK = 0xff                  # page tables 256
    ZPCI_TABLE_SIZE = 0x4000
    ZPCI_PT_SIZE = 0x800
    ZPCI_TABLE_INVALID = 0x20
    ZPCI_TABLE_PROTECTED = 0x200
    ZPCI_TABLE_TYPE_MASK = 0xc
    ZPCI_TABLE_TYPE_RTX = 0x4
    ZPCI_TABLE_TYPE_SX = 0x0
    ZPCI_TABLE_LEN_RTX = 0x3
    ZPCI_RTE_FLAGS = 0x3fff
    ZPCI_STE_FLAGS = 0x7ff
    ZPCI_PTE_FLAGS = 0xfff
    ZPCI_PTE_VALID = 0x000
    ZPCI_PTE_INVALID = 0x400
    ZPCI_IOTA_RTTO = 0x804          # translation enabled, the table is a region-third table

cdef u64 ZPCI_TABLE_SIZE_RT = <u64>1 << 42


cdef class ZpciWalker(Walker):
    """The function's view: region-third, segment and page table in memory, big-endian."""

    def __cinit__(self):
        self.iotlb = Iotlb(PAGE_SHIFT)

    cdef void rpcit(self, u64 addr, u64 size) noexcept nogil:
        """The instruction Refresh PCI Translations."""
        self.iotlb.invalidate(addr, size)

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 entry, table
        if not self.start_dma <= addr <= self.end_dma:
            return WALK_OUT_OF_RANGE
        if self.iota & ZPCI_IOTA_RTTO != ZPCI_IOTA_RTTO:
            return WALK_MALFORMED
        table = self.iota & ~<u64>PAGE_OFFSET
        entry = self.machine.mem.read64(table + ((addr >> RT_SHIFT) & INDEX_MASK) * 8, True)
        if entry & ZPCI_TABLE_INVALID:
            return WALK_NOT_PRESENT
        if entry & ZPCI_TABLE_TYPE_MASK != ZPCI_TABLE_TYPE_RTX or entry & ZPCI_TABLE_LEN_RTX != ZPCI_TABLE_LEN_RTX:
            return WALK_MALFORMED
        if write and entry & ZPCI_TABLE_PROTECTED:
            return WALK_PERMISSION
        entry = self.machine.mem.read64((entry & ~<u64>ZPCI_RTE_FLAGS) + ((addr >> ST_SHIFT) & INDEX_MASK) * 8, True)
        if entry & ZPCI_TABLE_INVALID:
            return WALK_NOT_PRESENT
        if entry & ZPCI_TABLE_TYPE_MASK != ZPCI_TABLE_TYPE_SX:
            return WALK_MALFORMED
        if write and entry & ZPCI_TABLE_PROTECTED:
            return WALK_PERMISSION
        entry = self.machine.mem.read64((entry & ~<u64>ZPCI_STE_FLAGS) + ((addr >> PAGE_SHIFT) & PT_MASK) * 8, True)
        if entry & ZPCI_PTE_INVALID:
            return WALK_NOT_PRESENT
        if write and entry & ZPCI_TABLE_PROTECTED:
            return WALK_PERMISSION
        phys[0] = (entry & ~<u64>ZPCI_PTE_FLAGS) | (addr & PAGE_OFFSET)
        run[0] = PAGE_SIZE - (addr & PAGE_OFFSET)
        return WALK_OK


cdef class S390PciDmaOps(DmaMapOps):
    """A zPCI function of IBM Z: a bitmap with next-fit and three levels of tables, one set per function.

    Lazily unmapped (the default), an address is not given out again before the bitmap wraps, when one RPCIT refreshes
    the whole aperture; strictly unmapped, each unmap refreshes its own range. Entries of a list merge while the run's
    end and the next entry's offset are on page boundaries, whatever their physical places; the limit on a segment
    counts the first entry's offset, and an entry larger than the limit is a segment all the same. A run is one
    allocation, so that it never crosses the segment boundary; pages before an offset of a page or more are mapped
    too, and unmapping leaves them. The DMA mask is not looked at: addresses lie above 4 GiB even for devices that
    cannot reach them. A list of no entries maps entry 0. Unmapped PTEs keep their frame with the invalid bit.
    start_dma, end_dma: what the hardware offers; aperture: bytes to use of it, as a rule as much as there is memory.
    """

    def __cinit__(self, Machine machine not None, *, u64 start_dma=0x100000000, u64 end_dma=0x1ffffffff,
                  u64 aperture=0, bint strict=False, bint tlb_refresh=False):
        cdef u64 size
        if machine.page_shift != PAGE_SHIFT or not machine.big_endian:
            raise ValueError(f"machine {machine.name}: zPCI needs a big-endian machine of 4 KiB pages")
        start_dma = (start_dma + PAGE_OFFSET) & ~<u64>PAGE_OFFSET
        if not start_dma < end_dma < ZPCI_TABLE_SIZE_RT:
            raise ValueError(f"start_dma {start_dma:#x} and end_dma {end_dma:#x} are not a range below 2^42")
        size = min(aperture or machine.end_of_ram(), ZPCI_TABLE_SIZE_RT - start_dma, end_dma - start_dma + 1)
        self.machine = machine
        self.strict = strict
        self.tlb_refresh = tlb_refresh
        self.filled = (OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG | OP_MMAP
                       | OP_GET_SGTABLE | OP_ALLOC_PAGES | OP_FREE_PAGES)
        self.iommu_pages = size >> PAGE_SHIFT
        self.iommu_bitmap = bitmap_zalloc(self.iommu_pages)
        if not strict:
            self.lazy_bitmap = bitmap_zalloc(self.iommu_pages)
        if self.iommu_bitmap == NULL or (self.lazy_bitmap == NULL and not strict):
            raise MemoryError("no memory for the bitmaps")
        self.dma_table = self.new_table(ZPCI_TABLE_SIZE, ZPCI_TABLE_INVALID)
        if self.dma_table == PHYS_NONE:
            raise MemoryError("no memory for the region table")
        self.zpci = ZpciWalker.__new__(ZpciWalker)
        self.zpci.machine = machine
        self.zpci.iota = self.dma_table | ZPCI_IOTA_RTTO
        self.zpci.start_dma = start_dma
        self.zpci.end_dma = start_dma + size - 1
        self.walker = self.zpci

    def __dealloc__(self):
        bitmap_free(self.iommu_bitmap)
        bitmap_free(self.lazy_bitmap)

    def resources(self):
        """Addresses taken and not waiting for a refresh."""
        busy = bitmap_weight(self.iommu_bitmap, self.iommu_pages)
        if self.lazy_bitmap != NULL:
            busy -= bitmap_weight(self.lazy_bitmap, self.iommu_pages)
        return {"pages": busy}

    def flush(self):
        """Refresh the whole aperture and let every lazily freed address be given out again, as a wrap does."""
        if not self.strict and not self.refresh_global():
            self.release_lazy()

    def table(self):
        """{page from start_dma on: PTE} of every PTE that was ever written."""
        cdef u64 rtx, sx, px, region, segment, pte
        cdef u64 base
        found = {}
        for rtx in range(INDEX_MASK + 1):
            region = self.machine.mem.read64(self.dma_table + rtx * 8, True)
            if region & ZPCI_TABLE_INVALID:
                continue
            for sx in range(INDEX_MASK + 1):
                segment = self.machine.mem.read64((region & ~<u64>ZPCI_RTE_FLAGS) + sx * 8, True)
                if segment & ZPCI_TABLE_INVALID:
                    continue
                base = (rtx << RT_SHIFT) | (sx << ST_SHIFT)
                for px in range(PT_MASK + 1):
                    pte = self.machine.mem.read64((segment & ~<u64>ZPCI_STE_FLAGS) + px * 8, True)
                    if pte != ZPCI_PTE_INVALID:
                        found[(base + (px << PAGE_SHIFT) - self.zpci.start_dma) >> PAGE_SHIFT] = pte
        return found

    def fail_rpcit(self, int nth, int code):
        """Let the nth refresh from now fail with this errno (positive): ENOMEM where the hypervisor is out of
        resources, EIO else."""
        self.rpcit_countdown = nth
        self.rpcit_errno = code

    # -- hardware ----------------------------------------------------------------------------------------------

    cdef int refresh_trans(self, u64 addr, u64 size) except -9999 nogil:
        """RPCIT over a range: 0, -ENOMEM (refresh all, then go on) or -EIO."""
        if self.rpcit_countdown:
            self.rpcit_countdown -= 1
            if self.rpcit_countdown == 0:
                return -self.rpcit_errno
        if self.machine.events is not None:
            with gil:
                self.machine.events.append(("rpcit", addr, size, 0))
        self.zpci.rpcit(addr, size)
        return 0

    cdef int refresh_global(self) except -9999 nogil:
        return self.refresh_trans(self.zpci.start_dma, self.iommu_pages << PAGE_SHIFT)

    cdef phys_addr_t new_table(self, u64 size, u64 fill) except? 0xBADBADBADBADBAD nogil:
        cdef u64 i
        cdef phys_addr_t table = self.machine.alloc_table(size, size)
        if table != PHYS_NONE:
            for i in range(size >> 3):
                self.machine.mem.write64(table + i * 8, fill, True)
        return table

    cdef phys_addr_t walk_cpu_trans(self, u64 addr) except? 0xBADBADBADBADBAD nogil:
        """Where the PTE of an address is, after building the tables above it; PHYS_NONE without memory for one."""
        cdef phys_addr_t slot = self.dma_table + ((addr >> RT_SHIFT) & INDEX_MASK) * 8
        cdef u64 entry = self.machine.mem.read64(slot, True)
        cdef phys_addr_t below
        if entry & ZPCI_TABLE_INVALID:
            below = self.new_table(ZPCI_TABLE_SIZE, ZPCI_TABLE_INVALID)
            if below == PHYS_NONE:
                return PHYS_NONE
            entry = below | ZPCI_TABLE_TYPE_RTX | ZPCI_TABLE_LEN_RTX
            self.machine.mem.write64(slot, entry, True)
        slot = (entry & ~<u64>ZPCI_RTE_FLAGS) + ((addr >> ST_SHIFT) & INDEX_MASK) * 8
        entry = self.machine.mem.read64(slot, True)
        if entry & ZPCI_TABLE_INVALID:
            below = self.new_table(ZPCI_PT_SIZE, ZPCI_PTE_INVALID)
            if below == PHYS_NONE:
                return PHYS_NONE
            entry = below | ZPCI_TABLE_TYPE_SX
            self.machine.mem.write64(slot, entry, True)
        return (entry & ~<u64>ZPCI_STE_FLAGS) + ((addr >> PAGE_SHIFT) & PT_MASK) * 8

    cdef int update_cpu_trans(self, phys_addr_t slot, u64 page_addr, u64 flags) except -9999 nogil:
        cdef u64 entry = self.machine.mem.read64(slot, True)
        if (entry & ZPCI_PTE_INVALID) == (flags & ZPCI_PTE_INVALID):
            self.machine.warn(b"WARNING: a PTE is invalidated or validated twice")
        if flags & ZPCI_PTE_INVALID:
            entry |= ZPCI_PTE_INVALID           # the frame stays
        else:
            entry = (entry & ZPCI_PTE_FLAGS & ~<u64>ZPCI_PTE_INVALID) | (page_addr & ~<u64>ZPCI_PTE_FLAGS)
        entry = (entry & ~<u64>ZPCI_TABLE_PROTECTED) | (flags & ZPCI_TABLE_PROTECTED)
        self.machine.mem.write64(slot, entry, True)
        return 0

    cdef int update_entries(self, u64 pa, u64 addr, u64 size, u64 flags) except -9999 nogil:
        """Write the PTEs of a range; -EINVAL for an empty one, -ENOMEM after which none of them is valid."""
        cdef u64 n = (size + PAGE_OFFSET) >> PAGE_SHIFT
        cdef u64 i, done
        cdef phys_addr_t slot
        if n == 0:
            return -EINVAL
        pa &= ~<u64>PAGE_OFFSET
        for i in range(n):
            slot = self.walk_cpu_trans(addr + (i << PAGE_SHIFT))
            if slot == PHYS_NONE:
                if not flags & ZPCI_PTE_INVALID:
                    for done in range(i):
                        slot = self.walk_cpu_trans(addr + ((i - 1 - done) << PAGE_SHIFT))
                        if slot == PHYS_NONE:
                            break
                        self.update_cpu_trans(slot, 0, ZPCI_PTE_INVALID)
                return -ENOMEM
            self.update_cpu_trans(slot, pa + (i << PAGE_SHIFT), flags)
        return 0

    cdef int purge_tlb(self, u64 addr, u64 size, u64 flags) except -9999 nogil:
        """Refresh what must be: new translations only if the hardware caches invalid ones, old ones in strict mode."""
        cdef int ret
        if flags & ZPCI_PTE_INVALID:
            if not self.strict:
                return 0
        elif not self.tlb_refresh:
            return 0
        ret = self.refresh_trans(addr, (size + PAGE_OFFSET) & ~<u64>PAGE_OFFSET)
        if ret == -ENOMEM and not self.strict:
            if self.refresh_global():           # lets the hypervisor free what it holds for us
                return ret
            self.release_lazy()
            ret = 0
        return ret

    cdef int update_trans(self, u64 pa, u64 addr, u64 size, u64 flags) except -9999 nogil:
        cdef int ret = self.update_entries(pa, addr, size, flags)
        if ret:
            return ret
        ret = self.purge_tlb(addr, size, flags)
        if ret and not flags & ZPCI_PTE_INVALID:
            self.update_entries(pa, addr, size, ZPCI_PTE_INVALID)
        return ret

    # -- addresses ---------------------------------------------------------------------------------------------

    cdef void release_lazy(self) noexcept nogil:
        cdef u64 i
        for i in range((self.iommu_pages + 63) >> 6):
            self.iommu_bitmap[i] &= ~self.lazy_bitmap[i]
            self.lazy_bitmap[i] = 0

    cdef dma_addr_t alloc_address(self, Device dev, u64 n) except? 0xBADBADBADBADBAD nogil:
        cdef u64 shift = self.zpci.start_dma >> PAGE_SHIFT
        cdef u64 boundary = dma_get_seg_boundary_nr_pages(dev, PAGE_SHIFT)
        cdef u64 index
        if self.machine.should_fail(b"entries"):
            return DMA_MAPPING_ERROR
        index = iommu_area_alloc(self.iommu_bitmap, self.iommu_pages, self.next_bit, n, shift, boundary, 0)
        if index == ~<u64>0:
            if not self.strict:
                if self.refresh_global():
                    return DMA_MAPPING_ERROR
                self.release_lazy()
            index = iommu_area_alloc(self.iommu_bitmap, self.iommu_pages, 0, n, shift, boundary, 0)
            if index == ~<u64>0:
                return DMA_MAPPING_ERROR
        self.next_bit = index + n
        return self.zpci.start_dma + (index << PAGE_SHIFT)

    cdef void free_address(self, u64 addr, u64 n) noexcept nogil:
        cdef u64 index = (addr - self.zpci.start_dma) >> PAGE_SHIFT
        if index >= self.iommu_pages or n > self.iommu_pages - index:
            return                              # an address that is not ours: Linux writes behind the bitmap here
        if self.strict:
            bitmap_clear(self.iommu_bitmap, index, n)
        else:
            bitmap_set(self.lazy_bitmap, index, n)

    # -- dma_map_ops -------------------------------------------------------------------------------------------

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef u64 n = iommu_num_pages(page + offset, size, PAGE_SIZE)
        cdef u64 flags = ZPCI_TABLE_PROTECTED if dir == DMA_TO_DEVICE else 0
        cdef dma_addr_t addr = self.alloc_address(dev, n)
        if is_dma_error(dev, addr):
            return DMA_MAPPING_ERROR
        if self.update_trans(page + offset, addr, n << PAGE_SHIFT, flags):
            self.free_address(addr, n)
            return DMA_MAPPING_ERROR
        return addr + (offset & PAGE_OFFSET)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        cdef u64 n = iommu_num_pages(addr, size, PAGE_SIZE)
        addr &= ~<u64>PAGE_OFFSET
        if self.update_trans(0, addr, n << PAGE_SHIFT, ZPCI_PTE_INVALID):
            return 0                            # s390_dma_unmap_pages: the address stays taken for ever
        self.free_address(addr, n)
        return 0

    cdef int map_run(self, Device dev, scatterlist *sg, u32 size, dma_addr_t *handle, int dir) except -9999 nogil:
        """Map entries from sg on, size bytes with the first one's offset, at successive addresses."""
        cdef u64 n = (<u64>size + PAGE_OFFSET) >> PAGE_SHIFT
        cdef u64 flags = ZPCI_TABLE_PROTECTED if dir == DMA_TO_DEVICE else 0
        cdef dma_addr_t base = self.alloc_address(dev, n)
        cdef dma_addr_t addr = base
        cdef int ret = 0
        if is_dma_error(dev, base):
            return -ENOMEM
        while addr < base + size:
            ret = self.update_entries(sg_page(sg), addr, <u64>sg.offset + sg.length, flags)
            if ret:
                break
            addr += <u64>sg.offset + sg.length
            sg = sg_next(sg)
        if ret == 0:
            ret = self.purge_tlb(base, size, flags)
        if ret:
            self.update_trans(0, base, addr - base, ZPCI_PTE_INVALID)
            self.free_address(base, n)
            return ret
        handle[0] = base
        return 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef scatterlist *start = sgl
        cdef scatterlist *out = sgl
        cdef u32 limit = dma_get_max_seg_size(dev)
        cdef u32 size = sg.offset + sg.length   # entry 0 counts even in a list of no entries
        cdef u32 offset = sg.offset
        cdef int count = 0, ret, _
        for _ in range(1, nents):
            sg = sg_next(sg)
            sg.dma_length = 0
            if sg.offset or size & PAGE_OFFSET or <u32>(size + sg.length) > limit:
                ret = self.map_run(dev, start, size, &out.dma_address, dir)
                if ret:
                    break
                out.dma_address += offset
                out.dma_length = size - offset
                size = offset = sg.offset
                start = sg
                out = sg_next(out)
                count += 1
            size += sg.length
        else:
            ret = self.map_run(dev, start, size, &out.dma_address, dir)
            if ret == 0:
                out.dma_address += offset
                out.dma_length = size - offset
                return count + 1
        sg = sgl
        for _ in range(count):
            self.unmap_page(dev, sg.dma_address, sg.dma_length, dir, attrs)
            sg = sg_next(sg)
        return ret

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        cdef int _
        for _ in range(nents):
            if sg.dma_length:
                self.unmap_page(dev, sg.dma_address, sg.dma_length, dir, attrs)
            sg.dma_address = 0
            sg.dma_length = 0
            sg = sg_next(sg)
        return 0

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef unsigned int order = get_order(size, PAGE_SHIFT)
        cdef phys_addr_t page = self.machine.alloc_pages(order, PHYS_NONE)
        if page == PHYS_NONE:
            return -ENOMEM
        size = (size + PAGE_OFFSET) & ~<size_t>PAGE_OFFSET
        dma_handle[0] = self.map_page(dev, page, 0, size, DMA_BIDIRECTIONAL, 0)
        if is_dma_error(dev, dma_handle[0]):
            self.machine.free_pages(page, order)
            return -ENOMEM
        cpu_addr[0] = page
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        cdef unsigned int order = get_order(size, PAGE_SHIFT)
        size = (size + PAGE_OFFSET) & ~<size_t>PAGE_OFFSET
        self.unmap_page(dev, dma_handle, size, DMA_BIDIRECTIONAL, 0)
        return self.machine.free_pages(cpu_addr, order)

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return dma_common_alloc_pages(self, dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return dma_common_free_pages(self, dev, size, page, dma_handle, dir)
