# SPDX-License-Identifier: MIT
"""Coherent memory that belongs to one device (kernel/dma/coherent.c, Linux 6.1), as SRAM on its own bus may.

A device has one region at most, and its answer to an allocation is final: RAM is not asked if the region is full. The
bitmap hands out powers of two of pages, first fit, aligned within the region, not within memory.
"""

from libc.errno cimport EBUSY, EINVAL

from scatterlist.types cimport u64

from .device cimport Device
from .iommu_helper cimport bitmap_clear, bitmap_free, bitmap_set, bitmap_weight, bitmap_zalloc, find_next_bit
from .machine cimport Machine
from .mapping cimport get_order

from .errors import DmaError


cdef class DmaCoherentMem:
    """struct dma_coherent_mem: pages at a physical address that the device sees at device_base."""

    cdef readonly Machine machine
    cdef readonly u64 phys
    cdef readonly u64 device_base
    cdef readonly u64 pages
    cdef u64 *bitmap

    def __cinit__(self, Machine machine not None, u64 phys, u64 device_base, u64 size):
        self.machine = machine
        self.phys = phys
        self.device_base = device_base
        self.pages = size >> machine.page_shift
        self.bitmap = bitmap_zalloc(self.pages)
        if self.bitmap == NULL:
            raise MemoryError(f"no memory for the bitmap of {self.pages} pages")
        machine.set_uncached(phys, size, True)

    def __dealloc__(self):
        bitmap_free(self.bitmap)

    @property
    def used(self):
        """Pages that are taken."""
        return bitmap_weight(self.bitmap, self.pages)

    def alloc(self, u64 size):
        """(dma_handle, cpu_addr) of zeroed memory, or None."""
        cdef u64 span, page = 0
        if size > self.pages << self.machine.page_shift:
            return None
        span = <u64>1 << get_order(size, self.machine.page_shift)
        while page + span <= self.pages:
            if find_next_bit(self.bitmap, page + span, page) >= page + span:
                bitmap_set(self.bitmap, page, span)
                page <<= self.machine.page_shift
                self.machine.mem.fill(self.phys + page, 0, size)
                return self.device_base + page, self.phys + page
            page += span
        return None

    def free(self, u64 cpu_addr, u64 size):
        """True if the address was the region's; a second free of it goes unnoticed."""
        cdef u64 page, span
        if not self.phys <= cpu_addr < self.phys + (self.pages << self.machine.page_shift):
            return False
        page = (cpu_addr - self.phys) >> self.machine.page_shift
        span = <u64>1 << get_order(size, self.machine.page_shift)
        bitmap_clear(self.bitmap, page, min(span, self.pages - page))
        return True

    def claim(self, u64 addr):
        """(physical address, bytes from there on) if the device reaches the region at this bus address, else None."""
        cdef u64 size = self.pages << self.machine.page_shift
        if not self.device_base <= addr < self.device_base + size:
            return None
        return self.phys + (addr - self.device_base), size - (addr - self.device_base)


def dma_declare_coherent_memory(Device dev not None, u64 phys_addr, u64 device_addr, size_t size):
    """Give the device a region of its own. Raises DmaError: EINVAL for no bytes, EBUSY if it has one already."""
    if size == 0:
        raise DmaError(EINVAL, f"{dev.name}: a coherent region of 0 bytes")
    pool = DmaCoherentMem(dev.machine, phys_addr, device_addr, size)
    if dev.coherent_pool is not None:
        raise DmaError(EBUSY, f"{dev.name} has a coherent region already")
    dev.coherent_pool = pool


def dma_release_coherent_memory(Device dev not None):
    """Take the region away, whatever of it is still allocated."""
    dev.coherent_pool = None
