# SPDX-License-Identifier: MIT
"""Sparse physical memory: 2^64 bytes of which only what was written exists.

Reads of what was never written give zeros. C functions return 0 or -ENOMEM and never raise. An access may wrap
past 2^64: the bytes after the last are those at 0, as on an address bus.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport ENOMEM
from libc.stdlib cimport calloc, free, malloc
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


#: Chunks that hold one byte throughout, made when first needed and never freed. Memory that was filled with a byte has
#: them in its index, with bit 0 of the pointer set, until somebody writes there.
cdef u8 *uniform[256]


cdef u8 *uniform_chunk(u8 value) noexcept nogil:
    cdef u8 *made
    if uniform[value] == NULL:
        made = <u8 *>malloc(CHUNK)
        if made == NULL:
            return NULL
        memset(made, value, CHUNK)
        uniform[value] = made
    return uniform[value]


cdef inline bint is_uniform(const u8 *c) noexcept nogil:
    return <size_t>c & 1


cdef int grow(PhysMem m) noexcept nogil:
    """Twice the capacity."""
    cdef size_t capacity = 2 * m.capacity, i, j
    cdef u64 *keys = <u64 *>calloc(capacity, sizeof(u64))
    cdef u8 **chunks = <u8 **>calloc(capacity, sizeof(u8 *))
    if keys == NULL or chunks == NULL:
        free(keys)
        free(chunks)
        return -ENOMEM
    for j in range(m.capacity):
        if m.keys[j]:
            i = slot_of(m.keys[j], capacity)
            while keys[i]:
                i = (i + 1) & (capacity - 1)
            keys[i] = m.keys[j]
            chunks[i] = m.chunks[j]
    free(m.keys)
    free(m.chunks)
    m.keys = keys
    m.chunks = chunks
    m.capacity = capacity
    return 0


cdef u8 **find(PhysMem m, u64 key, bint create) noexcept nogil:
    """The place of a chunk's pointer, which is NULL in a new one; NULL if there is none (or no memory for it)."""
    cdef size_t i = slot_of(key, m.capacity)
    while m.keys[i]:
        if m.keys[i] == key:
            return &m.chunks[i]
        i = (i + 1) & (m.capacity - 1)
    if not create:
        return NULL
    if 2 * (m.used + 1) > m.capacity:
        if grow(m):
            return NULL
        i = slot_of(key, m.capacity)
        while m.keys[i]:
            i = (i + 1) & (m.capacity - 1)
    m.keys[i] = key
    m.used += 1
    return &m.chunks[i]


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
                if not is_uniform(self.chunks[i]):
                    free(self.chunks[i])
        free(self.chunks)
        free(self.keys)

    cdef u8 *chunk(self, phys_addr_t addr, bint create) noexcept nogil:
        """The 4 KiB chunk that holds addr; NULL if absent (or, with create, if there is no memory). Only what was got
        with create may be written."""
        cdef u64 key = (addr >> CHUNK_SHIFT) + 1
        cdef u8 **place
        cdef u8 *made
        if key == self.last_key:
            return self.last_chunk
        place = find(self, key, create)
        if place == NULL:
            return NULL
        if place[0] == NULL:
            if create:
                place[0] = <u8 *>calloc(1, CHUNK)
            if place[0] == NULL:
                return NULL
        elif is_uniform(place[0]):
            if not create:
                return place[0] - 1
            made = <u8 *>malloc(CHUNK)
            if made == NULL:
                return NULL
            memcpy(made, place[0] - 1, CHUNK)
            place[0] = made
        self.last_key = key
        self.last_chunk = place[0]
        return place[0]

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
        """Set n bytes; what does not exist takes hardly any memory for it, and none for zeros."""
        cdef u8 *c
        cdef u8 **place
        cdef size_t step
        if not value and n >> CHUNK_SHIFT > self.capacity and addr + n > addr:
            return clear(self, addr, n)
        while n:
            step = CHUNK - (addr & CHUNK_MASK)
            if step > n:
                step = n
            place = NULL
            if value and step == CHUNK:
                place = find(self, (addr >> CHUNK_SHIFT) + 1, True)
            if place != NULL and place[0] == NULL and uniform_chunk(value) != NULL:
                place[0] = uniform_chunk(value) + 1
            elif value or self.chunk(addr, False) != NULL:
                c = self.chunk(addr, True)
                if c == NULL:
                    return -ENOMEM
                memset(c + (addr & CHUNK_MASK), value, step)
            addr += step
            n -= step
        return 0

    cdef int copy(self, phys_addr_t dst, phys_addr_t src, size_t n) noexcept nogil:
        """memcpy within physical memory: ranges that overlap give anything, as in Linux. Copying what does not exist
        onto what does not exist allocates nothing."""
        cdef u8 bounce[512]
        cdef const u8 *old
        cdef u8 *c
        cdef size_t step
        cdef int ret
        while n:
            old = self.chunk(src, False)
            if old != NULL and n >= CHUNK and not (dst | src) & CHUNK_MASK:
                step = CHUNK
                c = self.chunk(dst, True)
                if c == NULL:
                    return -ENOMEM
                if c != old:
                    memcpy(c, old, CHUNK)
            else:
                step = sizeof(bounce) if n > sizeof(bounce) else n
                if old == NULL and self.chunk(src + step - 1, False) == NULL:
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
        cdef const u8 *c
        cdef u64 v = 0
        if addr & 7:
            self.read(addr, &v, 8)
        else:
            c = self.chunk(addr, False)
            if c == NULL:
                return 0
            memcpy(&v, c + (addr & CHUNK_MASK), 8)
        return swab64(v) if big_endian else v

    cdef u32 read32(self, phys_addr_t addr, bint big_endian) noexcept nogil:
        cdef const u8 *c
        cdef u32 v = 0
        if addr & 3:
            self.read(addr, &v, 4)
        else:
            c = self.chunk(addr, False)
            if c == NULL:
                return 0
            memcpy(&v, c + (addr & CHUNK_MASK), 4)
        return swab32(v) if big_endian else v

    cdef int write64(self, phys_addr_t addr, u64 value, bint big_endian) noexcept nogil:
        cdef u8 *c
        if big_endian:
            value = swab64(value)
        if addr & 7:
            return self.write(addr, &value, 8)
        c = self.chunk(addr, True)
        if c == NULL:
            return -ENOMEM
        memcpy(c + (addr & CHUNK_MASK), &value, 8)
        return 0

    cdef int write32(self, phys_addr_t addr, u32 value, bint big_endian) noexcept nogil:
        cdef u8 *c
        if big_endian:
            value = swab32(value)
        if addr & 3:
            return self.write(addr, &value, 4)
        c = self.chunk(addr, True)
        if c == NULL:
            return -ENOMEM
        memcpy(c + (addr & CHUNK_MASK), &value, 4)
        return 0

    def peek(self, phys_addr_t addr, size_t n):
        """n bytes at addr, as bytes."""
        cdef bytes out = PyBytes_FromStringAndSize(NULL, n)
        self.read(addr, <char *>out, n)
        return out

    def poke(self, phys_addr_t addr, data):
        """Write the bytes of any buffer at addr. Raises MemoryError, after which part of it may be written."""
        cdef _Borrowed source = borrow(data)
        if self.write(addr, source.view.buf, source.view.len):
            raise MemoryError(f"no memory for {source.view.len} bytes at {addr:#x}")

    def words(self, phys_addr_t addr, size_t n, bint big_endian=False):
        """{index: value} of the n 64-bit words at addr, without the zeros: a table's entries, as bits."""
        cdef dict found = {}
        cdef size_t i = 0
        cdef u64 value
        while i < n:
            if self.chunk(addr + 8 * i, False) == NULL and not addr & 7:
                i += (CHUNK - ((addr + 8 * i) & CHUNK_MASK)) // 8
                continue
            value = self.read64(addr + 8 * i, big_endian)
            if value:
                found[i] = value
            i += 1
        return found


