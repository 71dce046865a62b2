/* SPDX-License-Identifier: MIT */
/* arch/powerpc/kernel/iommu.c with its callers in dma-iommu.c, over powernv's table of TCEs in memory. */
#include <linux/bitmap.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu-helper.h>
#define __KERNEL__ 1
#include <asm/iommu.h>

#include "map.h"

#define DBG(...) ((void)0)
#define mb() barrier()
#define TCE_PCI 1
#define iommu_debugfs_add(tbl) ((void)0)
#define is_kdump_kernel() 0
#define is_fadump_active() 0
#define should_fail_iommu(dev) false

static int novmerge;
static unsigned int iommu_pool_hash;

unsigned long iommu_area_alloc(unsigned long *map, unsigned long size, unsigned long start, unsigned int nr,
			       unsigned long shift, unsigned long boundary_size, unsigned long align_mask);
int pnv_tce_build(struct iommu_table *tbl, long index, long npages, unsigned long uaddr,
		  enum dma_data_direction direction, unsigned long attrs);
void pnv_tce_free(struct iommu_table *tbl, long index, long npages);

#include "powerpc.inc"

const struct dma_map_ops bench_ppc_ops = {
	.map_sg = dma_iommu_map_sg,
	.unmap_sg = dma_iommu_unmap_sg,
};

static struct iommu_table_ops bench_table_ops = {
	.set = pnv_tce_build,
	.clear = pnv_tce_free,
};

struct iommu_table *bench_ppc_table(u64 window)
{
	struct iommu_table *tbl = aligned_alloc(64, (sizeof(*tbl) + 63) & ~63UL);

	memset(tbl, 0, sizeof(*tbl));
	tbl->it_ops = &bench_table_ops;
	tbl->it_level_size = 1;
	pnv_pci_setup_iommu_table(tbl, calloc(window >> 12, 8), (window >> 12) * 8, 0, 12);
	return iommu_init_table(tbl, -1, 0, 0);
}
