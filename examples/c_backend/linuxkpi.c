/* SPDX-License-Identifier: MIT */
/*
 * The DMA API as a compatibility layer of another kernel would do it, in the manner of FreeBSD's LinuxKPI: a window of
 * I/O addresses, a bitmap for it, and a table in memory that the hardware (dma_conformance_translate) reads.
 *
 *     dma-conformance run --backend c:examples/c_backend/linuxkpi.c:linuxkpi_dma_ops
 *
 * FAULT=n is a fault that such layers, and drivers beside them, really had (docs/c-backends.md has where, and which
 * rule finds it); 0 is none.
 */
#include <linux/bitmap.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu-helper.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>

#ifndef FAULT
#define FAULT 0
#endif

#define WINDOW 0x40000000UL             /* on the bus */
#define PAGES 2048UL
#define VALID_READ 1UL                  /* in an entry, beside the frame */
#define VALID_WRITE 2UL

static unsigned long taken[BITS_TO_LONGS(PAGES)];
static u64 *table;

/* -- the hardware ---------------------------------------------------------------------------------------------- */

int dma_conformance_translate(struct device *dev, dma_addr_t addr, bool write, phys_addr_t *phys, u64 *run)
{
	u64 index = (addr - WINDOW) >> PAGE_SHIFT, entry;

	(void)dev;
	if (addr < WINDOW || index >= PAGES)
		return -EFAULT;
	entry = table[index];
	if (!entry)
		return -EFAULT;
	if (!(entry & (write ? VALID_WRITE : VALID_READ)))
		return -EACCES;
	*phys = (entry & PAGE_MASK) | (addr & ~PAGE_MASK);
	*run = PAGE_SIZE - (addr & ~PAGE_MASK);
	return 0;
}

int dma_conformance_setup(struct device *dev)
{
	(void)dev;
	table = kzalloc(PAGES * sizeof(*table), GFP_KERNEL);
	return table ? 0 : -ENOMEM;
}

long dma_conformance_resources(struct device *dev)
{
	unsigned long i, n = 0;

	(void)dev;
	for (i = 0; i < PAGES; i++)
		n += test_bit(i, taken) ? 1 : 0;
	return n;
}

/* -- the window ------------------------------------------------------------------------------------------------ */

static u64 rights(enum dma_data_direction dir)
{
	return dir == DMA_TO_DEVICE ? VALID_READ : dir == DMA_FROM_DEVICE ? VALID_WRITE : VALID_READ | VALID_WRITE;
}

static unsigned long take(struct device *dev, unsigned long n, u64 mask, unsigned long align)
{
	unsigned long lines = dma_get_seg_boundary_nr_pages(dev, PAGE_SHIFT);
	unsigned long most = PAGES;
	u64 last = min_not_zero(mask, dev->bus_dma_limit);

	if (last < WINDOW + PAGE_SIZE - 1)
		return ~0UL;
	if (last - WINDOW + 1 < PAGES << PAGE_SHIFT)
		most = (last - WINDOW + 1) >> PAGE_SHIFT;
	if (n > lines)
		lines = 1UL << (63 - PAGE_SHIFT);       /* the allocator would look for ever */
#if FAULT == 9
	lines = 1UL << (63 - PAGE_SHIFT);
#endif
	return iommu_area_alloc(taken, most, 0, n, WINDOW >> PAGE_SHIFT, lines, align);
}

/* Pages of I/O space for [phys, phys + size), which continue at index if that is not ~0UL. */
static void enter(unsigned long index, phys_addr_t phys, size_t size, enum dma_data_direction dir)
{
	unsigned long i, n = iommu_num_pages(phys, size, PAGE_SIZE);

	for (i = 0; i < n; i++)
		table[index + i] = ((phys & PAGE_MASK) + (i << PAGE_SHIFT)) | rights(dir);
}

static void leave(dma_addr_t addr, size_t size)
{
	unsigned long index = (addr - WINDOW) >> PAGE_SHIFT, n = iommu_num_pages(addr, size, PAGE_SIZE);

	memset(&table[index], 0, n * sizeof(*table));
	bitmap_clear(taken, index, n);
}

static dma_addr_t map_one(struct device *dev, phys_addr_t phys, size_t size, enum dma_data_direction dir)
{
	unsigned long index = take(dev, iommu_num_pages(phys, size, PAGE_SIZE), *dev->dma_mask, 0);

	if (index == ~0UL)
		return DMA_MAPPING_ERROR;
	enter(index, phys, size, dir);
#if FAULT == 8
	return WINDOW + (index << PAGE_SHIFT);
#endif
	return WINDOW + (index << PAGE_SHIFT) + (phys & ~PAGE_MASK);
}

static dma_addr_t kpi_map_page(struct device *dev, struct page *page, unsigned long offset, size_t size,
			       enum dma_data_direction dir, unsigned long attrs)
{
	phys_addr_t phys = page_to_phys(page) + offset;
	dma_addr_t addr;

