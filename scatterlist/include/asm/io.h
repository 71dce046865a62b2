/* SPDX-License-Identifier: MIT */
/* See linux/io.h. */
#ifndef DMA_CONFORMANCE_ASM_IO_H
#define DMA_CONFORMANCE_ASM_IO_H

#include <linux/io.h>

#endif
