/* SPDX-License-Identifier: MIT */
/* Calls Linux's own functions and takes the processor time around them, in nanoseconds. */
#include <time.h>

#include <linux/mm.h>
#include <linux/scatterlist.h>

static struct sg_table kept;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Build a table and free it: the two times; entries, or 0 for an error. */
unsigned int linux_from_pages(struct page **pages, unsigned int n, uint64_t *build, uint64_t *release)
{
	struct sg_table table = { 0 };
	uint64_t start = now();
	int ret = sg_alloc_table_from_pages_segment(&table, pages, n, 0, (unsigned long)n * PAGE_SIZE, UINT_MAX, 0);

	*build = now() - start;
	start = now();
	sg_free_table(&table);
	*release = now() - start;
	return ret ? 0 : table.orig_nents;
}

/* Keep a table for the walk and the copy. */
int linux_keep(struct page **pages, unsigned int n)
{
	sg_free_table(&kept);
	return sg_alloc_table_from_pages_segment(&kept, pages, n, 0, (unsigned long)n * PAGE_SIZE, UINT_MAX, 0);
}

uint64_t linux_walk(uint64_t *took)
{
	uint64_t total = 0, start = now();
	struct scatterlist *sg;

	for (sg = kept.sgl; sg; sg = sg_next(sg))
		total += sg->length;
	*took = now() - start;
	return total;
}

uint64_t linux_copy(void *buffer, size_t n, uint64_t *took)
{
	uint64_t start = now(), done = sg_copy_to_buffer(kept.sgl, kept.orig_nents, buffer, n);

	*took = now() - start;
	return done;
}
