/* SPDX-License-Identifier: MIT */
/* Cases of lib/iommu-helper.c and drivers/iommu/iova.c. */
#include "driver.h"

#include <linux/bitmap.h>
#include <linux/iommu-helper.h>
#include <linux/iova.h>

#define BITS 512

unsigned long iommu_area_alloc(unsigned long *map, unsigned long size, unsigned long start, unsigned int nr,
			       unsigned long shift, unsigned long boundary_size, unsigned long align_mask);

void case_area(struct run *run)
{
	unsigned long map[BITS_TO_LONGS(BITS)] = { 0 };
	unsigned long size = 1 + below(run, BITS), boundary = 1UL << below(run, 11), shift = below(run, 600);
	unsigned long start, align, addr, len, got;
	unsigned int i, k, nr;

	for (i = below(run, 40); i; i--) {
		unsigned int at = below(run, BITS), n = 1 + below(run, 30);

		for (k = at; k < at + n && k < BITS; k++)
			__set_bit(k, map);
	}
	input(run, "input size", size);
	input(run, "input boundary", boundary);
	input(run, "input shift", shift);
	for (i = 0; i < 6; i++) {
		/* a run longer than the boundary never fits: Linux looks for ever or not at all */
		nr = input(run, "input nr", 1 + below(run, min(boundary, 40UL)));
		start = input(run, "input start", below(run, size));
		align = input(run, "input align", (1UL << below(run, 5)) - 1);
		got = iommu_area_alloc(map, size, start, nr, shift, boundary, align);
		note(run, "got", got);
		note(run, "spans", iommu_is_span_boundary(below(run, BITS), nr, shift, boundary));
		addr = bits(run, 44);
		len = below(run, 100000);
		note(run, "pages", iommu_num_pages(addr, len, 1UL << (12 + below(run, 5))));
	}
	for (i = 0; i < BITS_TO_LONGS(BITS); i++)
		note(run, "map", map[i]);
}

#define HELD 48
#define BULK 6000

/* Enough to fill the magazines of a processor, and now and then the 32 of 6.1's depot. */
static void bulk(struct run *run, struct iova_domain *iovad)
{
	static unsigned long pfns[BULK];
	unsigned int n = input(run, "input bulk", 100 + below(run, one_in(run, 3) ? BULK - 100 : 600)), i;
	unsigned long size = input(run, "input size", 1UL << below(run, 4)), limit = (1UL << 30) - 1;
	unsigned int rounds = 1 + below(run, 3), step = 1 + 2 * below(run, 50);

	while (rounds--) {
		for (i = 0; i < n; i++)
			note(run, "bulk", pfns[i] = alloc_iova_fast(iovad, size, limit, true));
		for (i = 0; i < n; i++) {
			unsigned int at = (unsigned int)((u64)i * step % n);

			if (pfns[at])
				free_iova_fast(iovad, pfns[at], size);
			pfns[at] = 0;
		}
		for (i = 0; i < n; i++)
			if (pfns[i])
				free_iova_fast(iovad, pfns[i], size);
	}
}

void case_iova(struct run *run)
{
	struct iova_domain iovad;
	struct {
		unsigned long pfn, size;
		bool fast;
	} held[HELD];
	unsigned int n = 0, steps = 20 + below(run, 60), i;
	unsigned long granule = PAGE_SIZE >> below(run, 3);
	unsigned long start = input(run, "input start", one_in(run, 2) ? 1 : 1 + below(run, 1000));
	unsigned long narrow = start + 20 + below(run, 3000);
	struct iova *iova;

	init_iova_domain(&iovad, input(run, "input granule", granule), start);
	note(run, "32 bits", iovad.dma_32bit_pfn);
	note(run, "rcaches", iova_domain_init_rcaches(&iovad));
	if (one_in(run, 1000))
		bulk(run, &iovad);
	while (steps--) {
		unsigned long size = 1 + (one_in(run, 4) ? below(run, 90) : below(run, 9)), limit, pfn;

		switch (below(run, 4)) {
		case 0:
			limit = narrow;
			break;
		case 1:
			limit = (1UL << (32 - iova_shift(&iovad))) - 1;
			break;
		case 2:
			limit = bits(run, 34);
			break;
		default:
			limit = (1UL << 36) - 1;
		}
		switch (below(run, 8)) {
		case 0:
		case 1:
			if (n == HELD)
				break;
			iova = alloc_iova(&iovad, input(run, "size", size), input(run, "limit", limit), one_in(run, 2));
			note(run, "alloc_iova", iova ? iova->pfn_lo : 0);
			if (iova) {
				note(run, "to", iova->pfn_hi);
				held[n].pfn = iova->pfn_lo;
				held[n].size = size;
				held[n++].fast = false;
			}
			break;
		case 2:
		case 3:
		case 4:
			if (n == HELD)
				break;
			size = roundup_pow_of_two(size);
			pfn = alloc_iova_fast(&iovad, input(run, "size", size), input(run, "limit", limit), one_in(run, 2));
			note(run, "alloc_iova_fast", pfn);
			if (pfn) {
				held[n].pfn = pfn;
				held[n].size = size;
				held[n++].fast = true;
			}
			break;
		case 5:
		case 6:
			if (!n)
				break;
			i = below(run, n);
			if (held[i].fast)
				free_iova_fast(&iovad, held[i].pfn, held[i].size);
			else
				free_iova(&iovad, input(run, "free", held[i].pfn));
			held[i] = held[--n];
			break;
		default:
			if (one_in(run, 3)) {
				unsigned int wide = one_in(run, 2) ? 33 : 19;

				pfn = bits(run, wide);
				iova = reserve_iova(&iovad, input(run, "reserve", pfn), pfn + size);
				note(run, "reserved", iova ? iova->pfn_lo : 0);
				note(run, "to", iova ? iova->pfn_hi : 0);
			} else {
				iova = find_iova(&iovad, input(run, "find", n ? held[0].pfn + below(run, 3) : size));
				note(run, "found", iova ? iova->pfn_lo : 0);
			}
		}
	}
	put_iova_domain(&iovad);
}
