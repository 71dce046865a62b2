/* SPDX-License-Identifier: MIT */
/* The two callbacks that are measured; caches are coherent, P2P pages do not occur, nothing debugs. */
#ifndef BENCHMARKS_LINUX_DMA_MAP_OPS_H
#define BENCHMARKS_LINUX_DMA_MAP_OPS_H

#include <linux/dma-mapping.h>

struct dma_map_ops {
	int (*map_sg)(struct device *dev, struct scatterlist *sg, int nents, enum dma_data_direction dir,
		      unsigned long attrs);
	void (*unmap_sg)(struct device *dev, struct scatterlist *sg, int nents, enum dma_data_direction dir,
			 unsigned long attrs);
};

enum pci_p2pdma_map_type {
	PCI_P2PDMA_MAP_UNKNOWN,
	PCI_P2PDMA_MAP_NOT_SUPPORTED,
	PCI_P2PDMA_MAP_BUS_ADDR,
	PCI_P2PDMA_MAP_THRU_HOST_BRIDGE,
};

struct pci_p2pdma_map_state {
	void *pgmap;
	int map;
	u64 bus_off;
};

extern int zone_device_pages;

/* a look at a page's flags, in the kernel */
#define is_pci_p2pdma_page(page) unlikely(zone_device_pages)
enum pci_p2pdma_map_type pci_p2pdma_map_segment(struct pci_p2pdma_map_state *state, struct device *dev,
						struct scatterlist *sg);

#define get_dma_ops(d) ((d)->dma_ops)
#define dev_is_dma_coherent(d) ((d)->dma_coherent)
#define arch_dma_map_sg_direct(d, sg, n) false
#define arch_dma_unmap_sg_direct(d, sg, n) false
#define kmsan_handle_dma_sg(...) ((void)0)
#define debug_dma_map_sg(...) ((void)0)
#define debug_dma_unmap_sg(...) ((void)0)
#define arch_sync_dma_for_device(...) ((void)0)
#define arch_sync_dma_for_cpu(...) ((void)0)
#define arch_sync_dma_for_cpu_all() ((void)0)
#define arch_dma_mark_clean(...) ((void)0)

#endif
