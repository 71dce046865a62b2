/* SPDX-License-Identifier: MIT */
/* The oracle's, but object caches are free lists of whole cache lines, as fast as a kernel's and cleared as there. */
#ifndef BENCHMARKS_LINUX_SLAB_H
#define BENCHMARKS_LINUX_SLAB_H

#include_next <linux/slab.h>

#undef kmem_cache_zalloc
#undef kmem_cache_free

static void *free_objects;	/* the first word of each is the next; one cache in a file */

static inline void *kmem_cache_zalloc(struct kmem_cache *cache, gfp_t gfp)
{
	size_t size = (cache->size + 63) & ~(size_t)63, i;
	void *object = free_objects;

	(void)gfp;
	if (!object) {
		char *slab = aligned_alloc(4096, 4096);

		for (i = 0; slab && i + size <= 4096; i += size) {
			*(void **)(slab + i) = free_objects;
			free_objects = slab + i;
		}
		object = free_objects;
		if (!object)
			return object;
	}
	free_objects = *(void **)object;
	return memset(object, 0, cache->size);
}

static inline void kmem_cache_free(struct kmem_cache *cache, void *object)
{
	(void)cache;
	*(void **)object = free_objects;
	free_objects = object;
}

#endif
