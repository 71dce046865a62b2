# SPDX-License-Identifier: MIT
"""DMA regions of PlayStation 3 devices (arch/powerpc/platforms/ps3/mm.c, Linux 6.1).

A region is a run of bus addresses that lv1 gave one device. A system-bus region maps memory at a fixed distance: at
creation in the linear build (the default), by chunks that mappings share in the dynamic one (CONFIG_PS3_DYNAMIC_DMA).
An IOC0 region hands its addresses out one after the other.
"""

from libc.errno cimport ENOMEM
from libc.stdlib cimport calloc, free

from dma_ops.errors cimport kernel_bug

from .ps3_lv1 cimport IOPTE_COHERENT, IOPTE_ORDER_ALL, IOPTE_READ, IOPTE_WRITE

cdef enum:
    PS3_DMA_16M = 24

cdef u64 IO_SEGMENT = 256 << 20                 # what one IO segment of a Cell bridge spans


cdef inline u64 align_down(u64 n, unsigned int shift) noexcept nogil:
    return n & ~((<u64>1 << shift) - 1)


cdef inline u64 align(u64 n, unsigned int shift) noexcept nogil:
    return align_down(n + (<u64>1 << shift) - 1, shift)


cdef inline u64 roundup_pow_of_two(u64 n) noexcept nogil:
    cdef u64 size = 1
    while size < n:
        size <<= 1
    return size


cdef class DmaRegion:
    """struct ps3_dma_region. Lengths in bytes, page_size a shift: 12, 16, 20 or 24."""

    def __init__(self, Machine machine not None, LogicalMemory memory not None, *, unsigned int page_size=16,
                 u64 bus_addr=0x80000000, u64 addr=0, u64 len=0, **options):
        """addr: physical address of the first byte that the region covers; len: bytes, 0 for all memory."""
        if self.machine is not None:
            raise TypeError("a DmaRegion is initialised once")
        if page_size not in (12, 16, 20, 24):
            raise ValueError(f"I/O pages of 1 << {page_size} bytes")
        self.machine = machine
        self.memory = memory
        self.page_size = page_size
        self.bus_addr = bus_addr
        self.offset = memory.phys_to_lpar(addr)
        if self.offset >= memory.rm_size:
            self.offset -= memory.r1_offset
        self.len = len or align(memory.total, page_size)

    def __dealloc__(self):
        cdef dma_chunk *c
        while self.chunk_list != NULL:
            c = self.chunk_list
            self.chunk_list = c.next
            free(c)

    @property
    def chunks(self):
        """(bus_addr, lpar_addr, len, usage_count) of each chunk, the newest first."""
        cdef list rows = []
        cdef dma_chunk *c = self.chunk_list
        while c != NULL:
            rows.append((c.bus_addr, c.lpar_addr, c.len, c.usage_count))
            c = c.next
        return rows

    cdef dma_addr_t lpar_to_bus(self, u64 lpar) except? 0xBADBADBADBADBAD nogil:
        """dma_sb_lpar_to_bus(): an address outside the region is a BUG, not an error."""
        if lpar >= self.memory.rm_size:
            lpar -= self.memory.r1_offset
        if lpar < self.offset or lpar >= self.offset + self.len:
            kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/mm.c: dma_sb_lpar_to_bus: address outside the region")
        return self.bus_addr + lpar - self.offset

    cdef dma_chunk *find_chunk(self, u64 bus, u64 len) except? NULL nogil:
        """dma_find_chunk(): the chunk that holds all pages of [bus, bus + len), or NULL; a part of one is a BUG."""
        cdef u64 start = align_down(bus, self.page_size)
        cdef u64 end = start + align(len + bus - start, self.page_size)
        cdef dma_chunk *c = self.chunk_list
        while c != NULL:
            if start >= c.bus_addr and end <= c.bus_addr + c.len:
                return c
            if end > c.bus_addr and start < c.bus_addr + c.len:
                kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/mm.c: dma_find_chunk: a range of several chunks")
            c = c.next
        return NULL

    cdef dma_chunk *new_chunk(self, u64 lpar, u64 bus, u64 len) noexcept nogil:
        cdef dma_chunk *c
        if self.machine.should_fail(b"chunk"):
            return NULL
        c = <dma_chunk *>calloc(1, sizeof(dma_chunk))
        if c != NULL:
            c.lpar_addr = lpar
            c.bus_addr = bus
            c.len = len
            c.usage_count = 1
        return c

    cdef int drop(self, dma_chunk *c) noexcept nogil:
        """Unlink and free."""
        cdef dma_chunk **link = &self.chunk_list
        while link[0] != c:
            link = &link[0].next
        link[0] = c.next
        free(c)
        return 0

    cdef int map_area(self, phys_addr_t phys, u64 len, dma_addr_t *bus, u64 flags) except -9999 nogil:
        """0 with the bus address, or an error with bus address 0."""
        return kernel_bug(b"NULL ps3_dma_region_ops.map")

    cdef int unmap_area(self, dma_addr_t bus, u64 len) except -9999 nogil:
        return kernel_bug(b"NULL ps3_dma_region_ops.unmap")


