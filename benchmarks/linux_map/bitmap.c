/* SPDX-License-Identifier: MIT */
/* Runs of bits (lib/bitmap.c) for lib/iommu-helper.c. */
#include <linux/bitmap.h>

#define BITMAP_FIRST_WORD_MASK(start) (~0UL << ((start) & (BITS_PER_LONG - 1)))
#define BITMAP_LAST_WORD_MASK(n) (~0UL >> (-(n) & (BITS_PER_LONG - 1)))
#define __ALIGN_MASK(x, mask) (((x) + (mask)) & ~(mask))

#include "bitmap.inc"
