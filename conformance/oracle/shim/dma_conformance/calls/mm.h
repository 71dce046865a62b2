/* SPDX-License-Identifier: MIT */
/* malloc, so that AddressSanitizer sees every array. */
#ifndef ORACLE_DMA_CONFORMANCE_CALLS_MM_H
#define ORACLE_DMA_CONFORMANCE_CALLS_MM_H

#include <stdlib.h>
#include <string.h>

#include <dma_conformance/object.h>

#define ORACLE_ZERO 0x100u      /* __GFP_ZERO */

static inline void *kmalloc(size_t size, gfp_t flags)
{
	return flags & ORACLE_ZERO ? calloc(1, size) : malloc(size);
}

static inline void kfree(const void *addr)
{
	free((void *)addr);
}

static inline struct page *alloc_pages(gfp_t gfp, unsigned int order)
{
	void *page = aligned_alloc(PAGE_SIZE, PAGE_SIZE << order);

	if (page && gfp & ORACLE_ZERO)
		memset(page, 0, PAGE_SIZE << order);
	return (struct page *)page;
}

static inline void __free_pages(struct page *page, unsigned int order)
{
	(void)order;
	free(page);
}

#endif
