/* SPDX-License-Identifier: MIT */
/* struct device as far as mapping sees it; Python makes it (dma_ops.c_api), and reads back what C code writes. */
#ifndef DMA_CONFORMANCE_LINUX_DEVICE_H
#define DMA_CONFORMANCE_LINUX_DEVICE_H

#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/types.h>
#include <dma_conformance/object.h>

#define DMA_BIT_MASK(n) ((n) == 64 ? ~0ULL : (1ULL << (n)) - 1)

static inline const char *dev_name(const struct device *dev)
{
	return dev->init_name;
}

static inline void *dev_get_drvdata(const struct device *dev)
{
	return dev->driver_data;
}

static inline void dev_set_drvdata(struct device *dev, void *data)
{
	dev->driver_data = data;
}

static inline bool dev_is_dma_coherent(const struct device *dev)
{
	return dev->dma_coherent;
}

#define dev_to_node(dev) ((void)(dev), -1)
#define NUMA_NO_NODE (-1)
#define dev_printk(dev, format, ...) printk("%s: " format, dev_name(dev), ##__VA_ARGS__)
#define dev_err(dev, format, ...) dev_printk(dev, format, ##__VA_ARGS__)
#define dev_warn(dev, format, ...) dev_printk(dev, format, ##__VA_ARGS__)
#define dev_warn_once(dev, format, ...) dev_printk(dev, format, ##__VA_ARGS__)
#define dev_warn_ratelimited(dev, format, ...) dev_printk(dev, format, ##__VA_ARGS__)
#define dev_err_ratelimited(dev, format, ...) dev_printk(dev, format, ##__VA_ARGS__)
#define dev_err_once(dev, format, ...) dev_printk(dev, format, ##__VA_ARGS__)
#define dev_info(dev, format, ...) dev_printk(dev, format, ##__VA_ARGS__)
#define dev_notice(dev, format, ...) dev_printk(dev, format, ##__VA_ARGS__)
#define dev_dbg(dev, format, ...) ((void)(dev))
#define dev_WARN_ONCE(dev, x, format, ...) WARN_ON_ONCE(x)

#endif
