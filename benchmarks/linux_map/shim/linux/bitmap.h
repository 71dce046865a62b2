/* SPDX-License-Identifier: MIT */
/* Ours for single bits; runs of bits are lib/bitmap.c's. */
#ifndef BENCHMARKS_LINUX_BITMAP_H
#define BENCHMARKS_LINUX_BITMAP_H

#define bitmap_set dma_conformance_bitmap_set
#define bitmap_clear dma_conformance_bitmap_clear
#include_next <linux/bitmap.h>
#undef bitmap_set
#undef bitmap_clear
#undef bitmap_find_next_zero_area

void __bitmap_set(unsigned long *map, unsigned int start, int len);
void __bitmap_clear(unsigned long *map, unsigned int start, int len);
unsigned long bitmap_find_next_zero_area_off(unsigned long *map, unsigned long size, unsigned long start,
					     unsigned int nr, unsigned long align_mask, unsigned long align_offset);

#define bitmap_set(map, start, n) __bitmap_set(map, start, n)
#define bitmap_clear(map, start, n) __bitmap_clear(map, start, n)
#define bitmap_find_next_zero_area(map, size, start, nr, align) \
	bitmap_find_next_zero_area_off(map, size, start, nr, align, 0)

#endif