cdef class SbRegion(DmaRegion):
    """A system-bus device's region: bus address = bus_addr + phys - offset, in both builds.

    dynamic: CONFIG_PS3_DYNAMIC_DMA; else all of the region is mapped here and now, in pages of 16 MiB if it is larger
    than one of them.
    """

    def __init__(self, machine, memory, *, bint dynamic=False, **facts):
        cdef u64 flags = IOPTE_WRITE | IOPTE_READ | IOPTE_ORDER_ALL | IOPTE_COHERENT
        cdef u64 start, len
        cdef dma_addr_t bus = 0
        super().__init__(machine, memory, **facts)
        self.dynamic = dynamic
        if not dynamic and self.len > 16 << 20 and self.page_size != PS3_DMA_16M:
            self.page_size = PS3_DMA_16M
            self.len = align(self.len, PS3_DMA_16M)
        self.segment = Lv1Segment(machine, memory, self.bus_addr, roundup_pow_of_two(self.len), self.page_size)
        if dynamic:
            return
        if self.offset < self.memory.rm_size:
            len = min(self.memory.rm_size - self.offset, self.len)
            if self.map_chunk(self.offset, len, &bus, flags):
                kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/mm.c: dma_sb_region_create_linear")
        if self.offset + self.len > self.memory.rm_size:
            start = max(self.memory.rm_size, self.offset)
            len = self.len - (start - self.offset)
            if self.map_chunk(start, len, &bus, flags):
                kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/mm.c: dma_sb_region_create_linear")

    cdef int map_chunk(self, phys_addr_t phys, u64 len, dma_addr_t *bus, u64 flags) except -9999 nogil:
        """dma_sb_map_area(): use the chunk that is there, or map a new one."""
        cdef phys_addr_t start = align_down(phys, self.page_size)
        cdef u64 aligned_len = align(len + phys - start, self.page_size)
        cdef u64 lpar, at
        cdef dma_chunk *c
        bus[0] = self.lpar_to_bus(self.memory.phys_to_lpar(phys))
        c = self.find_chunk(bus[0], len)
        if c != NULL:
            c.usage_count += 1
            return 0
        lpar = self.memory.phys_to_lpar(start)
        at = self.lpar_to_bus(lpar)
        c = self.new_chunk(lpar, at, aligned_len)
        if c == NULL:
            bus[0] = 0
            return -ENOMEM
        if self.segment.map_region(lpar, at, aligned_len, flags):
            free(c)
            bus[0] = 0
            return -1
        c.next = self.chunk_list
        self.chunk_list = c
        return 0

    cdef int map_area(self, phys_addr_t phys, u64 len, dma_addr_t *bus, u64 flags) except -9999 nogil:
        if self.dynamic:
            return self.map_chunk(phys, len, bus, flags)
        bus[0] = self.lpar_to_bus(self.memory.phys_to_lpar(phys))       # len is not looked at
        return 0

    cdef int unmap_area(self, dma_addr_t bus, u64 len) except -9999 nogil:
        cdef dma_chunk *c
        if not self.dynamic:
            return 0
        c = self.find_chunk(bus, len)
        if c == NULL:
            return kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/mm.c: dma_sb_unmap_area: no such chunk")
        c.usage_count -= 1
        if c.usage_count == 0:
            if c.bus_addr and self.segment.unmap_region(c.bus_addr, c.len):
                return kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/mm.c: dma_sb_free_chunk")
            self.drop(c)
        return 0


