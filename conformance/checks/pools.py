# SPDX-License-Identifier: MIT
"""Pools of small coherent blocks, and attributes of coherent memory, over every backend's allocator."""

from __future__ import annotations

from itertools import pairwise

import dma_ops
from dma_ops import (
    DMA_ATTR_FORCE_CONTIGUOUS,
    DMA_ATTR_MMIO,
    DMA_ATTR_NO_KERNEL_MAPPING,
    DMA_ATTR_WRITE_COMBINE,
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DmaError,
)
from dma_ops.dmapool import dma_pool_alloc, dma_pool_create, dma_pool_destroy, dma_pool_free, dma_pool_zalloc
from dma_ops.phys_api import dma_map_phys, dma_unmap_phys

from . import check
from .bench import Bench, NotTested, Violation

#: (size, align, boundary) with boundaries below a page: above, 6.1 hands out what it does not have (see dmapool)
SHAPES = ((1, 0, 0), (48, 16, 256), (100, 64, 0), (24, 8, 64), (200, 4, 1024), (512, 512, 2048), (72, 32, 512))


@check
def pools_keep_align_and_boundary(b: Bench) -> None:
    """Blocks at multiples of align, over no boundary, apart from one another, the device's and the CPU's the same
    memory; once all are back, destroying the pool gives everything back, and while one is not, it says so."""
    ram = b.machine.ram_ranges
    for size, align, boundary in SHAPES:
        before = b.counters()
        pool = dma_pool_create("blocks", b.device, size, align, boundary)
        live: dict[int, tuple[int, bytes]] = {}
        for turn in range(b.page // max(size, align, 4) + 5 if size > 1 else 40):
            cpu, bus = (dma_pool_zalloc if turn % 2 else dma_pool_alloc)(pool)
            if align and (cpu % align or bus % align):
                raise Violation(f"a block of {size} bytes is not aligned", bus=bus, align=align)
            if boundary and (bus ^ (bus + size - 1)) & ~(boundary - 1):
                raise Violation(f"a block of {size} bytes crosses a boundary", bus=bus, boundary=boundary)
            if turn % 2 and any(b.read([(bus, size, 0)])):
                raise Violation(f"a block of {size} bytes from dma_pool_zalloc() is not zero", bus=bus)
            raw = b.random.randbytes(size)
            b.write([(bus, size, 0)], raw)
            live[bus] = cpu, raw
        spans = sorted((bus, bus + size) for bus in live)
        if len(spans) != len(live) or any(end > start for (_, end), (start, _) in pairwise(spans)):
            raise Violation(f"blocks of {size} bytes overlap")
        for bus, (cpu, raw) in live.items():
            b.same(b.read([(bus, size, 0)]), raw, f"a block of {size} bytes has another's bytes")
            if any(start <= cpu and cpu + size <= end for start, end in ram):
                b.same(b.machine.cpu_read(cpu, size), raw, f"the CPU reads other bytes in a block of {size}")
        order = list(live)
        b.random.shuffle(order)
        for bus in order:
            dma_pool_free(pool, live[bus][0], bus)
        if pool.in_use:
            raise Violation("blocks that are back count as in use", in_use=pool.in_use)
        said = len(b.machine.dmesg)
        dma_pool_destroy(pool)
        if len(b.machine.dmesg) != said:
            raise Violation(f"destroying an empty pool is complained of: {b.machine.dmesg[-1]}")
        b.expect_counters(before, f"after a pool of {size}-byte blocks was destroyed")
    trial = b.fresh()
    pool = dma_pool_create("busy", trial.device, 64)
    dma_pool_alloc(pool)
    dma_pool_destroy(pool)
    if not any("busy" in line for line in trial.machine.dmesg):
        raise Violation("a pool is destroyed with a block in use, and nothing is said")


@check
def attributes_are_repeated(b: Bench) -> None:
    """Coherent memory that is freed with the attributes it was allocated with is given back whole. NO_KERNEL_MAPPING
    decides what the CPU address is, so that free must know of it."""
    tried = 0
    for attrs in (DMA_ATTR_NO_KERNEL_MAPPING, DMA_ATTR_WRITE_COMBINE, DMA_ATTR_FORCE_CONTIGUOUS):
        for size in (b.page, 3 * b.page, 5 * b.page + 12):
            before = b.counters()
            try:
                live = [dma_ops.dma_alloc_attrs(b.device, size, attrs) for _ in range(2)]
            except DmaError:
                continue
            tried += 1
            for _, handle in live:
                raw = b.random.randbytes(size)
                b.write([(handle, size, 0)], raw)
                b.same(b.read([(handle, size, 0)]), raw, f"{size} bytes with attributes {attrs:#x}")
            for cpu, handle in live:
                dma_ops.dma_free_attrs(b.device, size, cpu, handle, attrs)
            b.expect_counters(before, f"after {size} bytes with attributes {attrs:#x} were freed")
            b.expect_gone([(handle, size, 0) for _, handle in live], "to coherent memory after it was freed")
    if not tried:
        raise NotTested("no attribute is taken by this backend's allocator")


@check
def mmio_is_repeated(b: Bench) -> None:
    """What dma_map_phys() was told to be MMIO, and dma_unmap_phys() too, is given back without cache maintenance at
    either end. (The physical-address API is the newest kernel's, on every machine.)"""
    b.device.dma_coherent = b.device.dma_coherent and not b.subject.may_not_snoop
    beyond = -(-max(end for _, end in b.machine.ram_ranges) // b.page) * b.page
    before = b.counters()
    for direction in (DMA_FROM_DEVICE, DMA_BIDIRECTIONAL):
        events: list[tuple[str, int, int, int]] = []
        b.machine.events = events
        try:
            address = dma_map_phys(b.device, beyond, 2 * b.page, direction, DMA_ATTR_MMIO)
        except DmaError:
            return                                      # the backend takes no MMIO, or not there
        dma_unmap_phys(b.device, address, 2 * b.page, direction, DMA_ATTR_MMIO)
        b.machine.events = None
        if events:
            raise Violation("MMIO gets cache maintenance", events=events[0])
        b.expect_counters(before, "after MMIO was unmapped with the attribute it was mapped with")
