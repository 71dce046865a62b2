/* SPDX-License-Identifier: MIT */
/* An address allocator needs none of it. */
#ifndef ORACLE_LINUX_DMA_MAPPING_H
#define ORACLE_LINUX_DMA_MAPPING_H

#include <linux/types.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/spinlock.h>

#endif
