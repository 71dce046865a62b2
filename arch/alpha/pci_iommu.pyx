# SPDX-License-Identifier: MIT
"""alpha_pci_ops: DMA mapping on Alpha PCI machines (arch/alpha/kernel/pci_iommu.c, Linux 6.1).

List entries are walked by count: Alpha has no chained scatterlists (ARCH_NO_SG_CHAIN). Pages are 8 KiB throughout.
"""

from libc.errno cimport EIO, ENOMEM

from dma_ops.device cimport (
    DMA_MAPPING_ERROR,
    OP_ALLOC,
    OP_ALLOC_PAGES,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_FREE_PAGES,
    OP_GET_SGTABLE,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_MMAP,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    Device,
    DmaMapOps,
    dma_get_max_seg_size,
    dma_get_seg_boundary_nr_pages,
)
from dma_ops.errors cimport kernel_bug
from dma_ops.iommu_helper cimport iommu_is_span_boundary, iommu_num_pages
from dma_ops.machine cimport PHYS_NONE, Machine
from dma_ops.mapping cimport dma_common_alloc_pages, dma_common_free_pages, get_order
from scatterlist.core cimport scatterlist, sg_next, sg_phys
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, s64, u32, u64

from .windows cimport PAGE_SHIFT, PAGE_SIZE, PTE_INVALID, PTE_RESERVED, PTE_VALID, PciWindows

from .chipsets import cypress as cypress_cut
from .chipsets import window_size

cdef enum:
    ISA_DMA_MASK = 0x00ffffff       # what an ISA bus master is taken to reach, and where ZONE_DMA ends
    ISA_BRIDGE_ALIGN = 8            # PTEs: 64 KiB for the 8237's page registers
    KSEG_SHIFT = 41                 # size of the kernel's linear map
    CHUNK_PTES = 512                # PTEs in a 4 KiB chunk of modelled memory

# what sg_classify() leaves in dma_address
cdef enum:
    LEADER_PHYS = 0                 # all of its followers are physically adjacent
    LEADER_VIRT = 1                 # some are joined at page borders only
    FOLLOWER_PHYS = -1
    FOLLOWER_VIRT = -2

cdef struct arena_t:                # struct pci_iommu_arena
    bint present
    phys_addr_t ptes
    u64 dma_base
    u32 size
    u32 next_entry
    u32 align_entry

cdef struct requester_t:            # what alpha_gendev_to_pci() makes of a device
    bint is_pci                     # False: NULL, which stands for an ISA bus master
    bint is_isa_bridge
    u64 mask


cdef inline u64 align_up(u64 value, u64 mask) noexcept nogil:
    return (value + mask) & ~mask


cdef inline bint is_follower(const scatterlist *sg) noexcept nogil:
    return <int>sg.dma_address < 0


