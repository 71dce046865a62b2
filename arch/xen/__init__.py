# SPDX-License-Identifier: MIT
"""Xen guests: PCI devices that address machine memory, and virtio devices that are granted each frame."""

from __future__ import annotations

from array import array
from functools import cache, partial
from sys import byteorder
from typing import Literal

from arch.record import PARTIAL_SYNC_REFUSED, SLOT_SEARCH_HANGS, BackendRecord, Known, MachineConfig
from dma_ops import Device, Machine
from dma_ops.swiotlb import IoTlbMem

from .grant_dma_ops import XenGrantDmaOps
from .grant_table import GrantTable
from .p2m import P2m
from .swiotlb_xen import XenSwiotlbDmaOps

RAM = 256 << 20
FRAMES = RAM >> 12
RUN = 16                        # frames of a PV guest that follow one another in machine memory
FREE_TOP = 0x20000              # the hypervisor's free memory: the first 512 MiB
ALL_BITS = (1 << 64) - 1


@cache
def tables(base: int) -> tuple[bytes, bytes]:
    """The entries of the p2m table, and those of the m2p table from base on, of scattered()."""
    places = [run * 2731 % (FRAMES // RUN) * RUN for run in range(FRAMES // RUN)]
    frames, owners = array("Q"), array("Q", bytes(8 * FRAMES))
    for run, place in enumerate(places):
        frames.extend(range(base + place, base + place + RUN))
        owners[place:place + RUN] = array("Q", range(run * RUN, (run + 1) * RUN))
    if byteorder == "big":
        frames.byteswap()
        owners.byteswap()
    return frames.tobytes(), owners.tobytes()


def scattered(machine: Machine, base: int) -> P2m:
    """A PV guest whose memory lies in runs of 16 frames, in no order, from a machine frame on."""
    p2m = P2m(machine, "pv", FRAMES, base + FRAMES, free_top=FREE_TOP)
    frames, owners = tables(base)
    machine.mem.poke(p2m.p2m, frames)
    machine.mem.poke(p2m.m2p + 8 * base, owners)
    return p2m


def build_pv(name: str, base: int, nareas: int = 1) -> Device:
    machine = Machine(name, arch="x86_64", ram=[(0, RAM)], nr_cpus=nareas, pci_p2pdma=True)
    pool = IoTlbMem(machine, 0x4000000, 2048, nareas)
    dev = Device("nic", machine, dma_ops=XenSwiotlbDmaOps(scattered(machine, base), pool))
    dev.io_tlb_mem = pool
    return dev


def build_arm(name: str, coherent: bool, cache_flush: bool = True, page_shift: int = 12) -> Device:
    """A direct-mapped domain; the 1 MiB above its RAM are frames of another domain, mapped into the last of its own."""
    start, end = 0x40000000, 0x40000000 + RAM
    machine = Machine(name, arch="arm64", ram=[(start, end)], page_shift=page_shift, cached=not coherent,
                      zone_dma_bits=32)
    p2m = P2m(machine, "arm", end >> 12, (end >> 12) + 256)
    p2m.set((end >> 12) - 256, end >> 12, 256)
    machine.reserve_ram(end - (1 << 20), 20 - page_shift)
    pool = IoTlbMem(machine, 0x44000000, 2048)
    dev = Device("nic", machine, coherent=coherent, dma_ops=XenSwiotlbDmaOps(p2m, pool, cache_flush=cache_flush))
    dev.io_tlb_mem = pool
    return dev


def build_grant(name: str, *, arch: str = "x86_64", guest: Literal["pv", "hvm"] = "hvm", page_shift: int = 12,
                version: int = 1, frames: int = 64, domid: int = 0) -> Device:
    machine = Machine(name, arch=arch, ram=[(0, RAM)], page_shift=page_shift, pci_p2pdma=True)
    p2m = scattered(machine, 0x30000) if guest == "pv" else None
    grants = GrantTable(machine, version=version, max_frames=frames, p2m=p2m)
    return Device("virtio0", machine, mask=ALL_BITS, dma_ops=XenGrantDmaOps(grants, domid))


RECORDS = (
    BackendRecord(
        id="xen_swiotlb_dma_ops",
        ops=XenSwiotlbDmaOps,
        source=("drivers/xen/swiotlb-xen.c: xen_swiotlb_*",
                "kernel/dma/swiotlb.c: swiotlb_tbl_map_single, swiotlb_tbl_unmap_single, swiotlb_sync_single_*",
                "arch/x86/include/asm/xen/page.h: pfn_to_bfn, bfn_to_pfn, bfn_to_local_pfn",
                "arch/x86/xen/mmu_pv.c: xen_create_contiguous_region",
                "arch/arm/xen/mm.c: xen_arch_need_swiotlb, xen_dma_sync_for_*"),
        machines=(
            MachineConfig("pv-low", "x86_64 PV, machine memory from 768 MiB: in reach of 32 bits",
                          partial(build_pv, "pv-low", 0x30000)),
            MachineConfig("pv-high", "x86_64 PV, machine memory from 4 GiB: a 32-bit device bounces it all",
                          partial(build_pv, "pv-high", 0x100000)),
            MachineConfig("pv-areas", "x86_64 PV, four CPUs with an area of the pool each",
                          partial(build_pv, "pv-areas", 0x100000, 4)),
            MachineConfig("arm64", "arm64 dom0, coherent", partial(build_arm, "arm64", True)),
            MachineConfig("arm64-noncoherent", "arm64 dom0, 64 KiB pages, the device does not snoop",
                          partial(build_arm, "arm64-noncoherent", False, page_shift=16)),
            MachineConfig("arm64-noflush", "arm64 dom0 on a Xen without the cache-flush hypercall",
                          partial(build_arm, "arm64-noflush", False, False)),
        ),
        p2pdma=False,
        walker="XenBus",
        proof="compiled",
        known=(
            Known("DMA-18", "drivers/xen/swiotlb-xen.c: xen_swiotlb_map_page",
                  "nothing translates, no permissions: a device can write what it was given to read"),
            PARTIAL_SYNC_REFUSED.on("pv-low", "pv-high", "pv-areas"),
            SLOT_SEARCH_HANGS.on("pv-low", "arm64", "arm64-noncoherent", "arm64-noflush"),
            Known("NEW-03", "drivers/xen/swiotlb-xen.c: xen_swiotlb_map_page",
                  "6.1's table knows nothing of DMA_ATTR_REQUIRE_COHERENT: converted as it is, it bounces what must "
                  "not be",
                  ("pv-high", "pv-areas")),
            Known("DMA-41", "kernel/dma/swiotlb.c: swiotlb_do_find_slots",
                  "a bounced entry of no bytes is BUG_ON(!nslots)", ("pv-high", "pv-areas")),
            Known("DMA-44", "drivers/xen/swiotlb-xen.c: xen_swiotlb_dma_ops",
                  "without get_required_mask the core answers 32 bits, with which the rest is bounced",
                  ("pv-high", "pv-areas"), checks=("required_mask_covers_memory",)),
        ),
        stale="there is no translation: whatever machine memory the guest owns is always in reach",
    ),
    BackendRecord(
        id="xen_grant_dma_ops",
        ops=XenGrantDmaOps,
        source=("drivers/xen/grant-dma-ops.c: xen_grant_dma_*",
                "drivers/xen/grant-table.c: gnttab_alloc_grant_reference_seq, gnttab_free_grant_reference_seq, "
                "gnttab_expand, gnttab_update_entry_v1, gnttab_update_entry_v2, gnttab_end_foreign_access_ref"),
        machines=(
            MachineConfig("hvm", "x86_64 HVM or PVH, 64 frames of version 1", partial(build_grant, "hvm")),
            MachineConfig("pv", "x86_64 PV: the frame of a grant is a machine frame",
                          partial(build_grant, "pv", guest="pv")),
            MachineConfig("hvm-v2", "x86_64 HVM, version 2, backend in domain 7",
                          partial(build_grant, "hvm-v2", version=2, frames=128, domid=7)),
            MachineConfig("arm64-64k", "arm64 with 64 KiB pages: 16 references each",
                          partial(build_grant, "arm64-64k", arch="arm64", page_shift=16)),
            MachineConfig("legacy", "x86_64 HVM on a hypervisor that allows 4 frames",
                          partial(build_grant, "legacy", frames=4)),
        ),
        p2pdma=False,
        walker="BackendDomain",
        proof="compiled",
        known=(
            Known("DMA-09", "drivers/xen/grant-dma-ops.c: xen_grant_dma_map_page",
                  "the segment boundary is ignored: references are taken wherever they are free"),
            Known("DMA-30", "drivers/xen/grant-dma-ops.c: xen_grant_dma_alloc",
                  "the address of coherent memory is aligned to 4 KiB only"),
            Known("DMA-41", "drivers/xen/grant-table.c: get_free_entries_seq",
                  "a mapping of no bytes at a frame's start takes no reference and cuts the free list: the next one "
                  "oopses"),
            Known("DMA-44", "drivers/xen/grant-dma-ops.c: xen_grant_dma_ops",
                  "without get_required_mask the core answers 32 bits, which xen_grant_dma_supported refuses",
                  checks=("required_mask_covers_memory",)),
        ),
    ),
)
