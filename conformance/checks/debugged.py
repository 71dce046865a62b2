# SPDX-License-Identifier: MIT
"""What a driver must not do, and dma-debug has to notice, in Linux's words; and that it is silent about the rest."""

from __future__ import annotations

from contextlib import suppress

import dma_ops
from dma_ops import (
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    DmaError,
    KernelBug,
)
from dma_ops.debug import DmaDebug, enable

from . import check
from .bench import Bench, Row, Violation
from .p2p import MIXES, THROUGH
from .topology import UNKNOWN, peers

LINE = 64


def expect(debug: DmaDebug, meant: list[int], words: str, after: str) -> None:
    """Since the last call exactly these reports came, each with these words."""
    seen, said = debug.numbers, [report.text for report in debug.reports]
    debug.reports.clear()
    if seen != meant:
        raise Violation(f"dma-debug says other things {after}", reports=seen, meant=meant)
    for text in said:
        if words not in text:
            raise Violation(f"dma-debug has other words {after}: {text}")


def mapped(b: Bench, row: Row, direction: int, attrs: int = 0) -> int:
    """dma_map_page(), and the answer checked as a driver should."""
    address = dma_ops.dma_map_page(b.device, *row, direction, attrs)
    dma_ops.dma_mapping_error(b.device, address)
    return address


@check
def second_maps_are_noticed(b: Bench) -> None:
    """A list that is mapped twice without an unmap between: overlapping mappings, and one left when the driver goes."""
    for direction in (DMA_FROM_DEVICE, DMA_BIDIRECTIONAL):
        trial = b.fresh()
        debug = enable(trial.device, all_errors=True)
        sgt = trial.table(trial.lot("one"))
        trial.map(sgt, direction)
        trial.unmap(sgt, direction)
        sgt = trial.table(trial.lot("one"))
        trial.map(sgt, direction)
        debug.unbind(trial.device)
        expect(debug, [21], "pending DMA allocations while released from device [count=1]", "of a list still mapped")
        trial.map(sgt, direction)
        expect(debug, [20], "cacheline tracking EEXIST", "when a mapped list is mapped again")
        trial.unmap(sgt, direction)
        debug.unbind(trial.device)
        expect(debug, [21], "pending DMA allocations", "after one unmap of a list that was mapped twice")


@check
def stale_lists_are_left_alone(b: Bench) -> None:
    """A list that was mapped and unmapped, and fails when it is mapped again without a new beginning, keeps its
    entries; where nothing fails, there is nothing to keep."""
    if not (b.record.p2pdma and b.machine.pci_p2pdma):
        return
    p = peers(b, UNKNOWN)
    rows = p.rows("near", "ram", "near2", "ram")
    sgt = b.table(p.lot(rows))
    b.map(sgt)
    b.unmap(sgt)
    b.device.pci = p.tree.hosts[0].add("03.0", 0x1AF4, 0x1050)
    with suppress(DmaError):
        b.map(sgt)
        return
    seen = [row[:3] for row in sgt.entries()]
    if seen != rows:
        raise Violation("a failed map of a list that was mapped before changes its entries", entries=seen, meant=rows)


@check
def debug_lets_syncs_pass(b: Bench) -> None:
    """dma-debug has nothing to say of what is allowed: a merged list synced with its original count, the syncs of one
    direction on a BIDIRECTIONAL mapping."""
    debug = enable(b.device, all_errors=True)
    if b.device.has_dma_parms:
        dma_ops.dma_set_max_seg_size(b.device, 1 << 20)
    one = b.lot("one").rows[0]
    address = mapped(b, one, DMA_BIDIRECTIONAL)
    for direction in (DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL):
        dma_ops.dma_sync_single_for_cpu(b.device, address, one[2], direction)
        dma_ops.dma_sync_single_for_device(b.device, address, one[2], direction)
        expect(debug, [], "", f"of a BIDIRECTIONAL mapping synced with direction {direction}")
    dma_ops.dma_unmap_page(b.device, address, one[2], DMA_BIDIRECTIONAL)
    for shape in ("adjacent", "joinable") if b.subject.has("map_sg") and b.device.has_dma_parms else ():
        for direction in (DMA_TO_DEVICE, DMA_FROM_DEVICE):
            sgt = b.table(b.lot(shape))
            b.map(sgt, direction)
            if direction == DMA_FROM_DEVICE:
                dma_ops.dma_sync_sgtable_for_cpu(b.device, sgt, direction)
            else:
                dma_ops.dma_sync_sgtable_for_device(b.device, sgt, direction)
            expect(debug, [], "", f"of a list synced with its original count ({shape})")
            b.unmap(sgt, direction)


