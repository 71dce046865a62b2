/* SPDX-License-Identifier: MIT */
/* struct device with what Linux's mapping code reads of it. */
#ifndef BENCHMARKS_LINUX_DEVICE_H
#define BENCHMARKS_LINUX_DEVICE_H

#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/const.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

struct bus_type {
	const char *name;
};

extern struct bus_type pci_bus_type;

struct device_dma_parameters {
	unsigned int max_segment_size;
	unsigned int min_align_mask;
	unsigned long segment_boundary_mask;
};

struct device {
	const struct bus_type *bus;
	u64 *dma_mask;
	u64 coherent_dma_mask;
	u64 bus_dma_limit;
	const struct bus_dma_region *dma_range_map;
	struct device_dma_parameters *dma_parms;
	struct io_tlb_mem *dma_io_tlb_mem;
	const struct dma_map_ops *dma_ops;
	struct iommu_group *iommu_group;
	struct dev_iommu *iommu;
	void *driver_data;
	bool dma_coherent;
	bool dma_ops_bypass;
	struct {
		struct iommu_table *iommu_table_base;
	} archdata;
};

struct pci_dev {
	struct device dev;
	bool untrusted;
};

#define dev_is_pci(d) ((d)->bus == &pci_bus_type)
#define to_pci_dev(d) container_of(d, struct pci_dev, dev)
#define dev_to_node(d) (-1)
#define dev_name(d) "device"
#define dev_info(d, ...) printk(__VA_ARGS__)
#define dev_err(d, ...) printk(__VA_ARGS__)
#define dev_warn_ratelimited(d, ...) printk(__VA_ARGS__)
#define dev_warn_once(d, ...) printk(__VA_ARGS__)
#define dev_WARN_ONCE(d, x, ...) WARN_ON_ONCE(x)

/* atomics of one thread */
typedef struct {
	s64 counter;
} atomic64_t;
typedef struct {
	long counter;
} atomic_long_t;

struct timer_list {
	void *function;
};

struct rcu_head {
	void *next;
};

struct kref {
	int refcount;
};

#define atomic_inc_return(v) ((unsigned int)++(v)->counter)
#define atomic_long_inc_return(v) (++(v)->counter)
#define cmpxchg64_relaxed(p, was, new) \
	({ \
		__typeof__(*(p)) seen = *(p); \
		if (seen == (was)) \
			*(p) = (new); \
		seen; \
	})
#define cmpxchg(p, was, new) cmpxchg64_relaxed(p, was, new)
#define check_add_overflow(a, b, sum) __builtin_add_overflow(a, b, sum)
#define ____cacheline_aligned_in_smp __attribute__((aligned(64)))
#define __percpu
#define __must_check
#define __init
#define __read_mostly
#define __attribute_const__
#define raw_cpu_read(x) (x)
#define static_branch_unlikely(key) 0
#define vzalloc_node(size, node) calloc(1, size)
#define alloc_pages_node(node, gfp, order) alloc_pages(gfp, order)
#define VM_BUG_ON(x) ((void)0)
#define __GFP_HIGHMEM 0
#define min_low_pfn 0
#define ASM_CONST(x) x##UL
#define ULONG_MAX (~0UL)
#define U32_MAX (~0u)

typedef unsigned int ioasid_t;

struct device_node;
struct of_phandle_args;
struct bus_dma_region;

#endif
