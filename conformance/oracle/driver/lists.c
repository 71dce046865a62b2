/* SPDX-License-Identifier: MIT */
/* Cases of lib/scatterlist.c and lib/sg_split.c. */
#include "driver.h"

/* Entries by sg_next, and where the links are; a link is only looked for where there is a slot. */
void note_list(struct run *run, struct scatterlist *sgl, unsigned int nents)
{
	struct scatterlist *sg = sgl;
	unsigned int n = 0;

	while (sg && n++ < nents) {
		note(run, "page", page_to_pfn(sg_page(sg)));
		note(run, "offset", sg->offset);
		note(run, "length", sg->length);
		note(run, "dma_address", sg->dma_address);
		note(run, "dma_length", sg_dma_len(sg));
		if (sg_is_last(sg))
			note(run, "end", n);
		else if (sg_is_chain(sg + 1))
			note(run, "link after", n);
		sg = sg_next(sg);
	}
}

static unsigned int count(struct run *run, unsigned int most)
{
	return input(run, "input pages", 1 + (one_in(run, 8) ? below(run, most) : below(run, 12)));
}

/* n pages in runs; some runs are long, some jump back. */
static void page_list(struct run *run, struct page **pages, unsigned int n, unsigned long base)
{
	unsigned int i;
	unsigned int same = 1 + below(run, 6);
	unsigned long pfn = 1 + below(run, 4000);

	for (i = 0; i < n; i++) {
		pages[i] = pfn_to_page(base + pfn);
		pfn = one_in(run, same + 1) ? 1 + below(run, 4000) : pfn + 1;
	}
	for (i = 0; run->text && i < n; i++)
		input(run, "  pfn", page_to_pfn(pages[i]));
}

static unsigned int max_segment(struct run *run)
{
	switch (below(run, 5)) {
	case 0:
		return input(run, "input max_segment", PAGE_SIZE * (1 + below(run, 8)));
	case 1:
		return input(run, "input max_segment", below(run, 20000));
	default:
		return input(run, "input max_segment", ~0u);
	}
}

static unsigned long size_of(struct run *run, unsigned int n, unsigned int offset)
{
	unsigned long most = n * PAGE_SIZE - offset;

	if (one_in(run, 16))
		return input(run, "input size", 1 + next(run) % (2 * n * PAGE_SIZE));
	return input(run, "input size", one_in(run, 2) ? most : most - below(run, PAGE_SIZE - offset));
}

static void from_pages(struct run *run, unsigned long base)
{
	struct page *pages[600];
	struct sg_table sgt;
	unsigned int n = count(run, 600);
	unsigned int offset = input(run, "input offset", one_in(run, 2) ? 0 : below(run, one_in(run, 8) ? 12000 : PAGE_SIZE));
	unsigned long size = size_of(run, n, offset % PAGE_SIZE);
	int ret;

	page_list(run, pages, n, base);
	ret = sg_alloc_table_from_pages_segment(&sgt, pages, n, offset, size, max_segment(run), GFP_KERNEL);
	note(run, "returned", ret);
	if (ret)
		return;
	note(run, "nents", sgt.nents);
	note(run, "orig_nents", sgt.orig_nents);
	note_list(run, sgt.sgl, sgt.orig_nents);
	sg_free_table(&sgt);
}

void case_from_pages(struct run *run)
{
	from_pages(run, 0);
}

/* Pages of several ranges of P2P memory, which follow one another. */
void case_pgmap(struct run *run)
{
	from_pages(run, ((1UL << 40 | (1UL << 24)) >> PAGE_SHIFT) - 2000);
}

/* left_pages is no less than what comes: with less, Linux's free side takes a short array for a long one. */
void case_append(struct run *run)
{
	struct page *pages[300];
	struct sg_append_table append = { 0 };
	unsigned int calls = 1 + below(run, 4), most = max_segment(run), left = 0, counts[4], i, n, offset;
	unsigned int extra = one_in(run, 4) ? below(run, 400) : 0;
	int ret = 0;

	for (i = 0; i < calls; i++)
		left += counts[i] = count(run, 300);
	for (i = 0; i < calls && !ret; i++) {
		n = counts[i];
		left -= n;
		page_list(run, pages, n, 0);
		/* a list that goes on where the last one ended */
		if (append.prv && one_in(run, 2)) {
			unsigned long end = sg_phys(append.prv) + append.prv->length;
			unsigned int k;

			for (k = 0; k < n && k < 5; k++)
				pages[k] = pfn_to_page((end >> PAGE_SHIFT) + k);
		}
		offset = i ? 0 : input(run, "input offset", one_in(run, 2) ? 0 : below(run, PAGE_SIZE));
		ret = sg_alloc_append_table_from_pages(&append, pages, n, offset, size_of(run, n, offset), most,
						       input(run, "input left", left + (left ? extra : 0)), GFP_KERNEL);
		note(run, "returned", ret);
		if (ret)
			break;
		note(run, "nents", append.sgt.nents);
		note(run, "orig_nents", append.sgt.orig_nents);
		note(run, "total_nents", append.total_nents);
		note(run, "length of prv", append.prv->length);
	}
	if (append.sgt.sgl && append.sgt.nents)
		note_list(run, append.sgt.sgl, append.sgt.nents);
	sg_free_append_table(&append);
}

