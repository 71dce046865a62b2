# SPDX-License-Identifier: MIT
"""Bounce buffers (kernel/dma/swiotlb.c, Linux 6.1; 6.12 where Machine.kernel says so).

A pool of 2 KiB slots in memory that every device can reach. The pool is cut into areas (one per CPU, each with its own
next-fit index) and into groups of 128 slots: a mapping is a run of slots inside one group, so 256 KiB is the most.
A mapping copies the whole original into the pool for every direction, so that bytes that the device leaves alone
survive; unmap and sync copy back. Not modelled: 6.12's growing and transient pools, memory encryption.
"""

from libc.stdlib cimport calloc, free

from scatterlist.types cimport s64

from .device cimport (
    DMA_ATTR_NO_WARN,
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_MAPPING_ERROR,
    DMA_TO_DEVICE,
    dma_capable,
    dma_get_min_align_mask,
    dma_get_seg_boundary,
)
from .errors cimport kernel_bug, kernel_hang
from .iommu_helper cimport iommu_is_span_boundary

cdef phys_addr_t INVALID = ~<u64>0              # orig_addr of a free slot

cdef enum:
    DEFAULT_SLABS = (64 << 20) >> IO_TLB_SHIFT
    MIN_SLABS = (1 << 20) >> IO_TLB_SHIFT


cdef inline u64 nr_slots(u64 bytes) noexcept nogil:
    return (bytes + IO_TLB_SIZE - 1) // IO_TLB_SIZE


cdef inline u64 slot_addr(u64 start, u64 index) noexcept nogil:
    return start + (index << IO_TLB_SHIFT)


cdef inline unsigned int in_group(unsigned int index) noexcept nogil:
    return index & (IO_TLB_SEGSIZE - 1)


cdef class IoTlbMem(IoTlbMemBase):
    """struct io_tlb_mem: one pool, shared by the devices whose io_tlb_mem it is.

    start: page aligned physical address, RAM of the machine that nothing else then gets. nslabs: slots of 2 KiB.
    nareas: power of two. for_alloc: a restricted pool ("restricted-dma-pool" in reserved memory): streaming mappings
    always bounce, and coherent memory comes from it.
    """

    def __init__(self, Machine machine not None, u64 start, u64 nslabs, unsigned int nareas=1, *,
                 bint force_bounce=False, bint for_alloc=False):
        cdef u64 i
        if self.slots != NULL:
            raise TypeError("an IoTlbMem is initialised once")
        if start & (machine.page_size - 1):
            raise ValueError(f"pool at {start:#x} is not page aligned")
        if nareas == 0 or nareas & (nareas - 1) or not nareas <= nslabs <= 1 << 31:
            raise ValueError(f"{nslabs} slots cannot be cut into {nareas} areas")
        self.machine = machine
        self.start = start
        self.end = start + (nslabs << IO_TLB_SHIFT)
        self.nslabs = nslabs
        self.nareas = nareas
        self.area_nslabs = nslabs // nareas
        self.force_bounce = force_bounce or for_alloc
        self.for_alloc = for_alloc
        self.slots = <io_tlb_slot *>calloc(nslabs, sizeof(io_tlb_slot))
        self.areas = <io_tlb_area *>calloc(nareas, sizeof(io_tlb_area))
        if self.slots == NULL or self.areas == NULL:
            raise MemoryError(f"no memory for {nslabs} slots")
        for i in range(nslabs):
            self.slots[i].list = IO_TLB_SEGSIZE - in_group(i)
            self.slots[i].orig_addr = INVALID
        machine.mem.fill(start, 0, nslabs << IO_TLB_SHIFT)
        reserve_ram(machine, start, self.end)

    def __dealloc__(self):
        free(self.slots)
        free(self.areas)

    def __repr__(self):
        return f"<IoTlbMem {self.start:#x}-{self.end:#x}: {self.used} of {self.nslabs} slots used>"

    @property
    def used(self):
        """Slots that are taken."""
        return mem_used(self)

    @property
    def area_index(self):
        """Where each area's next search starts, relative to the area."""
        return tuple(self.areas[i].index for i in range(self.nareas))

    def live(self):
        """{slot: (original address, bytes from here on)} of every slot that is taken for a mapping."""
        return {i: (self.slots[i].orig_addr, self.slots[i].alloc_size)
                for i in range(self.nslabs) if self.slots[i].orig_addr != INVALID}

    def free_runs(self):
        """The free list: for each slot, how many free ones follow one another from it on within its group."""
        return [self.slots[i].list for i in range(self.nslabs)]

    def map_single(self, Device dev not None, u64 orig, size_t mapping_size, size_t alloc_size,
                   unsigned int alloc_align_mask, int dir, unsigned long attrs=0):
        """swiotlb_tbl_map_single(): the slot's address, or None. The device must use this pool."""
        if dev.io_tlb_mem is not self:
            raise ValueError(f"{dev.name} does not use this pool")
        tlb = swiotlb_tbl_map_single(dev, orig, mapping_size, alloc_size, alloc_align_mask, dir, attrs)
        return None if tlb == DMA_MAPPING_ERROR else tlb

    def unmap_single(self, Device dev not None, u64 tlb_addr, size_t size, int dir, unsigned long attrs=0):
        """swiotlb_tbl_unmap_single()."""
        if not is_swiotlb_buffer(dev, tlb_addr) or dev.io_tlb_mem is not self:
            raise ValueError(f"{tlb_addr:#x} is not in {dev.name}'s pool")
        swiotlb_tbl_unmap_single(dev, tlb_addr, size, dir, attrs)


