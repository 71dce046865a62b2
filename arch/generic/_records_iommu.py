# SPDX-License-Identifier: MIT
"""The record of iommu_dma_ops, over each IOMMU whose format is modelled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from arch.record import (
    PARTIAL_SYNC_REFUSED,
    PEERS_PAGES_UNASKED,
    TABLES_JOIN_PROVIDERS,
    BackendRecord,
    Known,
    MachineConfig,
)
from dma_ops import Device, Machine
from dma_ops.iommu import IommuDomain
from dma_ops.iommu_virtio import VirtioDomain
from dma_ops.pgtable_amd_v1 import AmdV1Domain
from dma_ops.pgtable_lpae import LpaeDomain
from dma_ops.pgtable_vtd import VtdDomain
from dma_ops.swiotlb import swiotlb_init

from ._known_newer import IOMMU, ROUTELESS_REPRODUCER
from ._records_direct import kmalloc_pool
from .dma_iommu import IommuDmaOps

MB, GB = 1 << 20, 1 << 30
Q35_WINDOWS = ((0xA0000, 0xBFFFF), (0x80000000, 0xAFFFFFFF), (0xC0000000, 0xFEBFFFFF), (0x100000000, 0x8FFFFFFFF))
Q35_MSI = (0xFEE00000, 1 * MB, 3)
AMD_HT = (0xFD00000000, 0x300000000, 2)
VIRT_WINDOWS = ((0x10000000, 0x3EFEFFFF), (0x8000000000, 0xFFFFFFFFFF))
VIRT_MSI = (0x8000000, 1 * MB, 4)


def x86_64(name: str, iommu: str, *, lazy: bool = False, untrusted: bool = False, kernel: int = 601) -> Device:
    """QEMU's q35 with 2 GiB of RAM. iommu: "intel", "amd" or "virtio"."""
    machine = Machine(name, arch="x86_64", ram=[(0x1000, 0x9F000), (0x100000, 2 * GB)], pci_p2pdma=True, kernel=kernel)
    dev = Device("0000:00:04.0", machine)
    if untrusted:
        dev.untrusted = True
        dev.io_tlb_mem = swiotlb_init(machine)
    return attach_x86_64(dev, iommu, lazy)


def attach_x86_64(dev: Device, iommu: str, lazy: bool) -> Device:
    """Give the device a domain of its own."""
    machine = dev.machine
    domain: IommuDomain
    if iommu == "intel":
        domain = VtdDomain(machine, 39)
    elif iommu == "amd":
        domain = AmdV1Domain(machine)
    else:
        domain = VirtioDomain(machine)
    regions = (Q35_MSI, AMD_HT) if iommu == "amd" else (Q35_MSI,)
    IommuDmaOps(domain, dev, windows=Q35_WINDOWS, regions=regions, lazy=lazy)
    return dev


def arm64(name: str, *, page_shift: int = 12, coherent: bool = True, lazy: bool = False,
          kernel: int = 601) -> Device:
    """QEMU's virt with 1 GiB of RAM behind an SMMUv3 of 44 output bits, 4 KiB granules."""
    machine = Machine(name, arch="arm64", page_shift=page_shift, ram=[(GB, 2 * GB)], zone_dma_bits=32,
                      pci_p2pdma=True, cached=not coherent, kernel=kernel)
    dev = Device("0000:00:01.0", machine, coherent=coherent)
    dev.io_tlb_mem = kmalloc_pool(machine)
    return attach_arm64(dev, lazy)


def attach_arm64(dev: Device, lazy: bool) -> Device:
    """Give the device a domain of its own."""
    IommuDmaOps(LpaeDomain(dev.machine, 48, 44), dev, windows=VIRT_WINDOWS, regions=(VIRT_MSI,), lazy=lazy)
    return dev


def beside(attach: Callable[..., Device], *args: object) -> Callable[[Device], Device]:
    """A second device like the first, in a domain of its own."""

    def sibling(first: Device) -> Device:
        dev = Device("0000:00:05.0", first.machine, coherent=first.dma_coherent)
        dev.untrusted = first.untrusted
        dev.io_tlb_mem = first.io_tlb_mem
        return attach(dev, *args)

    return sibling


def q35(name: str, facts: str, iommu: str = "intel", *, lazy: bool = False, untrusted: bool = False,
        kernel: int = 601) -> MachineConfig:
    build = partial(x86_64, name, iommu, lazy=lazy, untrusted=untrusted, kernel=kernel)
    return MachineConfig(name, facts, build, beside(attach_x86_64, iommu, lazy), partial(build, kernel=700))


def virt(name: str, facts: str, *, page_shift: int = 12, coherent: bool = True, lazy: bool = False) -> MachineConfig:
    build = partial(arm64, name, page_shift=page_shift, coherent=coherent, lazy=lazy)
    return MachineConfig(name, facts, build, beside(attach_arm64, lazy), partial(build, kernel=700))


UNTRUSTED = ("intel-untrusted",)
TRUSTED = ("intel", "intel-lazy", "intel-6.12", "amd", "virtio", "smmuv3", "smmuv3-lazy", "smmuv3-noncoherent",
           "smmuv3-64k")

