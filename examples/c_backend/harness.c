/* SPDX-License-Identifier: MIT */
/*
 * A backend under test in a process of its own: first fit in a window of I/O pages, and no merging.
 *
 *     gcc -I$(dma-conformance cflags | sed s/^-I//) examples/c_backend/harness.c -o harness
 *     dma-conformance run --backend exec:./harness
 */
#include <dma_conformance/harness.h>
#include <errno.h>

#define WINDOW 0x40000000ULL
#define PAGES 2048

static struct {
	uint64_t frame;
	int dir, taken;
} table[PAGES];
static uint64_t page_size;

static const char *harness_name(void)
{
	return "windowed";
}

static void harness_reset(void)
{
	memset(table, 0, sizeof(table));
}

static uint64_t harness_map_page(const struct harness_device *dev, uint64_t phys, uint64_t size, int dir)
{
	uint64_t n, at, i, line = (dev->seg_boundary + 1) / dev->page_size;

	page_size = dev->page_size;
	n = (phys % page_size + size + page_size - 1) / page_size;
	for (at = 0; at + n <= PAGES && WINDOW + (at + n) * page_size - 1 <= dev->dma_mask; at++) {
		if (line && n <= line && (WINDOW / page_size + at) % line + n > line)
			continue;
		if (n >= 2 && dir == 0 && phys % page_size == 0 && !(n & (n - 1)) && at % n)
			continue;       /* coherent memory is aligned to its size */
		for (i = 0; i < n && !table[at + i].taken; i++)
			;
		if (i < n)
			continue;
		for (i = 0; i < n; i++) {
			table[at + i].frame = phys - phys % page_size + i * page_size;
			table[at + i].dir = dir;
			table[at + i].taken = 1;
		}
		return WINDOW + at * page_size + phys % page_size;
	}
	return HARNESS_ERROR;
}

static void harness_unmap_page(const struct harness_device *dev, uint64_t addr, uint64_t size, int dir)
{
	uint64_t at = (addr - WINDOW) / dev->page_size;
	uint64_t n = (addr % dev->page_size + size + dev->page_size - 1) / dev->page_size;

	(void)dir;
	if (addr >= WINDOW && at + n <= PAGES)
		memset(&table[at], 0, n * sizeof(table[0]));
}

static void harness_unmap_sg(const struct harness_device *dev, struct harness_entry *list, int n, int dir)
{
	for (; n-- && list->dma_length; list++)
		harness_unmap_page(dev, list->dma_address, list->dma_length, dir);
}

static int harness_map_sg(const struct harness_device *dev, struct harness_entry *list, int n, int dir)
{
	int i, ret = -ENOMEM;

	for (i = 0; i < n; i++) {
		list[i].dma_length = 0;
		if (!list[i].length)
			ret = -EINVAL;
		list[i].dma_address = list[i].length ? harness_map_page(dev, list[i].phys, list[i].length, dir) : HARNESS_ERROR;
		if (list[i].dma_address == HARNESS_ERROR) {
			harness_unmap_sg(dev, list, i, dir);
			return ret;
		}
		list[i].dma_length = list[i].length;
	}
	return n;
}

static int harness_translate(uint64_t addr, int write, uint64_t *phys, uint64_t *run)
{
	uint64_t at = page_size ? (addr - WINDOW) / page_size : PAGES;

	if (addr < WINDOW || at >= PAGES || !table[at].taken)
		return 1;
	if (table[at].dir == (write ? 1 : 2))
		return 2;
	*phys = table[at].frame + addr % page_size;
	*run = page_size - addr % page_size;
	return 0;
}

static uint64_t harness_resources(void)
{
	uint64_t i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += table[i].taken;
	return n;
}

int main(void)
{
	return dma_harness_main();
}
