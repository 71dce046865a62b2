# SPDX-License-Identifier: MIT
"""What dma_map_sg makes of a list: how many segments, in which order, how long, and where they end."""

from __future__ import annotations

from contextlib import suppress
from itertools import product

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, DmaError, KernelBug

from . import check
from .bench import IO_PAGE, SHAPES, Bench, Lot, NotTested, Row, Segment, Violation
from .crowds import small_pool
from .pairing import expect_pages


def sources(lot: Lot, segments: list[Segment]) -> list[list[tuple[int, int]]]:
    """Per segment the (entry, bytes of it) that it stands for, were all bytes kept in order."""
    parts: list[list[tuple[int, int]]] = []
    entries = [(i, row[2]) for i, row in enumerate(lot.rows)]
    for _, length, _ in segments:
        part = []
        missing = length
        while missing and entries:
            i, left = entries[0]
            step = min(missing, left)
            part.append((i, step))
            missing -= step
            entries[0] = (i, left - step)
            if entries[0][1] == 0:
                entries.pop(0)
        parts.append(part)
    return parts


@check
def lengths_add_up(b: Bench) -> None:
    """At most as many segments as entries, none empty, and together as many bytes."""
    for shape in SHAPES:
        lot = b.lot(shape)
        sgt = b.table(lot)
        segments = b.map(sgt)
        if len(segments) > len(lot.rows):
            raise Violation(f"more segments than entries ({shape})", segments=len(segments), entries=len(lot.rows))
        total = sum(length for _, length, _ in segments)
        if total != lot.size:
            raise Violation(f"the segments' lengths do not add up ({shape})", segments=total, entries=lot.size)
        b.expect_read(segments, lot)
        b.unmap(sgt)


@check
def entries_are_not_split(b: Bench) -> None:
    """Each entry lies in one segment, whole."""
    trial = b
    for shape in SHAPES:
        lot = trial.lot(shape)
        sgt = trial.table(lot)
        segments = trial.map(sgt)
        for part in sources(lot, segments):
            for entry, length in part:
                if length != lot.rows[entry][2]:
                    raise Violation(
                        f"an entry was split ({shape})", entry=entry, length=lot.rows[entry][2], part=length
                    )
        trial.unmap(sgt)


@check
def count_segments_suffice(b: Bench) -> None:
    """The first `count` entries' addresses and lengths are all that the hardware needs, and all of them are good."""
    trial = b
    twin = b.twin()
    for shape in SHAPES:
        lot, lot2 = trial.lot(shape), twin.lot(shape)
        sgt, sgt2 = trial.table(lot), twin.table(lot2)
        segments = trial.map(sgt, DMA_TO_DEVICE)
        count = dma_ops.dma_map_sg(twin.device, sgt2, DMA_TO_DEVICE)
        if count != len(segments):
            raise Violation(f"dma_map_sg and dma_map_sgtable do not agree ({shape})", sg=count, sgtable=len(segments))
        for address, length, _ in segments:
            if length == 0 or dma_ops.dma_mapping_error(trial.device, address):
                raise Violation(f"a counted segment is no mapping ({shape})", bus=address, length=length)
        trial.expect_read(segments, lot)
        twin.expect_read(twin.segments(sgt2, count), lot2)
        if sgt2.nents != sgt2.orig_nents:
            raise Violation("dma_map_sg wrote sgt.nents", nents=sgt2.nents)
        trial.unmap(sgt, DMA_TO_DEVICE)
        dma_ops.dma_unmap_sg(twin.device, sgt2, DMA_TO_DEVICE)


@check
def large_entries_lead_to_each_page(b: Bench) -> None:
    """Entries longer than any unit of an allocator: each segment leads to each page of its entries."""
    if b.device.has_dma_parms:
        dma_ops.dma_set_max_seg_size(b.device, 0xFFFFFFFF)
    try:
        start = b.machine.alloc_ram(23 - b.machine.page_shift, b.subject.reach[0])
        rows = [(start, 0, 65 * b.page), (start + 2 * b.page, 0, 1 << 22), (start, 0, 3 * b.page), (start, 0, 1 << 21)]
        sgt = b.table(rows)
        segments = b.map(sgt)
    except (MemoryError, DmaError, KernelBug) as error:
        raise NotTested(f"no list of megabytes: {error}") from None
    if b.reach(segments[0][0]) != start:
        raise NotTested("the device gets a bounce buffer")
    lot = Lot("large", rows, [], [])
    for (bus, _, _), part in zip(segments, sources(lot, segments), strict=True):
        at = bus
        for entry, length in part:
            expect_pages(b, at, rows[entry][0] + rows[entry][1], length)
            at += length
    b.unmap(sgt)