	if (is_pci_p2pdma_page(page))
		return DMA_MAPPING_ERROR;       /* only lists can tell that they hold a bus address */
	addr = map_one(dev, phys, size, dir);
	if (addr != DMA_MAPPING_ERROR && !dev->dma_coherent && !(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		sync_dma_for_device(phys, size, dir);
	return addr;
}

static phys_addr_t back(dma_addr_t addr)
{
	return (table[(addr - WINDOW) >> PAGE_SHIFT] & PAGE_MASK) | (addr & ~PAGE_MASK);
}

/* Cache maintenance of what is mapped: pages that follow one another on the bus may lie anywhere in memory. */
static void maintain(struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir, bool for_cpu)
{
	size_t step;

	if (dev->dma_coherent || FAULT == 7)
		return;
	for (; size; addr += step, size -= step) {
		step = min_t(size_t, size, PAGE_SIZE - (addr & ~PAGE_MASK));
		if (is_pci_p2pdma_page(phys_to_page(back(addr))))
			continue;               /* no cache holds a peer's memory */
		if (for_cpu)
			sync_dma_for_cpu(back(addr), step, dir);
		else
			sync_dma_for_device(back(addr), step, dir);
	}
}

static void kpi_unmap_page(struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir,
			   unsigned long attrs)
{
	if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		maintain(dev, addr, size, dir, true);
	leave(addr, size);
}

/* -- lists ----------------------------------------------------------------------------------------------------- */

static phys_addr_t phys_of(struct scatterlist *sg)
{
#if FAULT == 4
	return sg->page_link + sg->offset;
#else
	return sg_phys(sg);
#endif
}

/* Can an entry that begins at phys follow on what ends at end? */
static bool joins(struct device *dev, phys_addr_t first, phys_addr_t end, u64 size, struct scatterlist *next)
{
	u64 whole = size + next->length;
	u64 boundary = dma_get_seg_boundary(dev);

	if ((end | phys_of(next)) & ~PAGE_MASK)
		return false;
	return whole <= dma_get_max_seg_size(dev) && (boundary == ~0ULL || (first & ~PAGE_MASK) + whole <= boundary + 1);
}

static void unmap_segments(struct device *dev, struct scatterlist *sg, int n, enum dma_data_direction dir,
			   unsigned long attrs)
{
	for (; n-- && sg && sg_dma_len(sg); sg = sg_next(sg)) {
		if (sg_is_dma_bus_address(sg))
			sg_dma_unmark_bus_address(sg);
		else
#if FAULT == 6
			kpi_unmap_page(dev, sg_dma_address(sg), sg->length, dir, attrs);
#else
			kpi_unmap_page(dev, sg_dma_address(sg), sg_dma_len(sg), dir, attrs);
#endif
		sg_dma_len(sg) = 0;
	}
}

static int kpi_map_sg(struct device *dev, struct scatterlist *sgl, int nents, enum dma_data_direction dir,
		      unsigned long attrs)
{
	struct pci_p2pdma_map_state p2p = { 0 };
	struct scatterlist *sg = sgl, *out = sgl, *run;
	int i = 0, count = 0, n, ret = -ENOMEM;
	unsigned long index, pages;
	phys_addr_t first;
	dma_addr_t addr;
	u64 size;

	while (i < nents) {
#if FAULT != 10
		if (is_pci_p2pdma_page(sg_page(sg))) {
			struct scatterlist bus = *sg;

			switch (pci_p2pdma_map_segment(&p2p, dev, &bus)) {
			case PCI_P2PDMA_MAP_BUS_ADDR:
				if (!dma_capable(dev, sg_dma_address(&bus), sg->length, false)) {
					ret = -EREMOTEIO;
					goto undo;
				}
				sg_dma_address(out) = sg_dma_address(&bus);
				sg_dma_len(out) = sg->length;
				sg_dma_mark_bus_address(out);
				out = sg_next(out);
				sg = sg_next(sg);
				count++;
				i++;
				continue;
			case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
				break;
			default:
				ret = -EREMOTEIO;
				goto undo;
			}
		}
#else
		if (is_pci_p2pdma_page(sg_page(sg))) {  /* the BAR's physical address, whatever is in between */
			sg_dma_address(out) = sg_phys(sg);
			sg_dma_len(out) = sg->length;
			sg_dma_mark_bus_address(out);
			out = sg_next(out);
			sg = sg_next(sg);
			count++;
			i++;
			continue;
		}
		(void)p2p;
#endif
		if (!sg->length) {
			ret = -EINVAL;
			goto undo;
		}
		/* what becomes one segment */
		first = phys_of(sg);
		size = sg->length;
		for (n = 1, run = sg; i + n < nents; n++) {
			struct scatterlist *next = sg_next(run);

			if (is_pci_p2pdma_page(sg_page(next)) != is_pci_p2pdma_page(sg_page(sg)) || !next->length ||
			    is_pci_p2pdma_page(sg_page(next)) || !joins(dev, first, phys_of(run) + run->length, size, next))
				break;
			size += next->length;
			run = next;
		}
		pages = iommu_num_pages(first, size, PAGE_SIZE);
#if FAULT == 3
		if (size & 0x1fff)              /* a length in too few bits: 32 in the field, 13 here */
			pages = iommu_num_pages(first, size & 0x1fff, PAGE_SIZE);
#endif
		index = take(dev, pages, *dev->dma_mask, 0);
		if (index == ~0UL)
			goto undo;
		addr = WINDOW + (index << PAGE_SHIFT) + (first & ~PAGE_MASK);
		for (; n--; i++, sg = sg_next(sg)) {
			enter(index, phys_of(sg), sg->length, dir);
			index += iommu_num_pages(phys_of(sg), sg->length, PAGE_SIZE);
		}
		sg_dma_address(out) = addr;
		sg_dma_len(out) = size;
#if FAULT == 2
		out->length = size;             /* one member for both, as without CONFIG_NEED_SG_DMA_LENGTH */
#endif
		if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC))
			maintain(dev, addr, size, dir, false);
		out = sg_next(out);
		count++;
	}
	if (count < nents) {
		sg_dma_address(out) = DMA_MAPPING_ERROR;
		sg_dma_len(out) = 0;
	}
#if FAULT == 1
	return nents;
#endif
	return count;
undo:
#if FAULT != 5
	unmap_segments(dev, sgl, count, dir, attrs | DMA_ATTR_SKIP_CPU_SYNC);
#endif
	return ret;
}

