/* SPDX-License-Identifier: MIT */
/* Ours, and what 6.12 asks of two pages. */
#ifndef ORACLE_LINUX_MM_H
#define ORACLE_LINUX_MM_H

#include_next <linux/mm.h>

/* two pages of one range of 2^24 bytes above 2^40 have the same pgmap; what is below has none */
static inline bool zone_device_pages_have_same_pgmap(const struct page *a, const struct page *b)
{
	unsigned long x = (unsigned long)a >> 24, y = (unsigned long)b >> 24;

	return x >> 16 || y >> 16 ? x == y : true;
}

/* malloc is the page allocator, too: lists need no alignment */
#undef __get_free_page
#undef free_page
#define __get_free_page(gfp) ((unsigned long)malloc(PAGE_SIZE))
#define free_page(addr) free((void *)(addr))
#define pagefault_disabled() 1
#define folio_page(folio, n) nth_page((struct page *)(folio), n)

/* never dereferenced; sg_set_folio takes its address */
struct page {
	char token;
};

struct folio {
	struct page page;
};

#endif
