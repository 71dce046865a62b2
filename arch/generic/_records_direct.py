# SPDX-License-Identifier: MIT
"""The record of dma-direct, the path of a device that has no dma_map_ops table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from arch.record import (
    PARTIAL_SYNC_REFUSED,
    PEERS_PAGES_UNASKED,
    SLOT_SEARCH_HANGS,
    TABLES_JOIN_PROVIDERS,
    BackendRecord,
    Known,
    MachineConfig,
)
from dma_ops import Device, Machine
from dma_ops.direct import DmaDirect
from dma_ops.swiotlb import IoTlbMem, swiotlb_init

from ._known_newer import DIRECT

MB, GB = 1 << 20, 1 << 30
SPLIT = """from scatterlist import SgTable, sg_split
rows = [(0x1000, 0, 100), (0x4000, 0, 100), (0x8000, 0, 100)]
parts, _ = sg_split(SgTable(rows), 0, 0, [50, 100])
assert sum(row[2] for row in parts[1].entries()) > 100
"""
LOW_2G = (0x100000, 2 * GB)
WINDOWS = ((0, 0xC0000000, GB), (GB, 0x400000000, GB))      # as on a Raspberry Pi 4, but with a second one


def x86_64(name: str, high: int, swiotlb: str, kernel: int = 601) -> Device:
    """high: RAM above 4 GiB in bytes. swiotlb: "off", "on" or "force"."""
    ram = [(0x1000, 0x9F000), LOW_2G] + ([(4 * GB, 4 * GB + high)] if high else [])
    machine = Machine(name, arch="x86_64", ram=ram, pci_p2pdma=True, kernel=kernel)
    dev = Device("0000:00:04.0", machine)
    if swiotlb != "off":
        dev.io_tlb_mem = swiotlb_init(machine, force_bounce=swiotlb == "force")
    return dev


def kmalloc_pool(machine: Machine) -> IoTlbMem | None:
    """Where a mask covers all RAM arm64 has 1 MiB of pool a GiB for small buffers of kmalloc, before 6.5 none:
    arch/arm64/mm/init.c, mem_init."""
    if not machine.bounce_unaligned_kmalloc:                    # CONFIG_DMA_BOUNCE_UNALIGNED_KMALLOC
        return None
    return swiotlb_init(machine, sum(end - start for start, end in machine.ram_ranges) // 1024)


def arm64(name: str, page_shift: int, restricted: bool, *, kernel: int = 601) -> Device:
    """A platform device that does not snoop, on a CPU with a cache."""
    machine = Machine(name, arch="arm64", page_shift=page_shift, ram=[(GB, 2 * GB)], zone_dma_bits=32, cached=True,
                      kernel=kernel)
    dev = Device("platform", machine, pci=False, coherent=False)
    dev.io_tlb_mem = kmalloc_pool(machine)
    if restricted:
        dev.io_tlb_mem = IoTlbMem(machine, GB + 64 * MB, 2048, for_alloc=True)
    return dev


def arm64_windows(name: str, *, kernel: int = 601) -> Device:
    machine = Machine(name, arch="arm64", ram=[(0x80000, 2 * GB)], zone_dma_bits=30, pci_p2pdma=True, kernel=kernel)
    return Device("0000:01:00.0", machine, mask=(1 << 64) - 1, dma_ranges=WINDOWS)


def narrow(name: str, arch: str, ram: tuple[int, int], *, big_endian: bool = False, dma_addr_bits: int = 32,
           has_zone_dma: bool = False, chains: bool = True, dma_length: bool = True,
           kernel: int = 601) -> Device:
    """A 32-bit machine whose devices do not snoop."""
    machine = Machine(name, arch=arch, bits=32, big_endian=big_endian, ram=[ram], dma_addr_bits=dma_addr_bits,
                      phys_addr_bits=dma_addr_bits, has_zone_dma=has_zone_dma, arch_no_sg_chain=not chains,
                      need_sg_dma_length=dma_length, cached=True, table_base=0xE0000000, kernel=kernel)
    return Device("0000:00:01.0", machine, coherent=False)


def config(name: str, facts: str, build: Callable[..., Device], *args: object, **kwargs: object) -> MachineConfig:
    made = partial(build, name, *args, **kwargs)
    return MachineConfig(name, facts, made, newer=partial(made, kernel=700))


BOUNCING = ("x86_64-bounce", "x86_64-force", "arm64-restricted")

RECORDS = (
    BackendRecord(
        id="dma_direct",
        ops=DmaDirect,
        source=("kernel/dma/direct.c and direct.h: all of it", "kernel/dma/swiotlb.c: all of it",
                "include/linux/dma-direct.h: phys_to_dma, dma_to_phys, dma_capable"),
        machines=(
            config("x86_64", "2 GiB, all in reach", x86_64, 0, "off"),
            config("x86_64-bounce", "2 + 4 GiB, 32-bit device, 64 MiB bounce pool", x86_64, 4 * GB, "on"),
            config("x86_64-iommu-off", "2 + 4 GiB, 32-bit device, iommu=off: no pool either", x86_64, 4 * GB, "off"),
            config("x86_64-force", "2 GiB, swiotlb=force", x86_64, 0, "force"),
            config("x86_64-6.12", "2 GiB, all in reach, Linux 6.12", x86_64, 0, "off", kernel=612),
            config("arm64-noncoherent", "1 GiB at 1 GiB, device does not snoop", arm64, 12, False),
            config("arm64-64k", "64 KiB pages, device does not snoop", arm64, 16, False),
            config("arm64-restricted", "restricted DMA pool of 4 MiB, device does not snoop", arm64, 12, True),
            config("arm64-windows", "2 GiB seen through two inbound windows", arm64_windows),
            config("arm", "LPAE, 512 MiB at 1 GiB, no ZONE_DMA, device does not snoop", narrow, "arm",
                   (0x40000000, 0x60000000), dma_addr_bits=64),
            config("mips", "Malta, 256 MiB, little-endian, no dma_length, device does not snoop", narrow, "mips",
                   (0x1000, 256 * MB), has_zone_dma=True, dma_length=False),
            config("parisc", "B160L, 256 MiB, big-endian, no chained lists, device does not snoop", narrow, "parisc",
                   (0x1000, 256 * MB), big_endian=True, chains=False),
        ),
        p2pdma=True,
        walker="DirectWalker",
        proof="recorded",
        known=(
            Known("DMA-18", "kernel/dma/direct.h: dma_direct_map_page",
                  "no table, no permissions: a device can write what it was given to read"),
            PARTIAL_SYNC_REFUSED.on(*BOUNCING),
            Known("DMA-02", "include/linux/dma-direct.h: translate_phys_to_dma, dma_capable",
                  "the first byte alone chooses the range of the dma_range_map: a buffer that goes on in the next one, "
                  "or behind the last, gets the first one's offset throughout", ("arm64-windows",),
                  checks=("mappings_across_windows",)),
            Known("DMA-33", "kernel/dma/direct.c: dma_direct_map_resource",
                  "a resource's bus address is its physical address, whatever the dma_range_map says: where the bus "
                  "is seen through windows, the device gets what is not there, or something else", ("arm64-windows",),
                  checks=("resources_are_reached",)),
            Known("DMA-30", "kernel/dma/swiotlb.c: swiotlb_alloc",
                  "coherent memory from a restricted pool is aligned to a page, not to its order",
                  ("arm64-restricted",)),
            SLOT_SEARCH_HANGS.on(*BOUNCING),
            Known("DMA-41", "kernel/dma/swiotlb.c: swiotlb_do_find_slots",
                  "a bounced entry of no bytes is BUG_ON(!nslots)", BOUNCING),
            PEERS_PAGES_UNASKED.on("x86_64", "x86_64-bounce", "x86_64-iommu-off", "x86_64-6.12"),
            TABLES_JOIN_PROVIDERS.on("x86_64", "x86_64-bounce", "x86_64-iommu-off", "x86_64-force", "arm64-windows"),
            Known("SG-03", "lib/sg_split.c: sg_calculate_split",
                  "a part that ends within an entry goes on with all of it, and more, if others follow",
                  ("x86_64", "x86_64-6.12"), ("a_split_ends_within_an_entry",), SPLIT),
            Known("P2P-46", "kernel/dma/direct.c: dma_direct_map_sg",
                  "a bus address is not compared with any mask or limit"),
            Known("P2P-53", "kernel/dma/direct.c: dma_direct_sync_sg_for_cpu, dma_direct_sync_sg_for_device",
                  "a bus address is taken for a DMA address: memory with that number is flushed or copied, even a "
                  "slot of the bounce pool", ("arm64-windows",)),
            *DIRECT,
        ),
        stale="there is no translation: whatever is within the host bridge's windows is always in reach",
    ),
)
