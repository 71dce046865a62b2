/* SPDX-License-Identifier: MIT */
/* What lib/scatterlist.c needs of the kernel, in userspace. A struct page * is the frame's address. */
#ifndef SHIM_MM_H
#define SHIM_MM_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <errno.h>

struct page;
typedef uint64_t u64;
typedef uint32_t u32;
typedef unsigned long dma_addr_t;
typedef unsigned int gfp_t;

#define CONFIG_NEED_SG_DMA_LENGTH 1
#define GFP_KERNEL 0
#define GFP_DMA 1
#define PAGE_SHIFT 12
#define PAGE_SIZE 4096UL
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define EXPORT_SYMBOL(x)
#define IS_ENABLED(x) 0
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define BUG_ON(x) do { if (unlikely(x)) abort(); } while (0)
#define WARN_ON(x) ({ bool warned = !!(x); unlikely(warned); })
#define WARN_ON_ONCE(x) WARN_ON(x)
#define WARN_ONCE(x, ...) WARN_ON(x)
#define ALIGN(x, a) (((x) + ((typeof(x))(a) - 1)) & ~((typeof(x))(a) - 1))
#define ALIGN_DOWN(x, a) ((x) & ~((typeof(x))(a) - 1))
#define PAGE_ALIGN(x) ALIGN(x, PAGE_SIZE)
#define min(a, b) ({ typeof(a) left = (a); typeof(b) right = (b); left < right ? left : right; })
#define min_t(t, a, b) ({ t left = (a); t right = (b); left < right ? left : right; })
#define offset_in_page(p) ((unsigned long)(p) & ~PAGE_MASK)

#define page_to_pfn(p) ((unsigned long)(p) >> PAGE_SHIFT)
#define page_to_phys(p) ((unsigned long)(p))
#define page_address(p) ((void *)(p))
#define virt_to_page(p) ((struct page *)((unsigned long)(p) & PAGE_MASK))
#define nth_page(p, n) ((struct page *)((unsigned long)(p) + ((unsigned long)(n) << PAGE_SHIFT)))
#define kmap(p) ((void *)(p))
#define kunmap(p) ((void)(p))
#define kmap_atomic(p) ((void *)(p))
#define kunmap_atomic(addr) ((void)(addr))
#define pagefault_disabled() 1
#define flush_dcache_page(p) ((void)(p))

#define kmalloc_array(n, size, gfp) malloc((size_t)(n) * (size))
#define kfree(p) free(p)
#define __get_free_page(gfp) ((unsigned long)malloc(PAGE_SIZE))
#define free_page(p) free((void *)(p))
#define kmemleak_alloc(...)
#define kmemleak_free(...)
#define ERR_PTR(e) ((void *)(long)(e))
#define PTR_ERR(p) ((long)(p))
#define IS_ERR(p) unlikely((unsigned long)(p) >= (unsigned long)-4095)

#endif
