# SPDX-License-Identifier: MIT
"""Bitmaps of IOMMU pages (lib/iommu-helper.c, include/linux/iommu-helper.h, lib/bitmap.c; Linux 6.1)."""

from scatterlist.types cimport u64

cdef inline u64 iommu_num_pages(u64 addr, u64 len, u64 io_page_size) noexcept nogil:
    """IOMMU pages that [addr, addr + len) touches; an empty range touches one page unless it is page aligned."""
    return ((addr & (io_page_size - 1)) + len + io_page_size - 1) // io_page_size

cdef inline bint test_bit(const u64 *map, u64 bit) noexcept nogil:
    return (map[bit >> 6] >> (bit & 63)) & 1

cdef u64 *bitmap_zalloc(u64 bits) noexcept nogil
cdef void bitmap_free(u64 *map) noexcept nogil
cdef void bitmap_set(u64 *map, u64 start, u64 n) noexcept nogil
cdef void bitmap_clear(u64 *map, u64 start, u64 n) noexcept nogil
cdef u64 bitmap_weight(const u64 *map, u64 bits) noexcept nogil
cdef u64 find_next_bit(const u64 *map, u64 size, u64 start) noexcept nogil
cdef u64 find_next_zero_bit(const u64 *map, u64 size, u64 start) noexcept nogil
cdef u64 bitmap_find_next_zero_area_off(const u64 *map, u64 size, u64 start, u64 nr, u64 align_mask,
                                        u64 align_offset) noexcept nogil
cdef u64 iommu_area_alloc(u64 *map, u64 size, u64 start, u64 nr, u64 shift, u64 boundary_size,
                          u64 align_mask) except? 0xBADBADBADBADBAD nogil
cdef bint iommu_is_span_boundary(u64 index, u64 nr, u64 shift, u64 boundary_size) except -1 nogil