@check
def sgtable_counts(b: Bench) -> None:
    """dma_map_sgtable maps all orig_nents entries and leaves the count for the hardware in nents; unmap and sync
    work on orig_nents."""
    for shape in ("adjacent", "joinable", "mixed", "touching"):
        trial = b.fresh()
        before = trial.counters()
        lot = trial.lot(shape)
        sgt = trial.table(lot)
        segments = trial.map(sgt, DMA_FROM_DEVICE)
        if sgt.orig_nents != len(lot.rows):
            raise Violation("dma_map_sgtable changed orig_nents", orig_nents=sgt.orig_nents, entries=len(lot.rows))
        if not 0 < sgt.nents <= sgt.orig_nents:
            raise Violation("nents is no count of segments", nents=sgt.nents, orig_nents=sgt.orig_nents)
        if [row[:3] for row in sgt.entries()] != lot.rows:
            raise Violation(f"mapping changed the CPU's side of the list ({shape})")
        raw = trial.random.randbytes(lot.size)
        trial.write(segments, raw)
        dma_ops.dma_sync_sgtable_for_cpu(trial.device, sgt, DMA_FROM_DEVICE)
        trial.same(trial.cpu(lot), raw, f"after the sync the CPU reads other bytes than the device wrote ({shape})")
        dma_ops.dma_sync_sgtable_for_device(trial.device, sgt, DMA_FROM_DEVICE)
        trial.unmap(sgt, DMA_FROM_DEVICE)
        trial.expect_counters(before, f"after dma_unmap_sgtable ({shape})")


@check
def sync_sg_covers_the_list(b: Bench) -> None:
    """dma_sync_sg_* with the original count reaches every entry, also of a merged list."""
    for shape in ("adjacent", "joinable", "crossing", "odd"):
        trial = b.fresh()
        lot = trial.lot(shape)
        sgt = trial.table(lot)
        segments = trial.map(sgt, DMA_BIDIRECTIONAL)
        raw = trial.random.randbytes(lot.size)
        trial.write(segments, raw)
        dma_ops.dma_sync_sg_for_cpu(trial.device, sgt, sgt.orig_nents, DMA_BIDIRECTIONAL)
        trial.same(trial.cpu(lot), raw, f"after dma_sync_sg_for_cpu the CPU reads other bytes ({shape})")
        trial.refill(lot)
        dma_ops.dma_sync_sg_for_device(trial.device, sgt, sgt.orig_nents, DMA_BIDIRECTIONAL)
        trial.expect_read(segments, lot, "after dma_sync_sg_for_device the device reads other bytes")
        trial.unmap(sgt, DMA_BIDIRECTIONAL)
        trial.same(trial.cpu(lot), lot.content, f"unmap brought back other bytes ({shape})")
        trial.expect_guards(lot)


@check
def segments_keep_to_max_seg(b: Bench) -> None:
    """No merged segment is longer than dma_get_max_seg_size(); an entry that is longer itself stays alone."""
    page = b.page
    for limit in (page, page + 512, 2 * page, 3 * page - 4, 65536):
        trial = b.fresh()
        dma_ops.dma_set_max_seg_size(trial.device, limit)
        for shape in ("adjacent", "joinable", "pages", "touching", "mixed"):
            lot = trial.lot(shape)
            sgt = trial.table(lot)
            segments = trial.map(sgt)
            for (address, length, _), part in zip(segments, sources(lot, segments), strict=True):
                if length > limit and len(part) > 1:
                    raise Violation(
                        f"a merged segment is longer than max_seg_size ({shape})",
                        bus=address, length=length, max_seg=limit, entries=[entry for entry, _ in part],
                    )
            trial.expect_read(segments, lot)
            trial.unmap(sgt)


