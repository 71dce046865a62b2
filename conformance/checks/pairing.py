# SPDX-License-Identifier: MIT
"""Every map has its unmap: what is released, what stays, and what the device reaches afterwards."""

from __future__ import annotations

from contextlib import suppress

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, DmaError, KernelBug
from scatterlist import SgTable

from . import check
from .bench import SHAPES, Bench, Lot, Segment, Violation


def map_page(b: Bench, lot: Lot, direction: int = DMA_BIDIRECTIONAL, attrs: int = 0) -> list[Segment]:
    """dma_map_page of a lot's first entry, as one segment."""
    page, offset, length = lot.rows[0]
    return [(dma_ops.dma_map_page(b.device, page, offset, length, direction, attrs), length, 0)]


def unmap_page(b: Bench, segments: list[Segment], direction: int = DMA_BIDIRECTIONAL, attrs: int = 0) -> None:
    for address, length, _ in segments:
        dma_ops.dma_unmap_page(b.device, address, length, direction, attrs)


@check
def maps_pair_with_unmaps(b: Bench) -> None:
    """Many mappings of both kinds, undone in random order: those that live stay right, and nothing is left."""
    for _ in range(b.rounds):
        before = b.counters()
        live: list[tuple[Lot, list[Segment], SgTable | None]] = []
        for shape in ("one", "joinable", "one", "odd", "touching", "one", "adjacent"):
            lot = b.lot(shape)
            if shape == "one" or not b.subject.has("map_sg"):
                live.append((lot, map_page(b, lot), None))
                lot.data = lot.data[:1]
            else:
                sgt = b.table(lot)
                live.append((lot, b.map(sgt), sgt))
        b.random.shuffle(live)
        gone: list[Segment] = []
        while live:
            for lot, segments, _ in live:
                b.expect_read(segments, lot, f"with {len(live)} mappings left, the device reads other bytes")
            lot, segments, table = live.pop()
            if table is None:
                unmap_page(b, segments)
            else:
                b.unmap(table)
            gone += segments
        b.expect_counters(before, "after every mapping was unmapped")
        b.expect_gone(gone, "after unmap and flush")
        b = b.fresh()


@check
def two_mappings_of_a_page(b: Bench) -> None:
    """Two buffers in one page are two mappings: the second is as good as the first, and outlives it."""
    before = b.counters()
    page = b.frames(1)[0]
    half = b.page // 2
    lots = [b.lot([(page, 64, half - 128)]), b.lot([(page, half + 64, half - 128)])]
    b.refill(lots[0])                               # the second lot's guards lie in it
    maps = [map_page(b, lot) for lot in lots]
    for lot, segments in zip(lots, maps, strict=True):
        b.expect_read(segments, lot, "of two mappings of one page, the device reads other bytes")
    unmap_page(b, maps[0])
    b.expect_read(maps[1], lots[1], "after the other mapping of its page was unmapped, the device reads other bytes")
    unmap_page(b, maps[1])
    b.expect_counters(before, "after two mappings of one page were unmapped")


