/* SPDX-License-Identifier: MIT */
/* The DMA API: of 6.1, and of 6.16 and later. */
#ifndef DMA_CONFORMANCE_LINUX_DMA_MAPPING_H
#define DMA_CONFORMANCE_LINUX_DMA_MAPPING_H

#include <linux/device.h>
#include <linux/dma-direction.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <dma_conformance/calls/dma-mapping.h>

#define DMA_ATTR_WEAK_ORDERING (1UL << 1)
#define DMA_ATTR_WRITE_COMBINE (1UL << 2)
#define DMA_ATTR_NO_KERNEL_MAPPING (1UL << 4)
#define DMA_ATTR_SKIP_CPU_SYNC (1UL << 5)
#define DMA_ATTR_FORCE_CONTIGUOUS (1UL << 6)
#define DMA_ATTR_ALLOC_SINGLE_PAGES (1UL << 7)
#define DMA_ATTR_NO_WARN (1UL << 8)
#define DMA_ATTR_PRIVILEGED (1UL << 9)
#define DMA_ATTR_MMIO (1UL << 10)
#define DMA_ATTR_REQUIRE_COHERENT (1UL << 12)
#define DMA_MAPPING_ERROR (~(dma_addr_t)0)

/* Of the linear map, as kmalloc answers; the kernel's stack and vmalloc are not (dma_map_single_attrs in 6.1). */
static inline dma_addr_t dma_map_single_attrs(struct device *dev, void *ptr, size_t size, enum dma_data_direction dir,
					      unsigned long attrs)
{
	if (WARN_ON_ONCE(!virt_addr_valid(ptr)))
		return DMA_MAPPING_ERROR;
	return dma_map_page_attrs(dev, virt_to_page(ptr), offset_in_page(ptr), size, dir, attrs);
}

#define dma_unmap_single_attrs(dev, addr, size, dir, attrs) dma_unmap_page_attrs(dev, addr, size, dir, attrs)
#define dma_map_single(dev, ptr, size, dir) dma_map_single_attrs(dev, ptr, size, dir, 0)
#define dma_unmap_single(dev, addr, size, dir) dma_unmap_page_attrs(dev, addr, size, dir, 0)
#define dma_map_page(dev, page, offset, size, dir) dma_map_page_attrs(dev, page, offset, size, dir, 0)
#define dma_unmap_page(dev, addr, size, dir) dma_unmap_page_attrs(dev, addr, size, dir, 0)
#define dma_map_sg(dev, sg, nents, dir) dma_map_sg_attrs(dev, sg, nents, dir, 0)
#define dma_unmap_sg(dev, sg, nents, dir) dma_unmap_sg_attrs(dev, sg, nents, dir, 0)
#define dma_sync_single_range_for_cpu(dev, addr, offset, size, dir) \
	dma_sync_single_for_cpu(dev, (addr) + (offset), size, dir)
#define dma_sync_single_range_for_device(dev, addr, offset, size, dir) \
	dma_sync_single_for_device(dev, (addr) + (offset), size, dir)
#define dma_sync_sgtable_for_cpu(dev, sgt, dir) dma_sync_sg_for_cpu(dev, (sgt)->sgl, (sgt)->orig_nents, dir)
#define dma_sync_sgtable_for_device(dev, sgt, dir) dma_sync_sg_for_device(dev, (sgt)->sgl, (sgt)->orig_nents, dir)
#define dma_alloc_coherent(dev, size, handle, gfp) dma_alloc_attrs(dev, size, handle, gfp, 0)
#define dma_free_coherent(dev, size, cpu_addr, handle) dma_free_attrs(dev, size, cpu_addr, handle, 0)
#define dma_zalloc_coherent(dev, size, handle, gfp) dma_alloc_coherent(dev, size, handle, gfp)

