/* SPDX-License-Identifier: MIT */
/* Find bits, and set them (one thread: nothing here is atomic). */
#ifndef DMA_CONFORMANCE_LINUX_BITOPS_H
#define DMA_CONFORMANCE_LINUX_BITOPS_H

#include <linux/bits.h>
#include <linux/types.h>

static inline void __set_bit(unsigned long n, volatile unsigned long *map)
{
	map[BIT_WORD(n)] |= BIT_MASK(n);
}

static inline void __clear_bit(unsigned long n, volatile unsigned long *map)
{
	map[BIT_WORD(n)] &= ~BIT_MASK(n);
}

static inline bool test_bit(unsigned long n, const volatile unsigned long *map)
{
	return (map[BIT_WORD(n)] & BIT_MASK(n)) != 0;
}

static inline bool __test_and_set_bit(unsigned long n, volatile unsigned long *map)
{
	bool was = test_bit(n, map);

	__set_bit(n, map);
	return was;
}

static inline bool __test_and_clear_bit(unsigned long n, volatile unsigned long *map)
{
	bool was = test_bit(n, map);

	__clear_bit(n, map);
	return was;
}

#define set_bit(n, map) __set_bit(n, map)
#define clear_bit(n, map) __clear_bit(n, map)
#define test_and_set_bit(n, map) __test_and_set_bit(n, map)
#define test_and_clear_bit(n, map) __test_and_clear_bit(n, map)

static inline unsigned long __ffs(unsigned long word)
{
	return (unsigned long)__builtin_ctzl(word);
}

static inline unsigned long __fls(unsigned long word)
{
	return (unsigned long)(BITS_PER_LONG - 1 - __builtin_clzl(word));
}

static inline int fls(unsigned int word)
{
	return word ? 32 - __builtin_clz(word) : 0;
}

static inline int fls64(u64 word)
{
	return word ? 64 - __builtin_clzll(word) : 0;
}

static inline unsigned int fls_long(unsigned long word)
{
	return (unsigned int)fls64(word);
}

static inline unsigned int hweight32(u32 word)
{
	return (unsigned int)__builtin_popcount(word);
}

static inline unsigned long hweight64(u64 word)
{
	return (unsigned long)__builtin_popcountll(word);
}

#define hweight_long(word) hweight64(word)

/* The first bit at or after `from` that equals `wanted`; size if there is none. */
static inline unsigned long dma_conformance_find(const unsigned long *map, unsigned long size, unsigned long from,
						 bool wanted)
{
	while (from < size) {
		unsigned long word = (wanted ? map[BIT_WORD(from)] : ~map[BIT_WORD(from)]) >> (from % BITS_PER_LONG);

		if (word) {
			from += __ffs(word);
			return from < size ? from : size;
		}
		from = (from | (BITS_PER_LONG - 1)) + 1;
	}
	return size;
}

#define find_next_bit(map, size, from) dma_conformance_find(map, size, from, true)
#define find_next_zero_bit(map, size, from) dma_conformance_find(map, size, from, false)
#define find_first_bit(map, size) find_next_bit(map, size, 0)
#define find_first_zero_bit(map, size) find_next_zero_bit(map, size, 0)
#define for_each_set_bit(bit, map, size) \
	for ((bit) = find_next_bit(map, size, 0); (bit) < (size); (bit) = find_next_bit(map, size, (bit) + 1))

#endif
