/* SPDX-License-Identifier: MIT */
/* Pages. A struct page * is its frame's physical address; RAM has a linear map, P2P memory has none. */
#ifndef DMA_CONFORMANCE_LINUX_MM_H
#define DMA_CONFORMANCE_LINUX_MM_H

#include <linux/err.h>
#include <linux/gfp_types.h>
#include <linux/kernel.h>
#include <linux/types.h>
#include <dma_conformance/calls/mm.h>
#include <dma_conformance/page.h>

#define PAGE_ALIGN(addr) ALIGN(addr, PAGE_SIZE)
#define PAGE_ALIGN_DOWN(addr) ALIGN_DOWN(addr, PAGE_SIZE)
#define PAGE_ALIGNED(addr) IS_ALIGNED((unsigned long)(addr), PAGE_SIZE)
#define offset_in_page(p) ((unsigned long)(p) & ~PAGE_MASK)
#define PFN_UP(x) (((x) + PAGE_SIZE - 1) >> PAGE_SHIFT)
#define PFN_DOWN(x) ((x) >> PAGE_SHIFT)
#define PFN_PHYS(x) ((phys_addr_t)(x) << PAGE_SHIFT)
#define PHYS_PFN(x) ((unsigned long)((x) >> PAGE_SHIFT))
#define PAGE_OFFSET ((unsigned long)dma_conformance_object.page_offset)
#define page_to_phys(page) ((phys_addr_t)(unsigned long)(page))
#define phys_to_page(phys) ((struct page *)(unsigned long)((phys) & PAGE_MASK))
#define page_to_pfn(page) ((unsigned long)(page) >> PAGE_SHIFT)
#define pfn_to_page(pfn) ((struct page *)((unsigned long)(pfn) << PAGE_SHIFT))
#define nth_page(page, n) pfn_to_page(page_to_pfn(page) + (unsigned long)(n))
#define pfn_to_kaddr(pfn) phys_to_virt(PFN_PHYS(pfn))
#define __va(phys) phys_to_virt(phys)
#define __pa(virt) virt_to_phys((const void *)(virt))

/* The CPU's address of a byte; NULL for what is no RAM. */
static inline void *phys_to_virt(phys_addr_t phys)
{
	return phys < dma_conformance_object.ram_end ? (void *)(PAGE_OFFSET + phys) : (void *)0;
}

static inline bool virt_addr_valid(const void *virt)
{
	return (unsigned long)virt - PAGE_OFFSET < dma_conformance_object.ram_end;
}

/* Of an address of the linear map: what kmalloc, page_address and dma_alloc_coherent answer. */
static inline phys_addr_t virt_to_phys(const volatile void *virt)
{
	return (unsigned long)virt - PAGE_OFFSET;
}

#define virt_to_page(virt) phys_to_page(virt_to_phys((const void *)(virt)))
#define virt_to_pfn(virt) PHYS_PFN(virt_to_phys((const void *)(virt)))
#define page_address(page) phys_to_virt(page_to_phys(page))
#define page_to_virt(page) page_address(page)
#define lowmem_page_address(page) page_address(page)
#define virt_to_head_page(virt) virt_to_page(virt)
#define PageHighMem(page) (page_to_phys(page) >= dma_conformance_object.ram_end)
#define is_vmalloc_addr(virt) ((void)(virt), false)
#define object_is_on_stack(virt) (!virt_addr_valid(virt))
#define get_page(page) ((void)(page))
#define put_page(page) ((void)(page))
#define PageSlab(page) ((void)(page), false)
#define page_size(page) PAGE_SIZE

static inline int get_order(unsigned long size)
{
	return size > PAGE_SIZE ? fls_long((size - 1) >> PAGE_SHIFT) : 0;
}

#define alloc_page(gfp) alloc_pages(gfp, 0)
#define __free_page(page) __free_pages(page, 0)
#define put_page_testzero(page) ((void)(page), true)

static inline unsigned long __get_free_pages(gfp_t gfp, unsigned int order)
{
	struct page *page = alloc_pages(gfp, order);

	return page ? (unsigned long)page_address(page) : 0;
}

static inline void free_pages(unsigned long addr, unsigned int order)
{
	if (addr)
		__free_pages(virt_to_page((void *)addr), order);
}

#define __get_free_page(gfp) __get_free_pages(gfp, 0)
#define get_zeroed_page(gfp) __get_free_pages((gfp) | __GFP_ZERO, 0)
#define free_page(addr) free_pages(addr, 0)

static inline void *alloc_pages_exact(size_t size, gfp_t gfp)
{
	return (void *)__get_free_pages(gfp, get_order(size));
}

static inline void free_pages_exact(void *virt, size_t size)
{
	free_pages((unsigned long)virt, get_order(size));
}

#endif