@check
def lists_beyond_32_bits(b: Bench) -> None:
    """A list of more than 4 GiB, each entry the same memory: no segment's length wraps."""
    big = 1 << 28
    if b.device.has_dma_parms:
        dma_ops.dma_set_max_seg_size(b.device, 0xFFFFFFFF)
    try:
        with suppress(DmaError):
            dma_ops.dma_set_mask(b.device, (1 << 64) - 1)
        start = b.machine.alloc_ram(28 - b.machine.page_shift, b.subject.reach[0])
        sgt = b.table([(start, 0, big)] * 17)
        segments = b.map(sgt)
    except (MemoryError, DmaError, KernelBug) as error:
        raise NotTested(f"no list of 4 GiB: {error}") from None
    total = sum(length for _, length, _ in segments)
    if total != 17 * big:
        raise Violation("the segments of a list beyond 4 GiB do not add up", segments=total, entries=17 * big)
    b.unmap(sgt)


def _run(b: Bench, n: int) -> list[Row]:
    """n whole pages, one behind the other: together longer than a boundary that each of them keeps to."""
    return [(frame, 0, b.page) for frame in b.frames(n, "high", contiguous=True)]


def as_it_stands(b: Bench, address: int, row: Row) -> bool:
    """Does a fixed window give the entry's own memory?"""
    return b.fixed(address) and b.reach(address) == row[0] + row[1]


@check
def segments_keep_to_the_boundary(b: Bench) -> None:
    """No segment of an IOMMU mapping crosses the device's segment boundary.

    An entry that a fixed window answers as it stands is no IOMMU mapping; but nothing may be merged across. A bounce
    buffer is chosen like an IOMMU's address, so that it must keep to the boundary, too.
    """
    if not b.subject.has("map_sg"):
        raise NotTested("the backend maps no lists")
    seen = 0
    for factor in (4, 16):
        mask = factor * b.page - 1
        trial = b.fresh()
        dma_ops.dma_set_max_seg_size(trial.device, 16 * factor * b.page)
        dma_ops.dma_set_seg_boundary(trial.device, mask)
        lots = 4 * ["crossing", "joinable", "adjacent", "pages"]            # all live, so each begins elsewhere
        for shape in [*lots, "run"]:
            lot = trial.lot(_run(trial, factor + 2) if shape == "run" else shape, "high")
            sgt = trial.table(lot)
            segments = trial.map(sgt)
            for (address, length, _), part in zip(segments, sources(lot, segments), strict=True):
                if len(part) == 1 and as_it_stands(trial, address, lot.rows[part[0][0]]):
                    continue
                seen += 1
                if (length <= mask + 1 or len(part) > 1) and (address ^ (address + length - 1)) & ~mask:
                    raise Violation(
                        f"a segment crosses the boundary ({shape})", bus=address, length=length, boundary=mask
                    )
            trial.expect_read(segments, lot)
    if not seen:
        raise NotTested("every address came from a fixed window")


@check
def single_maps_keep_to_the_boundary(b: Bench) -> None:
    """Nor does what was never merged: one dma_map_page, or an entry of a list whose segments may have one page."""
    seen = 0
    for factor in (2, 4):
        mask = factor * b.page - 1
        trial = b.fresh()
        small_pool(trial)
        dma_ops.dma_set_max_seg_size(trial.device, b.page)
        dma_ops.dma_set_seg_boundary(trial.device, mask)
        for turn in range(12):
            first = trial.blocks("high")[0].start
            offset = 4 * turn
            size = (turn % factor + 1) * b.page - 2 * offset
            row = (first, offset, size)
            pieces = [(row, dma_ops.dma_map_page(trial.device, *row, DMA_TO_DEVICE), size)]
            if trial.subject.has("map_sg"):
                frames = trial.frames(3, "high") if turn < 4 else [first, first + 2 * b.page]
                rows = [(frame, 0, b.page) for frame in frames]
                segments = trial.map(trial.table(rows), DMA_TO_DEVICE)
                if len(segments) == len(rows):
                    pieces += [(row, *segment[:2]) for row, segment in zip(rows, segments, strict=True)]
            for row, address, length in pieces:
                if as_it_stands(trial, address, row):
                    continue
                seen += 1
                if (address ^ (address + length - 1)) & ~mask:
                    raise Violation("a mapping crosses the boundary", bus=address, length=length, boundary=mask)
    if not seen:
        raise NotTested("every address came from a fixed window")


