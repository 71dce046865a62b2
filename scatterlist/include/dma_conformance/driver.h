/* SPDX-License-Identifier: MIT */
/*
 * A driver under test: what `dma-conformance run --driver mydriver.so` looks for in a shared object. docs/c-drivers.md
 * tells what it does with it.
 *
 *     struct dma_conformance_driver dma_conformance_driver = {
 *             .version = DMA_CONFORMANCE_DRIVER_VERSION, .name = "mine", .hardware = "nvme", .probe = mine_probe, …
 *     };
 */
#ifndef DMA_CONFORMANCE_DRIVER_H
#define DMA_CONFORMANCE_DRIVER_H

#include <linux/blk-mq.h>
#include <linux/device.h>
#include <linux/scatterlist.h>

#define DMA_CONFORMANCE_DRIVER_VERSION 1

/* One request on its way: zeroed before map, the same address until unmap has returned. */
struct dma_conformance_command {
	dma_addr_t descriptor;          /* set by map: the bus address that the device is told */
	void *data;                     /* the driver's own */
};

/* What the device of a driver without known hardware would access. */
struct dma_conformance_extent {
	dma_addr_t addr;
	u64 len;
};

struct dma_conformance_driver {
	u32 version;
	u32 align;                      /* requests begin, end and are cut on multiples of this; 0 is 1 */
	u32 max_bytes;                  /* of a request; 0: any number */
	u32 max_segments;               /* entries of a request; 0: any number */
	const char *name;

	/*
	 * Who reads the descriptor:
	 * "nvme"      the 64 bytes of an NVMe command with PRPs or SGLs, vendor specific opcode 0xc1 (memory to device) or
	 *             0xc2, dwords 10: length in dwords (NVM Express base specification 2.0, figure 88)
	 * "extents"   an array of { __le64 address, __le32 length, __le32 last }, last not 0 in the last;
	 *             no length is 0
	 * NULL        nobody: extents() says what the device would access, in order, and answers how many they are
	 */
	const char *hardware;
	int (*extents)(struct device *dev, struct dma_conformance_command *cmd, struct dma_conformance_extent *out,
		       int max);

	int (*probe)(struct device *dev);       /* 0 or -errno; masks, limits, pools */
	void (*remove)(struct device *dev);

	/* 0, or -errno with nothing left mapped or allocated. The lists live until unmap has returned. Either may be NULL. */
	int (*map_sg)(struct device *dev, struct sg_table *sgt, enum dma_data_direction dir,
		      struct dma_conformance_command *cmd);
	int (*map_rq)(struct device *dev, struct request *rq, struct dma_conformance_command *cmd);

	void (*unmap)(struct device *dev, struct dma_conformance_command *cmd);

	/* The CPU is to read or write a buffer that stays mapped (for_cpu), or the device is again; -EOPNOTSUPP, or NULL. */
	int (*sync)(struct device *dev, struct dma_conformance_command *cmd, bool for_cpu);
};

/* The object has one, under this name. */
__attribute__((visibility("default"))) extern struct dma_conformance_driver dma_conformance_driver;

#endif
