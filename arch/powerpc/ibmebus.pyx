# SPDX-License-Identifier: MIT
"""ibmebus_dma_ops: the GX bus adapters of pseries (arch/powerpc/platforms/pseries/ibmebus.c, Linux 6.1)."""

from libc.errno cimport ENOMEM

from dma_ops.device cimport (
    OP_ALLOC,
    OP_DMA_SUPPORTED,
    OP_FREE,
    OP_GET_REQUIRED_MASK,
    OP_MAP_PAGE,
    OP_MAP_SG,
    OP_UNMAP_PAGE,
    OP_UNMAP_SG,
    WALK_NOT_PRESENT,
    WALK_OK,
    Device,
    DmaMapOps,
    Walker,
)
from dma_ops.machine cimport PHYS_NONE, Machine, is_pci_p2pdma_page
from dma_ops.mapping cimport get_order
from scatterlist.core cimport scatterlist, sg_next, sg_phys
from scatterlist.types cimport dma_addr_t, page_t, phys_addr_t, u64

from dma_ops.errors import KernelBug

cdef u64 PAGE_OFFSET = 0xc000000000000000       # where the kernel's linear map begins
cdef u64 KMALLOC_MAX_SIZE = 16 << 20
cdef u64 KMALLOC_MIN_SIZE = 128                 # ARCH_KMALLOC_MINALIGN of powerpc with DMA
cdef int JUNK = 0x5a                            # what kmalloc's callers find: not zeroes


cdef class EffectiveAddressWalker(Walker):
    """The adapter behind the CPU's own memory management: it is given effective addresses of the linear map."""

    cdef int translate(self, Device dev, dma_addr_t addr, bint write, phys_addr_t *phys, u64 *run) except -9999 nogil:
        cdef u64 mask = dev.machine.page_size - 1
        phys[0] = addr - PAGE_OFFSET
        run[0] = dev.machine.page_size - (addr & mask)
        if addr < PAGE_OFFSET or not (dev.machine.is_ram(phys[0]) or is_pci_p2pdma_page(dev.machine, phys[0] & ~mask)):
            return WALK_NOT_PRESENT
        return WALK_OK


cdef class IbmebusDmaOps(DmaMapOps):
    """eHCA and eHEA adapters, whose bus addresses are the kernel's own virtual addresses.

    Own to it: no table, no window, no allocator. A bus address is 0xc000000000000000 + phys, far above the mask of
    32 bits that the device has by default and that nothing looks at: only dma_set_mask of exactly 64 bits is accepted.
    Entries are never joined, limits, direction and attributes never asked for; an entry of length 0 is a segment of
    length 0. Mapping cannot fail and unmapping does nothing: the device reaches all memory for ever. An empty list is
    0, which the core turns into -EIO and a warning. Coherent memory comes from kmalloc: not zeroed, aligned to its own
    size class and not to a page, at most 16 MiB. dma_alloc_pages, mmap and get_sgtable are absent.
    """

    cdef dict free_objects          # size class: free addresses, the one freed last at the end
    cdef dict objects               # address of a live object: its class, or the order of its pages
    cdef dict slabs                 # page: [class, live objects]
    cdef list fed

    def __cinit__(self):
        self.filled = (OP_ALLOC | OP_FREE | OP_MAP_PAGE | OP_UNMAP_PAGE | OP_MAP_SG | OP_UNMAP_SG | OP_DMA_SUPPORTED
                       | OP_GET_REQUIRED_MASK)
        self.walker = EffectiveAddressWalker()
        self.free_objects = {}
        self.objects = {}
        self.slabs = {}
        self.fed = []

    def feed_kmalloc(self, *addresses):
        """Let the next coherent allocations be at these physical addresses, in this order (for replays)."""
        self.fed.extend(addresses)

    def resources(self):
        return {"objects": len(self.objects)}

    # -- kmalloc -----------------------------------------------------------------------------------------------

    def _kmalloc(self, Machine m, u64 size):
        """The address of size uninitialised bytes, or None."""
        cdef u64 page, kind = KMALLOC_MIN_SIZE
        if self.fed:
            addr = self.fed.pop(0)
            self.objects[addr] = 0
            return addr
        if size > KMALLOC_MAX_SIZE:
            return None
        if size > m.page_size // 2:
            page = m.alloc_pages(get_order(size, m.page_shift), PHYS_NONE)
            if page == PHYS_NONE:
                return None
            m.mem.fill(page, JUNK, m.page_size << get_order(size, m.page_shift))
            self.objects[page] = -1 - <int>get_order(size, m.page_shift)
            return page
        while kind < size:
            kind <<= 1
        free = self.free_objects.setdefault(kind, [])
        if not free:
            page = m.alloc_pages(0, PHYS_NONE)
            if page == PHYS_NONE:
                return None
            m.mem.fill(page, JUNK, m.page_size)
            self.slabs[page] = [kind, 0]
            free.extend(reversed(range(page, page + m.page_size, kind)))
        addr = free.pop()
        self.objects[addr] = kind
        self.slabs[addr & ~(m.page_size - 1)][1] += 1
        return addr

    def _kfree(self, Machine m, u64 addr):
        kind = self.objects.pop(addr, None)
        if kind is None:
            raise KernelBug(f"kernel BUG at mm/slub.c: kfree of {addr:#x}, which is not allocated")
        if kind < 0:
            m.free_pages(addr, -1 - kind)
        elif kind > 0:
            page = addr & ~(m.page_size - 1)
            self.free_objects[kind].append(addr)
            self.slabs[page][1] -= 1
            if self.slabs[page][1] == 0:
                del self.slabs[page]
                self.free_objects[kind] = [a for a in self.free_objects[kind] if a & ~(m.page_size - 1) != page]
                m.free_pages(page, 0)

    cdef int alloc(self, Device dev, size_t size, dma_addr_t *dma_handle, u64 *cpu_addr,
                   unsigned long attrs) except -9999 nogil:
        with gil:
            addr = self._kmalloc(dev.machine, size)
            if addr is None:
                dma_handle[0] = 0
                return -ENOMEM
            cpu_addr[0] = addr
        dma_handle[0] = PAGE_OFFSET + cpu_addr[0]
        return 0

    cdef int free(self, Device dev, size_t size, u64 cpu_addr, dma_addr_t dma_handle,
                  unsigned long attrs) except -9999 nogil:
        with gil:
            self._kfree(dev.machine, cpu_addr)
        return 0

    # -- streaming ---------------------------------------------------------------------------------------------

    cdef dma_addr_t map_page(self, Device dev, page_t page, u64 offset, size_t size, int dir,
                             unsigned long attrs) except? 0xBADBADBADBADBAD nogil:
        return PAGE_OFFSET + page + offset

    cdef int unmap_page(self, Device dev, dma_addr_t addr, size_t size, int dir,
                        unsigned long attrs) except -9999 nogil:
        return 0

    cdef int map_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        for _ in range(nents):
            sgl.dma_address = PAGE_OFFSET + sg_phys(sgl)
            sgl.dma_length = sgl.length
            sgl = sg_next(sgl)
        return nents

    cdef int unmap_sg(self, Device dev, scatterlist *sgl, int nents, int dir, unsigned long attrs) except -9999 nogil:
        return 0

    cdef int dma_supported(self, Device dev, u64 mask) except -9999 nogil:
        return mask == ~<u64>0

    cdef u64 get_required_mask(self, Device dev) except? 0xBADBADBADBADBAD nogil:
        return ~<u64>0
