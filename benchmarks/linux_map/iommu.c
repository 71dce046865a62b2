/* SPDX-License-Identifier: MIT */
/* What drivers/iommu/iommu.c does between iommu-dma and the driver of an IOMMU. */
#include <linux/iommu.h>

#include "map.h"

#define trace_map(...) ((void)0)
#define trace_unmap(...) ((void)0)

struct iommu_group {
	struct iommu_domain *default_domain;
};

#include "iommu.inc"

void bench_group(struct device *dev, struct iommu_domain *domain)
{
	dev->iommu_group = calloc(1, sizeof(*dev->iommu_group));
	dev->iommu_group->default_domain = domain;
}
