/* SPDX-License-Identifier: MIT */
/* Ours, and the search of lib/bitmap.c. */
#ifndef ORACLE_LINUX_BITMAP_H
#define ORACLE_LINUX_BITMAP_H

#include <linux/align.h>
#include_next <linux/bitmap.h>

static inline unsigned long bitmap_find_next_zero_area(unsigned long *map, unsigned long size, unsigned long start,
						       unsigned int nr, unsigned long align_mask)
{
	for (;;) {
		unsigned long end, used, index = find_next_zero_bit(map, size, start);

		index = (index + align_mask) & ~align_mask;
		end = index + nr;
		if (end > size)
			return end;
		used = find_next_bit(map, end, index);
		if (used >= end)
			return index;
		start = used + 1;
	}
}

#endif
