/* SPDX-License-Identifier: MIT */
/* Allocation flags. Only __GFP_ZERO and the zones mean something here. */
#ifndef DMA_CONFORMANCE_LINUX_GFP_H
#define DMA_CONFORMANCE_LINUX_GFP_H

#include <linux/gfp_types.h>
#include <dma_conformance/calls/mm.h>
#include <linux/mm.h>

#endif
