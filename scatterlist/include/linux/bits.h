/* SPDX-License-Identifier: MIT */
/* Bits of a word. */
#ifndef DMA_CONFORMANCE_LINUX_BITS_H
#define DMA_CONFORMANCE_LINUX_BITS_H

#define BITS_PER_BYTE 8
#define BITS_PER_LONG 64
#define BITS_PER_LONG_LONG 64
#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))
#define BIT_MASK(n) (1UL << ((n) % BITS_PER_LONG))
#define BIT_WORD(n) ((n) / BITS_PER_LONG)
#define GENMASK(high, low) ((~0UL >> (BITS_PER_LONG - 1 - (high))) & (~0UL << (low)))
#define GENMASK_ULL(high, low) ((~0ULL >> (BITS_PER_LONG_LONG - 1 - (high))) & (~0ULL << (low)))
#define BITS_TO_LONGS(n) (((n) + BITS_PER_LONG - 1) / BITS_PER_LONG)

#endif
