/* SPDX-License-Identifier: MIT */
/* BUG ends the C code that the loader called, as an oops ends a task; WARN is a line of the machine's log. */
#ifndef DMA_CONFORMANCE_LINUX_BUG_H
#define DMA_CONFORMANCE_LINUX_BUG_H

#include <linux/compiler.h>
#include <linux/kconfig.h>
#include <dma_conformance/calls/kernel.h>

#define DMA_CONFORMANCE_TEXT(x) #x
#define DMA_CONFORMANCE_LINE(x) DMA_CONFORMANCE_TEXT(x)
#define DMA_CONFORMANCE_WHERE __FILE__ ":" DMA_CONFORMANCE_LINE(__LINE__)

#define BUG() (dma_conformance_bug("kernel BUG at " DMA_CONFORMANCE_WHERE), __builtin_unreachable())
#define BUG_ON(x) \
	do { \
		if (unlikely(x)) { \
			dma_conformance_bug("kernel BUG at " DMA_CONFORMANCE_WHERE ": " #x); \
			__builtin_unreachable(); \
		} \
	} while (0)
#define panic(...) BUG()
#define WARN_ON(x) \
	({ \
		bool dma_conformance_on = !!(x); \
		if (unlikely(dma_conformance_on)) \
			dma_conformance_warn("WARNING: " DMA_CONFORMANCE_WHERE ": " #x); \
		unlikely(dma_conformance_on); \
	})
#define WARN_ON_ONCE(x) \
	({ \
		static bool dma_conformance_once; \
		bool dma_conformance_now = !!(x); \
		if (unlikely(dma_conformance_now) && !dma_conformance_once) { \
			dma_conformance_once = true; \
			dma_conformance_warn("WARNING: " DMA_CONFORMANCE_WHERE ": " #x); \
		} \
		unlikely(dma_conformance_now); \
	})
#define WARN(x, ...) WARN_ON(x)
#define WARN_ONCE(x, ...) WARN_ON_ONCE(x)
#define VM_WARN_ON(x) WARN_ON(x)
#define BUILD_BUG_ON(x) _Static_assert(!(x), #x)

#endif