cdef class Ioc0Region(DmaRegion):
    """A region of the IO controller: addresses follow one another, and only the newest chunk's are reused.

    len is not checked: chunks run on behind it, as far as the bridge's IO segment of 256 MiB goes.
    """

    def __init__(self, machine, memory, *, unsigned int ioid=1, **facts):
        super().__init__(machine, memory, **facts)
        self.ioid = ioid
        self.segment = Lv1Segment(machine, memory, self.bus_addr, IO_SEGMENT, self.page_size)

    cdef int check_new(self, u64 lpar, u64 len) except -9999 nogil:
        """dma_find_chunk_lpar(): memory whose first I/O page is mapped already is a BUG, whole or in part; a range that
        begins below a chunk and runs into it goes unseen (arch/powerpc/platforms/ps3/mm.c)."""
        cdef u64 start = align_down(lpar, self.page_size)
        cdef dma_chunk *c = self.chunk_list
        while c != NULL:
            if c.lpar_addr <= start < c.lpar_addr + c.len:
                return kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/mm.c: dma_ioc0_map_area: mapped already")
            c = c.next
        return 0

    cdef int map_area(self, phys_addr_t phys, u64 len, dma_addr_t *bus, u64 flags) except -9999 nogil:
        cdef phys_addr_t start = align_down(phys, self.page_size)
        cdef u64 aligned_len = align(len + phys - start, self.page_size)
        cdef u64 lpar = self.memory.phys_to_lpar(start)
        cdef u64 i, at, pages = aligned_len >> self.page_size
        cdef dma_chunk *c
        self.check_new(self.memory.phys_to_lpar(phys), len)
        bus[0] = 0
        c = self.new_chunk(lpar, self.bus_addr, aligned_len)
        if c == NULL:
            return -ENOMEM
        if self.chunk_list != NULL:
            c.bus_addr = self.chunk_list.bus_addr + self.chunk_list.len
        for i in range(pages):
            at = i << self.page_size
            if self.segment.put_iopte(c.bus_addr + at, lpar + at, self.ioid, flags):
                while i:
                    i -= 1
                    at = i << self.page_size
                    self.segment.put_iopte(c.bus_addr + at, lpar + at, self.ioid, 0)
                free(c)
                return -1
        c.next = self.chunk_list
        self.chunk_list = c
        bus[0] = c.bus_addr + phys - start
        return 0

    cdef int unmap_area(self, dma_addr_t bus, u64 len) except -9999 nogil:
        """The whole chunk goes, however much of it is named."""
        cdef dma_chunk *c = self.find_chunk(bus, len)
        cdef u64 i
        if c == NULL:
            return kernel_bug(b"kernel BUG at arch/powerpc/platforms/ps3/mm.c: dma_ioc0_unmap_area: no such chunk")
        c.usage_count -= 1
        if c.usage_count == 0:
            for i in range(c.len >> self.page_size):
                self.segment.put_iopte(c.bus_addr + (i << self.page_size), c.lpar_addr + (i << self.page_size),
                                       self.ioid, 0)
            self.drop(c)
        return 0
