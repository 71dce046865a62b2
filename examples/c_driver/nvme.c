/* SPDX-License-Identifier: MIT */
/*
 * An NVMe-like driver, as one is written for the kernel: a request becomes a command with PRPs or an SGL.
 *
 *     dma-conformance run --driver examples/c_driver/nvme.c
 *
 * It maps in both ways: a scatterlist by dma_map_sgtable(), and a block request by the iterator of linux/blk-mq-dma.h,
 * which gives one IOVA range where there is an IOMMU for it and else a mapping for each segment.
 */
#include <linux/blk-mq-dma.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <asm/byteorder.h>
#include <dma_conformance/driver.h>

#define CTRL_PAGE 4096                  /* the controller's, whatever the kernel's are */
#define SLOTS (CTRL_PAGE / 8)           /* PRP entries of a list page */
#define BLOCKS (CTRL_PAGE / 16)         /* descriptors of an SGL segment */
#define MAX_LISTS 8

struct sgl_desc {
	__le64 addr;
	__le32 length;
	u8 reserved[3];
	u8 type;
};

#define SGL_DATA 0x00
#define SGL_SEGMENT 0x20
#define SGL_LAST_SEGMENT 0x30

struct nvme_command {
	u8 opcode;
	u8 flags;
	__le16 id;
	__le32 nsid;
	u8 reserved[16];
	union {
		struct {
			__le64 prp1;
			__le64 prp2;
		};
		struct sgl_desc sgl;
	};
	__le32 dwords;
	u8 rest[20];
};

#define OPCODE_TO_DEVICE 0xc1
#define OPCODE_FROM_DEVICE 0xc2
#define FLAG_SGL 0x40

struct extent {
	dma_addr_t addr;
	u32 len;
};

struct nvme_io {
	struct sg_table *sgt;           /* one of these two */
	struct request *rq;
	enum dma_data_direction dir;
	struct dma_iova_state state;
	int map;                        /* how the request's memory is reached: enum pci_p2pdma_state_type */
	u64 bytes;

	struct nvme_command *cmd;
	dma_addr_t cmd_dma;
	void *lists[MAX_LISTS];
	dma_addr_t list_dma[MAX_LISTS];
	int nr_lists;

	int nr_extents;
	struct extent extents[];
};

static struct nvme_io *alloc_io(struct device *dev, unsigned int most, enum dma_data_direction dir)
{
	struct nvme_io *io = kzalloc(sizeof(*io) + most * sizeof(struct extent), GFP_KERNEL);

	if (!io)
		return NULL;
	io->dir = dir;
	io->cmd = dma_alloc_coherent(dev, CTRL_PAGE, &io->cmd_dma, GFP_KERNEL);
	if (!io->cmd) {
		kfree(io);
		return NULL;
	}
	memset(io->cmd, 0, sizeof(*io->cmd));
	return io;
}

static void free_io(struct device *dev, struct nvme_io *io)
{
	while (io->nr_lists) {
		io->nr_lists--;
		dma_free_coherent(dev, CTRL_PAGE, io->lists[io->nr_lists], io->list_dma[io->nr_lists]);
	}
	dma_free_coherent(dev, CTRL_PAGE, io->cmd, io->cmd_dma);
	kfree(io);
}

/* One more page for descriptors; NULL if there is none, or no command may have so many. */
static void *add_list(struct device *dev, struct nvme_io *io, dma_addr_t *bus)
{
	int n = io->nr_lists;

	if (n == MAX_LISTS)
		return NULL;
	io->lists[n] = dma_alloc_coherent(dev, CTRL_PAGE, &io->list_dma[n], GFP_KERNEL);
	if (!io->lists[n])
		return NULL;
	io->nr_lists++;
	*bus = io->list_dma[n];
	return io->lists[n];
}

static void add_extent(struct nvme_io *io, dma_addr_t addr, u32 len)
{
	io->extents[io->nr_extents].addr = addr;
	io->extents[io->nr_extents].len = len;
	io->nr_extents++;
	io->bytes += len;
}

