# SPDX-License-Identifier: MIT
"""A CPU's cache, of which devices see nothing."""

from scatterlist.memory cimport PhysMem
from scatterlist.types cimport u8, u64

cdef enum:
    CACHE_LINE = 64

cdef struct cache_frame:        # the lines of 4 KiB; bit n of a word stands for line n
    u64 key                     # frame number + 1, 0 = free slot
    u64 held
    u64 dirty
    bint uncached               # the CPU reaches the frame past its cache
    u8 *data

cdef class Cache:
    cdef PhysMem mem
    cdef cache_frame *frames    # open addressing, linear probing; a frame stays for good
    cdef size_t capacity        # power of two
    cdef size_t used

    cdef cache_frame *frame(self, u64 addr, bint create) noexcept nogil
    cdef int access(self, u64 addr, u8 *buf, size_t n, bint write) noexcept nogil
    cdef int maintain(self, u64 addr, u64 size, bint clean, bint invalidate) noexcept nogil
    cdef int set_uncached(self, u64 addr, u64 size, bint on) noexcept nogil
