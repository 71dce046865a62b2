/* SPDX-License-Identifier: MIT */
/* struct bio_vec for C code. */
#ifndef DMA_CONFORMANCE_LINUX_BVEC_H
#define DMA_CONFORMANCE_LINUX_BVEC_H

#include <dma_conformance/structs.h>

static inline void bvec_set_page(struct bio_vec *bv, struct page *page, unsigned int len, unsigned int offset)
{
	bv->bv_page = page;
	bv->bv_len = len;
	bv->bv_offset = offset;
}

static inline phys_addr_t bvec_phys(const struct bio_vec *bv)
{
	return (phys_addr_t)(unsigned long)bv->bv_page + bv->bv_offset;
}

#endif
