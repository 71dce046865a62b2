/* SPDX-License-Identifier: MIT */
/* What a shared object of C code has one of: where the loader (dma_ops.c_api) leaves what the object needs. */
#ifndef DMA_CONFORMANCE_OBJECT_H
#define DMA_CONFORMANCE_OBJECT_H

#include <dma_conformance/calls.h>
#include <dma_conformance/page.h>

#ifdef __cplusplus
extern "C" {
#endif

__attribute__((weak, visibility("default"))) struct dma_conformance_object dma_conformance_object = {
	DMA_CONFORMANCE_VERSION, PAGE_SHIFT, sizeof(struct dma_conformance_calls), 0, 0, 0, 0
};

#ifdef __cplusplus
}
#endif

#endif
