/* SPDX-License-Identifier: MIT */
/* On the oracle's side the structs are those of the user's Linux; only the types stay ours. */
#ifndef ORACLE_DMA_CONFORMANCE_STRUCTS_H
#define ORACLE_DMA_CONFORMANCE_STRUCTS_H

#include <stddef.h>

struct page;

typedef unsigned long long u64;
typedef u64 dma_addr_t;
typedef u64 phys_addr_t;

#endif
