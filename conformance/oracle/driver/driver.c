/* SPDX-License-Identifier: MIT */
#include "driver.h"

struct page *pool;

static const struct {
	const char *name;
	case_fn *run;
} groups[] = {
	{ "from-pages", case_from_pages }, { "append", case_append }, { "pgmap", case_pgmap },
	{ "alloc-table", case_alloc_table }, { "own-allocator", case_own_allocator }, { "walk", case_walk },
	{ "page-iter", case_page_iter }, { "miter", case_miter }, { "copy", case_copy }, { "split", case_split },
	{ "iommu-area", case_area }, { "iova", case_iova },
};

static u64 run_case(case_fn *function, u64 seed, u64 number, char *text, size_t room)
{
	struct run run = { .state = seed * 0xd1342543de82ef95ULL + number, .digest = 1, .text = text, .room = room };

	next(&run);
	function(&run);
	return run.outside ? OUTSIDE : run.digest;
}

static case_fn *find(const char *group)
{
	unsigned int i;

	for (i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (!strcmp(groups[i].name, group))
			return groups[i].run;
	return NULL;
}

/* Cases first to first + count; a digest that is OUTSIDE on entry is a case to leave out. */
int run_cases(const char *group, u64 seed, u64 first, u64 count, u64 *digests)
{
	case_fn *function = find(group);
	u64 i;

	if (!function)
		return -ENOENT;
	if (!pool)
		pool = alloc_pages(GFP_KERNEL, POOL_ORDER);
	for (i = 0; i < count; i++)
		if (digests[i] != OUTSIDE)
			digests[i] = run_case(function, seed, first + i, NULL, 0);
	return 0;
}

int show_case(const char *group, u64 seed, u64 number, char *text, size_t room)
{
	case_fn *function = find(group);

	if (!function)
		return -ENOENT;
	if (!pool)
		pool = alloc_pages(GFP_KERNEL, POOL_ORDER);
	memset(text, 0, room);
	run_case(function, seed, number, text, room);
	return 0;
}

#ifdef ORACLE_LINUX

int iova_cache_get(void);

/* GROUP SEED FIRST COUNT: digests from standard input to standard output; with a COUNT of 0 the text of case FIRST. */
int main(int argc, char **argv)
{
	u64 seed, first, count, *digests;
	static char text[1 << 20];

	if (argc != 5)
		return 2;
	seed = strtoull(argv[2], NULL, 0);
	first = strtoull(argv[3], NULL, 0);
	count = strtoull(argv[4], NULL, 0);
	iova_cache_get();
	if (!count) {
		int ret = show_case(argv[1], seed, first, text, sizeof(text));

		fputs(text, stdout);
		return ret ? 2 : 0;
	}
	digests = calloc(count, sizeof(*digests));
	if (!digests || fread(digests, sizeof(*digests), count, stdin) != count)
		return 2;
	if (run_cases(argv[1], seed, first, count, digests))
		return 2;
	return fwrite(digests, sizeof(*digests), count, stdout) == count ? 0 : 2;
}

#endif