void case_alloc_table(struct run *run)
{
	struct sg_table sgt;
	unsigned int n = input(run, "input nents", one_in(run, 4) ? below(run, 1000) : below(run, 300));
	int ret = sg_alloc_table(&sgt, n, GFP_KERNEL);

	note(run, "returned", ret);
	note(run, "nents", sgt.nents);
	note(run, "orig_nents", sgt.orig_nents);
	if (!ret)
		note_list(run, sgt.sgl, n);
	sg_free_table(&sgt);
	note(run, "gone", !sgt.sgl);
}

/* What the allocator of __sg_alloc_table is asked for and given back. */
static struct run *allocating;
static unsigned int allocations_left;

static struct scatterlist *counting_alloc(unsigned int nents, gfp_t gfp)
{
	note(allocating, "alloc", nents);
	if (!allocations_left)
		return NULL;
	allocations_left--;
	return kmalloc(nents * sizeof(struct scatterlist), gfp);
}

static void counting_free(struct scatterlist *sgl, unsigned int nents)
{
	note(allocating, "free", nents);
	kfree(sgl);
}

void case_own_allocator(struct run *run)
{
	struct scatterlist first[16];
	struct sg_table sgt;
	unsigned int n = input(run, "input nents", below(run, 80)), most = input(run, "input max", 2 + below(run, 15));
	unsigned int chunk = one_in(run, 2) ? input(run, "input first chunk", 2 + below(run, 15)) : 0;
	int ret;

	allocating = run;
	allocations_left = one_in(run, 4) ? below(run, 5) : ~0u;
	ret = __sg_alloc_table(&sgt, n, most, chunk ? first : NULL, chunk, GFP_KERNEL, counting_alloc);
	note(run, "returned", ret);
	note(run, "nents", sgt.nents);
	note(run, "orig_nents", sgt.orig_nents);
	if (!ret)
		note_list(run, sgt.sgl, n);
	__sg_free_table(&sgt, most, chunk, counting_free, sgt.orig_nents);
	note(run, "gone", !sgt.sgl);
}

/* A list of one or two arrays; offsets may exceed a page, lengths may be 0. */
struct scatterlist *random_list(struct run *run, unsigned int *nents, struct page *first, unsigned int pages,
				unsigned int longest)
{
	unsigned int n = 1 + below(run, 8), cut = n > 2 && one_in(run, 2) ? 1 + below(run, n - 1) : n, i;
	struct scatterlist *sgl = kmalloc((n + 2) * sizeof(*sgl), GFP_KERNEL), *sg = sgl;

	/* the second array lies behind the first, which has one slot more for the link */
	sg_init_table(sgl, cut < n ? cut + 1 : n);
	if (cut < n) {
		sg_init_table(sgl + cut + 1, n - cut);
		sg_chain(sgl, cut + 1, sgl + cut + 1);
	}
	for (i = 0; i < n; i++, sg = sg_next(sg)) {
		unsigned int offset = one_in(run, 8) ? below(run, 3 * PAGE_SIZE) : below(run, PAGE_SIZE);
		unsigned int length = one_in(run, 8) ? 0 : one_in(run, 2) ? below(run, longest) : below(run, 200);
		unsigned int page = below(run, pages - (offset + length) / PAGE_SIZE), wide = one_in(run, 2) ? 44 : 31;

		sg_set_page(sg, nth_page(first, page), input(run, "  length", length), input(run, "  offset", offset));
		input(run, "  page", page);
		sg->dma_address = input(run, "  dma", bits(run, wide));
		sg_dma_len(sg) = input(run, "  dma length", one_in(run, 3) ? below(run, longest) : length);
	}
	*nents = n;
	return sgl;
}

void free_list(struct scatterlist *sgl)
{
	kfree(sgl);
}

void case_walk(struct run *run)
{
	unsigned int n, i;
	struct scatterlist *sgl = random_list(run, &n, pfn_to_page(1000), 100, 3 * PAGE_SIZE);

	note(run, "sg_nents", sg_nents(sgl));
	for (i = 0; i < 6; i++)
		note(run, "for_len", sg_nents_for_len(sgl, input(run, "input len", below(run, i < 3 ? 2000 : 60000))));
	note_list(run, sgl, n);
	note(run, "last", sg_last(sgl, n)->offset);
	note(run, "phys", sg_phys(sgl));
	sg_unmark_end(sg_last(sgl, n));
	sg_mark_end(sgl);
	note(run, "sg_nents", sg_nents(sgl));
	free_list(sgl);
}