/* PRPs have no holes: every inner edge is on the edge of a page. */
static bool has_holes(const struct nvme_io *io)
{
	int i;

	for (i = 1; i < io->nr_extents; i++)
		if ((io->extents[i].addr | (io->extents[i - 1].addr + io->extents[i - 1].len)) & (CTRL_PAGE - 1))
			return true;
	return false;
}

/* The next page of the extents: *i and *at say where. */
static dma_addr_t next_page(const struct nvme_io *io, int *i, u64 *at)
{
	const struct extent *ext = &io->extents[*i];
	dma_addr_t page = ext->addr + *at;

	*at += CTRL_PAGE - (page & (CTRL_PAGE - 1));
	if (*at >= ext->len) {
		++*i;
		*at = 0;
	}
	return page;
}

static int setup_prps(struct device *dev, struct nvme_io *io)
{
	__le64 *list, *next;
	dma_addr_t bus, page;
	int i = 0, slot = 0;
	u64 at = 0;

	io->cmd->prp1 = cpu_to_le64(next_page(io, &i, &at));
	if (i == io->nr_extents)
		return 0;
	page = next_page(io, &i, &at);
	if (i == io->nr_extents) {
		io->cmd->prp2 = cpu_to_le64(page);
		return 0;
	}
	list = add_list(dev, io, &bus);
	if (!list)
		return -ENOMEM;
	io->cmd->prp2 = cpu_to_le64(bus);
	for (;;) {
		if (slot == SLOTS - 1 && i < io->nr_extents) {  /* more than this one entry: the slot leads on */
			next = add_list(dev, io, &bus);
			if (!next)
				return -ENOMEM;
			list[slot] = cpu_to_le64(bus);
			list = next;
			slot = 0;
		}
		list[slot++] = cpu_to_le64(page);
		if (i == io->nr_extents)
			return 0;
		page = next_page(io, &i, &at);
	}
}

static void set_sgl(struct sgl_desc *desc, dma_addr_t addr, u32 length, u8 type)
{
	memset(desc, 0, sizeof(*desc));
	desc->addr = cpu_to_le64(addr);
	desc->length = cpu_to_le32(length);
	desc->type = type;
}

static int setup_sgl(struct device *dev, struct nvme_io *io)
{
	struct sgl_desc *lead = &io->cmd->sgl, *list;
	int i = 0, n, left;
	dma_addr_t bus;

	io->cmd->flags = FLAG_SGL;
	if (io->nr_extents == 1) {
		set_sgl(lead, io->extents[0].addr, io->extents[0].len, SGL_DATA);
		return 0;
	}
	while (i < io->nr_extents) {
		list = add_list(dev, io, &bus);
		if (!list)
			return -ENOMEM;
		left = io->nr_extents - i;
		n = left <= BLOCKS ? left : BLOCKS - 1;
		set_sgl(lead, bus, (left <= BLOCKS ? left : BLOCKS) * sizeof(*list), left <= BLOCKS ? SGL_LAST_SEGMENT : SGL_SEGMENT);
		lead = &list[n];
		while (n--) {
			set_sgl(list++, io->extents[i].addr, io->extents[i].len, SGL_DATA);
			i++;
		}
	}
	return 0;
}

static int setup(struct device *dev, struct nvme_io *io)
{
	io->cmd->opcode = io->dir == DMA_TO_DEVICE ? OPCODE_TO_DEVICE : OPCODE_FROM_DEVICE;
	io->cmd->dwords = cpu_to_le32(io->bytes / 4);
	return has_holes(io) ? setup_sgl(dev, io) : setup_prps(dev, io);
}

static void unmap(struct device *dev, struct nvme_io *io)
{
	int i;

	if (io->sgt) {
		dma_unmap_sgtable(dev, io->sgt, io->dir, 0);
	} else if (!blk_rq_dma_unmap(io->rq, dev, &io->state, io->bytes, io->map)) {
		for (i = 0; i < io->nr_extents; i++)
			dma_unmap_phys(dev, io->extents[i].addr, io->extents[i].len, io->dir,
				       io->map == P2P_MAP_THRU_HOST_BRIDGE ? DMA_ATTR_MMIO : 0);
	}
}

