/* SPDX-License-Identifier: MIT */
/* MMIO registers as memory. */
#ifndef DMA_CONFORMANCE_LINUX_IO_H
#define DMA_CONFORMANCE_LINUX_IO_H

#include <linux/mm.h>

#define readb(addr) READ_ONCE(*(const u8 *)(addr))
#define readw(addr) READ_ONCE(*(const u16 *)(addr))
#define readl(addr) READ_ONCE(*(const u32 *)(addr))
#define readq(addr) READ_ONCE(*(const u64 *)(addr))
#define writeb(value, addr) WRITE_ONCE(*(u8 *)(addr), value)
#define writew(value, addr) WRITE_ONCE(*(u16 *)(addr), value)
#define writel(value, addr) WRITE_ONCE(*(u32 *)(addr), value)
#define writeq(value, addr) WRITE_ONCE(*(u64 *)(addr), value)
#define wmb() barrier()
#define rmb() barrier()
#define mb() barrier()
#define dma_wmb() barrier()
#define dma_rmb() barrier()

#endif
