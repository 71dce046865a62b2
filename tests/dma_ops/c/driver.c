/* SPDX-License-Identifier: MIT */
/* A driver as it would be written for the kernel: what tests/dma_ops/test_c_api.py calls. */
#include <linux/bvec.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu-helper.h>
#include <linux/iova.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

struct buffer {
	struct list_head list;
	void *data;
	dma_addr_t addr;
	size_t size;
};

static LIST_HEAD(buffers);

int probe(struct device *dev)
{
	struct pci_dev *pdev = to_pci_dev(dev);
	int ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(40));

	if (ret)
		return ret;
	pci_info(pdev, "probed, mask %llx\n", dma_get_mask(dev));
	return dma_set_max_seg_size(dev, 4096);
}

/* kmalloc, fill, map; the device reads what is answered. */
u64 send(struct device *dev, size_t size, int byte)
{
	struct buffer *buffer = kzalloc(sizeof(*buffer), GFP_KERNEL);

	buffer->size = size;
	buffer->data = kmalloc(size, GFP_KERNEL);
	memset(buffer->data, byte, size);
	buffer->addr = dma_map_single(dev, buffer->data, size, DMA_TO_DEVICE);
	if (dma_mapping_error(dev, buffer->addr)) {
		kfree(buffer->data);
		kfree(buffer);
		return 0;
	}
	list_add_tail(&buffer->list, &buffers);
	return buffer->addr;
}

int complete_all(struct device *dev)
{
	struct buffer *buffer, *next;
	int n = 0;

	list_for_each_entry_safe(buffer, next, &buffers, list) {
		dma_unmap_single(dev, buffer->addr, buffer->size, DMA_TO_DEVICE);
		list_del(&buffer->list);
		kfree(buffer->data);
		kfree(buffer);
		n++;
	}
	return n;
}

/* A list of n pages; the sum of its mapped lengths. Each page holds its number. */
long map_list(struct device *dev, unsigned int n)
{
	struct sg_table sgt;
	struct scatterlist *sg;
	long total = 0;
	unsigned int i;
	int ret = sg_alloc_table(&sgt, n, GFP_KERNEL);

	if (ret)
		return ret;
	for_each_sgtable_sg(&sgt, sg, i) {
		struct page *page = alloc_page(GFP_KERNEL);

		memset(page_address(page), i, PAGE_SIZE);
		sg_set_page(sg, page, PAGE_SIZE, 0);
	}
	ret = dma_map_sgtable(dev, &sgt, DMA_BIDIRECTIONAL, 0);
	if (ret)
		return ret;
	for_each_sgtable_dma_sg(&sgt, sg, i)
		total += sg_dma_len(sg);
	dma_unmap_sgtable(dev, &sgt, DMA_BIDIRECTIONAL, 0);
	for_each_sgtable_sg(&sgt, sg, i) {
		if (*(u8 *)sg_virt(sg) != (u8)i)
			total = -EIO;
		__free_page(sg_page(sg));
	}
	sg_free_table(&sgt);
	return total;
}

/* Copies through the helpers and through the iterator agree. */
int copies(void)
{
	struct scatterlist sgl[3];
	struct sg_mapping_iter miter;
	char *data = kmalloc(3 * 100, GFP_KERNEL), out[300];
	size_t i, n = 0;

	for (i = 0; i < 300; i++)
		data[i] = i;
	sg_init_table(sgl, 3);
	for (i = 0; i < 3; i++)
		sg_set_buf(&sgl[i], data + 100 * i, 100);
	BUG_ON(sg_copy_to_buffer(sgl, 3, out, 300) != 300 || memcmp(out, data, 300));
	BUG_ON(sg_pcopy_to_buffer(sgl, 3, out, 300, 150) != 150 || memcmp(out, data + 150, 150));
	sg_miter_start(&miter, sgl, 3, SG_MITER_FROM_SG);
	while (sg_miter_next(&miter)) {
		BUG_ON(memcmp(miter.addr, data + n, miter.length));
		n += miter.length;
	}
	sg_miter_stop(&miter);
	BUG_ON(sg_zero_buffer(sgl, 3, 300, 0) != 300 || data[299]);
	kfree(data);
	return n;
}

int coherent(struct device *dev)
{
	dma_addr_t handle = 0;
	u32 *ring = dma_alloc_coherent(dev, 2 * PAGE_SIZE, &handle, GFP_KERNEL);

	if (!ring)
		return -ENOMEM;
	ring[PAGE_SIZE / 2 - 1] = 7;
	dma_free_coherent(dev, 2 * PAGE_SIZE, ring, handle);
	return 0;
}

