# SPDX-License-Identifier: MIT
"""sun4v_dma_ops: I/O translation by the hypervisor (arch/sparc/kernel/pci_sun4v.c)."""

from libc.errno cimport ENOMEM

from scatterlist.core cimport scatterlist, sg_next
from scatterlist.types cimport page_t, u8

from dma_ops.device cimport (
    DMA_ATTR_WEAK_ORDERING,
    DMA_BIDIRECTIONAL,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    OP_ALLOC,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    WALK_NOT_PRESENT,
    WALK_OK,
    WALK_OUT_OF_RANGE,
    WALK_PERMISSION,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iommu_helper cimport bitmap_free, bitmap_set, bitmap_weight, iommu_num_pages
from dma_ops.machine cimport PHYS_NONE
from dma_ops.mapping cimport get_order

from .iommu_common cimport (
    IO_PAGE_OFFSET,
    IO_PAGE_SHIFT,
    IO_PAGE_SIZE,
    IOMMU_ERROR_CODE,
    IOMMU_NR_POOLS,
    iommu_tbl_pool_init,
    iommu_tbl_range_alloc,
    iommu_tbl_range_free,
)

cdef enum:
    HV_PCI_MAP_ATTR_READ = 0x1
    HV_PCI_MAP_ATTR_WRITE = 0x2
    HV_PCI_MAP_ATTR_RELAXED_ORDER = 0x4
    MAX_ORDER = 13
    MAX_FREE_ORDER = 10             # dma_4v_free_coherent gives pages of this order and above back to nobody
    NO_ENTRY = -1

cdef u64 ATU_SIZE = 0x800000000     # 32 GiB, whatever the firmware offers
cdef u64 BITS_32 = 0xffffffff


cdef class Hypervisor(Walker):
    """The sun4v hypervisor's side: a table of real address and attributes for each of the two windows.

    An entry is 64 bits, big-endian: the real address of an 8 KiB page, and the attributes it was mapped with in the
    low bits, 0 if it is not mapped. Real hypervisors keep this to themselves; what they are told is documented.
    """

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 entry
        if self.base <= addr <= BITS_32 and (addr - self.base) >> IO_PAGE_SHIFT < self.entries:
            entry = self.machine.mem.read64(self.tsb + ((addr - self.base) >> IO_PAGE_SHIFT) * 8, True)
        elif self.iotsb and addr >= self.atu_base and (addr - self.atu_base) >> IO_PAGE_SHIFT < self.atu_entries:
            entry = self.machine.mem.read64(self.iotsb + ((addr - self.atu_base) >> IO_PAGE_SHIFT) * 8, True)
        else:
            return WALK_OUT_OF_RANGE
        if entry & IO_PAGE_OFFSET == 0:
            return WALK_NOT_PRESENT
        if not entry & (HV_PCI_MAP_ATTR_WRITE if write else HV_PCI_MAP_ATTR_READ):
            return WALK_PERMISSION
        phys[0] = (entry & ~<u64>IO_PAGE_OFFSET) | (addr & IO_PAGE_OFFSET)
        run[0] = IO_PAGE_SIZE - (addr & IO_PAGE_OFFSET)
        return WALK_OK

    cdef long map(self, bint atu, u64 entry, u64 npages, u64 attributes, const u64 *pages) except -9999 nogil:
        """The calls pci_iommu_map and pci_iotsb_map: how many entries were mapped, or -1."""
        cdef u64 i
        if self.fail_countdown:
            self.fail_countdown -= 1
            if self.fail_countdown == 0:
                return -1
        npages = min(npages, self.most)
        for i in range(npages):
            self.machine.mem.write64((self.iotsb if atu else self.tsb) + (entry + i) * 8, pages[i] | attributes, True)
        return npages

    cdef u64 demap(self, bint atu, u64 entry, u64 npages) noexcept nogil:
        """The calls pci_iommu_demap and pci_iotsb_demap: how many entries were taken away."""
        cdef u64 i
        npages = min(npages, self.most)
        for i in range(npages):
            self.machine.mem.write64((self.iotsb if atu else self.tsb) + (entry + i) * 8, 0, True)
        return npages

    def fail_map(self, int nth):
        """Let the nth map call from now fail."""
        self.fail_countdown = nth

    def mapped(self, bint atu=False):
        """{entry: real address and attributes} of one window."""
        cdef u64 i, entry
        cdef phys_addr_t table = self.iotsb if atu else self.tsb
        cdef u8 *held
        found = {}
        for i in range(self.atu_entries if atu else self.entries):
            if i & 511 == 0:
                held = self.machine.mem.chunk(table + i * 8, False)
            if held != NULL:
                entry = self.machine.mem.read64(table + i * 8, True)
                if entry:
                    found[i] = entry
        return found


cdef class Sun4vDmaOps(SparcIommuOps):
    """UltraSPARC T1 to M8: the hypervisor writes the table, the kernel batches its calls and keeps the bitmap.

    The legacy window lies at 2 GiB; machines with an ATU have one of 32 GiB more above 4 GiB, which a device gets once
    its mask is above 32 bits. Each window has 16 pools, chosen by the CPU, without lazy flushing; the largest mapping
    is a pool less two entries. Pages go to the hypervisor up to 1024 at a time, and it may do fewer than asked. In a
    list the result of a flush that a jump in the entries forces is not looked at: if it fails, its pages stay in the
    batch, all later ones are shifted, and one entry beyond the allocation is mapped for ever (iommu_batch_new_entry).
    A list that fails frees its entries without demapping them, and leaks those of the part that failed. The mask is
    compared with the size of the legacy window, not with its end.
    firmware: entries that the firmware has mapped ({entry: real address}); those outside of RAM stay reserved.
    """

    def __cinit__(self, Machine machine not None, *, u64 base=0x80000000, u64 size=0x80000000, u64 atu_base=0,
                  int vpci_major=2, u64 most=PGLIST_NENTS, firmware=None):
        if machine.page_shift != IO_PAGE_SHIFT or not machine.big_endian:
            raise ValueError(f"machine {machine.name}: sun4v needs a big-endian machine of 8 KiB pages")
        if (base | size) & IO_PAGE_OFFSET or size >> IO_PAGE_SHIFT < 4 * IOMMU_NR_POOLS or base + size > 1 << 32:
            raise ValueError(f"a window of {size:#x} bytes from {base:#x} does not fit below 4 GiB")
        if atu_base and (atu_base <= BITS_32 or atu_base & IO_PAGE_OFFSET):
            raise ValueError(f"the ATU's window at {atu_base:#x} is not above 4 GiB")
        if most < 1:
            raise ValueError("the hypervisor maps at least one entry a call")
        self.machine = machine
        self.vpci_major = vpci_major
        self.filled = OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG | OP_DMA_SUPPORTED
        self.dma_addr_mask = (1 << (int(size) - 1).bit_length()) - 1
        iommu_tbl_pool_init(&self.tbl, base, size >> IO_PAGE_SHIFT, False, IOMMU_NR_POOLS)
        self.hypervisor = Hypervisor.__new__(Hypervisor)
        self.hypervisor.machine = machine
        self.hypervisor.base = base
        self.hypervisor.entries = size >> IO_PAGE_SHIFT
        self.hypervisor.tsb = machine.alloc_table(self.hypervisor.entries * 8, IO_PAGE_SIZE)
        self.hypervisor.most = most
        if atu_base:
            iommu_tbl_pool_init(&self.atu_tbl, atu_base, ATU_SIZE >> IO_PAGE_SHIFT, False, IOMMU_NR_POOLS)
            self.hypervisor.atu_base = atu_base
            self.hypervisor.atu_entries = ATU_SIZE >> IO_PAGE_SHIFT
            self.hypervisor.iotsb = machine.alloc_table(self.hypervisor.atu_entries * 8, IO_PAGE_SIZE)
        self.walker = self.hypervisor
        for entry, address in (firmware or {}).items():
            if not 0 <= entry < self.tbl.entries:
                raise ValueError(f"firmware entry {entry} is not within the {self.tbl.entries} of the window")
            if not machine.is_ram(address):
                bitmap_set(self.tbl.map, entry, 1)
                machine.mem.write64(self.hypervisor.tsb + <u64>entry * 8,
                                    <u64>address | HV_PCI_MAP_ATTR_READ | HV_PCI_MAP_ATTR_WRITE, True)

    def __dealloc__(self):
        bitmap_free(self.tbl.map)
        bitmap_free(self.atu_tbl.map)

    def resources(self):
        busy = bitmap_weight(self.tbl.map, self.tbl.entries)
        if self.atu_tbl.map != NULL:
            busy += bitmap_weight(self.atu_tbl.map, self.atu_tbl.entries)
        return {"iotsb entries": busy}

    def table(self):
        """{entry: real address and attributes}; entries of the ATU's window begin at 2^32."""
        found = self.hypervisor.mapped()
        if self.atu_tbl.map != NULL:
            found.update(((1 << 32) + entry, value) for entry, value in self.hypervisor.mapped(True).items())
        return found

    def preset(self, *, fill=()):
        """Take (start, n) ranges of the legacy window's entries."""
        for start, n in fill:
            if not 0 <= start <= start + n <= self.tbl.entries:
                raise ValueError(f"entries {start}..{start + n} are not all within the {self.tbl.entries}")
            bitmap_set(self.tbl.map, start, n)

    # -- batches -----------------------------------------------------------------------------------------------

    cdef bint use_atu(self, u64 mask) noexcept nogil:
        return self.atu_tbl.map != NULL and mask > BITS_32

    cdef iommu_map_table *table_of(self, u64 mask) noexcept nogil:
        return &self.atu_tbl if self.use_atu(mask) else &self.tbl

    cdef void batch_start(self, int dir, unsigned long attrs, u64 entry) noexcept nogil:
        self.batch_attributes = HV_PCI_MAP_ATTR_READ
        if dir != DMA_TO_DEVICE:
            self.batch_attributes |= HV_PCI_MAP_ATTR_WRITE
        if attrs & DMA_ATTR_WEAK_ORDERING:
            self.batch_attributes |= HV_PCI_MAP_ATTR_RELAXED_ORDER
        self.batch_entry = entry
        self.batch_npages = 0

    cdef long batch_flush(self, u64 mask) except -9999 nogil:
        """Hand the batch over; -1 if the hypervisor refuses, after which the batch is as it was."""
        cdef u64 attributes = self.batch_attributes
        cdef u64 entry = self.batch_entry
        cdef u64 done = 0
        cdef long n
        if self.vpci_major < 2:
            attributes &= HV_PCI_MAP_ATTR_READ | HV_PCI_MAP_ATTR_WRITE
        while done < self.batch_npages:
            n = self.hypervisor.map(self.use_atu(mask), entry, self.batch_npages - done, attributes, &self.pglist[done])
            if n < 0:
                return -1
            entry += n
            done += n
        self.batch_entry = entry
        self.batch_npages = 0
        return 0

    cdef long batch_add(self, u64 page, u64 mask) except -9999 nogil:
        if self.batch_npages >= PGLIST_NENTS:
            return kernel_bug(b"kernel BUG at arch/sparc/kernel/pci_sun4v.c: p->npages >= PGLIST_NENTS")
        self.pglist[self.batch_npages] = page
        self.batch_npages += 1
        return self.batch_flush(mask) if self.batch_npages == PGLIST_NENTS else 0

    cdef long map_range(self, u64 entry, u64 page, u64 npages, u64 mask) except -9999 nogil:
        cdef u64 i
        for i in range(npages):
            if self.batch_add(page + (i << IO_PAGE_SHIFT), mask) < 0:
                return -1
        return 0

    cdef int demap_range(self, u64 addr, u64 npages) except -9999 nogil:
        """Demap and free entries of the window that the address lies in."""
        cdef bint atu = addr > BITS_32
        cdef iommu_map_table *tbl = &self.atu_tbl if atu else &self.tbl
        cdef u64 entry, left = npages, n
        if tbl.map == NULL:
            return kernel_bug(b"Unable to handle kernel NULL pointer dereference: iommu->atu")
        entry = (addr - tbl.table_map_base) >> IO_PAGE_SHIFT
        if entry >= tbl.entries or npages > tbl.entries - entry:
            return kernel_bug(b"dma_4v_iommu_demap: the hypervisor never demaps what is beyond its table")
        while True:
            n = self.hypervisor.demap(atu, entry, left)
            entry += n
            left -= n
            if left == 0:
                break
        return iommu_tbl_range_free(tbl, addr, npages)

    # -- SparcIommuOps -----------------------------------------------------------------------------------------

    cdef int sg_begin(self, Device dev, int dir, unsigned long attrs) except -9999 nogil:
        self.batch_start(dir, attrs, <u64>NO_ENTRY)
        return 0

    cdef int sg_write(self, Device dev, u64 entry, phys_addr_t paddr, u64 npages) except -9999 nogil:
        if self.batch_entry + self.batch_npages != entry:
            if self.batch_entry != <u64>NO_ENTRY:
                self.batch_flush(dev.dma_mask)          # not looked at, and the pages stay if it fails
            self.batch_entry = entry
        return <int>self.map_range(entry, paddr, npages, dev.dma_mask)

    cdef int sg_end(self, Device dev) except -9999 nogil:
        return <int>self.batch_flush(dev.dma_mask)

    # -- dma_map_ops -------------------------------------------------------------------------------------------

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef iommu_map_table *tbl = self.table_of(dev.dma_mask)
        cdef u64 addr = page + offset
        cdef u64 npages = (((addr + size + IO_PAGE_OFFSET) & ~<u64>IO_PAGE_OFFSET)
                           - (addr & ~<u64>IO_PAGE_OFFSET)) >> IO_PAGE_SHIFT
        cdef u64 entry = iommu_tbl_range_alloc(dev, tbl, npages, NULL)
        cdef dma_addr_t bus_addr
        if entry == IOMMU_ERROR_CODE:
            return DMA_MAPPING_ERROR
        bus_addr = tbl.table_map_base + (entry << IO_PAGE_SHIFT)
        self.batch_start(dir, attrs, entry)
        if (self.map_range(entry, addr & ~<u64>IO_PAGE_OFFSET, npages, dev.dma_mask) < 0
                or self.batch_flush(dev.dma_mask) < 0):
            iommu_tbl_range_free(tbl, bus_addr, npages)
            return DMA_MAPPING_ERROR
        return bus_addr | (addr & IO_PAGE_OFFSET)

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        cdef u64 npages = (((addr + size + IO_PAGE_OFFSET) & ~<u64>IO_PAGE_OFFSET)
                           - (addr & ~<u64>IO_PAGE_OFFSET)) >> IO_PAGE_SHIFT
        return self.demap_range(addr & ~<u64>IO_PAGE_OFFSET, npages)

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        cdef scatterlist *sg = sgl
        while nents and sg != NULL and sg.dma_length:
            self.demap_range(sg.dma_address, iommu_num_pages(sg.dma_address, sg.dma_length, IO_PAGE_SIZE))
            sg = sg_next(sg)
            nents -= 1
        return 0

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        return mask >= self.dma_addr_mask

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        cdef iommu_map_table *tbl = self.table_of(dev.coherent_dma_mask)
        cdef unsigned int order
        cdef phys_addr_t page
        cdef u64 entry
        size = (size + IO_PAGE_OFFSET) & ~<size_t>IO_PAGE_OFFSET
        order = get_order(size, IO_PAGE_SHIFT)
        if order >= MAX_ORDER:
            return -ENOMEM
        page = self.machine.alloc_pages(order, PHYS_NONE)
        if page == PHYS_NONE:
            return -ENOMEM
        entry = iommu_tbl_range_alloc(dev, tbl, size >> IO_PAGE_SHIFT, NULL)
        if entry == IOMMU_ERROR_CODE:
            self.machine.free_pages(page, order)
            return -ENOMEM
        dma_handle[0] = tbl.table_map_base + (entry << IO_PAGE_SHIFT)
        self.batch_start(DMA_BIDIRECTIONAL, attrs, entry)
        if (self.map_range(entry, page, size >> IO_PAGE_SHIFT, dev.coherent_dma_mask) < 0
                or self.batch_flush(dev.coherent_dma_mask) < 0):
            iommu_tbl_range_free(tbl, dma_handle[0], size >> IO_PAGE_SHIFT)
            self.machine.free_pages(page, order)    # Linux hands free_pages the physical address here
            return -ENOMEM
        cpu_addr[0] = page
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        cdef unsigned int order = get_order(size, IO_PAGE_SHIFT)
        self.demap_range(dma_handle, (size + IO_PAGE_OFFSET) >> IO_PAGE_SHIFT)
        return self.machine.free_pages(cpu_addr, order) if order < MAX_FREE_ORDER else 0
