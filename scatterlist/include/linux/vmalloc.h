/* SPDX-License-Identifier: MIT */
/* Large buffers; here they are contiguous and in the linear map. */
#ifndef DMA_CONFORMANCE_LINUX_VMALLOC_H
#define DMA_CONFORMANCE_LINUX_VMALLOC_H

#include <linux/slab.h>

#define vmalloc(size) kmalloc(size, GFP_KERNEL)
#define vzalloc(size) kzalloc(size, GFP_KERNEL)
#define vfree(addr) kfree(addr)

#endif
