/* SPDX-License-Identifier: MIT */
/* iommu_dma_map_sg and iommu_dma_unmap_sg of drivers/iommu/dma-iommu.c. Nothing is bounced or queued. */
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/iova.h>

#include "map.h"

#define DMA_ATTR_PRIVILEGED (1UL << 9)

bool iommu_dma_forcedac;

#define queue_iova(...) abort()
#define iommu_dma_map_sg_swiotlb(...) (abort(), 0)
#define iommu_dma_unmap_sg_swiotlb(...) abort()
#define iommu_dma_sync_single_for_device(...) abort()
#define iommu_dma_sync_single_for_cpu(...) abort()
#define iommu_deferred_attach(...) 0

struct iommu_domain *iommu_get_dma_domain(struct device *dev);
ssize_t iommu_map_sg_atomic(struct iommu_domain *domain, unsigned long iova, struct scatterlist *sg,
			    unsigned int nents, int prot);

#include "dma-iommu.inc"

const struct dma_map_ops bench_iommu_dma_ops = {
	.map_sg = iommu_dma_map_sg,
	.unmap_sg = iommu_dma_unmap_sg,
};

struct iova_domain *bench_cookie(struct iommu_domain *domain)
{
	struct iommu_dma_cookie *cookie = calloc(1, sizeof(*cookie));

	cookie->type = IOMMU_DMA_IOVA_COOKIE;
	domain->iova_cookie = cookie;
	return &cookie->iovad;
}
