/* SPDX-License-Identifier: MIT */
/* The IOVA allocator of drivers/iommu/iova.c. */
#ifndef DMA_CONFORMANCE_LINUX_IOVA_H
#define DMA_CONFORMANCE_LINUX_IOVA_H

#include <linux/types.h>
#include <dma_conformance/calls/iommu.h>

static inline unsigned long iova_size(const struct iova *iova)
{
	return iova->pfn_hi - iova->pfn_lo + 1;
}

static inline unsigned long iova_shift(const struct iova_domain *iovad)
{
	return (unsigned long)__builtin_ctzl(iovad->granule);
}

static inline unsigned long iova_mask(const struct iova_domain *iovad)
{
	return iovad->granule - 1;
}

static inline size_t iova_offset(const struct iova_domain *iovad, dma_addr_t iova)
{
	return iova & iova_mask(iovad);
}

static inline size_t iova_align(const struct iova_domain *iovad, size_t size)
{
	return (size + iova_mask(iovad)) & ~iova_mask(iovad);
}

static inline dma_addr_t iova_dma_addr(const struct iova_domain *iovad, const struct iova *iova)
{
	return (dma_addr_t)iova->pfn_lo << iova_shift(iovad);
}

static inline unsigned long iova_pfn(const struct iova_domain *iovad, dma_addr_t iova)
{
	return iova >> iova_shift(iovad);
}

#define __free_iova(iovad, iova) free_iova(iovad, (iova)->pfn_lo)
#define iova_cache_get() 0
#define iova_cache_put() ((void)0)

#endif
