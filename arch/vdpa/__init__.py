# SPDX-License-Identifier: MIT
"""Virtual devices behind an IOMMU of software: the vDPA simulator and vDPA devices in userspace."""

from __future__ import annotations

from functools import partial

from arch.record import BackendRecord, Known, MachineConfig
from dma_ops import Device, DmaMapOps, Machine

from .vdpa_sim import VdpasimDmaOps
from .vduse_dev import VduseDmaOps

ALL_BITS = (1 << 64) - 1
NO_SYNC = "a bounce buffer without sync (6.12 has it): bytes are copied at map and at unmap only"


def build(ops: type[VdpasimDmaOps] | type[VduseDmaOps], name: str, arch: str = "x86_64", page_shift: int = 12,
          entries: int = 2048) -> Device:
    machine = Machine(name, arch=arch, page_shift=page_shift, ram=[(0, 512 << 20)])
    table: DmaMapOps = ops(machine, entries)
    return Device("vdpa0", machine, pci=False, mask=ALL_BITS, dma_ops=table)


def config(name: str, facts: str, ops: type[VdpasimDmaOps] | type[VduseDmaOps], arch: str = "x86_64",
           page_shift: int = 12, entries: int = 2048) -> MachineConfig:
    """Each device has an IOTLB of its own."""

    def sibling(first: Device) -> Device:
        return Device("vdpa1", first.machine, pci=False, mask=ALL_BITS, dma_ops=ops(first.machine, entries))

    return MachineConfig(name, facts, partial(build, ops, name, arch, page_shift, entries), sibling)

COPIES_COHERENT = """\
from dma_ops import *
page = device.machine.alloc_ram(0)
addr = dma_map_phys(device, page, device.machine.page_size, DMA_FROM_DEVICE, DMA_ATTR_REQUIRE_COHERENT)
device.dma_write(addr, b"written")
assert device.machine.cpu_read(page, 7) != b"written"           # not before the unmap
"""

