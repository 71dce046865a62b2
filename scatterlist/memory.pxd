# SPDX-License-Identifier: MIT
"""Sparse physical memory: 2^64 bytes of which only what was written exists."""

from scatterlist.types cimport phys_addr_t, u8, u32, u64

cdef class PhysMem:
    cdef u64 *keys              # chunk number + 1, 0 = free slot (open addressing, linear probing)
    cdef u8 **chunks
    cdef size_t capacity        # power of two
    cdef readonly size_t used   # chunks of 4 KiB that exist
    cdef u64 last_key
    cdef u8 *last_chunk

    cdef u8 *chunk(self, phys_addr_t addr, bint create) noexcept nogil
    cdef void read(self, phys_addr_t addr, void *buf, size_t n) noexcept nogil
    cdef int write(self, phys_addr_t addr, const void *buf, size_t n) noexcept nogil
    cdef int fill(self, phys_addr_t addr, u8 value, size_t n) noexcept nogil
    cdef int copy(self, phys_addr_t dst, phys_addr_t src, size_t n) noexcept nogil
    cdef u64 read64(self, phys_addr_t addr, bint big_endian) noexcept nogil
    cdef u32 read32(self, phys_addr_t addr, bint big_endian) noexcept nogil
    cdef int write64(self, phys_addr_t addr, u64 value, bint big_endian) noexcept nogil
    cdef int write32(self, phys_addr_t addr, u32 value, bint big_endian) noexcept nogil

cdef class _Borrowed:           # the memory of a Python object's buffer, which stays where it is while this lives
    cdef Py_buffer view

cdef _Borrowed borrow(object owner, bint writable=*)    # as bytes
cdef _Borrowed borrow_words(object owner)               # of u64
