/* SPDX-License-Identifier: MIT */
/* Runs of bits. */
#ifndef DMA_CONFORMANCE_LINUX_BITMAP_H
#define DMA_CONFORMANCE_LINUX_BITMAP_H

#include <linux/bitops.h>
#include <linux/slab.h>
#include <linux/string.h>

#define DECLARE_BITMAP(name, bits) unsigned long name[BITS_TO_LONGS(bits)]

static inline unsigned long *bitmap_zalloc(unsigned int bits, gfp_t gfp)
{
	return (unsigned long *)kcalloc(BITS_TO_LONGS(bits), sizeof(long), gfp);
}

static inline void bitmap_free(const unsigned long *map)
{
	kfree(map);
}

static inline void bitmap_zero(unsigned long *map, unsigned int bits)
{
	memset(map, 0, BITS_TO_LONGS(bits) * sizeof(long));
}

static inline void bitmap_set(unsigned long *map, unsigned int start, unsigned int n)
{
	while (n--)
		__set_bit(start++, map);
}

static inline void bitmap_clear(unsigned long *map, unsigned int start, unsigned int n)
{
	while (n--)
		__clear_bit(start++, map);
}

static inline unsigned int bitmap_weight(const unsigned long *map, unsigned int bits)
{
	unsigned int bit, n = 0;

	for_each_set_bit(bit, map, bits)
		n++;
	return n;
}

static inline bool bitmap_empty(const unsigned long *map, unsigned int bits)
{
	return find_first_bit(map, bits) == bits;
}

#endif