static int finish(struct device *dev, struct nvme_io *io, struct dma_conformance_command *cmd, int ret)
{
	if (!ret)
		ret = setup(dev, io);
	if (ret) {
		unmap(dev, io);
		free_io(dev, io);
		return ret;
	}
	cmd->descriptor = io->cmd_dma;
	cmd->data = io;
	return 0;
}

static int nvme_map_sg(struct device *dev, struct sg_table *sgt, enum dma_data_direction dir,
		       struct dma_conformance_command *cmd)
{
	struct nvme_io *io = alloc_io(dev, sgt->orig_nents, dir);
	struct scatterlist *sg;
	unsigned int i;
	int ret;

	if (!io)
		return -ENOMEM;
	io->sgt = sgt;
	ret = dma_map_sgtable(dev, sgt, dir, 0);
	if (ret) {
		free_io(dev, io);
		return ret;
	}
	for_each_sgtable_dma_sg(sgt, sg, i)
		add_extent(io, sg_dma_address(sg), sg_dma_len(sg));
	return finish(dev, io, cmd, 0);
}

static int nvme_map_rq(struct device *dev, struct request *rq, struct dma_conformance_command *cmd)
{
	struct nvme_io *io = alloc_io(dev, blk_rq_nr_phys_segments(rq), rq_dma_dir(rq));
	struct blk_dma_iter iter;
	int ret;

	if (!io)
		return -ENOMEM;
	io->rq = rq;
	if (!blk_rq_dma_map_iter_start(rq, dev, &io->state, &iter)) {
		ret = blk_status_to_errno(iter.status);
		free_io(dev, io);       /* nothing is mapped, whatever io->state says */
		return ret ? ret : -EINVAL;
	}
	io->map = iter.p2pdma.map;
	do
		add_extent(io, iter.addr, iter.len);
	while (!blk_rq_dma_map_coalesce(&io->state) && blk_rq_dma_map_iter_next(rq, dev, &iter));
	return finish(dev, io, cmd, blk_status_to_errno(iter.status));
}

static void nvme_unmap(struct device *dev, struct dma_conformance_command *cmd)
{
	struct nvme_io *io = cmd->data;

	unmap(dev, io);
	free_io(dev, io);
}

static int nvme_sync(struct device *dev, struct dma_conformance_command *cmd, bool for_cpu)
{
	struct nvme_io *io = cmd->data;
	int i;

	if (io->sgt) {
		if (for_cpu)
			dma_sync_sgtable_for_cpu(dev, io->sgt, io->dir);
		else
			dma_sync_sgtable_for_device(dev, io->sgt, io->dir);
		return 0;
	}
	if (dma_use_iova(&io->state) || io->map == P2P_MAP_BUS_ADDR)
		return -EOPNOTSUPP;     /* the API has no such call for a linked range */
	for (i = 0; i < io->nr_extents; i++) {
		if (for_cpu)
			dma_sync_single_for_cpu(dev, io->extents[i].addr, io->extents[i].len, io->dir);
		else
			dma_sync_single_for_device(dev, io->extents[i].addr, io->extents[i].len, io->dir);
	}
	return 0;
}

static int nvme_probe(struct device *dev)
{
	int ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));

	if (ret)
		ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(32));
	if (ret)
		return ret;
	dma_set_max_seg_size(dev, UINT_MAX);
	return 0;
}

struct dma_conformance_driver dma_conformance_driver = {
	.version = DMA_CONFORMANCE_DRIVER_VERSION,
	.align = 4,
	.name = "nvme",
	.hardware = "nvme",
	.probe = nvme_probe,
	.map_sg = nvme_map_sg,
	.map_rq = nvme_map_rq,
	.unmap = nvme_unmap,
	.sync = nvme_sync,
};

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("NVMe-like example for dma-conformance");