int splits(void)
{
	struct scatterlist sgl[2], *out[2];
	size_t sizes[2] = { 100, 156 };
	int mapped[2], ret;
	char *data = kmalloc(256, GFP_KERNEL);

	sg_init_table(sgl, 2);
	sg_set_buf(&sgl[0], data, 128);
	sg_set_buf(&sgl[1], data + 128, 128);
	ret = sg_split(sgl, 0, 0, 2, sizes, out, mapped, GFP_KERNEL);
	if (!ret)
		ret = mapped[0] * 1000000 + mapped[1] * 10000 + out[1][0].length * 100 + sg_nents(out[1]);
	kfree(out[0]);
	kfree(out[1]);
	kfree(data);
	return ret;
}

/* Space of I/O addresses from both allocators. */
long allocators(void)
{
	DECLARE_BITMAP(map, 64) = { 0 };
	struct iova_domain iovad;
	struct iova *iova;
	unsigned long fast, first;

	bitmap_set(map, 0, 3);
	first = iommu_area_alloc(map, 64, 0, 4, 0, 64, 3);
	init_iova_domain(&iovad, PAGE_SIZE, 1);
	BUG_ON(iova_domain_init_rcaches(&iovad));
	iova = alloc_iova(&iovad, 3, 0xffff, true);
	fast = alloc_iova_fast(&iovad, 1, 0xffff, true);
	BUG_ON(find_iova(&iovad, iova->pfn_lo) != iova || iova_size(iova) != 3);
	first = first * 0x100000000 + iova->pfn_lo * 0x10000 + fast;
	free_iova_fast(&iovad, fast, 1);
	__free_iova(&iovad, iova);
	put_iova_domain(&iovad);
	return first;
}

int stack(struct device *dev)
{
	char buffer[64] = { 0 };

	return dma_mapping_error(dev, dma_map_single(dev, buffer, sizeof(buffer), DMA_TO_DEVICE));
}

static int after_the_bug;

int buggy(int value)
{
	BUG_ON(value == 3);
	after_the_bug++;
	return after_the_bug;
}

/* The model dies: a direction that is none. */
int bad_direction(struct device *dev)
{
	void *data = kmalloc(16, GFP_KERNEL);

	dma_map_single(dev, data, 16, DMA_NONE);
	after_the_bug++;
	return 0;
}

int double_free(void)
{
	void *data = kmalloc(16, GFP_KERNEL);

	kfree(data);
	kfree(data);
	after_the_bug++;
	return 0;
}

static struct scatterlist *my_alloc(unsigned int nents, gfp_t gfp)
{
	return kmalloc_array(nents, sizeof(struct scatterlist), gfp);
}

static int freed;

static void my_free(struct scatterlist *sgl, unsigned int nents)
{
	freed += nents;
	kfree(sgl);
}

int own_allocator(void)
{
	struct sg_table sgt;
	int ret = __sg_alloc_table(&sgt, 20, 8, NULL, 0, GFP_ATOMIC, my_alloc);

	if (ret)
		return ret;
	__sg_free_table(&sgt, 8, 0, my_free, sgt.orig_nents);
	return freed;
}

/* The two-step API, with what a caller does if there is none. */
int phys_api(struct device *dev)
{
	struct dma_iova_state state;
	void *data = kmalloc(PAGE_SIZE, GFP_KERNEL);
	phys_addr_t phys = virt_to_phys(data);
	dma_addr_t addr;

	if (dma_iova_try_alloc(dev, &state, phys, PAGE_SIZE))
		return 1;
	addr = dma_map_phys(dev, phys, PAGE_SIZE, DMA_TO_DEVICE, 0);
	if (dma_mapping_error(dev, addr))
		return -ENOMEM;
	dma_unmap_phys(dev, addr, PAGE_SIZE, DMA_TO_DEVICE, 0);
	kfree(data);
	return 0;
}

unsigned int bytes_of(struct bio_vec *bvec, unsigned int n)
{
	struct bvec_iter iter, start = { .bi_size = 0 };
	struct bio_vec bv;
	unsigned int total = 0, steps = 0;

	while (n--)
		start.bi_size += bvec[n].bv_len;
	for_each_bvec(bv, bvec, iter, start) {
		BUG_ON(bv.bv_offset + bv.bv_len > PAGE_SIZE);
		total += bv.bv_len;
		steps++;
	}
	return total + 1000000 * steps;
}

unsigned int length_of(struct sg_table *sgt)
{
	struct scatterlist *sg;
	unsigned int i, total = 0;

	for_each_sgtable_sg(sgt, sg, i)
		total += sg->length;
	return total;
}

static int __init driver_init(void)
{
	return WARN_ON_ONCE(sizeof(struct scatterlist) != 32) ? -EINVAL : 0;
}

static void __exit driver_exit(void)
{
	printk(KERN_INFO "bye\n");
}

module_init(driver_init);
module_exit(driver_exit);
MODULE_LICENSE("Dual MIT/GPL");
