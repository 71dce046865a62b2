/* SPDX-License-Identifier: MIT */
/* Linux's list entries for C code: the structs, their flags, and the accessors that need no library. */
#ifndef DMA_CONFORMANCE_LINUX_SCATTERLIST_H
#define DMA_CONFORMANCE_LINUX_SCATTERLIST_H

#include <dma_conformance/structs.h>

#define SG_CHAIN 0x01UL
#define SG_END 0x02UL
#define SG_PAGE_LINK_MASK (SG_CHAIN | SG_END)
#define SG_DMA_BUS_ADDRESS (1 << 0)
#define SG_DMA_SWIOTLB (1 << 1)
#define SG_CHUNK_SIZE 128
#define SG_MAX_SEGMENTS 2048

#define sg_dma_address(sg) ((sg)->dma_address)
#define sg_dma_len(sg) ((sg)->dma_length)

static inline int sg_is_chain(const struct scatterlist *sg)
{
	return (sg->page_link & SG_CHAIN) != 0;
}

static inline int sg_is_last(const struct scatterlist *sg)
{
	return (sg->page_link & SG_END) != 0;
}

static inline struct scatterlist *sg_chain_ptr(const struct scatterlist *sg)
{
	return (struct scatterlist *)(sg->page_link & ~SG_PAGE_LINK_MASK);
}

static inline struct page *sg_page(const struct scatterlist *sg)
{
	return (struct page *)(sg->page_link & ~SG_PAGE_LINK_MASK);
}

/* The first byte; a struct page * is its frame's address here. */
static inline dma_addr_t sg_phys(const struct scatterlist *sg)
{
	return (dma_addr_t)(sg->page_link & ~SG_PAGE_LINK_MASK) + sg->offset;
}

static inline void sg_assign_page(struct scatterlist *sg, struct page *page)
{
	sg->page_link = (sg->page_link & SG_PAGE_LINK_MASK) | (unsigned long)page;
}

static inline void sg_set_page(struct scatterlist *sg, struct page *page, unsigned int len, unsigned int offset)
{
	sg_assign_page(sg, page);
	sg->length = len;
	sg->offset = offset;
}

static inline void sg_mark_end(struct scatterlist *sg)
{
	sg->page_link = (sg->page_link & ~SG_CHAIN) | SG_END;
}

static inline void sg_unmark_end(struct scatterlist *sg)
{
	sg->page_link &= ~SG_END;
}

static inline void sg_chain(struct scatterlist *prv, unsigned int prv_nents, struct scatterlist *sgl)
{
	struct scatterlist *link = &prv[prv_nents - 1];

	link->offset = link->length = 0;
	link->page_link = ((unsigned long)sgl & ~SG_END) | SG_CHAIN;
}

/* NULL after the entry that carries SG_END; crosses one link. */
static inline struct scatterlist *sg_next(struct scatterlist *sg)
{
	if (sg_is_last(sg))
		return (struct scatterlist *)0;
	sg = sg + 1;
	return sg_is_chain(sg) ? sg_chain_ptr(sg) : sg;
}

static inline int sg_dma_is_bus_address(const struct scatterlist *sg)
{
	return (sg->dma_flags & SG_DMA_BUS_ADDRESS) != 0;
}

/* 6.1's name of it */
#define sg_is_dma_bus_address(sg) sg_dma_is_bus_address(sg)

static inline void sg_dma_mark_bus_address(struct scatterlist *sg)
{
	sg->dma_flags |= SG_DMA_BUS_ADDRESS;
}

static inline void sg_dma_unmark_bus_address(struct scatterlist *sg)
{
	sg->dma_flags &= ~(unsigned int)SG_DMA_BUS_ADDRESS;
}

#define for_each_sg(sgl, sg, nr, i) for ((i) = 0, (sg) = (sgl); (i) < (nr); (i)++, (sg) = sg_next(sg))
#define for_each_sgtable_sg(sgt, sg, i) for_each_sg((sgt)->sgl, sg, (sgt)->orig_nents, i)
#define for_each_sgtable_dma_sg(sgt, sg, i) for_each_sg((sgt)->sgl, sg, (sgt)->nents, i)

#endif