static inline void dma_unmap_sgtable(struct device *dev, struct sg_table *sgt, enum dma_data_direction dir,
				     unsigned long attrs)
{
	dma_unmap_sg_attrs(dev, sgt->sgl, sgt->orig_nents, dir, attrs);
}

static inline void *dma_alloc_noncoherent(struct device *dev, size_t size, dma_addr_t *handle,
					  enum dma_data_direction dir, gfp_t gfp)
{
	struct page *page = dma_alloc_pages(dev, size, handle, dir, gfp);

	return page ? page_address(page) : (void *)0;
}

static inline void dma_free_noncoherent(struct device *dev, size_t size, void *virt, dma_addr_t handle,
					enum dma_data_direction dir)
{
	dma_free_pages(dev, size, virt_to_page(virt), handle, dir);
}

static inline u64 dma_get_mask(struct device *dev)
{
	return dev->dma_mask && *dev->dma_mask ? *dev->dma_mask : DMA_BIT_MASK(32);
}

/* The answer of the coherent mask is ignored, as in Linux: it cannot differ. */
static inline int dma_set_mask_and_coherent(struct device *dev, u64 mask)
{
	int ret = dma_set_mask(dev, mask);

	if (!ret)
		dma_set_coherent_mask(dev, mask);
	return ret;
}

static inline int dma_coerce_mask_and_coherent(struct device *dev, u64 mask)
{
	dev->dma_mask = &dev->coherent_dma_mask;
	return dma_set_mask_and_coherent(dev, mask);
}

static inline unsigned int dma_get_max_seg_size(struct device *dev)
{
	return dev->dma_parms && dev->dma_parms->max_segment_size ? dev->dma_parms->max_segment_size : 65536;
}

static inline int dma_set_max_seg_size(struct device *dev, unsigned int size)
{
	if (!dev->dma_parms)
		return -EIO;
	dev->dma_parms->max_segment_size = size;
	return 0;
}

static inline unsigned long dma_get_seg_boundary(struct device *dev)
{
	return dev->dma_parms && dev->dma_parms->segment_boundary_mask ? dev->dma_parms->segment_boundary_mask : ~0UL;
}

static inline unsigned long dma_get_seg_boundary_nr_pages(struct device *dev, unsigned int page_shift)
{
	return dev ? (dma_get_seg_boundary(dev) >> page_shift) + 1 : (0xffffffffUL >> page_shift) + 1;
}

static inline int dma_set_seg_boundary(struct device *dev, unsigned long mask)
{
	if (!dev->dma_parms)
		return -EIO;
	dev->dma_parms->segment_boundary_mask = mask;
	return 0;
}

static inline unsigned int dma_get_min_align_mask(struct device *dev)
{
	return dev->dma_parms ? dev->dma_parms->min_align_mask : 0;
}

static inline int dma_set_min_align_mask(struct device *dev, unsigned int mask)
{
	if (WARN_ON_ONCE(!dev->dma_parms))
		return -EIO;
	dev->dma_parms->min_align_mask = mask;
	return 0;
}

static inline int dma_get_cache_alignment(void)
{
	return ARCH_DMA_MINALIGN;
}

#define DEFINE_DMA_UNMAP_ADDR(name) dma_addr_t name
#define DEFINE_DMA_UNMAP_LEN(name) __u32 name
#define dma_unmap_addr(ptr, name) ((ptr)->name)
#define dma_unmap_addr_set(ptr, name, value) ((ptr)->name = (value))
#define dma_unmap_len(ptr, name) ((ptr)->name)
#define dma_unmap_len_set(ptr, name, value) ((ptr)->name = (value))

#define DMA_IOVA_USE_SWIOTLB (1ULL << 63)

static inline bool dma_use_iova(const struct dma_iova_state *state)
{
	return state->__size != 0;
}

static inline size_t dma_iova_size(const struct dma_iova_state *state)
{
	return state->__size & ~DMA_IOVA_USE_SWIOTLB;
}

#endif
