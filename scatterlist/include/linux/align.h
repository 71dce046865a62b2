/* SPDX-License-Identifier: MIT */
/* Multiples of a power of two. */
#ifndef DMA_CONFORMANCE_LINUX_ALIGN_H
#define DMA_CONFORMANCE_LINUX_ALIGN_H

#define ALIGN_MASK_OF(x, mask) (((x) + (mask)) & ~(mask))
#define ALIGN(x, a) ALIGN_MASK_OF(x, (__typeof__(x))(a) - 1)
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a) - 1))
#define PTR_ALIGN(p, a) ((__typeof__(p))ALIGN((unsigned long)(p), (a)))
#define IS_ALIGNED(x, a) (((x) & ((__typeof__(x))(a) - 1)) == 0)

#endif
