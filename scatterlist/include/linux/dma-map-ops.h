/* SPDX-License-Identifier: MIT */
/* What an implementation of the DMA API needs: struct dma_map_ops with 6.1's members, and its helpers. */
#ifndef DMA_CONFORMANCE_LINUX_DMA_MAP_OPS_H
#define DMA_CONFORMANCE_LINUX_DMA_MAP_OPS_H

#include <linux/dma-mapping.h>
#include <linux/pci-p2pdma.h>

#define DMA_F_PCI_P2PDMA_SUPPORTED (1 << 0)
/* DMA_F_CAN_SKIP_SYNC is 6.10's; the newest have no flags */

static inline const struct dma_map_ops *get_dma_ops(struct device *dev)
{
	return dev->dma_ops;
}

static inline void set_dma_ops(struct device *dev, const struct dma_map_ops *ops)
{
	dev->dma_ops = ops;
}

/* Cache maintenance: the machine's model of its caches does it, and counts it. */
#define arch_sync_dma_for_device(phys, size, dir) sync_dma_for_device(phys, size, dir)
#define arch_sync_dma_for_cpu(phys, size, dir) sync_dma_for_cpu(phys, size, dir)
#define arch_sync_dma_for_cpu_all() ((void)0)

/* An address, by an implementation that has no IOMMU: the rows of dev->dma_range_map, if there are any. */
static inline dma_addr_t phys_to_dma(struct device *dev, phys_addr_t phys)
{
	const struct bus_dma_region *row = dev->dma_range_map;

	if (!row)
		return phys + dev->archdata.dma_offset;
	for (; row->size; row++)
		if (phys >= row->cpu_start && phys - row->cpu_start < row->size)
			return row->dma_start + (phys - row->cpu_start);
	return DMA_MAPPING_ERROR;
}

static inline phys_addr_t dma_to_phys(struct device *dev, dma_addr_t addr)
{
	const struct bus_dma_region *row = dev->dma_range_map;

	if (!row)
		return addr - dev->archdata.dma_offset;
	for (; row->size; row++)
		if (addr >= row->dma_start && addr - row->dma_start < row->size)
			return row->cpu_start + (addr - row->dma_start);
	return ~(phys_addr_t)0;
}

static inline bool dma_capable(struct device *dev, dma_addr_t addr, size_t size, bool is_ram)
{
	(void)is_ram;                   /* a question for 32-bit dma_addr_t */
	return dev->dma_mask && addr != DMA_MAPPING_ERROR &&
	       addr + size - 1 <= min_not_zero(*dev->dma_mask, dev->bus_dma_limit);
}

#endif
