/* SPDX-License-Identifier: MIT */
/* See linux/dma-map-ops.h. */
#ifndef DMA_CONFORMANCE_LINUX_DMA_NONCOHERENT_H
#define DMA_CONFORMANCE_LINUX_DMA_NONCOHERENT_H

#include <linux/dma-map-ops.h>

#endif
