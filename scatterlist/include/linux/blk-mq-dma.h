/* SPDX-License-Identifier: MIT */
/*
 * Mapping a request without a scatterlist (7.x): one IOVA range where the device's IOMMU allows it, else segment by
 * segment. The first segment decides how the request's memory is reached. dma_ops/blk_dma.pyx tells what Linux does
 * wrong here and what therefore this does wrong.
 */
#ifndef DMA_CONFORMANCE_LINUX_BLK_MQ_DMA_H
#define DMA_CONFORMANCE_LINUX_BLK_MQ_DMA_H

#include <linux/blk-mq.h>
#include <linux/dma-mapping.h>
#include <linux/pci-p2pdma.h>

struct blk_map_iter {
	struct bvec_iter iter;
	struct bio *bio;
	struct bio_vec *bvecs;
};

struct blk_dma_iter {
	dma_addr_t addr;                /* the segment that was mapped last */
	u32 len;
	blk_status_t status;            /* why start or next answered false; OK at the end */
	struct blk_map_iter iter;
	struct pci_p2pdma_map_state p2pdma;
};

static inline void blk_map_enter(struct blk_map_iter *it, struct bio *bio)
{
	struct bvec_iter none = { 0 };

	it->bio = bio;
	it->bvecs = bio ? bio->bi_io_vec : (struct bio_vec *)0;
	it->iter = bio ? bio->bi_iter : none;
}

/* Are there bytes left, in this bio or the next? */
static inline bool blk_map_more(struct blk_map_iter *it)
{
	if (it->iter.bi_size)
		return true;
	if (!it->bio || !it->bio->bi_next)
		return false;
	blk_map_enter(it, it->bio->bi_next);
	return true;
}

static inline u32 blk_map_most(const struct request *rq, phys_addr_t paddr)
{
	u64 boundary = rq->q->limits.seg_boundary_mask;
	u64 left = min_t(u64, boundary - (boundary & paddr), rq->q->limits.max_segment_size - 1) + 1;

	return min_t(u64, left, UINT_MAX);
}

static inline bool blk_map_joins(const struct request *rq, const struct bio_vec *a, const struct bio_vec *b)
{
	u64 boundary = rq->q->limits.seg_boundary_mask;

	return bvec_phys(a) + a->bv_len == bvec_phys(b) &&
	       is_pci_p2pdma_page(a->bv_page) == is_pci_p2pdma_page(b->bv_page) &&
	       (bvec_phys(a) | boundary) == ((bvec_phys(b) + b->bv_len - 1) | boundary);
}

/* The next stretch of memory within the queue's limits; false at the end. */
static inline bool blk_map_iter_next(struct request *rq, struct blk_map_iter *it, struct phys_vec *vec)
{
	struct bio_vec bv, after;
	u32 most;

	if (!it->iter.bi_size)
		return false;
	bv = mp_bvec_iter_bvec(it->bvecs, it->iter);
	vec->paddr = bvec_phys(&bv);
	most = blk_map_most(rq, vec->paddr);
	bv.bv_len = min_t(u32, bv.bv_len, most);
	bvec_iter_advance_single(it->bvecs, &it->iter, bv.bv_len);
	while ((!it->iter.bi_size || !it->iter.bi_bvec_done) && blk_map_more(it)) {
		after = mp_bvec_iter_bvec(it->bvecs, it->iter);
		if ((u64)bv.bv_len + after.bv_len > most || !blk_map_joins(rq, &bv, &after))
			break;
		bv.bv_len += after.bv_len;
		bvec_iter_advance_single(it->bvecs, &it->iter, after.bv_len);
	}
	vec->len = bv.bv_len;
	return true;
}

static inline unsigned long blk_dma_attrs(const struct blk_dma_iter *it)
{
	return it->p2pdma.map == P2P_MAP_THRU_HOST_BRIDGE ? DMA_ATTR_MMIO : 0;
}

