/* SPDX-License-Identifier: MIT */
/* The kernel's integer types; __u8 and the like are the host's, whose C library includes this file. */
#ifndef DMA_CONFORMANCE_LINUX_TYPES_H
#define DMA_CONFORMANCE_LINUX_TYPES_H

#include_next <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <dma_conformance/structs.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef u64 sector_t;
typedef u64 resource_size_t;
typedef u64 pci_bus_addr_t;
typedef unsigned int gfp_t;
typedef unsigned int fmode_t;
typedef unsigned int slab_flags_t;
typedef struct {
	int counter;
} atomic_t;

struct list_head {
	struct list_head *next, *prev;
};

struct hlist_node {
	struct hlist_node *next, **pprev;
};

struct hlist_head {
	struct hlist_node *first;
};

#endif
