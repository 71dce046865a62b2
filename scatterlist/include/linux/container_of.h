/* SPDX-License-Identifier: MIT */
/* The struct around a member. */
#ifndef DMA_CONFORMANCE_LINUX_CONTAINER_OF_H
#define DMA_CONFORMANCE_LINUX_CONTAINER_OF_H

#include <stddef.h>

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#endif
