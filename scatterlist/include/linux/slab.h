/* SPDX-License-Identifier: MIT */
/* kmalloc: from the machine's RAM, naturally aligned, so that devices reach it; its first content is 0x5a. */
#ifndef DMA_CONFORMANCE_LINUX_SLAB_H
#define DMA_CONFORMANCE_LINUX_SLAB_H

#include <linux/gfp_types.h>
#include <linux/mm.h>
#include <linux/string.h>

#define ARCH_KMALLOC_MINALIGN 8
#define ARCH_DMA_MINALIGN 128
#define L1_CACHE_BYTES 64
#define SMP_CACHE_BYTES L1_CACHE_BYTES
#define ZERO_OR_NULL_PTR(p) (!(p))

static inline void *kzalloc(size_t size, gfp_t gfp)
{
	return kmalloc(size, gfp | __GFP_ZERO);
}

static inline void *kmalloc_array(size_t n, size_t size, gfp_t gfp)
{
	size_t bytes;

	return __builtin_mul_overflow(n, size, &bytes) ? (void *)0 : kmalloc(bytes, gfp);
}

static inline void *kcalloc(size_t n, size_t size, gfp_t gfp)
{
	return kmalloc_array(n, size, gfp | __GFP_ZERO);
}

static inline void *kmemdup(const void *source, size_t size, gfp_t gfp)
{
	void *copy = kmalloc(size, gfp);

	return copy ? memcpy(copy, source, size) : copy;
}

#define kmalloc_node(size, gfp, node) kmalloc(size, gfp)
#define kzalloc_node(size, gfp, node) kzalloc(size, gfp)
#define kcalloc_node(n, size, gfp, node) kcalloc(n, size, gfp)
#define kvmalloc(size, gfp) kmalloc(size, gfp)
#define kvzalloc(size, gfp) kzalloc(size, gfp)
#define kvmalloc_array(n, size, gfp) kmalloc_array(n, size, gfp)
#define kvcalloc(n, size, gfp) kcalloc(n, size, gfp)
#define kvfree(addr) kfree(addr)
#define kfree_sensitive(addr) kfree(addr)
#define devm_kmalloc(dev, size, gfp) ((void)(dev), kmalloc(size, gfp))
#define devm_kzalloc(dev, size, gfp) ((void)(dev), kzalloc(size, gfp))
#define devm_kcalloc(dev, n, size, gfp) ((void)(dev), kcalloc(n, size, gfp))
#define devm_kfree(dev, addr) ((void)(dev), kfree(addr))

#endif
