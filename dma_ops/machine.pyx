# SPDX-License-Identifier: MIT
"""What an architecture looks like to DMA: word size, pages, RAM, caches, and the memory itself."""

from bisect import bisect_left, bisect_right, insort

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove

from .errors import KernelBug

PHYS_NONE = ~<u64>0

cdef enum:
    BIDIRECTIONAL = 0
    TO_DEVICE = 1
    FROM_DEVICE = 2


cdef class Machine:
    """One machine. Facts are keyword arguments; every address is in bytes.

    ram: (start, end) pairs, end exclusive. dma_addr_bits, phys_addr_bits: widths of dma_addr_t and phys_addr_t.
    cached: model a CPU cache that non-coherent devices do not see (cpu_write, cpu_read). kernel: 100 * major + minor
    of the Linux version that is modelled. table_base: where alloc_table hands out memory for translation tables.
    """

    def __cinit__(self):
        self.mem = PhysMem()                # so that no method meets a NULL, __init__ called or not

    def __init__(self, str name, *, str arch="", int bits=64, bint big_endian=False, unsigned int page_shift=12,
                 ram=((0, 1 << 30),), unsigned int dma_addr_bits=0, unsigned int phys_addr_bits=0,
                 bint need_sg_dma_length=True, bint arch_no_sg_chain=False, bint pci_p2pdma=False,
                 unsigned int zone_dma_bits=24, bint has_zone_dma=True, int kernel=601, int nr_cpus=1,
                 bint cached=False, u64 table_base=1 << 43):
        cdef int i
        if bits not in (32, 64):
            raise ValueError(f"machine {name}: bits is {bits}, not 32 or 64")
        if not 12 <= page_shift <= 16:
            raise ValueError(f"machine {name}: page_shift is {page_shift}, not 12 to 16")
        if self.ram != NULL:
            raise TypeError("a Machine is initialised once")
        self.name = name
        self.arch = arch
        self.bits = bits
        self.big_endian = big_endian
        self.page_shift = page_shift
        self.page_size = 1 << page_shift
        self.dma_addr_mask = self._ones(name, "dma_addr_bits", dma_addr_bits or bits)
        self.phys_addr_mask = self._ones(name, "phys_addr_bits", phys_addr_bits or bits)
        self.ulong_mask = self._ones(name, "bits", bits)
        self.need_sg_dma_length = need_sg_dma_length
        self.arch_no_sg_chain = arch_no_sg_chain
        self.pci_p2pdma = pci_p2pdma
        self.zone_dma_bits = zone_dma_bits
        self.has_zone_dma = has_zone_dma
        self.bounce_unaligned_kmalloc = arch == "arm64" and kernel >= 612
        self.kernel = kernel
        self.nr_cpus = nr_cpus
        self.providers = []
        self.dmesg = []
        self.alloc_feed = []
        self.allocated = {}
        self.blocks = []
        self.vmaps = []
        self.table_next = table_base
        self.table_free = {}
        self.fail_plan = []
        if cached:
            self.cache = Cache(self.mem)
        ranges = sorted((int(start), int(end)) for start, end in ram)
        if not ranges:
            raise ValueError(f"machine {name}: no RAM")
        self.ram = <mem_range *>calloc(len(ranges), sizeof(mem_range))
        if self.ram == NULL:
            raise MemoryError("no memory for the RAM ranges")
        last = -1
        for i, (start, end) in enumerate(ranges):
            if start >= end or start < last:
                raise ValueError(f"machine {name}: RAM range {start:#x}-{end:#x} is empty or overlaps another")
            self.ram[i].start = start
            self.ram[i].end = end
            last = end
        self.nr_ram = len(ranges)

    @staticmethod
    def _ones(name, what, unsigned int n):
        if not 1 <= n <= 64:
            raise ValueError(f"machine {name}: {what} is {n}, not 1 to 64")
        return ~<u64>0 >> (64 - n)

    def __dealloc__(self):
        free(self.ram)
        free(self.pgmaps)

    def __repr__(self):
        return f"<Machine {self.name}: {self.bits}-bit {self.arch}, {self.page_size >> 10} KiB pages>"

    # -- memory ------------------------------------------------------------------------------------------------

    @property
    def ram_ranges(self):
        return [(self.ram[i].start, self.ram[i].end) for i in range(self.nr_ram)]

    cdef phys_addr_t end_of_ram(self) noexcept nogil:
        """One past the highest byte of RAM."""
        return self.ram[self.nr_ram - 1].end

    cdef bint is_ram(self, phys_addr_t addr) noexcept nogil:
        cdef int i
        for i in range(self.nr_ram):
            if self.ram[i].start <= addr < self.ram[i].end:
                return True
        return False

    def feed_alloc(self, *addresses):
        """Let the next alloc_pages calls answer these physical addresses, in this order, and forget earlier ones
        (for replays)."""
        self.alloc_feed = list(addresses)

    cdef phys_addr_t alloc_pages(self, unsigned int order, u64 limit) except? 0xBADBADBADBADBAD nogil:
        """2^order zeroed, naturally aligned pages of RAM whose last byte is at most limit; PHYS_NONE if there are none.

        Hands out the highest ones, as the page allocator of a machine that has just booted does.
        """
        with gil:
            return self._alloc_pages(order, limit)

    def _alloc_pages(self, unsigned int order, u64 limit):
        cdef u64 size = self.page_size << order
        cdef u64 start
        cdef u64 low
        if order >= 64 - self.page_shift or self.should_fail(b"pages"):
            return PHYS_NONE
        if self.alloc_feed:
            start = self.alloc_feed.pop(0)
            self._take(start, order)
            return start
        for first, end in reversed(self.ram_ranges):
            end = min(end, limit + 1 if limit != PHYS_NONE else end)
            if end < first + size:
                continue
            start = (end - size) & ~(size - 1)
            low = max(first, self.page_size)        # frame 0 is never given out
            while start >= low:
                clash = self._overlap(start, size)
                if clash is None:
                    self._take(start, order)
                    return start
                if clash < size:
                    break
                start = (clash - size) & ~(size - 1)
        return PHYS_NONE

    def _take(self, start, order):
        if start not in self.allocated:
            insort(self.blocks, start)
        self.allocated[start] = order
        self.zero(start, self.page_size << order)

    def _release(self, start):
        """The order of an allocated block, which is free now; None if it is not the start of one."""
        order = self.allocated.pop(start, None)
        if order is not None:
            del self.blocks[bisect_left(self.blocks, start)]
        return order

    def _overlap(self, start, size):
        """The start of the highest allocated block that overlaps [start, start + size), or None."""
        at = bisect_left(self.blocks, start + size) - 1
        if at >= 0 and self.blocks[at] + (self.page_size << self.allocated[self.blocks[at]]) > start:
            return self.blocks[at]
        return None

    cdef int free_pages(self, phys_addr_t page, unsigned int order) except -9999 nogil:
        with gil:
            if self._release(page) is None:
                raise KernelBug(f"Bad page state: free of {page:#x}, which is not allocated")
        return 0

    def alloc_ram(self, unsigned int order, limit=None):
        """2^order zeroed pages of RAM for a buffer: their physical address. Raises MemoryError when RAM is full."""
        start = self._alloc_pages(order, PHYS_NONE if limit is None else limit)
        if start == PHYS_NONE:
            raise MemoryError(f"machine {self.name} has no {1 << order} free pages")
        return start

    def reserve_ram(self, u64 start, unsigned int order):
        """Take 2^order pages from the page allocator as they are."""
        if start not in self.allocated:
            insort(self.blocks, start)
            self.allocated[start] = order

    def free_ram(self, start):
        if self._release(start) is None:
            raise ValueError(f"{start:#x} is not the start of an allocation")

    @property
    def pages_allocated(self):
        """How many pages of RAM are allocated: equal before and after whatever must not leak."""
        return sum(1 << order for order in self.allocated.values())

    cdef phys_addr_t alloc_table(self, u64 size, u64 align) except? 0xBADBADBADBADBAD nogil:
        """Zeroed memory for a translation table, apart from RAM; PHYS_NONE if fault injection says so."""
        with gil:
            return self._alloc_table(size, align)

    def _alloc_table(self, u64 size, u64 align):
        cdef u64 start
        if self.should_fail(b"table"):
            return PHYS_NONE
        free_list = self.table_free.get((size, align))
        if free_list:
            start = free_list.pop()
        else:
            start = (self.table_next + align - 1) & ~(align - 1)
            self.table_next = start + size
            self.table_free.setdefault((size, align), [])
        self.mem.fill(start, 0, size)
        return start

    cdef int free_table(self, phys_addr_t table, u64 size) except -9999 nogil:
        with gil:
            for (known, align), free_list in self.table_free.items():
                if known == size and not table & (align - 1):
                    free_list.append(table)
                    break
        return 0

    # -- kernel addresses beside the linear map ----------------------------------------------------------------

    def vmap(self, pages):
        """One kernel address for pages (physical addresses) that need not follow one another."""
        pages = list(pages)
        start = 0xffffc90000000000 if self.bits == 64 else 0xf8000000
        if self.vmaps:
            start = self.vmaps[len(self.vmaps) - 1][1] + self.page_size
        self.vmaps.append((start, start + len(pages) * self.page_size, pages))
        return start

    def vunmap(self, u64 addr):
        """The pages that were mapped at addr. Raises KernelBug if addr is not what vmap answered."""
        at = bisect_right(self.vmaps, addr, key=lambda row: row[0]) - 1
        if at < 0 or self.vmaps[at][0] != addr:
            raise KernelBug(f"Trying to vunmap() nonexistent vm area ({addr:#x})")
        return self.vmaps.pop(at)[2]

    def vmap_pages(self, u64 addr):
        """The pages that vmap was given for addr, or None for an address of the linear map."""
        at = bisect_right(self.vmaps, addr, key=lambda row: row[0]) - 1
        return self.vmaps[at][2] if at >= 0 and self.vmaps[at][0] == addr else None

    def _vmapped(self, u64 addr):
        """(physical address, bytes left in the page) of a kernel address that vmap made, or None."""
        at = bisect_right(self.vmaps, addr, key=lambda row: row[0]) - 1
        if at < 0 or addr >= self.vmaps[at][1]:
            return None
        offset = addr - self.vmaps[at][0]
        inside = offset & (self.page_size - 1)
        return self.vmaps[at][2][offset >> self.page_shift] + inside, self.page_size - inside

    # -- P2P memory --------------------------------------------------------------------------------------------

    def add_pgmap(self, u64 start, u64 end, u64 bus_offset, u32 provider):
        """Register [start, end) as P2P memory of providers[provider]; its unique pgmap number."""
        cdef int i, at
        cdef pgmap_range *grown
        if not self.pci_p2pdma:
            raise ValueError(f"machine {self.name} has no CONFIG_PCI_P2PDMA")
        if start >= end:
            raise ValueError(f"P2P range {start:#x}-{end:#x} is empty")
        at = self.nr_pgmaps
        for i in range(self.nr_pgmaps):
            if self.pgmaps[i].start < end and start < self.pgmaps[i].end:
                raise ValueError(f"P2P range {start:#x}-{end:#x} overlaps another")
            if self.pgmaps[i].start > start and at == self.nr_pgmaps:
                at = i
        grown = <pgmap_range *>realloc(self.pgmaps, (self.nr_pgmaps + 1) * sizeof(pgmap_range))
        if grown == NULL:
            raise MemoryError("no memory for the P2P ranges")
        self.pgmaps = grown
        for i in range(self.nr_pgmaps, at, -1):
            grown[i] = grown[i - 1]
        grown[at].start = start
        grown[at].end = end
        grown[at].bus_offset = bus_offset
        grown[at].provider = provider
        grown[at].pgmap = 1 + max([grown[i].pgmap for i in range(self.nr_pgmaps + 1) if i != at], default=0)
        self.nr_pgmaps += 1
        return grown[at].pgmap

    cdef pgmap_range *find_pgmap(self, phys_addr_t addr) noexcept nogil:
        cdef int lo = 0, hi = self.nr_pgmaps, mid
        while lo < hi:
            mid = (lo + hi) >> 1
            if self.pgmaps[mid].end <= addr:
                lo = mid + 1
            else:
                hi = mid
        if lo < self.nr_pgmaps and self.pgmaps[lo].start <= addr:
            return &self.pgmaps[lo]
        return NULL

    @property
    def pgmap_ranges(self):
        """(start, end, number) of each registered range, ascending."""
        return [(self.pgmaps[i].start, self.pgmaps[i].end, self.pgmaps[i].pgmap) for i in range(self.nr_pgmaps)]

    def pgmap_of(self, u64 page):
        """The number of the pgmap whose range this address lies in, 0 for none: page->pgmap."""
        cdef pgmap_range *pgmap = self.find_pgmap(page)
        return 0 if pgmap == NULL else pgmap.pgmap

    def remove_pgmap(self, u32 pgmap):
        """Forget a range: its addresses are no pages any more. Raises ValueError."""
        cdef int i
        for i in range(self.nr_pgmaps):
            if self.pgmaps[i].pgmap == pgmap:
                self.nr_pgmaps -= 1
                memmove(&self.pgmaps[i], &self.pgmaps[i + 1], (self.nr_pgmaps - i) * sizeof(pgmap_range))
                return
        raise ValueError(f"machine {self.name} has no P2P range number {pgmap}")

    def is_p2p_page(self, u64 page):
        """is_pci_p2pdma_page(): does this address lie in registered P2P memory?"""
        return bool(is_pci_p2pdma_page(self, page))

    # -- the kernel's log and fault injection ------------------------------------------------------------------

    cdef int warn(self, const char *message) except -9999 nogil:
        with gil:
            self.dmesg.append(message.decode())
        return 0

    def fail(self, str kind, int nth=1):
        """Let the nth allocation of this kind from now fail: "pages", "table", "iova", "swiotlb" or a backend's own."""
        self.fail_plan.append([kind.encode(), nth])
        self.fail_armed = True

    def fails(self, str kind):
        """Is this allocation one that fail() has doomed? A backend written in Python asks before each of its own."""
        return self._should_fail(kind.encode())

    cdef bint should_fail(self, const char *kind) noexcept nogil:
        if not self.fail_armed:
            return False
        with gil:
            return self._should_fail(kind)

    def _should_fail(self, bytes kind):
        for plan in self.fail_plan:
            if plan[0] == kind:
                plan[1] -= 1
                if plan[1] == 0:
                    self.fail_plan.remove(plan)
                    self.fail_armed = bool(self.fail_plan)
                    return True
        return False

    cdef int set_mem(self, PhysMem mem) except -1:
        """Another object for the same memory, which the CPU's cache lies before, too."""
        self.mem = mem
        if self.cache is not None:
            self.cache.mem = mem
        return 0

    # -- the CPU's cache ---------------------------------------------------------------------------------------
    # Devices that are not coherent read and write mem behind it; coherent ones snoop: see Device.

    def cpu_write(self, u64 addr, data):
        """Store bytes as the CPU does: into its cache if the machine has one that devices do not see."""
        cdef bytes raw = bytes(data)
        cdef size_t i = 0, n = len(raw), step
        while self.vmaps and i < n:
            page = self._vmapped(addr + i)
            if page is None:
                break
            step = min(page[1], n - i)
            self._cpu_write(page[0], raw[i:i + step])
            i += step
        if i < n:
            self._cpu_write(addr + i, raw[i:])

    def _cpu_write(self, u64 addr, bytes raw):
        if self.cache is None:
            self.mem.poke(addr, raw)
        elif self.cache.access(addr, <u8 *><char *>raw, len(raw), True):
            raise MemoryError(f"no memory for {len(raw)} bytes in the CPU's cache")

    def cpu_read(self, u64 addr, size_t n):
        """Load n bytes as the CPU does: from its cache where it holds them, which then holds all it has read."""
        cdef bytearray out = bytearray()
        cdef size_t step
        if not self.vmaps:
            return self._cpu_read(addr, n)
        while n:
            page = self._vmapped(addr)
            if page is None:
                break
            step = min(page[1], n)
            out += self._cpu_read(page[0], step)
            addr += step
            n -= step
        return bytes(out + self._cpu_read(addr, n))

    def _cpu_read(self, u64 addr, size_t n):
        cdef bytes out
        if self.cache is None:
            return self.mem.peek(addr, n)
        out = PyBytes_FromStringAndSize(NULL, n)
        if self.cache.access(addr, <u8 *><char *>out, n, False):
            raise MemoryError(f"no memory for {n} bytes in the CPU's cache")
        return out

    cdef int maintain(self, u64 addr, u64 size, bint clean, bint invalidate) except -9999 nogil:
        if self.cache is not None and self.cache.maintain(addr, size, clean, invalidate):
            with gil:
                raise MemoryError("no memory for the lines of the CPU's cache")
        return 0

    cpdef int snoop(self, u64 addr, u64 size) except -9999:
        """What a coherent device's access does: dirty lines reach memory and leave the cache."""
        return self.maintain(addr, size, True, True)

    cdef int zero(self, phys_addr_t addr, u64 size) except -9999 nogil:
        """Clear memory for everyone: what the cache holds of it is dropped."""
        self.mem.fill(addr, 0, size)
        return self.maintain(addr, size, False, True)

    cdef int set_uncached(self, phys_addr_t addr, u64 size, bint on) except -9999 nogil:
        """From now on (or no more) the CPU sees these pages past its cache, which gives up what it holds of them."""
        cdef u64 first = addr & ~(self.page_size - 1)
        cdef u64 end = (addr + size + self.page_size - 1) & ~(self.page_size - 1)
        self.maintain(addr, size, True, True)
        if self.cache is not None and self.cache.set_uncached(first, end - first, on):
            with gil:
                raise MemoryError("no memory for the frames of the CPU's cache")
        return 0

    cdef int sync_for_device(self, phys_addr_t addr, u64 size, int dir) except -9999 nogil:
        """arch_sync_dma_for_device(): write the lines back; a buffer that the device will write leaves the cache."""
        if self.events is not None:
            with gil:
                self.events.append(("sync_dev", addr, size, dir))
        return self.maintain(addr, size, True, dir != TO_DEVICE)

    cdef int sync_for_cpu(self, phys_addr_t addr, u64 size, int dir) except -9999 nogil:
        """arch_sync_dma_for_cpu(): drop the lines of what the device may have written."""
        if self.events is not None:
            with gil:
                self.events.append(("sync_cpu", addr, size, dir))
        return self.maintain(addr, size, False, True) if dir != TO_DEVICE else 0
