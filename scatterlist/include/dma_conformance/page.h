/* SPDX-License-Identifier: MIT */
/* The page size that C code is compiled for: -DPAGE_SHIFT=n; the loader compares it with the machine's. */
#ifndef DMA_CONFORMANCE_DMA_CONFORMANCE_PAGE_H
#define DMA_CONFORMANCE_DMA_CONFORMANCE_PAGE_H

#ifndef PAGE_SHIFT
#define PAGE_SHIFT 12
#endif
#if PAGE_SHIFT < 12 || PAGE_SHIFT > 16
#error "PAGE_SHIFT is not 12 to 16"
#endif
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))

#endif
