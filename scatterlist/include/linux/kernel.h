/* SPDX-License-Identifier: MIT */
/* What every kernel file uses. */
#ifndef DMA_CONFORMANCE_LINUX_KERNEL_H
#define DMA_CONFORMANCE_LINUX_KERNEL_H

#include <stdlib.h>

#include <linux/align.h>
#include <linux/bitops.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/container_of.h>
#include <linux/err.h>
#include <linux/kconfig.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/printk.h>
#include <linux/string.h>
#include <linux/types.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define upper_32_bits(n) ((u32)((u64)(n) >> 32))
#define lower_32_bits(n) ((u32)(n))
#define might_sleep() ((void)0)
#define cpu_relax() barrier()
#define offset_in(p, size) ((unsigned long)(p) & ((size) - 1))

#endif
