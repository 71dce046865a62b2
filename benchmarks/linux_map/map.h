/* SPDX-License-Identifier: MIT */
/* What map.c asks of the objects that hold Linux's functions. */
#ifndef BENCHMARKS_MAP_H
#define BENCHMARKS_MAP_H

#include <linux/dma-map-ops.h>

struct iommu_domain;
struct iova_domain;

/* A cookie for the domain, and in it the space of addresses. */
struct iova_domain *bench_cookie(struct iommu_domain *domain);
void bench_group(struct device *dev, struct iommu_domain *domain);
struct iommu_table *bench_ppc_table(u64 window);
struct io_tlb_mem *bench_swiotlb(unsigned long bytes);

extern const struct dma_map_ops bench_iommu_dma_ops, bench_ppc_ops;

#endif
