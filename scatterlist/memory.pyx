# SPDX-License-Identifier: MIT
"""Sparse physical memory: 2^64 bytes of which only what was written exists.

Reads of what was never written give zeros. C functions return 0 or -ENOMEM and never raise. An access may wrap
past 2^64: the bytes after the last are those at 0, as on an address bus.
"""

from libc.errno cimport ENOMEM
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cdef enum:
    CHUNK_SHIFT = 12
    CHUNK = 1 << CHUNK_SHIFT
    CHUNK_MASK = CHUNK - 1
    FIRST_CAPACITY = 256


cdef inline u64 swab64(u64 v) noexcept nogil:
    v = ((v & 0x00ff00ff00ff00ffu) << 8) | ((v >> 8) & 0x00ff00ff00ff00ffu)
    v = ((v & 0x0000ffff0000ffffu) << 16) | ((v >> 16) & 0x0000ffff0000ffffu)
    return (v << 32) | (v >> 32)


cdef inline u32 swab32(u32 v) noexcept nogil:
    v = ((v & 0x00ff00ffu) << 8) | ((v >> 8) & 0x00ff00ffu)
    return (v << 16) | (v >> 16)


cdef inline size_t slot_of(u64 key, size_t capacity) noexcept nogil:
    return <size_t>((key * 0x9E3779B97F4A7C15u) >> 20) & (capacity - 1)


cdef class PhysMem:
    def __cinit__(self):
        self.capacity = FIRST_CAPACITY
        self.keys = <u64 *>calloc(self.capacity, sizeof(u64))
        self.chunks = <u8 **>calloc(self.capacity, sizeof(u8 *))
        if self.keys == NULL or self.chunks == NULL:
            raise MemoryError("no memory for the index of physical memory")

    def __dealloc__(self):
        cdef size_t i
        if self.chunks != NULL:
            for i in range(self.capacity):
                free(self.chunks[i])
        free(self.chunks)
        free(self.keys)

    cdef u8 *chunk(self, phys_addr_t addr, bint create) noexcept nogil:
        """The 4 KiB chunk that holds addr; NULL if absent (or, with create, if there is no memory)."""
        cdef u64 key = (addr >> CHUNK_SHIFT) + 1
        cdef size_t i, j, capacity
        cdef u64 *keys
        cdef u8 **chunks
        if key == self.last_key:
            return self.last_chunk
        i = slot_of(key, self.capacity)
        while self.keys[i]:
            if self.keys[i] == key:
                self.last_key = key
                self.last_chunk = self.chunks[i]
                return self.chunks[i]
            i = (i + 1) & (self.capacity - 1)
        if not create:
            return NULL
        if 2 * (self.used + 1) > self.capacity:
            capacity = 2 * self.capacity
            keys = <u64 *>calloc(capacity, sizeof(u64))
            chunks = <u8 **>calloc(capacity, sizeof(u8 *))
            if keys == NULL or chunks == NULL:
                free(keys)
                free(chunks)
                return NULL
            for j in range(self.capacity):
                if self.keys[j]:
                    i = slot_of(self.keys[j], capacity)
                    while keys[i]:
                        i = (i + 1) & (capacity - 1)
                    keys[i] = self.keys[j]
                    chunks[i] = self.chunks[j]
            free(self.keys)
            free(self.chunks)
            self.keys = keys
            self.chunks = chunks
            self.capacity = capacity
            i = slot_of(key, capacity)
            while keys[i]:
                i = (i + 1) & (capacity - 1)
        self.chunks[i] = <u8 *>calloc(1, CHUNK)
        if self.chunks[i] == NULL:
            return NULL
        self.keys[i] = key
        self.used += 1
        self.last_key = key
        self.last_chunk = self.chunks[i]
        return self.chunks[i]

    cdef void read(self, phys_addr_t addr, void *buf, size_t n) noexcept nogil:
        cdef u8 *out = <u8 *>buf
        cdef u8 *c
        cdef size_t step
        while n:
            step = CHUNK - (addr & CHUNK_MASK)
            if step > n:
                step = n
            c = self.chunk(addr, False)
            if c == NULL:
                memset(out, 0, step)
            else:
                memcpy(out, c + (addr & CHUNK_MASK), step)
            out += step
            addr += step
            n -= step

    cdef int write(self, phys_addr_t addr, const void *buf, size_t n) noexcept nogil:
        cdef const u8 *src = <const u8 *>buf
        cdef u8 *c
        cdef size_t step
        while n:
            step = CHUNK - (addr & CHUNK_MASK)
            if step > n:
                step = n
            c = self.chunk(addr, True)
            if c == NULL:
                return -ENOMEM
            memcpy(c + (addr & CHUNK_MASK), src, step)
            src += step
            addr += step
            n -= step
        return 0

    cdef int fill(self, phys_addr_t addr, u8 value, size_t n) noexcept nogil:
        """Set n bytes; zeroing what does not exist allocates nothing."""
        cdef u8 *c
        cdef size_t step
        while n:
            step = CHUNK - (addr & CHUNK_MASK)
            if step > n:
                step = n
            c = self.chunk(addr, value != 0)
            if c != NULL:
                memset(c + (addr & CHUNK_MASK), value, step)
            elif value:
                return -ENOMEM
            addr += step
            n -= step
        return 0

    cdef int copy(self, phys_addr_t dst, phys_addr_t src, size_t n) noexcept nogil:
        """memcpy within physical memory; copying what does not exist onto what does not exist allocates nothing."""
        cdef u8 bounce[512]
        cdef size_t step
        cdef int ret
        while n:
            step = sizeof(bounce) if n > sizeof(bounce) else n
            if self.chunk(src, False) == NULL and self.chunk(src + step - 1, False) == NULL:
                ret = self.fill(dst, 0, step)
            else:
                self.read(src, bounce, step)
                ret = self.write(dst, bounce, step)
            if ret:
                return ret
            dst += step
            src += step
            n -= step
        return 0

    cdef u64 read64(self, phys_addr_t addr, bint big_endian) noexcept nogil:
        cdef u64 v = 0
        self.read(addr, &v, 8)
        return swab64(v) if big_endian else v

    cdef u32 read32(self, phys_addr_t addr, bint big_endian) noexcept nogil:
        cdef u32 v = 0
        self.read(addr, &v, 4)
        return swab32(v) if big_endian else v

    cdef int write64(self, phys_addr_t addr, u64 value, bint big_endian) noexcept nogil:
        if big_endian:
            value = swab64(value)
        return self.write(addr, &value, 8)

    cdef int write32(self, phys_addr_t addr, u32 value, bint big_endian) noexcept nogil:
        if big_endian:
            value = swab32(value)
        return self.write(addr, &value, 4)

    def peek(self, phys_addr_t addr, size_t n):
        """n bytes at addr, as bytes."""
        cdef bytearray out = bytearray(n)
        cdef u8[::1] view
        if n:
            view = out
            self.read(addr, &view[0], n)
        return bytes(out)

    def poke(self, phys_addr_t addr, const u8[::1] data not None):
        """Write the bytes of any buffer at addr. Raises MemoryError, after which part of it may be written."""
        if data.shape[0] and self.write(addr, &data[0], data.shape[0]):
            raise MemoryError(f"no memory for {data.shape[0]} bytes at {addr:#x}")
