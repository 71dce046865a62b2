/* SPDX-License-Identifier: MIT */
/* The smaller and the larger. */
#ifndef DMA_CONFORMANCE_LINUX_MINMAX_H
#define DMA_CONFORMANCE_LINUX_MINMAX_H

#define min(a, b) \
	({ \
		__typeof__(a) dma_conformance_a = (a); \
		__typeof__(b) dma_conformance_b = (b); \
		dma_conformance_a < dma_conformance_b ? dma_conformance_a : dma_conformance_b; \
	})
#define max(a, b) \
	({ \
		__typeof__(a) dma_conformance_a = (a); \
		__typeof__(b) dma_conformance_b = (b); \
		dma_conformance_a > dma_conformance_b ? dma_conformance_a : dma_conformance_b; \
	})
#define min_t(type, a, b) \
	({ \
		type dma_conformance_x = (a); \
		type dma_conformance_y = (b); \
		dma_conformance_x < dma_conformance_y ? dma_conformance_x : dma_conformance_y; \
	})
#define max_t(type, a, b) \
	({ \
		type dma_conformance_x = (a); \
		type dma_conformance_y = (b); \
		dma_conformance_x > dma_conformance_y ? dma_conformance_x : dma_conformance_y; \
	})
#define min_not_zero(a, b) \
	({ \
		__typeof__(a) dma_conformance_p = (a); \
		__typeof__(b) dma_conformance_q = (b); \
		!dma_conformance_p ? dma_conformance_q : !dma_conformance_q ? dma_conformance_p : \
			dma_conformance_p < dma_conformance_q ? dma_conformance_p : dma_conformance_q; \
	})
#define clamp(value, low, high) min(max(value, low), high)
#define clamp_t(type, value, low, high) min_t(type, max_t(type, value, low), high)
#define swap(a, b) \
	do { \
		__typeof__(a) dma_conformance_t = (a); \
		(a) = (b); \
		(b) = dma_conformance_t; \
	} while (0)

#endif