@check
def attributes_are_ignored(b: Bench) -> None:
    """An attribute that nobody knows changes nothing."""
    for attrs in (1 << 30, dma_ops.DMA_ATTR_WEAK_ORDERING, dma_ops.DMA_ATTR_NO_WARN):
        plain, other = b.fresh(), None
        other = plain.twin()
        lot, lot2 = plain.lot("mixed"), other.lot("mixed")
        sgt, sgt2 = plain.table(lot), other.table(lot2)
        segments, segments2 = plain.map(sgt), other.map(sgt2, attrs=attrs)
        if segments != segments2:
            raise Violation(f"attribute {attrs:#x} changes the mapping", without=segments[0], with_it=segments2[0])
        other.expect_read(segments2, lot2)
        other.unmap(sgt2, attrs=attrs)


@check
def zero_length_entries(b: Bench) -> None:
    """A list with an empty entry is refused, or the other entries are mapped right and all of it is released."""
    page = b.page
    for where in (0, 1, 2):
        for offset in (0, 24):
            trial = b.fresh()
            before = trial.counters()
            frames = trial.frames(3)
            rows = [(frames[0], 8, page - 8), (frames[1], 0, page // 2)]
            rows.insert(where, (frames[2], offset, 0))
            lot = trial.lot(rows)
            sgt = trial.table(lot)
            try:
                segments = trial.map(sgt)
            except DmaError:
                continue                                # DMA-13 sees what a refusal leaves
            except KernelBug as error:
                trial.dies(error)
            trial.expect_read(segments, lot, f"with entry {where} empty the device reads other bytes")
            trial.unmap(sgt)
            trial.expect_counters(before, f"after a list with entry {where} empty was unmapped")


@check
def merge_boundary_is_kept(b: Bench) -> None:
    """dma_get_merge_boundary() 0: no two entries become one segment. Else entries aligned to it do merge."""
    boundary = dma_ops.dma_get_merge_boundary(b.device)
    if boundary & (boundary + 1):
        raise Violation("the merge boundary is no mask", boundary=boundary)
    for shape, where in product(("adjacent", "joinable", "touching", "even"), ("high", "low")):
        trial = b.fresh()
        if trial.device.has_dma_parms:
            dma_ops.dma_set_max_seg_size(trial.device, 16 * trial.page)
        if shape == "even":                 # neighbours at an I/O page's edge, however large it is
            try:
                run = trial.frames(2 * IO_PAGE // trial.page, where, contiguous=True)
            except NotTested:
                continue
            edge = next(frame for frame in run[1:] if frame % IO_PAGE == 0)
            lot = trial.lot([(edge - trial.page, 0, trial.page), (edge, 0, trial.page)])
        else:
            lot = trial.lot(shape, where)
        sgt = trial.table(lot)
        segments = trial.map(sgt)
        if boundary == 0 and len(segments) != len(lot.rows):
            raise Violation(
                f"entries were merged though dma_get_merge_boundary() is 0 ({shape})",
                segments=len(segments), entries=len(lot.rows),
            )
        trial.unmap(sgt)
    if boundary:
        step = boundary + 1
        trial = b.fresh()
        per = max(step // b.page, 1)
        if per > 8:
            raise NotTested(f"the merge boundary of {step} bytes is beyond the bench")
        runs = [trial.frames(per, contiguous=True) for _ in range(3)]
        starts = [(run[0] + boundary) & ~boundary for run in runs]
        if per > 1 and any(start + step > run[-1] + b.page for start, run in zip(starts, runs, strict=True)):
            raise NotTested("no aligned frames for the merge boundary")
        lot = trial.lot([(start, 0, step) for start in starts])
        sgt = trial.table(lot)
        segments = trial.map(sgt)
        if len(segments) != 1:
            raise Violation("entries aligned to the merge boundary were not merged", segments=len(segments))
        trial.expect_read(segments, lot)
        trial.unmap(sgt)
