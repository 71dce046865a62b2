/* SPDX-License-Identifier: MIT */
/* See linux/compiler.h. */
#ifndef DMA_CONFORMANCE_LINUX_COMPILER_TYPES_H
#define DMA_CONFORMANCE_LINUX_COMPILER_TYPES_H

#include <linux/compiler.h>

#endif
