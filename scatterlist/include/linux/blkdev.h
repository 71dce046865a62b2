/* SPDX-License-Identifier: MIT */
#ifndef DMA_CONFORMANCE_LINUX_BLKDEV_H
#define DMA_CONFORMANCE_LINUX_BLKDEV_H

#include <linux/blk-mq.h>

#endif
