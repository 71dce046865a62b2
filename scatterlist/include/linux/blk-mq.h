/* SPDX-License-Identifier: MIT */
/* A block request as its driver gets it: bios, and the limits of its queue. */
#ifndef DMA_CONFORMANCE_LINUX_BLK_MQ_H
#define DMA_CONFORMANCE_LINUX_BLK_MQ_H

#include <linux/blk_types.h>
#include <linux/dma-direction.h>

struct queue_limits {
	unsigned long seg_boundary_mask;
	unsigned long virt_boundary_mask;
	unsigned int max_segment_size;
};

struct request_queue {
	struct queue_limits limits;
};

struct request {
	struct request_queue *q;
	struct bio *bio;
	unsigned int __data_len;
	blk_opf_t cmd_flags;
	unsigned short nr_phys_segments;
	u8 phys_gap_bit;                /* 6.19: 1 + the lowest bit set at an edge inside the request; 0 for none */
};

#define req_op(rq) ((enum req_op)((rq)->cmd_flags & 0xff))
#define op_is_write(op) ((op) & 1)
#define rq_data_dir(rq) (op_is_write(req_op(rq)) ? 1 : 0)
#define rq_dma_dir(rq) (op_is_write(req_op(rq)) ? DMA_TO_DEVICE : DMA_FROM_DEVICE)

static inline unsigned int blk_rq_payload_bytes(const struct request *rq)
{
	return rq->__data_len;
}

static inline unsigned int blk_rq_bytes(const struct request *rq)
{
	return rq->__data_len;
}

static inline unsigned short blk_rq_nr_phys_segments(const struct request *rq)
{
	return rq->nr_phys_segments;
}

static inline unsigned long queue_virt_boundary(const struct request_queue *q)
{
	return q->limits.virt_boundary_mask;
}

static inline unsigned long req_phys_gap_mask(const struct request *rq)
{
	return rq->phys_gap_bit ? 1UL << (rq->phys_gap_bit - 1) : 0;
}

#endif