RECORDS = (
    BackendRecord(
        id="vdpasim_dma_ops",
        ops=VdpasimDmaOps,
        source=("drivers/vdpa/vdpa_sim/vdpa_sim.c: vdpasim_map_range, vdpasim_unmap_range, vdpasim_*",
                "drivers/vhost/iotlb.c: vhost_iotlb_add_range_ctx, vhost_iotlb_del_range",
                "drivers/iommu/iova.c: alloc_iova, free_iova"),
        machines=(
            config("sim", "x86_64, 2048 entries (the default)", VdpasimDmaOps),
            config("sim-64k", "arm64 with 64 KiB pages", VdpasimDmaOps, "arm64", 16),
            config("sim-32", "x86_64, max_iotlb_entries=32", VdpasimDmaOps, entries=32),
        ),
        p2pdma=False,
        walker="Simulator",
        proof="compiled",
        known=(
            Known("DMA-27", "drivers/vdpa/vdpa_sim/vdpa_sim.c: vdpasim_map_range",
                  "no dma_supported and no test of the mask: addresses near 2^64 whatever the mask"),
            Known("DMA-28", "drivers/vdpa/vdpa_sim/vdpa_sim.c: vdpasim_alloc_coherent",
                  "the coherent mask is ignored, too"),
            Known("DMA-30", "drivers/vdpa/vdpa_sim/vdpa_sim.c: vdpasim_alloc_coherent",
                  "kmalloc memory at an address that is aligned to the size in bytes: under a page for a small one"),
            Known("DMA-36", "drivers/vdpa/vdpa_sim/vdpa_sim.c: vdpasim_map_range",
                  "min_align_mask is ignored: an address is aligned to its size, whatever the buffer's offset"),
            Known("DMA-41", "drivers/vdpa/vdpa_sim/vdpa_sim.c: vdpasim_map_range",
                  "a mapping of no bytes fails and frees an IOVA node that is in no tree: the next mapping oopses"),
        ),
    ),
    BackendRecord(
        id="vduse_dev_dma_ops",
        ops=VduseDmaOps,
        source=("drivers/vdpa/vdpa_user/vduse_dev.c: vduse_dev_*",
                "drivers/vdpa/vdpa_user/iova_domain.c: vduse_domain_*",
                "drivers/vhost/iotlb.c: vhost_iotlb_add_range_ctx, vhost_iotlb_itree_first",
                "drivers/iommu/iova.c: alloc_iova_fast, free_iova_fast"),
        machines=(
            config("vduse", "x86_64, 2048 entries (the default)", VduseDmaOps),
            config("vduse-64", "x86_64, max_iotlb_entries=64", VduseDmaOps, entries=64),
            config("vduse-64k", "arm64 with 64 KiB pages: no coherent memory", VduseDmaOps, "arm64", 16),
        ),
        p2pdma=False,
        walker="VduseDaemon",
        proof="compiled",
        known=(
            Known("DMA-18", "drivers/vdpa/vdpa_user/iova_domain.c: vduse_domain_init_bounce_map",
                  "one read-write entry for all bounce pages: the device can write what it was given to read, though "
                  "only the bounce page changes"),
            Known("DMA-19", "drivers/vdpa/vdpa_user/vduse_dev.c: vduse_dev_dma_ops", NO_SYNC),
            Known("DMA-20", "drivers/vdpa/vdpa_user/vduse_dev.c: vduse_dev_dma_ops", NO_SYNC),
            Known("DMA-21", "drivers/vdpa/vdpa_user/iova_domain.c: vduse_domain_map_page, vduse_domain_unmap_page",
                  "a FROM_DEVICE mapping's bounce page is not filled but copied back whole: what the device does not "
                  "write comes back as another mapping's bytes", checks=("unwritten_bytes_stay",)),
            Known("DMA-22", "drivers/vdpa/vdpa_user/vduse_dev.c: vduse_dev_dma_ops", NO_SYNC),
            Known("DMA-23", "drivers/vdpa/vdpa_user/vduse_dev.c: vduse_dev_dma_ops", NO_SYNC),
            Known("DMA-26", "drivers/vdpa/vdpa_user/iova_domain.c: vduse_domain_create",
                  "with CPU pages over 4 KiB the space of coherent memory begins behind its own end: every allocation "
                  "fails, whatever mask was accepted", ("vduse-64k",), checks=("what_is_supported_works",)),
            Known("DMA-27", "drivers/vdpa/vdpa_user/vduse_dev.c: vduse_dev_dma_ops",
                  "no dma_supported and no test of the mask: addresses up to 27 bits whatever the mask"),
            Known("DMA-34", "drivers/vdpa/vdpa_user/vduse_dev.c: vduse_dev_max_mapping_size",
                  "64 MiB are promised, but sizes are aligned to their power of two and address 0 is never given out: "
                  "over 32 MiB nothing fits"),
            Known("DMA-36", "drivers/vdpa/vdpa_user/iova_domain.c: vduse_domain_map_page",
                  "min_align_mask is ignored: every address is that of a bounce page"),
            Known("DMA-37", "drivers/vdpa/vdpa_user/iova_domain.c: vduse_domain_unmap_page",
                  "attributes are ignored: DMA_ATTR_SKIP_CPU_SYNC does not keep the bytes from being copied back"),
            Known("DMA-43", "drivers/vdpa/vdpa_user/vduse_dev.c: vduse_dev_dma_ops", NO_SYNC),
            Known(("NEW-03", "NEW-30"), "drivers/vdpa/vdpa_user/iova_domain.c: vduse_domain_map_page",
                  "everything is copied, and 6.1's table knows nothing of DMA_ATTR_REQUIRE_COHERENT: converted as it "
                  "is, it copies what must not be", reproducer=COPIES_COHERENT),
        ),
        stale="bounce pages stay in the file after unmap, and one IOTLB entry covers them all",
    ),
)