@check
def shared_lines_are_noticed(b: Bench) -> None:
    """Two mappings that begin in one cache line, of which the device may write both: noticed, unless the second is
    made with SKIP_CPU_SYNC; lines beside one another, mappings that are only read, and one after the other are not."""
    page = b.frames(1)[0]
    first, beside = (page, 0, 16), (page, LINE, 16)
    within: Row = (page, 32, 16)
    words = "cacheline tracking EEXIST, overlapping mappings aren't supported"
    for direction, second, attrs, noticed in (
        (DMA_FROM_DEVICE, within, 0, True),
        (DMA_BIDIRECTIONAL, within, 0, True),
        (DMA_BIDIRECTIONAL, first, 0, True),
        (DMA_FROM_DEVICE, within, DMA_ATTR_SKIP_CPU_SYNC, False),
        (DMA_FROM_DEVICE, beside, 0, False),
        (DMA_TO_DEVICE, within, 0, False),
    ):
        debug = enable(b.device, all_errors=True)
        one = mapped(b, first, direction)
        two = mapped(b, second, direction, attrs)
        expect(debug, [20] if noticed else [], words, f"with {'one line' if second != beside else 'two lines'}")
        dma_ops.dma_unmap_page(b.device, one, 16, direction)
        dma_ops.dma_unmap_page(b.device, two, 16, direction)
        again = mapped(b, first, direction)
        dma_ops.dma_unmap_page(b.device, again, 16, direction)
        expect(debug, [], "", "of mappings one after the other")


@check
def foreign_memory_is_noticed(b: Bench) -> None:
    """Mappings of a stack, of kernel text, of what is not RAM, of vmalloc memory; a buffer right beside is none."""
    debug = enable(b.device, all_errors=True)
    run = b.frames(3, contiguous=True)
    end = run[1] + b.page
    debug.stack, debug.text = [(run[1], end)], []
    for row, noticed in (((run[1], 8, 16), True), ((run[0], b.page - 16, 16), False), ((run[2], 0, 16), False)):
        address = mapped(b, row, DMA_TO_DEVICE)
        expect(debug, [15] if noticed else [], "maps memory from stack", "of a stack")
        dma_ops.dma_unmap_page(b.device, address, 16, DMA_TO_DEVICE)
    debug.stack, debug.text = [], [(run[1], end)]
    for row, noticed in (
        ((run[0], b.page - 16, 17), True), ((run[1], 0, 8), True), ((run[0], b.page - 16, 16), False),
        ((run[0], b.page - 16, b.page + 16), True), ((run[0], b.page - 16, b.page + 32), True),
        ((run[2], 0, 16), False),
    ):
        address = mapped(b, row, DMA_TO_DEVICE)
        expect(debug, [16] if noticed else [], "maps memory from kernel text or rodata", "of kernel text")
        dma_ops.dma_unmap_page(b.device, address, row[2], DMA_TO_DEVICE)
    debug.text = []
    beyond = max(end for _, end in b.machine.ram_ranges) + b.page
    places = [(beyond, "maps memory from invalid area")]
    if b.machine.bits == 64:
        places.append((0xFFFFC90000000000, "maps memory from vmalloc area"))
    for place, words in places:
        with suppress(DmaError, KernelBug):             # what becomes of such a mapping is the backend's affair
            dma_ops.dma_map_single(b.device, place, 16, DMA_TO_DEVICE)
        said = [report.text for report in debug.reports if report.number == 17]
        debug.reports.clear()
        if not any(words in text for text in said):
            raise Violation(f"dma-debug does not say: {words}", address=place)


@check
def debug_knows_bus_addresses(b: Bench) -> None:
    """dma-debug records a bus segment by its bus address, and has nothing to say about syncing and unmapping the list
    that it is in; afterwards no record is left."""
    p = peers(b)
    mixes = (*MIXES, *(THROUGH if p.forwards() else ()))
    for mix in mixes:
        trial = b.fresh()
        p = peers(trial)
        debug = enable(trial.device, all_errors=True)
        dma_ops.dma_set_max_seg_size(trial.device, 1 << 20)     # entries have up to two pages, of 64 KiB even
        lot = p.lot(p.rows(*mix))
        sgt = trial.table(lot)
        segments = trial.map(sgt)
        recorded = {(entry.address, entry.size) for entry in debug.entries(trial.device)}
        if recorded != {segment[:2] for segment in segments}:
            raise Violation(f"dma-debug has other records than {p.describe(lot)} has segments")
        if not recorded.issuperset(p.bus_segments(lot)):
            raise Violation(f"dma-debug has no record of a bus address in {p.describe(lot)}")
        dma_ops.dma_sync_sgtable_for_cpu(trial.device, sgt, DMA_BIDIRECTIONAL)
        dma_ops.dma_sync_sgtable_for_device(trial.device, sgt, DMA_BIDIRECTIONAL)
        trial.unmap(sgt)
        expect(debug, [], "", f"of {p.describe(lot)}")
        debug.unbind(trial.device)
        expect(debug, [], "", f"after {p.describe(lot)} was unmapped")
