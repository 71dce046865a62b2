/* SPDX-License-Identifier: MIT */
/* RAM is mapped at all times: kmap is page_address. */
#ifndef DMA_CONFORMANCE_LINUX_HIGHMEM_H
#define DMA_CONFORMANCE_LINUX_HIGHMEM_H

#include <linux/mm.h>
#include <linux/string.h>

#define kmap(page) page_address(page)
#define kunmap(page) ((void)(page))
#define kmap_atomic(page) page_address(page)
#define kunmap_atomic(addr) ((void)(addr))
#define kmap_local_page(page) page_address(page)
#define kunmap_local(addr) ((void)(addr))
#define kmap_atomic_pfn(pfn) page_address(pfn_to_page(pfn))
#define flush_dcache_page(page) ((void)(page))
#define flush_kernel_vmap_range(addr, size) ((void)(addr), (void)(size))
#define invalidate_kernel_vmap_range(addr, size) ((void)(addr), (void)(size))
#define clear_highpage(page) memset(page_address(page), 0, PAGE_SIZE)

#endif