cdef class AlphaPciOps(DmaMapOps):
    """Alpha: direct window first, dual address cycles second, a scatter-gather arena last.

    The device's current mask chooses the arena: sg_pci if all of it is below the mask, else sg_isa, unchecked.
    An arena's allocator is its page table itself: a PTE that is not 0 is taken. The search is next-fit from
    next_entry, which frees never move back; the index (not the bus address) is aligned to align_entry; at the end it
    flushes the chip's TLB and starts over once. Lists merge what is physically adjacent, and, if the chip translates,
    what meets at page borders; a segment with such a joint always takes the arena, even where each part is directly
    reachable. Only if the arena is full, the rest of the list is classified again without such joints. Unmapping a
    page finds the arena by address, unmapping a list by the mask that the device has at that moment.
    """

    cdef readonly Machine machine
    cdef readonly object chipset
    cdef readonly u64 direct_base
    cdef readonly u64 direct_size
    cdef readonly u64 dac_offset
    cdef readonly bint tbi                      # alpha_mv.mv_pci_tbi: the chip translates
    cdef readonly bint tbiv                     # and its TLB can be invalidated tag by tag
    cdef public Device isa_bridge
    cdef readonly unsigned long tlb_flushes     # calls of mv_pci_tbi, and the last one's range
    cdef readonly u64 tlb_start
    cdef readonly u64 tlb_end
    cdef arena_t sg_isa
    cdef arena_t sg_pci

    def __cinit__(self, Machine machine not None, chipset, *, bint cypress=False, Device isa_bridge=None, tables=None):
        """chipset: a row of chipsets.py. cypress: a Cy82C693 bridge cuts a window. tables: {"sg_isa": address, ...}
        where the page tables lie, if not wherever there is room."""
        cdef u64 ram = machine.end_of_ram()
        if machine.page_shift != PAGE_SHIFT:
            raise ValueError(f"machine {machine.name} has pages of {machine.page_size} bytes, Alphas have 8 KiB")
        tables = tables or {}
        self.machine = machine
        self.chipset = chipset
        self.isa_bridge = isa_bridge
        self.tbi = chipset.tbi
        self.tbiv = chipset.tbiv
        self.direct_base = chipset.direct_base
        self.direct_size = chipset.direct_size
        dac = chipset.dac_offset and (not chipset.dac_ram_limit or ram <= chipset.dac_ram_limit)
        self.dac_offset = chipset.dac_offset if dac else 0
        if chipset.sg_isa is not None:
            self.new_arena(&self.sg_isa, chipset.sg_isa, ram, tables.get("sg_isa"))
        if chipset.sg_pci is not None:
            self.new_arena(&self.sg_pci, chipset.sg_pci, ram, tables.get("sg_pci"))
        self.walker = self._host_bridge(chipset.dac_size if dac else 0)
        if cypress:                             # after the chip has been programmed, which stays as it is
            self.direct_size, pci_size = cypress_cut(chipset, ram)
            self.sg_pci.size = pci_size
        self.filled = (OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG | OP_DMA_SUPPORTED
                       | OP_MMAP | OP_GET_SGTABLE | OP_ALLOC_PAGES | OP_FREE_PAGES)

    cdef new_arena(self, arena_t *arena, window, u64 ram, table):
        """iommu_arena_new(): the table is aligned to its own size, as the chip concatenates."""
        cdef u64 size = window_size(window, ram)
        cdef u64 bytes_ = size >> (PAGE_SHIFT - 3)
        arena.present = True
        arena.dma_base = window.base
        arena.size = size
        arena.align_entry = window.align_entry
        if table is None:
            table = self.machine.alloc_table(bytes_, max(bytes_, window.table_align))
            if table == PHYS_NONE:
                raise MemoryError("iommu_arena_new: no memory for the page table, where Linux panics")
        if table & (bytes_ - 1):
            raise ValueError(f"a page table of {bytes_} bytes at {table:#x} is not aligned to its size")
        arena.ptes = table

    def _host_bridge(self, u64 dac_size):
        """The window registers, as core_*.c programs them."""
        regs = self.chipset.registers
        direct = self.chipset.direct_windows or ((self.direct_base, self.direct_size, 0),)
        rows = [(base | regs.enable, (size - 1) & 0xfff00000, phys >> regs.tbase_shift) for base, size, phys in direct]
        for arena in self.arenas.values():
            rows.append((arena["dma_base"] | regs.enable | regs.sg, (arena["size"] - 1) & 0xfff00000,
                         arena["ptes"] >> regs.tbase_shift))
        return PciWindows(self.machine, rows, enable_bit=regs.enable, sg_bit=regs.sg, tbase_shift=regs.tbase_shift,
                          dac_base=self.dac_offset, dac_size=dac_size)

    # -- what tests and reports look at ------------------------------------------------------------------------

    @property
    def arenas(self):
        """The state of each arena: {"sg_isa": {"dma_base", "size", "next_entry", "align_entry", "ptes"}, ...}."""
        found = {}
        cdef arena_t *arena
        for name in ("sg_isa", "sg_pci"):
            arena = self.named(name)
            if arena.present:
                found[name] = {"dma_base": arena.dma_base, "size": arena.size, "next_entry": arena.next_entry,
                               "align_entry": arena.align_entry, "ptes": arena.ptes}
        return found

    def resources(self):
        """{arena: PTEs that are taken}."""
        return {name: len(self.table(name)) for name in self.arenas}

    def flush(self):
        """Forget what was unmapped below next_entry, as the next wrap of the search does."""
        if self.tbi:
            self.flush_tlb(0, ~<u64>0)

    def table(self, str arena=None):
        """{index: PTE} of what is taken in sg_pci, or in sg_isa where there is no sg_pci or arena says so."""
        cdef arena_t *which = self.named(arena)
        cdef u64 i = 0, end = which.size >> PAGE_SHIFT
        cdef dict found = {}
        while which.present:
            i = self.next_taken(which, i, end)
            if i >= end:
                break
            found[i] = self.machine.mem.read64(which.ptes + 8 * i, False)
            i += 1
        return found

    cdef arena_t *named(self, str arena) except NULL:
        if arena is None:
            return &self.sg_pci if self.sg_pci.present else &self.sg_isa
        if arena not in ("sg_isa", "sg_pci"):
            raise ValueError(f"no arena is called {arena!r}")
        return &self.sg_pci if arena == "sg_pci" else &self.sg_isa

    def reserve(self, u64 n, str arena=None, u64 align_mask=0):
        """Set n PTEs aside for AGP and answer the index of the first (iommu_reserve); -1 if there is no room."""
        cdef arena_t *which = self.named(arena)
        cdef s64 first
        cdef u64 i
        if not which.present:
            raise ValueError("the chipset has no such arena")
        first = self.find_pages(which, n, align_mask, (<u64>0xffffffff >> PAGE_SHIFT) + 1)
        if first >= 0:
            for i in range(n):
                self.set_pte(which, first + i, PTE_RESERVED)
            which.next_entry = first + n
        return first

    # -- arenas ------------------------------------------------------------------------------------------------

    cdef void flush_tlb(self, u64 start, u64 end) noexcept nogil:
        self.tlb_flushes += 1
        self.tlb_start = start
        self.tlb_end = end
        if self.tbiv and not (start ^ end) & <u64>0xffff0000:       # tsunami_pci_tbi(), titan_pci_tbi()
            (<PciWindows>self.walker).tbiv((start & <u64>0xffff0000) >> 12)
        else:
            (<PciWindows>self.walker).tbia()

    cdef int set_pte(self, arena_t *arena, u64 index, u64 pte) noexcept nogil:
        return self.machine.mem.write64(arena.ptes + 8 * index, pte, False)

    cdef u64 next_taken(self, const arena_t *arena, u64 i, u64 end) noexcept nogil:
        """The first PTE in [i, end) that is not 0, or end."""
        cdef const u64 *ptes
        cdef u64 stop
        while i < end:
            stop = min(end, (i | (CHUNK_PTES - 1)) + 1)
            ptes = <const u64 *>self.machine.mem.chunk(arena.ptes + 8 * i, False)
            if ptes == NULL:                    # nothing was ever written there
                i = stop
            while i < stop:
                if ptes[i & (CHUNK_PTES - 1)]:
                    return i
                i += 1
        return end

    cdef s64 find_pages(self, arena_t *arena, u64 n, u64 align_mask, u64 boundary) except? -9998 nogil:
        """n free PTEs in a row, from next_entry on: the index of the first, or -1 (iommu_arena_find_pages)."""
        cdef u64 base = arena.dma_base >> PAGE_SHIFT, entries = arena.size >> PAGE_SHIFT
        cdef u64 p = align_up(arena.next_entry, align_mask), taken
        cdef bint wrapped = False
        if n == 0:
            return p
        while True:
            while p < entries:
                if iommu_is_span_boundary(p, n, base, boundary):
                    p = align_up(p + 1, align_mask)
                    continue
                taken = self.next_taken(arena, p, min(p + n, entries))
                if taken == p + n:
                    return p
                if taken == entries:
                    break
                p = align_up(taken + 1, align_mask)
            if wrapped:
                return -1
            self.flush_tlb(0, ~<u64>0)
            wrapped = True
            p = 0

    cdef s64 arena_alloc(self, arena_t *arena, u64 n, u32 align, u64 boundary) except? -9998 nogil:
        cdef s64 first
        cdef u64 i
        if not arena.present:
            # arch/alpha/kernel/pci_iommu.c, alpha_pci_map_sg(): without mv_pci_tbi the arena is NULL
            kernel_bug(b"Unable to handle kernel NULL pointer dereference: iommu_arena_alloc() of a NULL arena")
        if self.machine.should_fail(b"entries"):
            return -1
        first = self.find_pages(arena, n, max(align, arena.align_entry) - 1, boundary)
        if first < 0:
            return -1
        for i in range(n):
            if self.set_pte(arena, first + i, PTE_INVALID):
                self.arena_free(arena, first, i)
                return -1
        arena.next_entry = first + n
        return first

    cdef int arena_free(self, arena_t *arena, u64 first, u64 n) except -9999 nogil:
        """Zero n PTEs. Linux does not check the index: one beyond the table zeroes the kernel's memory behind it, one
        beyond the linear map or all of memory is an oops."""
        if n and (first >> (KSEG_SHIFT - 3) or n > self.machine.end_of_ram() >> 3):
            return kernel_bug(b"Unable to handle kernel paging request: iommu_arena_free() of a wrapped index")
        self.machine.mem.fill(arena.ptes + 8 * first, 0, 8 * n)
        return 0

    cdef void fill(self, arena_t *arena, u64 index, phys_addr_t phys, u64 n) noexcept nogil:
        """n PTEs for consecutive pages, from the one of phys on."""
        cdef u64 i, frame = phys >> PAGE_SHIFT
        for i in range(n):
            self.set_pte(arena, index + i, (frame + i) << 1 | PTE_VALID)

    cdef arena_t *by_mask(self, u64 mask) noexcept nogil:
        if not self.sg_pci.present or self.sg_pci.dma_base + self.sg_pci.size - 1 > mask:
            return &self.sg_isa
        return &self.sg_pci

    # -- devices -----------------------------------------------------------------------------------------------

    cdef int requester(self, Device dev, requester_t *who) except -9999 nogil:
        """alpha_gendev_to_pci(): a device off the PCI bus is the ISA bridge, or NULL if its mask is smaller."""
        who.is_pci = True
        who.is_isa_bridge = dev is self.isa_bridge
        who.mask = dev.dma_mask
        if dev.is_pci:
            return 0
        if self.isa_bridge is None:
            return kernel_bug(b"kernel BUG at arch/alpha/kernel/pci_iommu.c: !isa_bridge")
        if not dev.has_dma_mask or not dev.dma_mask or dev.dma_mask >= self.isa_bridge.dma_mask:
            who.is_isa_bridge = True
            who.mask = self.isa_bridge.dma_mask
        else:
            who.is_pci = False
            who.mask = ISA_DMA_MASK
        return 0

    cdef bint dac_allowed(self, const requester_t *who) noexcept nogil:
        return who.is_pci and self.dac_offset != 0 and (self.dac_offset & who.mask) == self.dac_offset

    cdef bint reaches_directly(self, phys_addr_t phys, u64 size, u64 mask) noexcept nogil:
        return phys + size + self.direct_base - 1 <= mask and phys + size <= self.direct_size

    cdef bint is_direct(self, dma_addr_t addr) noexcept nogil:
        return self.direct_base <= addr < self.direct_base + self.direct_size

    # -- single mappings ---------------------------------------------------------------------------------------

    cdef dma_addr_t map_single(self, Device dev, const requester_t *who, phys_addr_t phys, u64 size,
                               bint dac_allowed) except? 0xBADBADBADBADBAD nogil:
        """pci_map_single_1()"""
        cdef arena_t *arena
        cdef u64 n, boundary
        cdef s64 first
        if self.reaches_directly(phys, size, who.mask):
            return phys + self.direct_base
        if dac_allowed:
            return phys + self.dac_offset
        if not self.tbi:
            self.machine.warn(b"pci_map_single: no HW sg")
            return DMA_MAPPING_ERROR
        arena = self.by_mask(who.mask)
        n = iommu_num_pages(phys, size, PAGE_SIZE)
        if dev.is_pci:
            boundary = dma_get_seg_boundary_nr_pages(dev, PAGE_SHIFT)
        elif who.is_pci:
            boundary = dma_get_seg_boundary_nr_pages(self.isa_bridge, PAGE_SHIFT)
        else:
            boundary = (<u64>0xffffffff >> PAGE_SHIFT) + 1
        first = self.arena_alloc(arena, n, ISA_BRIDGE_ALIGN if who.is_isa_bridge else 0, boundary)
        if first < 0:
            self.machine.warn(b"pci_map_single failed: could not allocate dma page tables")
            return DMA_MAPPING_ERROR
        self.fill(arena, first, phys, n)
        return arena.dma_base + <u64>first * PAGE_SIZE + (phys & (PAGE_SIZE - 1))

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        cdef requester_t who
        self.requester(dev, &who)
        return self.map_single(dev, &who, page + offset, size, self.dac_allowed(&who))

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        cdef requester_t who
        cdef arena_t *arena
        cdef u64 first
        self.requester(dev, &who)
        if self.is_direct(addr) or addr > 0xffffffffu:
            return 0
        arena = &self.sg_pci
        if not arena.present or addr < arena.dma_base:
            arena = &self.sg_isa
        if not arena.present:
            return kernel_bug(b"Unable to handle kernel NULL pointer dereference: alpha_pci_unmap_page() has no arena")
        first = (addr - arena.dma_base) >> PAGE_SHIFT
        if first * PAGE_SIZE >= arena.size:
            return self.machine.warn(b"Bogus pci_unmap_single: the address is in no window")
        self.arena_free(arena, first, iommu_num_pages(addr, size, PAGE_SIZE))
        if first >= arena.next_entry:       # below, the flush at the next wrap is soon enough
            self.flush_tlb(addr, addr + size - 1)
        return 0

    # -- coherent memory ---------------------------------------------------------------------------------------

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        """0 or -ENOMEM. Never by dual address cycles, whatever the mask."""
        cdef requester_t who
        cdef unsigned int order = get_order(size, PAGE_SHIFT)
        cdef u64 limit = PHYS_NONE
        cdef phys_addr_t page
        self.requester(dev, &who)
        while True:
            page = self.machine.alloc_pages(order, limit)
            if page == PHYS_NONE:
                return -ENOMEM
            dma_handle[0] = self.map_single(dev, &who, page, size, False)
            if dma_handle[0] != DMA_MAPPING_ERROR:
                cpu_addr[0] = page
                return 0
            self.machine.free_pages(page, order)
            if self.tbi or limit == ISA_DMA_MASK:
                return -ENOMEM
            limit = ISA_DMA_MASK                # once more from ZONE_DMA

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        cdef requester_t who
        self.requester(dev, &who)
        if not who.is_pci:
            # arch/alpha/kernel/pci_iommu.c, alpha_pci_free_coherent(): &pdev->dev of a NULL pdev
            return kernel_bug(b"Unable to handle kernel paging request: alpha_pci_free_coherent() for an ISA master")
        self.unmap_page(dev, dma_handle, size, 0, attrs)
        return self.machine.free_pages(cpu_addr, get_order(size, PAGE_SHIFT))

    cdef int alloc_pages(self, Device dev, size_t size, dma_addr_t *dma_handle, page_t *page,
                         int dir) except -9999 nogil:
        return dma_common_alloc_pages(self, dev, size, dma_handle, page, dir)

    cdef int free_pages(self, Device dev, size_t size, page_t page, dma_addr_t dma_handle, int dir) except -9999 nogil:
        return dma_common_free_pages(self, dev, size, page, dma_handle, dir)

    # -- lists -------------------------------------------------------------------------------------------------

    cdef void sg_classify(self, Device dev, scatterlist *sg, int n, bint virt_ok) noexcept nogil:
        """Mark n entries as leaders (with the length of their segment) and followers. Boundaries do not matter."""
        cdef scatterlist *leader = sg
        cdef u64 flag = LEADER_PHYS, length = sg.length, end = sg_phys(sg) + sg.length, addr
        cdef u64 max_seg = dma_get_max_seg_size(dev)
        cdef int _left
        for _left in range(n - 1, 0, -1):
            sg = sg_next(sg)
            addr = sg_phys(sg)
            if length + sg.length <= max_seg and end == addr:
                sg.dma_address = <dma_addr_t>FOLLOWER_PHYS
                length += sg.length
            elif length + sg.length <= max_seg and virt_ok and not (end | addr) & (PAGE_SIZE - 1):
                sg.dma_address = <dma_addr_t>FOLLOWER_VIRT
                flag = LEADER_VIRT
                length += sg.length
            else:
                leader.dma_address = flag
                leader.dma_length = length
                leader = sg
                flag = LEADER_PHYS
                length = sg.length
            end = addr + sg.length
        leader.dma_address = flag
        leader.dma_length = length

    cdef int sg_fill(self, Device dev, scatterlist *leader, int n, scatterlist *out, arena_t *arena, u64 max_dma,
                     bint dac_allowed) except -9999 nogil:
        """Map the segment that leader starts (n entries to the list's end) into the slot out; 0 or -ENOMEM."""
        cdef phys_addr_t phys = sg_phys(leader)
        cdef u64 size = leader.dma_length, offset = phys & (PAGE_SIZE - 1), pages
        cdef bint adjacent = leader.dma_address == LEADER_PHYS
        cdef scatterlist *sg = leader
        cdef s64 first
        if adjacent and self.reaches_directly(phys, size, max_dma):
            out.dma_address = phys + self.direct_base
            out.dma_length = size
            return 0
        if adjacent and dac_allowed:
            out.dma_address = phys + self.dac_offset
            out.dma_length = size
            return 0
        first = self.arena_alloc(arena, iommu_num_pages(offset, size, PAGE_SIZE), 0,
                                 dma_get_seg_boundary_nr_pages(dev, PAGE_SHIFT))
        if first < 0:
            if adjacent:
                return -ENOMEM
            self.sg_classify(dev, leader, n, False)
            return self.sg_fill(dev, leader, n, out, arena, max_dma, dac_allowed)
        out.dma_address = arena.dma_base + <u64>first * PAGE_SIZE + offset
        out.dma_length = size
        while True:                             # a run of physically adjacent entries each time
            phys = sg_phys(sg)
            size = sg.length
            sg, n = sg_next(sg), n - 1
            while n and <int>sg.dma_address == FOLLOWER_PHYS:
                size += sg.length
                sg, n = sg_next(sg), n - 1
            pages = iommu_num_pages(phys, size, PAGE_SIZE)
            self.fill(arena, first, phys, pages)
            first += pages
            if not n or not is_follower(sg):
                return 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        """Segments, or -EIO (one entry), -ENOMEM (several). Entries that head no output keep their marks."""
        cdef requester_t who
        cdef scatterlist *sg = sgl
        cdef scatterlist *out = sgl
        cdef arena_t *arena
        cdef u64 max_dma
        cdef bint dac
        cdef int left, segments = 0
        self.requester(dev, &who)
        if not who.is_pci:
            # arch/alpha/kernel/pci_iommu.c, alpha_pci_map_sg(): tests dev, then reads pdev->dma_mask
            return kernel_bug(b"Unable to handle kernel NULL pointer dereference: alpha_pci_map_sg() for an ISA master")
        dac = self.dac_allowed(&who)
        if nents == 1:
            sgl.dma_length = sgl.length
            sgl.dma_address = self.map_single(dev, &who, sg_phys(sgl), sgl.length, dac)
            return -EIO if sgl.dma_address == DMA_MAPPING_ERROR else 1
        self.sg_classify(dev, sgl, nents, self.tbi)     # also the first entry of an empty list
        max_dma = who.mask
        arena = self.by_mask(max_dma)
        if not self.tbi:
            max_dma = ~<u64>0                   # the device's mask is forgotten: alpha_pci_map_sg()
        for left in range(nents, 0, -1):
            if not is_follower(sg):
                if self.sg_fill(dev, sg, left, out, arena, max_dma, dac):
                    self.machine.warn(b"pci_map_sg failed: could not allocate dma page tables")
                    if segments:
                        self.unmap_sg(dev, sgl, segments, dir, 0)
                    return -ENOMEM
                out = sg_next(out)
                segments += 1
            sg = sg_next(sg)
        if segments < nents:
            out.dma_length = 0
        return segments or -ENOMEM

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        """Linux trusts the mask to be what it was when the list was mapped. If it was lowered since, this zeroes
        memory behind sg_isa's table and leaks sg_pci's PTEs; if it was raised, it oopses."""
        cdef requester_t who
        cdef arena_t *arena
        cdef scatterlist *sg = sgl
        cdef u64 addr, first_byte = ~<u64>0, last_byte = 0
        self.requester(dev, &who)
        if not self.tbi:
            return 0
        arena = self.by_mask(who.mask)
        if not arena.present:
            return kernel_bug(b"Unable to handle kernel NULL pointer dereference: alpha_pci_unmap_sg() has no arena")
        while nents > 0 and sg.dma_length:
            addr = sg.dma_address
            if addr <= 0xffffffffu and not self.is_direct(addr):
                self.arena_free(arena, (addr - arena.dma_base) >> PAGE_SHIFT,
                                iommu_num_pages(addr, sg.dma_length, PAGE_SIZE))
                first_byte = min(first_byte, addr)
                last_byte = max(last_byte, addr + sg.dma_length - 1)
            sg = sg_next(sg)
            nents -= 1
        if (last_byte - arena.dma_base) >> PAGE_SHIFT >= arena.next_entry:
            # with nothing freed the subtraction wraps, and Linux flushes from the last address to 0
            self.flush_tlb(first_byte, last_byte)
        return 0

    # -- masks -------------------------------------------------------------------------------------------------

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        """Does the mask take in the direct window, the direct image of all RAM, or one of the arenas?"""
        cdef requester_t who
        self.requester(dev, &who)
        if self.direct_size and (self.direct_base + self.direct_size - 1 <= mask
                                 or self.direct_base + self.machine.end_of_ram() - 1 <= mask):
            return 1
        if self.sg_isa.present and self.sg_isa.dma_base + self.sg_isa.size - 1 <= mask:
            return 1
        if self.sg_pci.present and self.sg_pci.dma_base + self.sg_pci.size - 1 <= mask:
            return 1
        return self.direct_base == 0 and not self.tbi and ISA_DMA_MASK <= mask
