/* SPDX-License-Identifier: MIT */
/* Lists: the accessors that need no library inline, the rest through the table of calls. */
#ifndef DMA_CONFORMANCE_LINUX_SCATTERLIST_H
#define DMA_CONFORMANCE_LINUX_SCATTERLIST_H

#include <linux/bug.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/types.h>
#include <dma_conformance/calls/scatterlist.h>

#define SG_CHAIN 0x01UL
#define SG_END 0x02UL
#define SG_PAGE_LINK_MASK (SG_CHAIN | SG_END)
#define SG_DMA_BUS_ADDRESS (1 << 0)
#define SG_DMA_SWIOTLB (1 << 1)
#define SG_CHUNK_SIZE 128
#define SG_MAX_SEGMENTS 2048
#define SG_MAX_SINGLE_ALLOC (PAGE_SIZE / sizeof(struct scatterlist))
#define SG_MITER_ATOMIC (1 << 0)
#define SG_MITER_TO_SG (1 << 1)
#define SG_MITER_FROM_SG (1 << 2)
#define SG_MITER_LOCAL (1 << 3)

#define sg_dma_address(sg) ((sg)->dma_address)
#define sg_dma_len(sg) ((sg)->dma_length)

static inline unsigned int __sg_flags(const struct scatterlist *sg)
{
	return sg->page_link & SG_PAGE_LINK_MASK;
}

static inline bool sg_is_chain(const struct scatterlist *sg)
{
	return (sg->page_link & SG_CHAIN) != 0;
}

static inline bool sg_is_last(const struct scatterlist *sg)
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

/* The first byte: the offset is in it. */
static inline dma_addr_t sg_phys(const struct scatterlist *sg)
{
	return page_to_phys(sg_page(sg)) + sg->offset;
}

static inline void *sg_virt(const struct scatterlist *sg)
{
	return (char *)page_address(sg_page(sg)) + sg->offset;
}

static inline void sg_assign_page(struct scatterlist *sg, struct page *page)
{
	BUG_ON((unsigned long)page & SG_PAGE_LINK_MASK);
	sg->page_link = (sg->page_link & SG_PAGE_LINK_MASK) | (unsigned long)page;
}

static inline void sg_set_page(struct scatterlist *sg, struct page *page, unsigned int len, unsigned int offset)
{
	sg_assign_page(sg, page);
	sg->length = len;
	sg->offset = offset;
}

static inline void sg_set_buf(struct scatterlist *sg, const void *buf, unsigned int len)
{
	sg_set_page(sg, virt_to_page(buf), len, offset_in_page(buf));
}

static inline void sg_mark_end(struct scatterlist *sg)
{
	sg->page_link = (sg->page_link & ~SG_CHAIN) | SG_END;
}

static inline void sg_unmark_end(struct scatterlist *sg)
{
	sg->page_link &= ~SG_END;
}

static inline void __sg_chain(struct scatterlist *link, struct scatterlist *sgl)
{
	link->offset = link->length = 0;
	link->page_link = ((unsigned long)sgl & ~SG_END) | SG_CHAIN;
}

static inline void sg_chain(struct scatterlist *prv, unsigned int prv_nents, struct scatterlist *sgl)
{
	__sg_chain(&prv[prv_nents - 1], sgl);
}

/* NULL after the entry that carries SG_END; crosses one link. */
static inline struct scatterlist *sg_next(struct scatterlist *sg)
{
	if (sg_is_last(sg))
		return (struct scatterlist *)0;
	sg = sg + 1;
	return sg_is_chain(sg) ? sg_chain_ptr(sg) : sg;
}

static inline void sg_init_marker(struct scatterlist *sgl, unsigned int nents)
{
	sg_mark_end(&sgl[nents - 1]);
}

static inline bool sg_dma_is_bus_address(const struct scatterlist *sg)
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

static inline bool sg_dma_is_swiotlb(const struct scatterlist *sg)
{
	return (sg->dma_flags & SG_DMA_SWIOTLB) != 0;
}

static inline void sg_dma_mark_swiotlb(struct scatterlist *sg)
{
	sg->dma_flags |= SG_DMA_SWIOTLB;
}

static inline int sg_alloc_table_from_pages(struct sg_table *sgt, struct page **pages, unsigned int n_pages,
					    unsigned int offset, unsigned long size, gfp_t gfp)
{
	return sg_alloc_table_from_pages_segment(sgt, pages, n_pages, offset, size, ~0u, gfp);
}

static inline size_t sg_pcopy_from_buffer(struct scatterlist *sgl, unsigned int nents, const void *buf, size_t buflen,
					  off_t skip)
{
	return sg_copy_buffer(sgl, nents, (void *)buf, buflen, skip, false);
}

static inline size_t sg_pcopy_to_buffer(struct scatterlist *sgl, unsigned int nents, void *buf, size_t buflen,
					off_t skip)
{
	return sg_copy_buffer(sgl, nents, buf, buflen, skip, true);
}

#define sg_copy_from_buffer(sgl, nents, buf, buflen) sg_pcopy_from_buffer(sgl, nents, buf, buflen, 0)
#define sg_copy_to_buffer(sgl, nents, buf, buflen) sg_pcopy_to_buffer(sgl, nents, buf, buflen, 0)

static inline struct page *sg_page_iter_page(const struct sg_page_iter *piter)
{
	return nth_page(sg_page(piter->sg), piter->sg_pgoffset);
}

/* Not rounded to a page, and the shift is 32 bits wide: both as in Linux. */
static inline dma_addr_t sg_page_iter_dma_address(const struct sg_dma_page_iter *dma_iter)
{
	return sg_dma_address(dma_iter->base.sg) + (dma_iter->base.sg_pgoffset << PAGE_SHIFT);
}

#define for_each_sg(sgl, sg, nr, i) for ((i) = 0, (sg) = (sgl); (i) < (nr); (i)++, (sg) = sg_next(sg))
#define for_each_sgtable_sg(sgt, sg, i) for_each_sg((sgt)->sgl, sg, (sgt)->orig_nents, i)
#define for_each_sgtable_dma_sg(sgt, sg, i) for_each_sg((sgt)->sgl, sg, (sgt)->nents, i)
#define for_each_sg_page(sgl, piter, nents, pgoffset) \
	for (__sg_page_iter_start(piter, sgl, nents, pgoffset); __sg_page_iter_next(piter);)
#define for_each_sg_dma_page(sgl, dma_iter, nents, pgoffset) \
	for (__sg_page_iter_start(&(dma_iter)->base, sgl, nents, pgoffset); __sg_page_iter_dma_next(dma_iter);)
#define for_each_sgtable_page(sgt, piter, pgoffset) for_each_sg_page((sgt)->sgl, piter, (sgt)->orig_nents, pgoffset)
#define for_each_sgtable_dma_page(sgt, dma_iter, pgoffset) \
	for_each_sg_dma_page((sgt)->sgl, dma_iter, (sgt)->nents, pgoffset)

#endif
