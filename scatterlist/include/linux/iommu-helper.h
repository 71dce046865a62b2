/* SPDX-License-Identifier: MIT */
/* The bitmap allocator of lib/iommu-helper.c. */
#ifndef DMA_CONFORMANCE_LINUX_IOMMU_HELPER_H
#define DMA_CONFORMANCE_LINUX_IOMMU_HELPER_H

#include <linux/bitmap.h>
#include <linux/bug.h>
#include <dma_conformance/calls/iommu.h>

/* Pages of I/O space that [addr, addr + len) touches. */
static inline unsigned long iommu_num_pages(unsigned long addr, unsigned long len, unsigned long io_page_size)
{
	return ((addr & (io_page_size - 1)) + len + io_page_size - 1) / io_page_size;
}

static inline unsigned long iommu_device_max_index(unsigned long size, unsigned long offset, u64 dma_mask)
{
	return size + offset > dma_mask ? dma_mask - offset + 1 : size;
}

/* Does a run of nr cross a multiple of boundary_size (a power of two), counted from -shift? */
static inline int iommu_is_span_boundary(unsigned int index, unsigned int nr, unsigned long shift,
					 unsigned long boundary_size)
{
	BUG_ON(!is_power_of_2(boundary_size));
	return ((shift + index) & (boundary_size - 1)) + nr > boundary_size;
}

#endif
