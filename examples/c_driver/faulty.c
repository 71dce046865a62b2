/* SPDX-License-Identifier: MIT */
/*
 * A driver with one of fourteen faults, each of a kind that real drivers had; FAULT=0 has none.
 *
 *     dma-conformance run --driver examples/c_driver/faulty.c --cflags -DFAULT=3
 *
 * Its hardware reads an array of { address, length, last }.
 *
 *   FAULT  what it does                                                       found as   on
 *    1     walks the entries that it gave, not those that the mapping made    DRV-04     backends that merge
 *    2     takes sg->length for sg_dma_len()                                  DRV-06     backends that merge
 *    3     refuses a list that was mapped to fewer segments                   DRV-03     backends that merge
 *    4     unmaps as many entries as were mapped, not as many as it gave      DRV-07     backends that merge
 *    5     swaps address and length in dma_unmap_phys()                       DRV-07     wherever segments are unmapped
 *    6     does not ask dma_mapping_error()                                   DRV-08     where a mapping can fail
 *    7     leaves the earlier segments mapped when a later one fails          DRV-16     where a mapping can fail
 *    8     unmaps in the other direction                                      DRV-07     everywhere
 *    9     looks at the buffer without a sync                                 DRV-12     non-coherent, bouncing
 *   10     takes the state of the last request for the next one               DRV-06     where there is both
 *   11     keeps 32 bits of a DMA address                                     DRV-06     addresses above 4 GiB
 *   12     tells the device physical addresses                                DRV-05     behind a translation
 *   13     frees the descriptors of a request that failed twice               DRV-01     where a mapping can fail
 *   14     never frees its private data                                       DRV-10     everywhere
 */
#include <linux/blk-mq-dma.h>
#include <linux/dma-mapping.h>
#include <linux/slab.h>
#include <asm/byteorder.h>
#include <dma_conformance/driver.h>

#ifndef FAULT
#define FAULT 0
#endif

#define DESCRIPTORS 256

struct descriptor {
	__le64 addr;
	__le32 length;
	__le32 last;
};

struct mapped {
	dma_addr_t addr;
	u32 len;
};

struct io {
	struct sg_table *sgt;
	struct request *rq;
	enum dma_data_direction dir;
	struct dma_iova_state state;
	int map;
	u64 bytes;
	int nr;
	struct descriptor *ring;
	dma_addr_t ring_dma;
	struct mapped segments[DESCRIPTORS];
};

#if FAULT == 10
static struct dma_iova_state last_state;
#endif

static struct io *alloc_io(struct device *dev)
{
	struct io *io = kzalloc(sizeof(*io), GFP_KERNEL);

	if (!io)
		return NULL;
	io->ring = dma_alloc_coherent(dev, DESCRIPTORS * sizeof(*io->ring), &io->ring_dma, GFP_KERNEL);
	if (!io->ring) {
		kfree(io);
		return NULL;
	}
	return io;
}

static void free_io(struct device *dev, struct io *io)
{
	dma_free_coherent(dev, DESCRIPTORS * sizeof(*io->ring), io->ring, io->ring_dma);
#if FAULT != 14
	kfree(io);
#endif
}

static void add(struct io *io, dma_addr_t addr, u32 len, phys_addr_t phys)
{
	(void)phys;
#if FAULT == 11
	io->ring[io->nr].addr = cpu_to_le64((u32)addr);
#elif FAULT == 12
	io->ring[io->nr].addr = cpu_to_le64(phys ? phys : addr);
#else
	io->ring[io->nr].addr = cpu_to_le64(addr);
#endif
	io->ring[io->nr].length = cpu_to_le32(len);
	io->ring[io->nr].last = 0;
	io->segments[io->nr].addr = addr;
	io->segments[io->nr].len = len;
	io->bytes += len;
	io->nr++;
}

static int submit(struct io *io, struct dma_conformance_command *cmd)
{
	io->ring[io->nr - 1].last = cpu_to_le32(1);
	cmd->descriptor = io->ring_dma;
	cmd->data = io;
	return 0;
}

static int faulty_map_sg(struct device *dev, struct sg_table *sgt, enum dma_data_direction dir,
			 struct dma_conformance_command *cmd)
{
	struct io *io = alloc_io(dev);
	struct scatterlist *sg;
	unsigned int i, count;
	int ret;

	if (!io)
		return -ENOMEM;
	io->sgt = sgt;
	io->dir = dir;
	ret = dma_map_sgtable(dev, sgt, dir, 0);
	if (ret) {
		free_io(dev, io);
#if FAULT == 13
		kfree(io);
#endif
		return ret;
	}
	count = sgt->nents;
#if FAULT == 1
	count = sgt->orig_nents;
#elif FAULT == 3
	if (sgt->nents != sgt->orig_nents) {
		dma_unmap_sgtable(dev, sgt, dir, 0);
		free_io(dev, io);
		return -EINVAL;
	}
#endif
	for_each_sg(sgt->sgl, sg, count, i) {
#if FAULT == 2
		add(io, sg_dma_address(sg), sg->length, sg_phys(sg));
#else
		add(io, sg_dma_address(sg), sg_dma_len(sg), sg_phys(sg));
#endif
	}
	return submit(io, cmd);
}

