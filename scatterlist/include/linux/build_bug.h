/* SPDX-License-Identifier: MIT */
/* See linux/bug.h. */
#ifndef DMA_CONFORMANCE_LINUX_BUILD_BUG_H
#define DMA_CONFORMANCE_LINUX_BUILD_BUG_H

#include <linux/bug.h>

#endif
