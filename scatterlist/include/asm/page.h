/* SPDX-License-Identifier: MIT */
/* See linux/mm.h. */
#ifndef DMA_CONFORMANCE_ASM_PAGE_H
#define DMA_CONFORMANCE_ASM_PAGE_H

#include <linux/mm.h>

#endif
