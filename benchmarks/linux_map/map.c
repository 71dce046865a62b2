/* SPDX-License-Identifier: MIT */
/* Machines for Linux's mapping code, and the processor time of dma_map_sg_attrs and dma_unmap_sg_attrs on them. */
#include <time.h>

#include <linux/dma-mapping.h>
#include <linux/dma-map-ops.h>
#include <linux/io-pgtable.h>
#include <linux/iommu.h>
#include <linux/iova.h>
#include <linux/swiotlb.h>

#include "map.h"

struct bus_type pci_bus_type = { "pci" };
int zone_device_pages;

static u64 mask64 = ~0ULL;
static struct device_dma_parameters parms;

enum pci_p2pdma_map_type pci_p2pdma_map_segment(struct pci_p2pdma_map_state *state, struct device *dev,
						struct scatterlist *sg)
{
	abort();
}

/* the walk is coherent: tables are never synced */
dma_addr_t dma_map_page_attrs(struct device *dev, struct page *page, size_t offset, size_t size,
			      enum dma_data_direction dir, unsigned long attrs)
{
	abort();
}

void dma_unmap_page_attrs(struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir,
			  unsigned long attrs)
{
	abort();
}

void dma_sync_single_for_device(struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir)
{
	abort();
}

static struct device *new_device(bool pci)
{
	struct pci_dev *dev = calloc(1, sizeof(*dev));

	dev->dev.bus = pci ? &pci_bus_type : NULL;
	dev->dev.dma_mask = &mask64;
	dev->dev.dma_parms = &parms;
	dev->dev.dma_coherent = true;
	return &dev->dev;
}

void *linux_direct(void)
{
	return new_device(true);
}

/* A pool of `bytes` that everything is bounced through; its memory is the host's. */
void *linux_swiotlb(unsigned long bytes)
{
	struct device *dev = new_device(true);

	dev->dma_io_tlb_mem = bench_swiotlb(bytes);
	return dev;
}

/* -- iommu-dma over io-pgtable-arm, with the callbacks that arm-smmu-v3 gives to them -- */

struct smmu_domain {
	struct iommu_domain domain;
	struct io_pgtable *iop;
	u64 commands;           /* of the hardware that is not there */
};

static int smmu_map_pages(struct iommu_domain *domain, unsigned long iova, phys_addr_t paddr, size_t pgsize,
			  size_t pgcount, int prot, gfp_t gfp, size_t *mapped)
{
	struct io_pgtable_ops *ops = &container_of(domain, struct smmu_domain, domain)->iop->ops;

	return ops->map_pages(ops, iova, paddr, pgsize, pgcount, prot, gfp, mapped);
}

static size_t smmu_unmap_pages(struct iommu_domain *domain, unsigned long iova, size_t pgsize, size_t pgcount,
			       struct iommu_iotlb_gather *gather)
{
	struct io_pgtable_ops *ops = &container_of(domain, struct smmu_domain, domain)->iop->ops;

	return ops->unmap_pages(ops, iova, pgsize, pgcount, gather);
}

static void smmu_iotlb_sync(struct iommu_domain *domain, struct iommu_iotlb_gather *gather)
{
	if (gather->pgsize)
		container_of(domain, struct smmu_domain, domain)->commands++;
}

static const struct iommu_domain_ops smmu_ops = {
	.map_pages = smmu_map_pages,
	.unmap_pages = smmu_unmap_pages,
	.iotlb_sync = smmu_iotlb_sync,
};

static void smmu_flush_walk(unsigned long iova, size_t size, size_t granule, void *cookie)
{
	((struct smmu_domain *)cookie)->commands++;
}

static void smmu_add_page(struct iommu_iotlb_gather *gather, unsigned long iova, size_t granule, void *cookie)
{
	iommu_iotlb_gather_add_page(&((struct smmu_domain *)cookie)->domain, gather, iova, granule);
}

static const struct iommu_flush_ops smmu_tlb = {
	.tlb_flush_walk = smmu_flush_walk,
	.tlb_add_page = smmu_add_page,
};

/* n pairs of first and last reserved address */
void *linux_iommu_dma(const u64 *reserved, unsigned int n)
{
	struct device *dev = new_device(true);
	struct smmu_domain *smmu = calloc(1, sizeof(*smmu));
	struct io_pgtable_cfg cfg = {
		.pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G, .ias = 48, .oas = 48, .coherent_walk = true, .tlb = &smmu_tlb,
		.iommu_dev = dev,
	};
	struct iova_domain *iovad;

	smmu->iop = io_pgtable_arm_64_lpae_s1_init_fns.alloc(&cfg, smmu);
	smmu->iop->fmt = ARM_64_LPAE_S1;
	smmu->iop->cookie = smmu;
	smmu->iop->cfg = cfg;
	smmu->domain.type = IOMMU_DOMAIN_DMA;
	smmu->domain.ops = &smmu_ops;
	smmu->domain.pgsize_bitmap = cfg.pgsize_bitmap;
	smmu->domain.geometry.aperture_end = (1ULL << 48) - 1;
	smmu->domain.geometry.force_aperture = true;
	iova_cache_get();
	iovad = bench_cookie(&smmu->domain);
	init_iova_domain(iovad, SZ_4K, 1);
	iova_domain_init_rcaches(iovad);
	for (; n--; reserved += 2)
		reserve_iova(iovad, reserved[0] >> 12, reserved[1] >> 12);
	bench_group(dev, &smmu->domain);
	dev->dma_ops = &bench_iommu_dma_ops;
	return dev;
}

void *linux_ppc(u64 window)
{
	struct device *dev = new_device(true);

	dev->archdata.iommu_table_base = bench_ppc_table(window);
	dev->dma_ops = &bench_ppc_ops;
	return dev;
}

/* -- lists -- */

/* One entry of a page for each address. */
void *linux_list(const u64 *phys, const u32 *length, unsigned int n)
{
	struct sg_table *table = calloc(1, sizeof(*table));
	struct scatterlist *sg;
	unsigned int i;

	if (sg_alloc_table(table, n, 0))
		return NULL;
	for_each_sgtable_sg(table, sg, i)
		sg_set_page(sg, (struct page *)(unsigned long)(phys[i] & PAGE_MASK), length[i], phys[i] & ~PAGE_MASK);
	return table;
}

void linux_list_free(struct sg_table *table)
{
	sg_free_table(table);
	free(table);
}

/* The mapped segments: addresses and lengths. */
unsigned int linux_segments(struct sg_table *table, unsigned int nents, u64 *address, u32 *length)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sg(table->sgl, sg, nents, i) {
		address[i] = sg_dma_address(sg);
		length[i] = sg_dma_len(sg);
	}
	return i;
}

static u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

unsigned int linux_map(struct device *dev, struct sg_table *table)
{
	return dma_map_sg_attrs(dev, table->sgl, table->orig_nents, DMA_BIDIRECTIONAL, 0);
}

void linux_unmap(struct device *dev, struct sg_table *table)
{
	dma_unmap_sg_attrs(dev, table->sgl, table->orig_nents, DMA_BIDIRECTIONAL, 0);
}

/* Map and unmap `times` times: the nanoseconds of all; the segments of the last time. */
unsigned int linux_map_unmap(struct device *dev, struct sg_table *table, unsigned int times, u64 *took)
{
	unsigned int n = 0;
	u64 start = now();

	while (times--) {
		n = linux_map(dev, table);
		linux_unmap(dev, table);
	}
	*took = now() - start;
	return n;
}