cdef int reserve_ram(Machine m, u64 start, u64 end) except -1:
    """Take the pool from the page allocator, block by naturally aligned block."""
    cdef u64 block
    while start < end:
        block = m.page_size
        while not start & block and start + 2 * block <= end:
            block *= 2
        m.reserve_ram(start, (block // m.page_size).bit_length() - 1)
        start += block
    return 0


def swiotlb_init(Machine machine not None, u64 size=0, unsigned int nareas=0, *, bint force_bounce=False,
                 bint anywhere=False):
    """The pool that Linux would set up at boot, or None if no memory is left for it.

    size: bytes ("swiotlb=" counts slots), 0: 64 MiB. nareas: 0: one per CPU. Both are rounded up to powers of two; an
    area has at least 128 slots. The pool is halved, down to 1 MiB, until it fits into RAM below 4 GiB.
    """
    cdef u64 nslabs = DEFAULT_SLABS if size == 0 else ((size >> IO_TLB_SHIFT) + IO_TLB_SEGSIZE - 1) & ~<u64>127
    cdef unsigned int limited
    nareas = 1 << ((nareas or machine.nr_cpus) - 1).bit_length()
    nslabs = 1 << int(max(nslabs, <u64>IO_TLB_SEGSIZE * nareas) - 1).bit_length()
    limited = nareas
    while True:
        order = max(0, int((nslabs << IO_TLB_SHIFT) - 1).bit_length() - machine.page_shift)
        try:
            start = machine.alloc_ram(order, None if anywhere else 0xffffffff)
            break
        except MemoryError:
            if nslabs <= MIN_SLABS:
                machine.warn(b"software IO TLB: No low mem")
                return None
            nslabs //= 2
            limited = min(limited, nslabs // IO_TLB_SEGSIZE)
    # 6.1 computes the limit and then does not use it: an area of a shrunk pool may have less than 128 slots, and a free
    # run is then believed to go on into the next area (swiotlb_init_remap)
    if machine.kernel >= 612:
        nareas = limited
    return IoTlbMem(machine, start, nslabs, nareas, force_bounce=force_bounce)


# -- what a device's pool is -----------------------------------------------------------------------------------

cdef size_t swiotlb_max_mapping_size(Device dev) noexcept nogil:
    """Bytes: a group of slots, less what min_align_mask may cost."""
    return IO_TLB_SIZE * IO_TLB_SEGSIZE - slot_addr(0, nr_slots(dma_get_min_align_mask(dev)))


cdef u64 mem_used(IoTlbMem mem) noexcept nogil:
    cdef unsigned int i
    cdef u64 used = 0
    for i in range(mem.nareas):
        used += mem.areas[i].used
    return used


# -- copying ---------------------------------------------------------------------------------------------------

cdef inline unsigned int align_offset(Device dev, unsigned int align_mask, u64 addr) noexcept nogil:
    """How far into its slots a mapping of addr starts. 6.1 knows offsets within the first slot only (align_mask 0)."""
    return addr & dma_get_min_align_mask(dev) & (align_mask | (IO_TLB_SIZE - 1))


cdef int bounce_copy(Machine m, phys_addr_t buffer, phys_addr_t orig, size_t n, int dir) except -9999 nogil:
    """Copy n bytes from the original into its bounce buffer (TO_DEVICE) or back. Machine.events gets ("bounce", orig,
    n, dir). The CPU copies, so through its cache if devices do not see that."""
    cdef phys_addr_t dst = buffer if dir == DMA_TO_DEVICE else orig
    cdef phys_addr_t src = orig if dir == DMA_TO_DEVICE else buffer
    if m.events is not None:
        with gil:
            m.events.append(("bounce", orig, n, dir))
    if m.cache is not None:
        with gil:
            m.cpu_write(dst, m.cpu_read(src, n))
        return 0
    if m.mem.copy(dst, src, n):
        with gil:
            raise MemoryError("no memory for a bounce buffer")
    return 0


cdef int bounce(Device dev, IoTlbMem mem, phys_addr_t tlb_addr, size_t size, int dir) except -9999 nogil:
    """swiotlb_bounce(): copy size bytes from (TO_DEVICE) or back to (FROM_DEVICE) the original."""
    cdef io_tlb_slot *slot = &mem.slots[(tlb_addr - mem.start) >> IO_TLB_SHIFT]
    cdef phys_addr_t orig = slot.orig_addr
    cdef size_t left = slot.alloc_size
    cdef unsigned int tlb_offset = tlb_addr & (IO_TLB_SIZE - 1)
    cdef unsigned int offset
    if orig == INVALID:
        return 0
    offset = align_offset(dev, 0, orig)
    if dev.machine.kernel < 612:
        # refuses, too, the first bytes of every further slot of a mapping that starts inside its first one
        if tlb_offset < offset:
            return dev.machine.warn(b"WARNING: swiotlb_bounce: Access before mapping start detected.")
        if tlb_offset - offset > left:
            return dev.machine.warn(b"WARNING: swiotlb_bounce: Buffer overflow detected.")
    orig += <u64>tlb_offset - offset
    left -= <size_t>tlb_offset - offset
    if size > left:
        dev.machine.warn(b"WARNING: swiotlb_bounce: Buffer overflow detected.")
        size = left
    return bounce_copy(dev.machine, tlb_addr, orig, size, dir)


# -- the allocator ---------------------------------------------------------------------------------------------

cdef s64 search_area(Device dev, IoTlbMem mem, unsigned int area_nr, phys_addr_t orig, size_t alloc_size,
                     unsigned int align_mask) except -9999 nogil:
    """swiotlb_do_find_slots(): take a run of slots of one area; the index of the first, or -1.

    alloc_size includes the offset into the first slot. orig 0: no address to be congruent with.
    """
    cdef io_tlb_area *area = &mem.areas[area_nr]
    cdef io_tlb_slot *slots = mem.slots
    cdef unsigned int area_slots = mem.area_nslabs
    cdef unsigned int base = area_nr * area_slots
    cdef u64 boundary = dma_get_seg_boundary(dev)
    cdef u64 pool_dma = dev.phys_to_dma(mem.start) & boundary
    cdef u64 max_slots = nr_slots(boundary + 1)
    cdef unsigned int min_align = dma_get_min_align_mask(dev)
    cdef unsigned int nslots = nr_slots(alloc_size)
    cdef unsigned int page_shift = dev.machine.page_shift
    cdef bint old = dev.machine.kernel < 612
    cdef unsigned int stride, index, wrap, checked = 0, wrapped = 0
    cdef u64 tlb_addr
    if boundary == dev.machine.ulong_mask:
        max_slots = <u64>1 << (dev.machine.bits - IO_TLB_SHIFT)
    if nslots == 0:
        return kernel_bug(b"kernel BUG at kernel/dma/swiotlb.c: !nslots")
    if not old and align_mask == 0 and min_align == 0 and alloc_size >> page_shift:
        align_mask = (1 << page_shift) - 1
    align_mask |= IO_TLB_SIZE - 1
    min_align &= ~align_mask
    if old:
        stride = (min_align >> IO_TLB_SHIFT) + 1
        if alloc_size >> page_shift and page_shift > IO_TLB_SHIFT:
            stride <<= page_shift - IO_TLB_SHIFT
        stride = max(stride, (align_mask >> IO_TLB_SHIFT) + 1)
        wrap = (area.index + stride - 1) & ~(stride - 1)
        if wrap >= area_slots:
            wrap = 0
    else:
        stride = nr_slots(<u64>max(align_mask, min_align) + 1)
        wrap = area.index
    if nslots > area_slots - area.used:
        return -1
    index = wrap
    while True:
        tlb_addr = slot_addr(pool_dma, base + index)
        if (orig and tlb_addr & min_align != orig & min_align) or (not old and tlb_addr & align_mask):
            index += 1
            checked += 1
        else:
            if not iommu_is_span_boundary(base + index, nslots, nr_slots(pool_dma), max_slots):
                if slots[base + index].list >= nslots:
                    break
            index += stride
            checked += stride
        if index >= area_slots:
            index = 0
            wrapped += 1
        if old:
            # 6.1 stops when it comes back to where it began, which it may step over for ever, with the lock held: a
            # start that is a multiple of the stride, and originals that are congruent to something else
            if index == wrap:
                return -1
            if wrapped == 2:
                return kernel_hang(b"swiotlb_do_find_slots: the search steps over its start for ever")
        elif checked >= area_slots:
            return -1
    take_slots(slots, base + index, nslots, alloc_size, align_offset(dev, 0, orig))
    area.index = index + nslots if index + nslots < area_slots else 0
    area.used += nslots
    return base + index


cdef void renumber_below(io_tlb_slot *slots, unsigned int index, unsigned int run) noexcept nogil:
    """Count on downwards from index - 1, over the free slots of the group, after index starts a free run."""
    while in_group(index) and slots[index - 1].list:
        index -= 1
        run += 1
        slots[index].list = run


cdef void take_slots(io_tlb_slot *slots, unsigned int first, unsigned int nslots, size_t alloc_size,
                     unsigned int offset) noexcept nogil:
    cdef unsigned int i
    for i in range(nslots):
        slots[first + i].list = 0
        slots[first + i].alloc_size = alloc_size - (offset + (<size_t>i << IO_TLB_SHIFT))
    renumber_below(slots, first, 0)


cdef s64 find_slots(Device dev, IoTlbMem mem, phys_addr_t orig, size_t alloc_size,
                    unsigned int align_mask) except -9999 nogil:
    """The areas round robin, beginning with the CPU's; the index of the first slot, or -1."""
    cdef unsigned int nareas = mem.nareas
    cdef unsigned int start = <unsigned int>dev.machine.cpu & (nareas - 1)
    cdef unsigned int i
    cdef s64 index
    if dev.machine.should_fail(b"swiotlb"):
        return -1
    for i in range(nareas):
        index = search_area(dev, mem, (start + i) % nareas, orig, alloc_size, align_mask)
        if index >= 0:
            return index
    return -1


cdef int release_slots(Device dev, IoTlbMem mem, phys_addr_t tlb_addr) except -9999 nogil:
    """Free the rest of a mapping from tlb_addr on; which slots that are depends on today's min_align_mask."""
    cdef io_tlb_slot *slots = mem.slots
    cdef unsigned int offset = align_offset(dev, 0, tlb_addr)
    cdef unsigned int index = (tlb_addr - offset - mem.start) >> IO_TLB_SHIFT
    cdef unsigned int nslots, run = 0, i
    index -= slots[index].pad_slots
    nslots = nr_slots(slots[index].alloc_size + offset)
    if index + nslots > mem.nslabs:
        return kernel_bug(b"swiotlb_release_slots: write beyond the end of the pool")
    if in_group(index) + nslots < IO_TLB_SEGSIZE:
        run = slots[index + nslots].list
    for i in range(index + nslots, index, -1):
        run += 1
        slots[i - 1].list = run
        slots[i - 1].orig_addr = INVALID
        slots[i - 1].alloc_size = 0
        slots[i - 1].pad_slots = 0
    renumber_below(slots, index, run)
    mem.areas[index // mem.area_nslabs].used -= nslots
    return 0


# -- mapping ---------------------------------------------------------------------------------------------------

cdef phys_addr_t swiotlb_tbl_map_single(Device dev, phys_addr_t orig, size_t mapping_size, size_t alloc_size,
                                        u64 alloc_align_mask, int dir,
                                        unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
    """Bounce mapping_size bytes at orig; the physical address in the pool, or DMA_MAPPING_ERROR.

    alloc_size: what to take from the pool, at least mapping_size; 6.12 works it out itself.
    """
    cdef io_tlb_slot *slots
    cdef size_t total
    cdef unsigned int offset, pad = 0
    cdef u64 i
    cdef s64 index
    if not is_swiotlb_active(dev):
        dev.machine.warn(b"swiotlb: no pool was allocated earlier, and none can be now")
        return DMA_MAPPING_ERROR
    slots = (<IoTlbMem>dev.io_tlb_mem).slots
    if dev.machine.kernel < 612:
        if mapping_size > alloc_size:
            dev.machine.warn(b"Invalid sizes (mapping, alloc)")
            return DMA_MAPPING_ERROR
        offset = align_offset(dev, 0, orig)
        total = alloc_size + offset
    else:
        offset = align_offset(dev, alloc_align_mask, orig)
        total = (mapping_size + offset + alloc_align_mask) & ~alloc_align_mask
    index = find_slots(dev, <IoTlbMem>dev.io_tlb_mem, orig, total, alloc_align_mask)
    if index < 0:
        if not attrs & DMA_ATTR_NO_WARN:
            dev.machine.warn(b"swiotlb buffer is full")
        return DMA_MAPPING_ERROR
    if dev.machine.kernel >= 612:
        dev.dma_skip_sync = False               # from now on this device always syncs
        pad = offset >> IO_TLB_SHIFT
        offset &= IO_TLB_SIZE - 1
        index += pad
        slots[index].pad_slots = pad
    for i in range(nr_slots(total) - pad):
        slots[index + i].orig_addr = slot_addr(orig, i)
    orig = slot_addr((<IoTlbMem>dev.io_tlb_mem).start, index) + offset
    bounce(dev, <IoTlbMem>dev.io_tlb_mem, orig, mapping_size, DMA_TO_DEVICE)
    return orig


cdef int swiotlb_tbl_unmap_single(Device dev, phys_addr_t tlb_addr, size_t mapping_size, int dir,
                                  unsigned long attrs) except -9999 nogil:
    if not attrs & DMA_ATTR_SKIP_CPU_SYNC and (dir == DMA_FROM_DEVICE or dir == DMA_BIDIRECTIONAL):
        bounce(dev, <IoTlbMem>dev.io_tlb_mem, tlb_addr, mapping_size, DMA_FROM_DEVICE)
    return release_slots(dev, <IoTlbMem>dev.io_tlb_mem, tlb_addr)


cdef int swiotlb_sync_single_for_device(Device dev, phys_addr_t tlb_addr, size_t size, int dir) except -9999 nogil:
    if dir == DMA_TO_DEVICE or dir == DMA_BIDIRECTIONAL:
        return bounce(dev, <IoTlbMem>dev.io_tlb_mem, tlb_addr, size, DMA_TO_DEVICE)
    if dir != DMA_FROM_DEVICE:
        return kernel_bug(b"kernel BUG at kernel/dma/swiotlb.c: dir != DMA_FROM_DEVICE")
    return 0


cdef int swiotlb_sync_single_for_cpu(Device dev, phys_addr_t tlb_addr, size_t size, int dir) except -9999 nogil:
    if dir == DMA_FROM_DEVICE or dir == DMA_BIDIRECTIONAL:
        return bounce(dev, <IoTlbMem>dev.io_tlb_mem, tlb_addr, size, DMA_FROM_DEVICE)
    if dir != DMA_TO_DEVICE:
        return kernel_bug(b"kernel BUG at kernel/dma/swiotlb.c: dir != DMA_TO_DEVICE")
    return 0


cdef dma_addr_t swiotlb_map(Device dev, phys_addr_t paddr, size_t size, int dir,
                            unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
    """Bounce and give the device the pool's address, with the cache written back for one that is not coherent."""
    cdef phys_addr_t tlb = swiotlb_tbl_map_single(dev, paddr, size, size, 0, dir, attrs)
    cdef dma_addr_t addr
    if tlb == DMA_MAPPING_ERROR:
        return DMA_MAPPING_ERROR
    addr = dev.phys_to_dma(tlb)
    if not dma_capable(dev, addr, size, True):
        swiotlb_tbl_unmap_single(dev, tlb, size, dir, attrs | DMA_ATTR_SKIP_CPU_SYNC)
        dev.machine.warn(b"WARNING: swiotlb_map: swiotlb addr overflow")
        return DMA_MAPPING_ERROR
    if not dev.dma_coherent and not attrs & DMA_ATTR_SKIP_CPU_SYNC:
        dev.machine.sync_for_device(tlb, size, dir)
    return addr


# -- restricted pools ------------------------------------------------------------------------------------------

cdef page_t swiotlb_alloc(Device dev, size_t size) except? 0xBADBADBADBADBAD nogil:
    """Pages of a restricted pool for coherent memory, or all ones. They are not zeroed and not recorded: live() does
    not show them. 6.1 aligns the start of the search only; 6.12 aligns to the smallest page order that holds size."""
    cdef unsigned int align = 0
    cdef s64 index
    cdef u64 span = dev.machine.page_size
    if dev.io_tlb_mem is None:
        return DMA_MAPPING_ERROR
    if dev.machine.kernel >= 612:
        while span < size:
            span <<= 1
        align = span - 1
    index = find_slots(dev, <IoTlbMem>dev.io_tlb_mem, 0, size, align)
    if index < 0:
        return DMA_MAPPING_ERROR
    return slot_addr((<IoTlbMem>dev.io_tlb_mem).start, index)


cdef bint swiotlb_free(Device dev, page_t page, size_t size) except -1 nogil:
    """False if the page is not the pool's."""
    if not is_swiotlb_buffer(dev, page):
        return False
    release_slots(dev, <IoTlbMem>dev.io_tlb_mem, page)
    return True