@check
def offset_beyond_the_page(b: Bench) -> None:
    """sg->offset may lie beyond the first page, as it does in compound pages; such an entry is released as well."""
    if not b.subject.has("map_sg"):
        return
    frames = b.frames(4, "high", contiguous=True)
    other = b.frames(2, "high", contiguous=True)
    before = b.counters()
    lot = b.lot([(frames[0], 2 * b.page + 260, b.page // 2), (other[0], b.page, b.page - 12)])
    segments = b.expect_bytes(lot, DMA_BIDIRECTIONAL)
    b.expect_counters(before, "after a list with offsets beyond the page was unmapped")
    b.expect_gone(segments, "after unmap of an entry whose offset lies beyond its page")


@check
def unmap_page_releases_all(b: Bench) -> None:
    """Whatever the offset and size, dma_unmap_page of the same address and size releases it all, and only it."""
    page = b.page
    for offset, size in ((0, page), (page - 1, 2), (4, page - 4), (12, page + 1), (page - 8, page + 16), (0, 2 * page)):
        before = b.counters()
        lot = b.lot([(b.in_one_io_page(3), offset, size)])
        beside = b.lot("one")
        neighbour = map_page(b, beside)
        alone = b.counters()
        segments = map_page(b, lot)
        b.expect_read(segments, lot, f"dma_map_page of {size} bytes at offset {offset}: the device reads other bytes")
        raw = b.random.randbytes(size)
        b.write(segments, raw)
        unmap_page(b, segments)
        b.same(b.cpu(lot), raw, f"dma_map_page of {size} bytes at offset {offset}: the CPU reads other bytes")
        b.expect_guards(lot)
        b.ops.flush()
        b.expect_gone(segments, f"after dma_unmap_page of {size} bytes at offset {offset}")
        b.expect_read(neighbour, beside, "after another mapping's dma_unmap_page the device reads other bytes")
        b.expect_counters(alone, f"after dma_unmap_page of {size} bytes at offset {offset} beside another mapping")
        unmap_page(b, neighbour)
        b.expect_counters(before, f"after dma_unmap_page of {size} bytes at offset {offset}")


@check
def unmap_sg_of_merged_lists(b: Bench) -> None:
    """dma_unmap_sg with the original count releases all of a list, whatever it was merged to."""
    trial = b
    for shape in SHAPES:
        before = trial.counters()
        lot = trial.lot(shape)
        beside = trial.lot("one")
        neighbour = map_page(trial, beside)
        alone = trial.counters()
        sgt = trial.table(lot)
        segments = trial.map(sgt, DMA_TO_DEVICE)
        trial.unmap(sgt, DMA_TO_DEVICE)
        trial.ops.flush()
        trial.expect_gone(segments, f"after dma_unmap_sg ({shape})")
        trial.expect_read(neighbour, beside, "after another list's dma_unmap_sg the device reads other bytes")
        trial.expect_counters(alone, f"after dma_unmap_sg beside another mapping ({shape})")
        unmap_page(trial, neighbour)
        trial.expect_counters(before, f"after dma_unmap_sg ({shape})")


@check
def mapping_error_tells(b: Bench) -> None:
    """dma_mapping_error() is 0 for what was mapped, address 0 included, and -ENOMEM for DMA_MAPPING_ERROR."""
    lot = b.lot("one")
    segments = map_page(b, lot)
    if dma_ops.dma_mapping_error(b.device, segments[0][0]) != 0:
        raise Violation("dma_mapping_error() refuses a good address", bus=segments[0][0])
    if dma_ops.dma_mapping_error(b.device, b.machine.dma_addr_mask) != -12:
        raise Violation("dma_mapping_error() of DMA_MAPPING_ERROR is not -ENOMEM")
    unmap_page(b, segments)


@check
def ownership_moves(b: Bench) -> None:
    """Map and unmap alone hand the bytes over, in each direction; afterwards the device no longer gets through."""
    for direction in (DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE):
        trial = b.fresh()
        for shape in ("one", "crossing", "odd", "joinable"):
            lot = trial.lot(shape)
            if trial.subject.has("map_sg"):
                segments = trial.expect_bytes(lot, direction)
            else:
                segments = map_page(trial, lot, direction)
                unmap_page(trial, segments, direction)
            trial.ops.flush()
            trial.expect_gone(segments, f"after unmap and flush ({shape})")


@check
def unwritten_bytes_stay(b: Bench) -> None:
    """What the device does not write of a FROM_DEVICE mapping is afterwards as it was, not what another left there."""
    for shape in ("one", "crossing"):
        trial = b.fresh()
        lot = trial.lot(shape)
        lot.rows, lot.data = lot.rows[:1], lot.data[:1]
        unmap_page(trial, map_page(trial, lot, DMA_BIDIRECTIONAL))      # so that memory has what the CPU's cache had
        unmap_page(trial, map_page(trial, trial.lot(shape), DMA_BIDIRECTIONAL))         # the other
        segments = map_page(trial, lot, DMA_FROM_DEVICE)
        address, length, _ = segments[0]
        raw = trial.random.randbytes(length // 4)
        trial.write([(address + length // 4, len(raw), 0)], raw)
        unmap_page(trial, segments, DMA_FROM_DEVICE)
        old = lot.content
        meant = old[: length // 4] + raw + old[length // 4 + len(raw) :]
        trial.same(trial.cpu(lot), meant, f"bytes that the device did not write have changed ({shape})")


@check
def large_maps_lead_to_each_page(b: Bench) -> None:
    """A mapping of megabytes leads to each of its pages, at whatever alignment, and to none of them afterwards. One
    that begins elsewhere in a large page does not fail where a longer one succeeds."""
    large = 1 << 21
    longest = 0
    for before, size in ((0, 2 * large), (0, large + 5 * b.page), (b.page, 2 * large), (3 * b.page, large - b.page)):
        trial = b.fresh()
        if size > dma_ops.dma_max_mapping_size(trial.device):
            return
        try:
            start = trial.machine.alloc_ram(23 - trial.machine.page_shift, trial.subject.reach[0]) + before
            address = dma_ops.dma_map_page(trial.device, start, 0, size, DMA_BIDIRECTIONAL)
        except (MemoryError, DmaError, KernelBug) as error:
            if size <= longest:
                raise Violation(f"a large mapping fails for its alignment: {error}", at=before, size=size) from None
            continue                                    # not every window is so large, nor every machine
        longest = max(longest, size)
        if trial.reach(address) != start:
            return                                      # a bounce buffer
        for at in range(0, size, trial.page):
            phys = trial.reach(address + at)
            if phys != start + at:
                raise Violation("a page of a large mapping is not reached", bus=address + at, phys=phys, at=at)
        dma_ops.dma_unmap_page(trial.device, address, size, DMA_BIDIRECTIONAL)
        trial.ops.flush()
        gone = [(address + at, trial.page, 0) for at in range(0, size, 7 * trial.page)]
        trial.expect_gone([*gone, (address + size - trial.page, trial.page, 0)], "after a large mapping was unmapped")


@check
def large_maps_keep_apart(b: Bench) -> None:
    """Of two mappings longer than any unit of an allocator, and one of a page, each leads to its own pages, also when
    one of the others is gone."""
    for size in (65 * b.page, (1 << 22) + b.page):
        trial = b.fresh()
        if size > dma_ops.dma_max_mapping_size(trial.device):
            return
        live = []
        try:
            start = trial.machine.alloc_ram(23 - trial.machine.page_shift, trial.subject.reach[0])
            for at, length in ((0, size), (b.page, b.page), (3 * b.page, size)):
                bus = dma_ops.dma_map_page(trial.device, start + at, 0, length, DMA_BIDIRECTIONAL)
                live.append((bus, start + at, length))
        except (MemoryError, DmaError, KernelBug):
            continue                                    # not every window is so large, nor every unit
        if trial.reach(live[0][0]) != start:
            return                                      # a bounce buffer
        while live:
            for bus, phys, length in live:
                expect_pages(trial, bus, phys, length)
            bus, _, length = live.pop(0)
            dma_ops.dma_unmap_page(trial.device, bus, length, DMA_BIDIRECTIONAL)
            trial.ops.flush()


@check
def mappings_across_windows(b: Bench) -> None:
    """A buffer that goes on where one inbound window of the bus ends is refused, or leads to both its pages."""
    ends = [start + size for start, _, size in b.device.dma_ranges]
    for edge in ends:
        if not any(start <= edge - b.page and edge + b.page <= end for start, end in b.machine.ram_ranges):
            continue
        with suppress(DmaError):
            bus = dma_ops.dma_map_page(b.device, edge - b.page, 0, 2 * b.page, DMA_BIDIRECTIONAL)
            expect_pages(b, bus, edge - b.page, 2 * b.page)


def expect_pages(b: Bench, bus: int, phys: int, length: int) -> None:
    """The first byte of each page, and the last of all, is reached."""
    for at in (*range(0, length, b.page), length - 1):
        seen = b.reach(bus + at)
        if seen != phys + at:
            raise Violation("a page of a large mapping is not reached", bus=bus + at, phys=seen, meant=phys + at)
