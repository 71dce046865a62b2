/* SPDX-License-Identifier: MIT */
/* A bio, and how a request ends, as far as mapping sees them. */
#ifndef DMA_CONFORMANCE_LINUX_BLK_TYPES_H
#define DMA_CONFORMANCE_LINUX_BLK_TYPES_H

#include <linux/bvec.h>
#include <linux/errno.h>

typedef u8 blk_status_t;
typedef u32 blk_opf_t;

/* numbers of 7.x */
#define BLK_STS_OK 0
#define BLK_STS_NOTSUPP ((blk_status_t)1)
#define BLK_STS_TARGET ((blk_status_t)5)
#define BLK_STS_RESOURCE ((blk_status_t)9)
#define BLK_STS_IOERR ((blk_status_t)10)
#define BLK_STS_AGAIN ((blk_status_t)12)
#define BLK_STS_INVAL ((blk_status_t)19)

enum req_op {
	REQ_OP_READ = 0,
	REQ_OP_WRITE = 1,               /* odd operations move data to the device */
};

struct bio {
	struct bio *bi_next;
	struct bio_vec *bi_io_vec;
	struct bvec_iter bi_iter;
};

static inline blk_status_t errno_to_blk_status(int ret)
{
	switch (ret) {
	case 0: return BLK_STS_OK;
	case -EOPNOTSUPP: return BLK_STS_NOTSUPP;
	case -EREMOTEIO: return BLK_STS_TARGET;
	case -ENOMEM: return BLK_STS_RESOURCE;
	case -EAGAIN: return BLK_STS_AGAIN;
	case -EINVAL: return BLK_STS_INVAL;
	}
	return BLK_STS_IOERR;
}

static inline int blk_status_to_errno(blk_status_t status)
{
	switch (status) {
	case BLK_STS_OK: return 0;
	case BLK_STS_NOTSUPP: return -EOPNOTSUPP;
	case BLK_STS_TARGET: return -EREMOTEIO;
	case BLK_STS_RESOURCE: return -ENOMEM;
	case BLK_STS_AGAIN: return -EAGAIN;
	case BLK_STS_INVAL: return -EINVAL;
	}
	return -EIO;
}

#endif