def fnv1a(data):
    """The 64-bit FNV-1a hash of a buffer's bytes: what recorded runs keep of the bytes that were copied."""
    cdef _Borrowed source = borrow(data)
    cdef const u8 *byte = <const u8 *>source.view.buf
    cdef const u8 *end = byte + source.view.len
    cdef u64 value = 0xCBF29CE484222325u
    with nogil:
        while byte != end:
            value = (value ^ byte[0]) * 0x100000001B3u
            byte += 1
    return value


def splitmix64(u64 seed, size_t n):
    """n bytes that follow from a seed (SplitMix64: Steele, Lea, Flood 2014), the lowest byte of each word first."""
    cdef bytes made = PyBytes_FromStringAndSize(NULL, n)
    cdef u8 *out = <u8 *><char *>made
    cdef u64 z
    cdef size_t i, step
    while n:
        seed += 0x9E3779B97F4A7C15u
        z = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9u
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu
        z ^= z >> 31
        step = min(n, <size_t>8)
        for i in range(step):
            out[i] = z >> 8 * i
        out += step
        n -= step
    return made


# -- buffers ---------------------------------------------------------------------------------------------------

# Not Cython's typed memoryviews: they are 15,000 lines of C in each module that has one.

cdef class _Borrowed:
    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef _Borrowed borrow(object owner, bint writable=False):
    """Raises TypeError, or BufferError for what is not contiguous, or not writable."""
    cdef _Borrowed found = _Borrowed.__new__(_Borrowed)
    PyObject_GetBuffer(owner, &found.view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
    return found


cdef _Borrowed borrow_words(object owner):
    """Raises TypeError, BufferError, or ValueError for any other type than u64."""
    cdef _Borrowed found = _Borrowed.__new__(_Borrowed)
    PyObject_GetBuffer(owner, &found.view, PyBUF_ND | PyBUF_FORMAT)
    if found.view.ndim != 1 or found.view.itemsize != 8 or found.view.format.lstrip(b"@=<") not in (b"Q", b"L"):
        raise ValueError(f"a buffer of {found.view.format!r}, not of unsigned 64-bit integers")
    return found


cdef int clear(PhysMem m, phys_addr_t addr, size_t n) noexcept nogil:
    """fill() with zeros of a range that has more chunks than exist."""
    cdef size_t i
    cdef phys_addr_t start, end
    cdef u8 *c
    for i in range(m.capacity):
        start = (m.keys[i] - 1) << CHUNK_SHIFT
        end = min(start + CHUNK_MASK, addr + n - 1)
        start = max(start, addr)
        if m.keys[i] and m.chunks[i] != NULL and start <= end:
            c = PhysMem.chunk(m, start, True)
            if c == NULL:
                return -ENOMEM
            memset(c + (start & CHUNK_MASK), 0, end - start + 1)
    return 0