static inline bool blk_dma_map_one(struct request *rq, struct device *dev, struct blk_dma_iter *it,
				   const struct phys_vec *vec)
{
	if (it->p2pdma.map == P2P_MAP_BUS_ADDR) {
		it->addr = pci_p2pdma_bus_addr_map(&it->p2pdma, vec->paddr);
	} else {
		it->addr = dma_map_phys(dev, vec->paddr, vec->len, rq_dma_dir(rq), blk_dma_attrs(it));
		if (dma_mapping_error(dev, it->addr)) {
			it->status = BLK_STS_RESOURCE;
			return false;
		}
	}
	it->len = vec->len;
	return true;
}

/* The range is freed where a link fails, but state keeps it: Linux's fault. */
static inline bool blk_dma_map_all(struct request *rq, struct device *dev, struct dma_iova_state *state,
				   struct blk_dma_iter *it, struct phys_vec *vec)
{
	size_t mapped = 0;
	int ret;

	it->addr = state->addr;
	it->len = dma_iova_size(state);
	do {
		ret = dma_iova_link(dev, state, vec->paddr, mapped, vec->len, rq_dma_dir(rq), blk_dma_attrs(it));
		if (ret)
			break;
		mapped += vec->len;
	} while (blk_map_iter_next(rq, &it->iter, vec));
	if (!ret)
		ret = dma_iova_sync(dev, state, 0, mapped);
	if (!ret)
		return true;
	dma_iova_destroy(dev, state, mapped, rq_dma_dir(rq), blk_dma_attrs(it));
	it->status = errno_to_blk_status(ret);
	return false;
}

/* Map the first segment, or all of the request. False: it->status says why, and nothing is mapped. */
static inline bool blk_rq_dma_map_iter_start(struct request *rq, struct device *dev, struct dma_iova_state *state,
					     struct blk_dma_iter *it)
{
	struct phys_vec vec;
	int map;

	blk_map_enter(&it->iter, rq->bio);
	memset(&it->p2pdma, 0, sizeof(it->p2pdma));
	it->p2pdma.map = P2P_MAP_NONE;
	it->status = BLK_STS_OK;
	if (!blk_map_iter_next(rq, &it->iter, &vec))
		return false;
	map = pci_p2pdma_state(&it->p2pdma, dev, phys_to_page(vec.paddr));
	if (map != P2P_MAP_NONE && map != P2P_MAP_BUS_ADDR && map != P2P_MAP_THRU_HOST_BRIDGE) {
		it->status = BLK_STS_INVAL;
		return false;
	}
	if (map != P2P_MAP_BUS_ADDR && !(req_phys_gap_mask(rq) & dma_get_merge_boundary(dev)) &&
	    dma_iova_try_alloc(dev, state, vec.paddr, blk_rq_payload_bytes(rq)))
		return blk_dma_map_all(rq, dev, state, it, &vec);
	if (map != P2P_MAP_BUS_ADDR)
		memset(state, 0, sizeof(*state));
	return blk_dma_map_one(rq, dev, it, &vec);
}

/* Map the next segment, unless blk_rq_dma_map_coalesce(). */
static inline bool blk_rq_dma_map_iter_next(struct request *rq, struct device *dev, struct blk_dma_iter *it)
{
	struct phys_vec vec;

	return blk_map_iter_next(rq, &it->iter, &vec) && blk_dma_map_one(rq, dev, it, &vec);
}

/* Is the request one segment now? */
static inline bool blk_rq_dma_map_coalesce(struct dma_iova_state *state)
{
	return dma_use_iova(state);
}

/* False: the driver must call dma_unmap_phys() for each segment that it got. map: it->p2pdma.map of the mapping. */
static inline bool blk_rq_dma_unmap(struct request *rq, struct device *dev, struct dma_iova_state *state,
				    size_t mapped_len, int map)
{
	if (map == P2P_MAP_BUS_ADDR)
		return true;
	if (dma_use_iova(state)) {
		dma_iova_destroy(dev, state, mapped_len, rq_dma_dir(rq),
				 map == P2P_MAP_THRU_HOST_BRIDGE ? DMA_ATTR_MMIO : 0);
		return true;
	}
	return !dma_need_unmap(dev);
}

#endif
