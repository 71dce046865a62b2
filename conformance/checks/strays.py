# SPDX-License-Identifier: MIT
"""Memory that takes a way it was not meant for: peers' pages through dma_map_page, bus addresses beyond the mask, RAM
as a resource; and calls that lose theirs."""

from __future__ import annotations

from contextlib import suppress

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, DmaError, KernelBug, KernelHang
from dma_ops.swiotlb import swiotlb_init

from . import check
from .bench import Bench, NotTested, Segment, Violation
from .topology import UNKNOWN, Kind, peers

KINDS: tuple[Kind, ...] = ("near", "far")


@check
def pages_of_peers_are_flagged(b: Bench) -> None:
    """dma_map_page() of a P2P page is refused or warned of, whether or not the device can reach its owner: it asks
    for no route, so that what it answers is at best the long way, at worst nobody's address."""
    p = peers(b, UNKNOWN)
    for kind in KINDS:
        page, _, _ = p.row(kind)
        said = len(b.machine.dmesg)
        try:
            address = dma_ops.dma_map_page(b.device, page, 0, b.page, DMA_BIDIRECTIONAL)
        except DmaError:
            continue
        if not any("WARNING" in line for line in b.machine.dmesg[said:]):
            raise Violation(
                f"a page of {kind}, which has to go through dma_map_sg, is mapped as if it were RAM", page=page,
                bus=address,
            )


@check
def bus_addresses_keep_to_the_mask(b: Bench) -> None:
    """No bus address that the device cannot put on the bus is handed out: it would lose the upper bits."""
    p = peers(b)
    for bits in (32, 36):
        b.device.dma_mask = (1 << bits) - 1
        lot = p.lot(p.rows("near", "near2"))
        sgt = b.table(lot)
        try:
            segments = b.map(sgt)
        except DmaError:
            continue
        for address, length, _ in segments:
            if address + length - 1 > b.device.dma_mask:
                raise Violation("a bus address is beyond the device's mask", bus=address, mask=b.device.dma_mask)
        b.unmap(sgt)


@check
def resources_are_mapped_raw(b: Bench) -> None:
    """dma_map_resource() does nothing that RAM would need: no cache maintenance, no bounce buffer, at no direction. So
    RAM that is mapped by it is not what the device sees."""
    b.device.dma_coherent = b.device.dma_coherent and not b.subject.may_not_snoop
    page = b.frames(1)[0]
    before = b.counters()
    tried = 0
    for direction in (DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL):
        events: list[tuple[str, int, int, int]] = []
        b.machine.events = events
        try:
            address = dma_ops.dma_map_resource(b.device, page, b.page, direction)
        except DmaError:
            continue
        tried += 1
        slots = b.counters().get("swiotlb slots", 0)
        if slots != before.get("swiotlb slots", 0):
            raise Violation("a resource is bounced", slots=slots)
        dma_ops.dma_unmap_resource(b.device, address, b.page, direction)
        b.machine.events = None
        if events:
            raise Violation("a resource gets cache maintenance", events=events[0])
        b.expect_counters(before, "after a resource was unmapped")
    if not tried:
        raise NotTested("the device reaches no page of RAM as a resource")


@check
def resources_are_reached(b: Bench) -> None:
    """What dma_map_resource() is for: a page of registers beyond all RAM, which the device reads and writes."""
    top = max(end for _, end in b.machine.ram_ranges)
    start = (top + (1 << 24)) & ~((1 << 24) - 1)
    if start + b.page > b.machine.phys_addr_mask:
        raise NotTested("RAM ends where physical addresses do")
    before = b.counters()
    tried = 0
    for direction in (DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL):
        raw = b.random.randbytes(b.page)
        b.machine.mem.poke(start, raw)
        try:
            address = dma_ops.dma_map_resource(b.device, start, b.page, direction)
        except DmaError:
            continue
        tried += 1
        segment: list[Segment] = [(address, b.page, 0)]
        if direction != DMA_FROM_DEVICE:
            b.same(b.read(segment), raw, "the device reads other bytes than the registers have")
        if direction != DMA_TO_DEVICE:
            raw = b.random.randbytes(b.page)
            b.write(segment, raw)
            b.same(b.machine.mem.peek(start, b.page), raw, "the registers are not what the device wrote")
        dma_ops.dma_unmap_resource(b.device, address, b.page, direction)
        b.expect_counters(before, "after registers were unmapped")
    if not tried:
        raise NotTested("the device reaches no registers beyond RAM")


@check
def crowded_maps_come_back(b: Bench) -> None:
    """A streaming call comes back also where every other place is taken and the device asks for an alignment. It does
    so in interrupt context, where nobody could end it."""
    if b.device.io_tlb_mem is not None:
        b.device.io_tlb_mem = swiotlb_init(b.machine, 1 << 20, force_bounce=True)
    page = b.frames(1)[0]
    live = []
    with suppress(DmaError, KernelBug):                 # of which the PS3's second mapping of a page is one
        for _ in range(512):
            live.append(dma_ops.dma_map_page(b.device, page, 0, 64, DMA_TO_DEVICE))
    for address in live[::2]:
        dma_ops.dma_unmap_page(b.device, address, 64, DMA_TO_DEVICE)
    b.device.min_align_mask = 0xFFF
    for offset in (0, 0x800, 0x400, 0xC00):
        try:
            with suppress(DmaError):
                dma_ops.dma_map_page(b.device, page, offset, 64, DMA_TO_DEVICE)
        except KernelHang as hang:
            raise Violation(f"a streaming call never comes back: {hang}", offset=offset) from None
        except KernelBug:
            return
