/* SPDX-License-Identifier: MIT */
/* On the oracle's side memory is the host's: a struct page * is the address of the page. */
#ifndef ORACLE_DMA_CONFORMANCE_OBJECT_H
#define ORACLE_DMA_CONFORMANCE_OBJECT_H

#include <linux/types.h>
#include <linux/dma-direction.h>
#include <dma_conformance/page.h>

static const struct {
	u64 page_offset, ram_end;
} dma_conformance_object __attribute__((unused)) = { 0, ~0ULL };

#endif
