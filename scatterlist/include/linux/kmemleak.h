/* SPDX-License-Identifier: MIT */
/* Leaks are counted by the loader. */
#ifndef DMA_CONFORMANCE_LINUX_KMEMLEAK_H
#define DMA_CONFORMANCE_LINUX_KMEMLEAK_H

#define kmemleak_alloc(...) ((void)0)
#define kmemleak_free(...) ((void)0)
#define kmemleak_not_leak(...) ((void)0)
#define kmemleak_ignore(...) ((void)0)

#endif
