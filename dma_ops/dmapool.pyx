# SPDX-License-Identifier: MIT
"""Pools of small coherent blocks (mm/dmapool.c, Linux 6.1).

A pool cuts coherent allocations of a page (or a block, if that is larger) into blocks that start at multiples of align
and do not cross boundary. The free blocks of a page are a list that lies in the blocks themselves: a freed block's
first four bytes are the offset of the next one, and a device that writes to it after the free bends the list.
"""

from libc.errno cimport EINVAL, ENOMEM

from scatterlist.types cimport u64

from .device cimport Device
from .mapping cimport dma_alloc_attrs, dma_free_attrs

from .errors import DmaError


cdef class DmaPage:
    """struct dma_page: one coherent allocation."""

    cdef readonly u64 cpu_addr
    cdef readonly u64 dma
    cdef readonly unsigned int in_use
    cdef readonly unsigned int offset       # of the first free block; at or above the allocation's size: none


cdef class DmaPool:
    """struct dma_pool. size: bytes of a block, rounded up to align. allocation: bytes taken from the device at once."""

    cdef readonly str name
    cdef readonly Device dev
    cdef readonly size_t size
    cdef readonly size_t allocation
    cdef readonly size_t boundary
    cdef readonly list pages                # the newest first
    cdef readonly bint destroyed

    def __init__(self, str name, Device dev not None, size_t size, size_t align, size_t boundary):
        self.name = name
        self.dev = dev
        self.size = (max(size, <size_t>4) + align - 1) & ~(align - 1)
        self.allocation = max(self.size, dev.machine.page_size)
        self.boundary = boundary or self.allocation
        self.pages = []

    @property
    def in_use(self):
        """Blocks that are handed out."""
        return sum(page.in_use for page in self.pages)

    cdef unsigned int link(self, u64 addr):
        return int.from_bytes(self.dev.machine.cpu_read(addr, 4), "big" if self.dev.machine.big_endian else "little")

    cdef set_link(self, u64 addr, unsigned int offset):
        self.dev.machine.cpu_write(addr, offset.to_bytes(4, "big" if self.dev.machine.big_endian else "little"))

    cdef DmaPage grow(self):
        """A new page with its list of blocks.

        Two faults of 6.1 (pool_initialise_page): a block that would end just at the boundary is left out, so two blocks
        of half a page need two pages; and a boundary above the allocation is not cut to it, so that the last block may
        reach beyond the end of the memory.
        """
        cdef DmaPage page = DmaPage.__new__(DmaPage)
        cdef size_t offset = 0, following, edge = self.boundary
        if dma_alloc_attrs(self.dev, self.allocation, &page.dma, &page.cpu_addr, 0):
            return None
        while offset < self.allocation:
            following = offset + self.size
            if following + self.size >= edge:
                following = edge
                edge += self.boundary
            self.set_link(page.cpu_addr + offset, following)
            offset = following
        self.pages.insert(0, page)
        return page

    cdef DmaPage find(self, u64 dma):
        cdef DmaPage page
        for page in self.pages:
            if page.dma <= dma < page.dma + self.allocation:
                return page
        return None


cdef int check_alive(DmaPool pool) except -1:
    if pool.destroyed:
        raise ValueError(f"pool {pool.name} is destroyed")
    return 0


def dma_pool_create(str name not None, Device dev not None, size_t size, size_t align=0, size_t boundary=0):
    """A pool of blocks of size bytes. align: power of two, 0: any. boundary: power of two that no block crosses, 0: the
    size of an allocation. Raises DmaError(EINVAL), where Linux answers NULL."""
    align = align or 1
    if size == 0 or align & (align - 1) or boundary & (boundary - 1):
        raise DmaError(EINVAL, f"pool {name}: blocks of {size} bytes, align {align}, boundary {boundary}")
    pool = DmaPool(name, dev, size, align, boundary)
    if boundary and boundary < pool.size:
        raise DmaError(EINVAL, f"pool {name}: blocks of {pool.size} bytes cross every boundary of {boundary}")
    return pool


def dma_pool_alloc(DmaPool pool not None):
    """(cpu_addr, dma_handle) of a block. Raises DmaError(ENOMEM); a retry can help."""
    cdef DmaPage page
    cdef u64 offset
    check_alive(pool)
    for page in pool.pages:
        if page.offset < pool.allocation:
            break
    else:
        page = pool.grow()
        if page is None:
            raise DmaError(ENOMEM, f"pool {pool.name}: no coherent memory")
    offset = page.offset
    page.in_use += 1
    page.offset = pool.link(page.cpu_addr + offset)
    return page.cpu_addr + offset, page.dma + offset


def dma_pool_zalloc(DmaPool pool not None):
    """dma_pool_alloc() with the block cleared."""
    cpu_addr, handle = dma_pool_alloc(pool)
    pool.dev.machine.cpu_write(cpu_addr, bytes(pool.size))
    return cpu_addr, handle


def dma_pool_free(DmaPool pool not None, u64 cpu_addr, u64 dma):
    """Give a block back. A bus address that is not the pool's is only logged; freeing a block twice makes the list a
    circle, and the block is then handed out for ever."""
    cdef DmaPage page
    cdef unsigned int offset
    check_alive(pool)
    page = pool.find(dma)
    if page is None:
        pool.dev.machine.warn(b"dma_pool_free: bad dma")
        return
    offset = cpu_addr - page.cpu_addr
    page.in_use -= 1
    pool.set_link(cpu_addr, page.offset)
    page.offset = offset


def dma_pool_destroy(DmaPool pool not None):
    """Free the pages; those with blocks still in use are logged and leaked."""
    cdef DmaPage page
    check_alive(pool)
    for page in pool.pages:
        if page.in_use:
            pool.dev.machine.warn(b"dma_pool_destroy: busy")
        else:
            dma_free_attrs(pool.dev, pool.allocation, page.cpu_addr, page.dma, 0)
    pool.pages = []
    pool.destroyed = True
