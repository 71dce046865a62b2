/* SPDX-License-Identifier: MIT */
/* Runs a tape of allocations and frees through Linux's own allocator, and takes the thread's processor time. */
#include <time.h>

#include <linux/iova.h>

struct space {
	struct iova_domain domain;
	uint64_t limit, *slots;		/* pfn << 16 | size; 0: free */
	int fast;
};

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct space *linux_open(uint64_t slots, uint64_t limit, int fast)
{
	static int once;
	struct space *space = calloc(1, sizeof(*space));

	if (!once++)
		iova_cache_get();
	space->slots = calloc(slots, sizeof(*space->slots));
	space->limit = limit;
	space->fast = fast;
	init_iova_domain(&space->domain, 4096, 1);
	if (fast)
		iova_domain_init_rcaches(&space->domain);
	return space;
}

void linux_close(struct space *space)
{
	put_iova_domain(&space->domain);
	free(space->slots);
	free(space);
}

#define AHEAD 16		/* steps whose slots are fetched: waiting for them is no part of an allocator */

/* Each of n steps is slot << 16 | size: free what the slot holds, and fill it if the size is not 0. digest: of pfns. */
uint64_t linux_run(struct space *space, const uint64_t *tape, uint64_t n, uint64_t *digest)
{
	uint64_t start = now(), sum = 0, i;

	for (i = 0; i < n; i++) {
		uint64_t *slot = &space->slots[tape[i] >> 16], size = *slot & 0xffff, pfn = *slot >> 16;

		if (i + AHEAD < n)
			__builtin_prefetch(&space->slots[tape[i + AHEAD] >> 16], 1);
		if (pfn && space->fast)
			free_iova_fast(&space->domain, pfn, size);
		else if (pfn)
			free_iova(&space->domain, pfn);
		size = tape[i] & 0xffff;
		pfn = 0;
		if (size && space->fast) {
			pfn = alloc_iova_fast(&space->domain, size, space->limit, true);
		} else if (size) {
			struct iova *iova = alloc_iova(&space->domain, size, space->limit, true);

			pfn = iova ? iova->pfn_lo : 0;
		}
		*slot = pfn << 16 | size;
		sum = sum * 31 + pfn;
	}
	*digest = sum;
	return now() - start;
}