void case_page_iter(struct run *run)
{
	unsigned int n, steps = 0;
	struct scatterlist *sgl = random_list(run, &n, pfn_to_page(1000), 100, 3 * PAGE_SIZE);
	unsigned int from = input(run, "input pgoffset", one_in(run, 2) ? 0 : below(run, 9));
	unsigned int limit = input(run, "input nents", below(run, n + 3));
	struct sg_page_iter piter;
	struct sg_dma_page_iter dma_iter;

	for_each_sg_page(sgl, &piter, limit, from) {
		note(run, "page", page_to_pfn(sg_page_iter_page(&piter)));
		if (++steps > 1000)
			break;
	}
	note(run, "left", piter.__nents);
	for_each_sg_dma_page(sgl, &dma_iter, limit, from) {
		note(run, "dma page", sg_page_iter_dma_address(&dma_iter));
		if (++steps > 2000)
			break;
	}
	note(run, "left", dma_iter.base.__nents);
	free_list(sgl);
}

void case_miter(struct run *run)
{
	unsigned int n, steps = 0;
	struct scatterlist *sgl = random_list(run, &n, pfn_to_page(1000), 100, 3 * PAGE_SIZE);
	struct sg_mapping_iter miter;

	sg_miter_start(&miter, sgl, input(run, "input nents", below(run, n + 2)),
		       one_in(run, 2) ? SG_MITER_TO_SG : SG_MITER_FROM_SG | SG_MITER_ATOMIC);
	if (one_in(run, 2))
		note(run, "skipped", sg_miter_skip(&miter, input(run, "input skip", below(run, 9000))));
	while (steps++ < 200 && sg_miter_next(&miter)) {
		note(run, "page", page_to_pfn(miter.page));
		note(run, "addr", (char *)miter.addr - (char *)page_address(miter.page));
		note(run, "length", miter.length);
		if (one_in(run, 4) && miter.length)
			miter.consumed = input(run, "consumed", 1 + below(run, miter.length));
		if (one_in(run, 10))
			note(run, "skipped", sg_miter_skip(&miter, input(run, "input skip", below(run, 6000))));
	}
	sg_miter_stop(&miter);
	note(run, "stopped", !miter.addr);
	free_list(sgl);
}

/* Entries may overlap: the order in which bytes are written counts. */
void case_copy(struct run *run)
{
	static unsigned char buffer[20000];
	unsigned int n, i, k;
	struct scatterlist *sgl = random_list(run, &n, pool, POOL_PAGES - 4, 2 * PAGE_SIZE), *sg;
	size_t length = input(run, "input length", below(run, sizeof(buffer)));
	size_t skip = input(run, "input skip", one_in(run, 2) ? 0 : below(run, 9000));

	for_each_sg(sgl, sg, n, i)
		memset((char *)page_address(sg_page(sg)) + sg->offset, (int)below(run, 256), sg->length);
	for (i = 0; i < length; i += 8)
		memset(buffer + i, (int)(i * 37 + length), 8);
	switch (below(run, 3)) {
	case 0:
		note(run, "to buffer", sg_pcopy_to_buffer(sgl, n, buffer, length, skip));
		break;
	case 1:
		note(run, "from buffer", sg_pcopy_from_buffer(sgl, n, buffer, length, skip));
		break;
	default:
		note(run, "zeroed", sg_zero_buffer(sgl, n, length, skip));
	}
	for (i = 0; i < length; i += 61)
		note(run, "buffer", buffer[i]);
	for_each_sg(sgl, sg, n, i)
		for (k = 0; k < sg->length; k += 97)
			note(run, "list", ((unsigned char *)page_address(sg_page(sg)))[sg->offset + k]);
	free_list(sgl);
}

void case_split(struct run *run)
{
	unsigned int n, i;
	struct scatterlist *sgl = random_list(run, &n, pfn_to_page(1000), 100, 2 * PAGE_SIZE), *out[4], *sg;
	int splits = 1 + below(run, 4), mapped = one_in(run, 2) ? 1 + (int)below(run, n) : 0, nents[4], ret;
	u64 total = 0, skip;
	size_t sizes[4];

	for_each_sg(sgl, sg, n, i) {
		total += sg->length;
		if (!one_in(run, 4))
			sg_dma_len(sg) = sg->length;
	}
	skip = input(run, "input skip", one_in(run, 2) ? 0 : below(run, total + 1));
	for (i = 0; i < (unsigned int)splits; i++)
		sizes[i] = input(run, "input size", one_in(run, 30) ? 0 : 1 + below(run, 2 * total / splits + 1));
	ret = sg_split(sgl, input(run, "input mapped", mapped), skip, splits, sizes, out, nents, GFP_KERNEL);
	if (ret == -EFAULT)
		run->outside = true;
	note(run, "returned", ret);
	for (i = 0; !ret && i < (unsigned int)splits; i++) {
		note(run, "out nents", nents[i]);
		note_list(run, out[i], ~0u);
		kfree(out[i]);
	}
	free_list(sgl);
}
