/* SPDX-License-Identifier: MIT */
/* Limits of types, under the kernel's names too. (glibc's own headers include this one.) */
#ifndef DMA_CONFORMANCE_LINUX_LIMITS_H
#define DMA_CONFORMANCE_LINUX_LIMITS_H

#include_next <linux/limits.h>
#include <limits.h>
#include <stdint.h>

#define U8_MAX 0xffu
#define U16_MAX 0xffffu
#define U32_MAX 0xffffffffu
#define U64_MAX (~0ULL)
#define S32_MAX 0x7fffffff
#define PHYS_ADDR_MAX (~0ULL)

#endif