static void kpi_unmap_sg(struct device *dev, struct scatterlist *sgl, int nents, enum dma_data_direction dir,
			 unsigned long attrs)
{
	unmap_segments(dev, sgl, nents, dir, attrs);
}

/* -- the rest -------------------------------------------------------------------------------------------------- */

static void *kpi_alloc(struct device *dev, size_t size, dma_addr_t *handle, gfp_t gfp, unsigned long attrs)
{
	unsigned int order = get_order(size);
	struct page *page = alloc_pages(gfp | GFP_KERNEL, order);
	unsigned long index;

	(void)attrs;
	if (!page)
		return NULL;
	index = take(dev, 1UL << order, dev->coherent_dma_mask, (1UL << order) - 1);
	if (index == ~0UL) {
		__free_pages(page, order);
		return NULL;
	}
	memset(page_address(page), 0, PAGE_SIZE << order);
	enter(index, page_to_phys(page), PAGE_SIZE << order, DMA_BIDIRECTIONAL);
	*handle = WINDOW + (index << PAGE_SHIFT);
	return page_address(page);
}

static void kpi_free(struct device *dev, size_t size, void *cpu_addr, dma_addr_t handle, unsigned long attrs)
{
	unsigned int order = get_order(size);

	(void)dev;
	(void)attrs;
	leave(handle, PAGE_SIZE << order);
	__free_pages(virt_to_page(cpu_addr), order);
}

static void kpi_sync_for_cpu(struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir)
{
	maintain(dev, addr, size, dir, true);
}

static void kpi_sync_for_device(struct device *dev, dma_addr_t addr, size_t size, enum dma_data_direction dir)
{
	maintain(dev, addr, size, dir, false);
}

static void sync_segments(struct device *dev, struct scatterlist *sg, int n, enum dma_data_direction dir, bool for_cpu)
{
	for (; n-- && sg && sg_dma_len(sg); sg = sg_next(sg))
		if (!sg_is_dma_bus_address(sg))
			maintain(dev, sg_dma_address(sg), sg_dma_len(sg), dir, for_cpu);
}

static void kpi_sync_sg_for_cpu(struct device *dev, struct scatterlist *sg, int n, enum dma_data_direction dir)
{
	sync_segments(dev, sg, n, dir, true);
}

static void kpi_sync_sg_for_device(struct device *dev, struct scatterlist *sg, int n, enum dma_data_direction dir)
{
	sync_segments(dev, sg, n, dir, false);
}

static int kpi_dma_supported(struct device *dev, u64 mask)
{
	(void)dev;
	return mask >= WINDOW + (PAGES << PAGE_SHIFT) - 1;
}

static unsigned long kpi_merge_boundary(struct device *dev)
{
	(void)dev;
	return PAGE_SIZE - 1;
}

const struct dma_map_ops linuxkpi_dma_ops = {
	.flags = DMA_F_PCI_P2PDMA_SUPPORTED,
	.alloc = kpi_alloc,
	.free = kpi_free,
	.map_page = kpi_map_page,
	.unmap_page = kpi_unmap_page,
	.map_sg = kpi_map_sg,
	.unmap_sg = kpi_unmap_sg,
	.sync_single_for_cpu = kpi_sync_for_cpu,
	.sync_single_for_device = kpi_sync_for_device,
	.sync_sg_for_cpu = kpi_sync_sg_for_cpu,
	.sync_sg_for_device = kpi_sync_sg_for_device,
	.dma_supported = kpi_dma_supported,
	.get_merge_boundary = kpi_merge_boundary,
};
