/* SPDX-License-Identifier: MIT */
/* Ours, and object caches that are malloc. */
#ifndef ORACLE_LINUX_SLAB_H
#define ORACLE_LINUX_SLAB_H

#include_next <linux/slab.h>

#define SLAB_HWCACHE_ALIGN 0

struct kmem_cache {
	size_t size;
};

static inline struct kmem_cache *kmem_cache_create(const char *name, size_t size, size_t align, unsigned long flags,
						   void (*constructor)(void *))
{
	struct kmem_cache *cache = malloc(sizeof(*cache));

	(void)name, (void)align, (void)flags, (void)constructor;
	cache->size = size;
	return cache;
}

#define kmem_cache_destroy(cache) free(cache)
#define kmem_cache_alloc(cache, gfp) malloc((cache)->size)
#define kmem_cache_zalloc(cache, gfp) calloc(1, (cache)->size)
#define kmem_cache_free(cache, object) ((void)(cache), free(object))

#endif
