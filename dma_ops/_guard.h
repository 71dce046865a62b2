/* SPDX-License-Identifier: MIT */
/* Calls of C code that may BUG(): nothing may run after a BUG(), so control goes back to the call's beginning. */
#ifndef DMA_CONFORMANCE_GUARD_H
#define DMA_CONFORMANCE_GUARD_H

#include <setjmp.h>
#include <stdlib.h>

struct dma_guard {
	jmp_buf where;
	struct dma_guard *outer;
};

static __thread struct dma_guard *dma_guard_innermost;

/* 0, or -1 if body ended in dma_guard_leave(). */
static int dma_guard_call(void (*body)(void *), void *context)
{
	struct dma_guard guard;
	int ret = 0;

	guard.outer = dma_guard_innermost;
	dma_guard_innermost = &guard;
	if (_setjmp(guard.where) == 0)
		body(context);
	else
		ret = -1;
	dma_guard_innermost = guard.outer;
	return ret;
}

static void dma_guard_leave(void)
{
	if (!dma_guard_innermost)
		abort();                /* nobody called us: a BUG() has nowhere to go */
	longjmp(dma_guard_innermost->where, 1);
}

#endif
