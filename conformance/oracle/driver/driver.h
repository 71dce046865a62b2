/* SPDX-License-Identifier: MIT */
/*
 * One source for both sides: compiled against the user's Linux into a program under AddressSanitizer, and against our
 * headers into an object that Python loads. A case is a number: what it does follows from group, seed and number. What
 * it sees goes through note(), into a digest or, to look at one case, into text.
 */
#ifndef ORACLE_DRIVER_H
#define ORACLE_DRIVER_H

#include <stdio.h>
#include <string.h>

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#define OUTSIDE 0xfau           /* the digest of a case in which Linux leaves its memory: ours answers -EFAULT */
#define POOL_ORDER 5
#define POOL_PAGES (1u << POOL_ORDER)

struct run {
	u64 state;              /* of the generator */
	u64 digest;
	char *text;             /* or NULL */
	size_t room;
	bool outside;
};

/* splitmix64 */
static inline u64 next(struct run *run)
{
	u64 z = run->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static inline unsigned int below(struct run *run, unsigned int n)
{
	return (unsigned int)((next(run) >> 32) * n >> 32);
}

/* At most n bits. Choices are statements of their own: C does not say in which order arguments are evaluated. */
static inline u64 bits(struct run *run, unsigned int n)
{
	return next(run) >> (64 - n);
}

static inline bool one_in(struct run *run, unsigned int n)
{
	return below(run, n) == 0;
}

/* Something seen. The name is for people. */
static inline void note(struct run *run, const char *name, u64 value)
{
	run->digest = (run->digest ^ value) * 0x9fb21c651e98df25ULL;
	run->digest ^= run->digest >> 28;
	if (run->text && run->room > 1) {
		int n = snprintf(run->text, run->room, "%s %#llx\n", name, value);

		n = n < (int)run->room ? n : (int)run->room - 1;
		run->text += n;
		run->room -= n;
	}
}

/* A chosen input: for people only. */
static inline u64 input(struct run *run, const char *name, u64 value)
{
	if (run->text)
		note(run, name, value);
	return value;
}

typedef void (case_fn)(struct run *run);

case_fn case_from_pages, case_append, case_pgmap, case_alloc_table, case_own_allocator, case_walk;
case_fn case_page_iter, case_miter, case_copy, case_split, case_area, case_iova;

/* memory of POOL_PAGES pages that follow one another */
extern struct page *pool;

struct scatterlist *random_list(struct run *run, unsigned int *nents, struct page *first, unsigned int pages,
				unsigned int longest);
void free_list(struct scatterlist *sgl);
void note_list(struct run *run, struct scatterlist *sgl, unsigned int nents);

#endif
