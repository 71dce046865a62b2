# SPDX-License-Identifier: MIT
"""Bitmaps of IOMMU pages (lib/iommu-helper.c, include/linux/iommu-helper.h, lib/bitmap.c; Linux 6.1)."""

from libc.stdlib cimport calloc, free

from .errors cimport kernel_bug, kernel_hang

cdef extern int ctzll "__builtin_ctzll"(unsigned long long) noexcept nogil
cdef extern int popcountll "__builtin_popcountll"(unsigned long long) noexcept nogil


cdef u64 *bitmap_zalloc(u64 bits) noexcept nogil:
    return <u64 *>calloc((bits + 63) >> 6 if bits else 1, sizeof(u64))


cdef void bitmap_free(u64 *map) noexcept nogil:
    free(map)


cdef inline u64 ones(u64 low, u64 n) noexcept nogil:
    """n set bits from bit low on, within one word."""
    return (~<u64>0 >> (64 - n)) << low


cdef void bitmap_set(u64 *map, u64 start, u64 n) noexcept nogil:
    cdef u64 step
    while n:
        step = 64 - (start & 63)
        if step > n:
            step = n
        map[start >> 6] |= ones(start & 63, step)
        start += step
        n -= step


cdef void bitmap_clear(u64 *map, u64 start, u64 n) noexcept nogil:
    cdef u64 step
    while n:
        step = 64 - (start & 63)
        if step > n:
            step = n
        map[start >> 6] &= ~ones(start & 63, step)
        start += step
        n -= step


cdef u64 bitmap_weight(const u64 *map, u64 bits) noexcept nogil:
    cdef u64 i, total = 0
    for i in range(bits >> 6):
        total += popcountll(map[i])
    if bits & 63:
        total += popcountll(map[bits >> 6] & ones(0, bits & 63))
    return total


cdef u64 find_next(const u64 *map, u64 size, u64 start, u64 flip) noexcept nogil:
    """The first bit at or after start that is set once the map is xor-ed with flip; size if there is none."""
    cdef u64 word, i
    if start >= size:
        return size
    i = start >> 6
    word = (map[i] ^ flip) & (~<u64>0 << (start & 63))
    while word == 0:
        i += 1
        if (i << 6) >= size:
            return size
        word = map[i] ^ flip
    i = (i << 6) + ctzll(word)
    return i if i < size else size


cdef u64 find_next_bit(const u64 *map, u64 size, u64 start) noexcept nogil:
    return find_next(map, size, start, 0)


cdef u64 find_next_zero_bit(const u64 *map, u64 size, u64 start) noexcept nogil:
    return find_next(map, size, start, ~<u64>0)


cdef inline u64 first_aligned(u64 start, u64 align_mask, u64 align_offset) noexcept nogil:
    return ((start + align_offset + align_mask) & ~align_mask) - align_offset


cdef inline bint free_in_word(const u64 *map, u64 size, u64 index, u64 nr) noexcept nogil:
    """Are the nr bits from index on clear, below size, and in one word?"""
    return (nr - 1 < 64 and (index & 63) + nr <= 64 and index < size and index + nr <= size
            and not map[index >> 6] & ones(index & 63, nr))


cdef u64 bitmap_find_next_zero_area_off(const u64 *map, u64 size, u64 start, u64 nr, u64 align_mask,
                                        u64 align_offset) noexcept nogil:
    """The first run of nr clear bits at or after start with index + align_offset aligned; above size if none."""
    cdef u64 index = first_aligned(start, align_mask, align_offset), end, busy
    if start <= index and free_in_word(map, size, index, nr):       # mostly: the search begins where the last one ended
        return index
    while True:
        index = find_next_zero_bit(map, size, start)
        index = first_aligned(index, align_mask, align_offset)
        end = index + nr
        if end > size:
            return end
        busy = find_next_bit(map, end, index)
        if busy >= end:
            return index
        start = busy + 1


cdef inline bint spans(u64 index, u64 nr, u64 shift, u64 boundary_size) noexcept nogil:
    return ((shift + index) & (boundary_size - 1)) + nr > boundary_size


cdef inline int check_boundary(u64 boundary_size) except -1 nogil:
    if boundary_size == 0 or boundary_size & (boundary_size - 1):
        kernel_bug(b"kernel BUG at lib/iommu-helper.c: boundary size is not a power of two")
    return 0


cdef bint iommu_is_span_boundary(u64 index, u64 nr, u64 shift, u64 boundary_size) except -1 nogil:
    """Would nr pages from index on cross a boundary? boundary_size in pages; it must be a power of two (BUG)."""
    check_boundary(boundary_size)
    return spans(index, nr, shift, boundary_size)


cdef u64 iommu_area_alloc(u64 *map, u64 size, u64 start, u64 nr, u64 shift, u64 boundary_size,
                          u64 align_mask) except? 0xBADBADBADBADBAD nogil:
    """Take nr clear bits; the index of the first, or all ones.

    The last bit below size is never given out. A request that is larger than the boundary and finds room at an
    aligned index makes no progress: Linux spins there for ever (KernelHang).
    """
    cdef u64 index = first_aligned(start, align_mask, 0), following
    size -= 1
    if start <= index and free_in_word(map, size, index, nr) and not spans(index, nr, shift, boundary_size):
        check_boundary(boundary_size)
        map[index >> 6] |= ones(index & 63, nr)
        return index
    while True:
        index = bitmap_find_next_zero_area_off(map, size, start, nr, align_mask, 0)
        if index >= size or index + nr > size:
            return ~<u64>0
        if not iommu_is_span_boundary(index, nr, shift, boundary_size):
            bitmap_set(map, index, nr)
            return index
        following = ((shift + index + boundary_size - 1) & ~(boundary_size - 1)) - shift
        if following == start and following == index:
            kernel_hang(b"iommu_area_alloc: a request larger than the segment boundary never ends")
        start = following