/* A mapping for each segment, as before there was an iterator. */
static int map_segments(struct device *dev, struct request *rq, struct io *io)
{
	struct bio *bio;
	struct bio_vec bv;
	struct bvec_iter iter;
	dma_addr_t addr;

	for (bio = rq->bio; bio; bio = bio->bi_next) {
		for (iter = bio->bi_iter; iter.bi_size; bvec_iter_advance_single(bio->bi_io_vec, &iter, bv.bv_len)) {
			bv = mp_bvec_iter_bvec(bio->bi_io_vec, iter);
			addr = dma_map_phys(dev, bvec_phys(&bv), bv.bv_len, io->dir, 0);
#if FAULT != 6
			if (dma_mapping_error(dev, addr)) {
#if FAULT != 7
				while (io->nr--)
					dma_unmap_phys(dev, io->segments[io->nr].addr, io->segments[io->nr].len,
						       io->dir, 0);
#endif
				return -ENOMEM;
			}
#endif
			add(io, addr, bv.bv_len, bvec_phys(&bv));
		}
	}
	return 0;
}

/* FAULTs 6 and 7 are of drivers that map each segment; the others leave it to the iterator. */
static int faulty_map_rq(struct device *dev, struct request *rq, struct dma_conformance_command *cmd)
{
	struct io *io = alloc_io(dev);
	struct blk_dma_iter iter;
	int ret;

	if (!io)
		return -ENOMEM;
	io->rq = rq;
	io->dir = rq_dma_dir(rq);
#if FAULT == 6 || FAULT == 7
	io->map = P2P_MAP_NONE;
	ret = map_segments(dev, rq, io);
	if (ret) {
		free_io(dev, io);
		return ret;
	}
	(void)iter;
#else
	(void)map_segments;
	if (!blk_rq_dma_map_iter_start(rq, dev, &io->state, &iter)) {
		ret = blk_status_to_errno(iter.status);
		free_io(dev, io);
#if FAULT == 13
		kfree(io);
#endif
		return ret ? ret : -EINVAL;
	}
	io->map = iter.p2pdma.map;
	do
		add(io, iter.addr, iter.len, 0);
	while (!blk_rq_dma_map_coalesce(&io->state) && blk_rq_dma_map_iter_next(rq, dev, &iter));
	if (iter.status) {
		while (io->nr--)
			dma_unmap_phys(dev, io->segments[io->nr].addr, io->segments[io->nr].len, io->dir, 0);
		free_io(dev, io);
		return blk_status_to_errno(iter.status);
	}
#if FAULT == 10
	if (dma_use_iova(&io->state))
		last_state = io->state;
	else
		io->state = last_state;
#endif
#endif
	return submit(io, cmd);
}

static void faulty_unmap(struct device *dev, struct dma_conformance_command *cmd)
{
	struct io *io = cmd->data;
	enum dma_data_direction dir = io->dir;
	int i;

#if FAULT == 8
	dir = dir == DMA_TO_DEVICE ? DMA_FROM_DEVICE : DMA_TO_DEVICE;
#endif
	if (io->sgt) {
#if FAULT == 4
		dma_unmap_sg(dev, io->sgt->sgl, io->sgt->nents, dir);
#else
		dma_unmap_sgtable(dev, io->sgt, dir, 0);
#endif
	} else if (!blk_rq_dma_unmap(io->rq, dev, &io->state, io->bytes, io->map)) {
		for (i = 0; i < io->nr; i++) {
#if FAULT == 5
			dma_unmap_phys(dev, io->segments[i].len, io->segments[i].addr, dir, 0);
#else
			dma_unmap_phys(dev, io->segments[i].addr, io->segments[i].len, dir, 0);
#endif
		}
	}
	free_io(dev, io);
}

static int faulty_sync(struct device *dev, struct dma_conformance_command *cmd, bool for_cpu)
{
	struct io *io = cmd->data;
	int i;

	if (dma_use_iova(&io->state))
		return -EOPNOTSUPP;
	if (FAULT == 9)
		return 0;
	for (i = 0; i < io->nr && !io->sgt; i++) {
		if (for_cpu)
			dma_sync_single_for_cpu(dev, io->segments[i].addr, io->segments[i].len, io->dir);
		else
			dma_sync_single_for_device(dev, io->segments[i].addr, io->segments[i].len, io->dir);
	}
	if (io->sgt && for_cpu)
		dma_sync_sgtable_for_cpu(dev, io->sgt, io->dir);
	else if (io->sgt)
		dma_sync_sgtable_for_device(dev, io->sgt, io->dir);
	return 0;
}

static int faulty_probe(struct device *dev)
{
	int ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));

	if (ret)
		ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(32));
	if (!ret)
		dma_set_max_seg_size(dev, UINT_MAX);
	return ret;
}

struct dma_conformance_driver dma_conformance_driver = {
	.version = DMA_CONFORMANCE_DRIVER_VERSION,
	.align = 4,
	.max_segments = DESCRIPTORS,
	.name = "faulty",
	.hardware = "extents",
	.probe = faulty_probe,
	.map_sg = faulty_map_sg,
	.map_rq = faulty_map_rq,
	.unmap = faulty_unmap,
	.sync = faulty_sync,
};
