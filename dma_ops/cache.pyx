# SPDX-License-Identifier: MIT
"""A CPU's cache of lines of 64 bytes, unlimited, between the CPU and memory that devices read and write behind it.

C functions return 0 or -ENOMEM and never raise.
"""

from libc.errno cimport ENOMEM
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

cdef enum:
    FRAME_SHIFT = 12
    FRAME = 1 << FRAME_SHIFT
    LINES = FRAME // CACHE_LINE
    FIRST_CAPACITY = 64


cdef inline size_t slot_of(u64 key, size_t capacity) noexcept nogil:
    return <size_t>((key * 0x9E3779B97F4A7C15u) >> 20) & (capacity - 1)


cdef inline u64 lines(u64 start, u64 end) noexcept nogil:
    """The bits of the lines with bytes start to end - 1 of a frame; there is at least one byte."""
    return (~<u64>0 >> (LINES - 1 - (end - 1) // CACHE_LINE)) & (~<u64>0 << (start // CACHE_LINE))


cdef cache_frame *place(cache_frame *frames, size_t capacity, u64 key) noexcept nogil:
    """The slot of the frame, or the free one where it would be."""
    cdef size_t i = slot_of(key, capacity)
    while frames[i].key and frames[i].key != key:
        i = (i + 1) & (capacity - 1)
    return &frames[i]


cdef int grow(Cache cache) noexcept nogil:
    cdef cache_frame *frames = <cache_frame *>calloc(2 * cache.capacity, sizeof(cache_frame))
    cdef size_t i
    if frames == NULL:
        return -ENOMEM
    for i in range(cache.capacity):
        if cache.frames[i].key:
            place(frames, 2 * cache.capacity, cache.frames[i].key)[0] = cache.frames[i]
    free(cache.frames)
    cache.frames = frames
    cache.capacity *= 2
    return 0


cdef int maintain_frame(Cache cache, cache_frame *frame, u64 chosen, bint clean, bint invalidate) noexcept nogil:
    cdef u64 base = (frame.key - 1) << FRAME_SHIFT
    cdef int i
    cdef int ret = 0
    chosen &= frame.held
    if clean and chosen & frame.dirty:
        for i in range(LINES):
            if chosen & frame.dirty & <u64>1 << i:
                ret |= cache.mem.write(base + i * CACHE_LINE, frame.data + i * CACHE_LINE, CACHE_LINE)
        frame.dirty &= ~chosen
    if invalidate:
        frame.held &= ~chosen
        frame.dirty &= ~chosen
    return ret


cdef class Cache:
    def __cinit__(self, PhysMem mem not None):
        self.mem = mem
        self.capacity = FIRST_CAPACITY
        self.frames = <cache_frame *>calloc(self.capacity, sizeof(cache_frame))
        if self.frames == NULL:
            raise MemoryError("no memory for a CPU's cache")

    def __dealloc__(self):
        cdef size_t i
        if self.frames != NULL:
            for i in range(self.capacity):
                free(self.frames[i].data)
        free(self.frames)

    cdef cache_frame *frame(self, u64 addr, bint create) noexcept nogil:
        """The frame that holds addr; NULL if there is none (or, with create, no memory)."""
        cdef u64 key = (addr >> FRAME_SHIFT) + 1
        cdef cache_frame *found = place(self.frames, self.capacity, key)
        if found.key:
            return found
        if not create:
            return NULL
        if 2 * (self.used + 1) > self.capacity:
            if grow(self):
                return NULL
            found = place(self.frames, self.capacity, key)
        found.data = <u8 *>malloc(FRAME)
        if found.data == NULL:
            return NULL
        found.key = key
        self.used += 1
        return found

    cdef int access(self, u64 addr, u8 *buf, size_t n, bint write) noexcept nogil:
        """What the CPU loads into buf, or stores from there: every line it touches is held then."""
        cdef cache_frame *frame
        cdef u64 missing, base
        cdef size_t at, step
        cdef int i
        while n:
            at = addr & (FRAME - 1)
            base = addr - at
            step = min(<size_t>FRAME - at, n)
            frame = self.frame(addr, True)
            if frame == NULL:
                return -ENOMEM
            if frame.uncached:
                if not write:
                    self.mem.read(addr, buf, step)
                elif self.mem.write(addr, buf, step):
                    return -ENOMEM
            else:
                missing = lines(at, at + step) & ~frame.held
                if missing == ~<u64>0:
                    self.mem.read(base, frame.data, FRAME)
                elif missing:
                    for i in range(LINES):
                        if missing & <u64>1 << i:
                            self.mem.read(base + i * CACHE_LINE, frame.data + i * CACHE_LINE, CACHE_LINE)
                frame.held |= missing
                if write:
                    memcpy(frame.data + at, buf, step)
                    frame.dirty |= lines(at, at + step)
                else:
                    memcpy(buf, frame.data + at, step)
            addr += step
            buf += step
            n -= step
        return 0

    cdef int maintain(self, u64 addr, u64 size, bint clean, bint invalidate) noexcept nogil:
        """Write back the dirty lines that have a byte of the range, drop the lines, or both."""
        cdef cache_frame *frame
        cdef u64 last, first, at, start, end
        cdef size_t i
        cdef int ret = 0
        if not size or not self.used:
            return 0
        last = addr + min(size - 1, ~addr)                  # the last byte: the address space ends before a wrap
        first = addr >> FRAME_SHIFT
        if (last >> FRAME_SHIFT) - first < self.capacity:
            for at in range(first, (last >> FRAME_SHIFT) + 1):
                frame = self.frame(at << FRAME_SHIFT, False)
                if frame != NULL:
                    start = addr & (FRAME - 1) if at == first else 0
                    end = (last & (FRAME - 1)) + 1 if at == last >> FRAME_SHIFT else FRAME
                    ret |= maintain_frame(self, frame, lines(start, end), clean, invalidate)
            return ret
        for i in range(self.capacity):
            frame = &self.frames[i]
            at = frame.key - 1
            if frame.key and first <= at <= last >> FRAME_SHIFT:
                start = addr & (FRAME - 1) if at == first else 0
                end = (last & (FRAME - 1)) + 1 if at == last >> FRAME_SHIFT else FRAME
                ret |= maintain_frame(self, frame, lines(start, end), clean, invalidate)
        return ret

    cdef int set_uncached(self, u64 addr, u64 size, bint on) noexcept nogil:
        """From now on (or no more) the CPU reaches these frames past its cache."""
        cdef cache_frame *frame
        cdef u64 at
        for at in range(addr >> FRAME_SHIFT, (addr + size) >> FRAME_SHIFT):
            frame = self.frame(at << FRAME_SHIFT, on)
            if frame != NULL:
                frame.uncached = on
            elif on:
                return -ENOMEM
        return 0