# everything that a look at the route would give: the untrusted device's path takes none (iommu_dma_map_sg_swiotlb)
ROUTELESS = ("P2P-10", "P2P-24", "P2P-34", "P2P-35", "P2P-36", "P2P-37", "P2P-38", "P2P-39", "P2P-40", "P2P-41",
             "P2P-42", "P2P-43", "P2P-44", "P2P-47", "P2P-52", "P2P-54", "route/same-switch", "route/blocked",
             "route/two-providers")

RECORDS = (
    BackendRecord(
        id="iommu_dma_ops",
        ops=IommuDmaOps,
        source=("drivers/iommu/dma-iommu.c: all but the MSI pages", "drivers/iommu/iova.c: all of it",
                "drivers/iommu/iommu.c: iommu_map, iommu_map_sg, iommu_unmap and what they call"),
        machines=(
            q35("intel", "VT-d of 39 bits, strict"),
            q35("intel-lazy", "VT-d of 39 bits, flush queue", lazy=True),
            q35("intel-untrusted", "VT-d of 39 bits, a device outside the case, bounce pool", untrusted=True),
            q35("intel-6.12", "VT-d of 39 bits, strict, Linux 6.12", kernel=612),
            q35("amd", "AMD v1 tables, strict", "amd"),
            q35("virtio", "virtio-iommu", "virtio"),
            virt("smmuv3", "SMMUv3, 48 bits in and 44 out"),
            virt("smmuv3-lazy", "SMMUv3, flush queue", lazy=True),
            virt("smmuv3-noncoherent", "SMMUv3, device does not snoop", coherent=False),
            virt("smmuv3-64k", "SMMUv3 with 4 KiB granules, 64 KiB pages", page_shift=16),
        ),
        p2pdma=True,
        walker="VtdWalker, AmdV1Walker, LpaeWalker, VirtioWalker",
        proof="recorded",
        known=(
            Known("DMA-08", "drivers/iommu/dma-iommu.c: __finalise_sg",
                  "once a segment is longer than max_seg, because an entry is, an unsigned difference wraps and every "
                  "entry that begins at a granule is joined to it", TRUSTED,
                  checks=("segments_keep_to_max_seg", "random_programs")),
            Known("DMA-14", "drivers/iommu/dma-iommu.c: __invalidate_sg",
                  "a failed map of a list that was mapped before: entries behind the failing one get the stale dma "
                  "address added to their offset and the stale dma length for their own", TRUSTED,
                  checks=("stale_lists_are_left_alone",)),
            Known("DMA-21", "drivers/iommu/dma-iommu.c: iommu_dma_map_page",
                  "zeroes a FROM_DEVICE mapping's bounce buffer: what the device does not write comes back as zeros",
                  UNTRUSTED),
            Known("DMA-26", "drivers/iommu/iova.c: __alloc_and_insert_iova_range",
                  "a failure is noted with its size alone, not its limit: until an address below 4 GiB is freed, none "
                  "of that size or more is looked for there, however wide the mask is by then",
                  checks=("a_failure_bars_no_wider_mask",)),
            Known("DMA-30", "drivers/iommu/dma-iommu.c: iommu_dma_alloc_remap",
                  "gathered pages get a vmalloc address, which is aligned to a page and no more"),
            Known("DMA-36", "kernel/dma/swiotlb.c: swiotlb_do_find_slots",
                  "the granule's alignment takes the place of the min_align_mask's upper bits, so a bounced address "
                  "loses those between a slot and a page", UNTRUSTED),
            PARTIAL_SYNC_REFUSED.on(*UNTRUSTED),
            Known("DMA-41", "drivers/iommu/dma-iommu.c: iommu_dma_map_sg",
                  "a zero-length entry that is granule-aligned and does not lead pads up to the segment boundary: "
                  "-ENOMEM where no 4 GiB are left; a list that begins with one is never given back by unmap_sg"),
            Known("DMA-42", "drivers/iommu/dma-iommu.c: iommu_dma_get_merge_boundary",
                  "promises merging to an untrusted device, whose lists are mapped entry by entry", UNTRUSTED),
            Known("P2P-45", "drivers/iommu/dma-iommu.c: iommu_dma_sync_sg_for_device, iommu_dma_sync_sg_for_cpu",
                  "where the device does not snoop, P2P entries get cache maintenance like RAM"),
            Known("P2P-46", "drivers/iommu/dma-iommu.c: iommu_dma_map_sg",
                  "a bus address is not compared with any mask or limit", TRUSTED),
            PEERS_PAGES_UNASKED,
            TABLES_JOIN_PROVIDERS.on("intel-untrusted", *(name for name in TRUSTED if name != "intel-6.12")),
            Known(ROUTELESS, "drivers/iommu/dma-iommu.c: iommu_dma_map_sg_swiotlb, iommu_dma_map_page",
                  "an untrusted client's P2P pages are mapped as RAM, or bounced where they do not fill granules, "
                  "without a look at the route", UNTRUSTED,
                  reproducer=ROUTELESS_REPRODUCER),
            *IOMMU,
        ),
    ),
)
