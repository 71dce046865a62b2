# SPDX-License-Identifier: MIT
"""Physical memory with a linear map: C code reaches its first `size` bytes by pointers, base + physical address.

The map is reserved address space that takes no memory until it is touched. What lies above it, tables and BARs, is
sparse as in PhysMem.
"""

from libc.string cimport memset
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap

from scatterlist.types cimport phys_addr_t

cdef enum:
    CHUNK_SHIFT = 12

cdef u64 ALIGNMENT = <u64>1 << 30       # a naturally aligned block of pages is one for the CPU, too
cdef u64 MOST = <u64>1 << 46


cdef class LinearMem(PhysMem):
    """Takes over the contents of `of`. Raises MemoryError if the host has no room for size bytes of addresses."""

    def __init__(self, PhysMem of not None, u64 size):
        cdef size_t i
        cdef u64 addr
        if self.reserved != NULL:
            raise TypeError("a LinearMem is initialised once")
        if size > MOST:
            raise MemoryError(f"a linear map of {size:#x} bytes: the host has room for {MOST:#x}")
        self.reserved_size = size + ALIGNMENT
        self.reserved = mmap(NULL, self.reserved_size, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if self.reserved == MAP_FAILED:
            self.reserved = NULL
            raise MemoryError(f"no room for a linear map of {size:#x} bytes")
        self.base = <u8 *>((<size_t>self.reserved + ALIGNMENT - 1) & ~<size_t>(ALIGNMENT - 1))
        self.size = size
        for i in range(of.capacity):
            addr = (of.keys[i] - 1) << CHUNK_SHIFT
            if of.keys[i] and self.write(addr, of.chunk(addr, False), 1 << CHUNK_SHIFT):
                raise MemoryError("no memory for a copy of physical memory")

    def __dealloc__(self):
        if self.reserved != NULL:
            munmap(self.reserved, self.reserved_size)

    cdef u8 *chunk(self, phys_addr_t addr, bint create) noexcept nogil:
        if addr < self.size:
            return self.base + (addr >> CHUNK_SHIFT << CHUNK_SHIFT)
        return PhysMem.chunk(self, addr, create)

    cdef int fill(self, phys_addr_t addr, u8 value, size_t n) noexcept nogil:
        cdef size_t linear = min(<size_t>(self.size - addr), n) if addr < self.size else 0
        memset(self.base + addr, value, linear)
        return PhysMem.fill(self, addr + linear, value, n - linear)
