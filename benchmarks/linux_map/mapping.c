/* SPDX-License-Identifier: MIT */
/* The dispatch of kernel/dma/mapping.c, dma-direct, and swiotlb. */
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu-helper.h>
#include <linux/swiotlb.h>

#include "map.h"

#define INVALID_PHYS_ADDR (~(phys_addr_t)0)
#define raw_smp_processor_id() 0
#define trace_swiotlb_bounced(...) ((void)0)
#define kmsan_unpoison_memory(...) ((void)0)
#define memcpy_from_page(...) abort()
#define memcpy_to_page(...) abort()
#define set_memory_decrypted(...) 0
#define io_tlb_offset(i) ((i) & (IO_TLB_SEGSIZE - 1))

unsigned int zone_dma_bits = 24;

static inline unsigned long nr_slots(u64 bytes)
{
	return DIV_ROUND_UP(bytes, IO_TLB_SIZE);
}

u64 dma_direct_get_required_mask(struct device *dev)
{
	return ~0ULL;
}

#include "swiotlb.inc"

/* as kernel/dma/direct.h is in the kernel: the one-page functions are inlined into those of lists */
#include "direct.h"

#include "direct.inc"
#include "mapping.inc"

struct io_tlb_mem *bench_swiotlb(unsigned long bytes)
{
	struct io_tlb_mem *mem = calloc(1, sizeof(*mem));
	unsigned long nslabs = bytes >> IO_TLB_SHIFT, i;
	char *start = aligned_alloc(2 << 20, bytes);

	mem->areas = calloc(1, sizeof(*mem->areas));
	mem->slots = calloc(nslabs, sizeof(*mem->slots));
	mem->nareas = 1;
	mem->area_nslabs = mem->nslabs = nslabs;
	mem->vaddr = memset(start, 0, bytes);
	mem->start = virt_to_phys(start);
	mem->end = mem->start + bytes;
	mem->force_bounce = true;
	for (i = 0; i < nslabs; i++) {
		struct io_tlb_slot *slot = mem->slots + i;

		slot->orig_addr = INVALID_PHYS_ADDR;
		slot->list = IO_TLB_SEGSIZE - i % IO_TLB_SEGSIZE;       /* free ones from here to the segment's end */
	}
	return mem;
}
