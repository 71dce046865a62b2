/* SPDX-License-Identifier: MIT */
/* A BUG is the end of the process, a warning says nothing. */
#ifndef ORACLE_DMA_CONFORMANCE_CALLS_KERNEL_H
#define ORACLE_DMA_CONFORMANCE_CALLS_KERNEL_H

#include <stdio.h>
#include <stdlib.h>

#include <dma_conformance/object.h>

static inline void dma_conformance_bug(const char *text)
{
	fprintf(stderr, "%s\n", text);
	abort();
}

static inline void dma_conformance_warn(const char *text)
{
	(void)text;
}

static inline unsigned int smp_processor_id(void)
{
	return 0;
}

#endif
