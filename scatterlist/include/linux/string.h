/* SPDX-License-Identifier: MIT */
/* The host's. */
#ifndef DMA_CONFORMANCE_LINUX_STRING_H
#define DMA_CONFORMANCE_LINUX_STRING_H

#include <string.h>

#endif
