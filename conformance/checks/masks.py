# SPDX-License-Identifier: MIT
"""Masks, limits and alignment: what the device said it can do, kept in every address it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DmaError, KernelBug

from . import check
from .bench import Bench, NotTested, Segment, Violation
from .pairing import map_page, unmap_page

MASKS = (16, 20, 24, 26, 28, 30, 31, 32, 33, 36, 64)


def _within(segments: list[Segment], limit: int, what: str) -> None:
    for address, length, _ in segments:
        if address + max(length, 1) - 1 > limit:
            raise Violation(f"{what}: an address lies beyond the limit", bus=address, length=length, limit=limit)


def _masked(b: Bench) -> Iterator[tuple[str, Bench, int, int]]:
    """(what was set, a bench with it, the limit that follows, its bits) of each mask and limit that can be set."""
    own = b.device.bus_dma_limit or (1 << 64) - 1
    yield "the mask that it begins with", b.fresh(), min(b.device.dma_mask, own), b.device.dma_mask.bit_length()
    for bits in MASKS:
        trial = b.fresh()
        with suppress(DmaError):
            dma_ops.dma_set_mask(trial.device, (1 << bits) - 1)
            yield f"a mask of {bits} bits", trial, min((1 << bits) - 1, trial.device.bus_dma_limit or own), bits
    if b.device.dma_ops is None:                        # else only firmware sets it, and not to any value
        for bits in MASKS:
            trial = b.fresh()
            trial.device.bus_dma_limit = (1 << bits) - 1
            yield f"a bus_dma_limit of {bits} bits", trial, min(trial.device.dma_mask, (1 << bits) - 1), bits


@check
def addresses_keep_to_the_mask(b: Bench) -> None:
    """Every streaming address ends within min(mask, bus_dma_limit); a map that cannot keep to it fails."""
    mapped = 0
    for how, trial, limit, bits in _masked(b):
        if bits <= 20:                                  # so that the next address is no longer one of the lowest
            with suppress(DmaError):
                for _ in range((1 << bits) // b.page + 2):
                    dma_ops.dma_map_page(trial.device, trial.start("high"), 0, b.page, DMA_BIDIRECTIONAL)
        edge = limit + 1 - b.page                       # RAM that the mask cuts in two
        if any(start <= edge and edge + 2 * b.page <= end for start, end in b.machine.ram_ranges):
            with suppress(DmaError):
                address = dma_ops.dma_map_page(trial.device, edge, b.page - 64, 128, DMA_BIDIRECTIONAL)
                _within([(address, 128, 0)], limit, f"dma_map_page across the end of {how}")
        for where in ("high", "low"):
            for shape in ("one", "joinable"):
                lot = trial.lot(shape, where)
                with suppress(DmaError):
                    segments = map_page(trial, lot)
                    mapped += 1
                    _within(segments, limit, f"dma_map_page with {how}")
                if trial.subject.has("map_sg"):
                    try:
                        segments = trial.map(trial.table(lot))
                    except DmaError:
                        continue
                    mapped += 1
                    _within(segments, limit, f"dma_map_sg with {how}")
                    trial.expect_read(segments, lot, f"with {how} the device reads other bytes")
    if not mapped:
        raise NotTested("no map succeeded with any mask")


@check
def without_a_mask_nothing_is_mapped(b: Bench) -> None:
    """A device whose dma_mask pointer is NULL gets no mapping, and no mask."""
    if not b.subject.reach or not b.subject.has("map_sg"):
        raise NotTested("nothing can be mapped with a mask either, or no list")
    lot = b.lot("one")
    sgt = b.table(lot)
    page, offset, length = lot.rows[0]
    before = b.counters()
    b.device.has_dma_mask = False
    for name, call in (
        ("dma_map_page", lambda: dma_ops.dma_map_page(b.device, page, offset, length, DMA_BIDIRECTIONAL)),
        ("dma_map_sg", lambda: dma_ops.dma_map_sg(b.device, sgt, DMA_BIDIRECTIONAL)),
        ("dma_map_resource", lambda: dma_ops.dma_map_resource(b.device, page, length, DMA_BIDIRECTIONAL)),
        ("dma_set_mask", lambda: dma_ops.dma_set_mask(b.device, 0xFFFFFFFF)),
    ):
        try:
            call()
        except DmaError:
            continue
        raise Violation(f"{name} succeeds for a device without a mask")
    b.device.has_dma_mask = True
    b.expect_counters(before, "after maps of a device without a mask")


@check
def a_refused_mask_changes_nothing(b: Bench) -> None:
    """dma_set_mask that fails leaves the old mask, with which the device still works."""
    refused = 0
    for bits in (0, 1, 12, 20, 24, 30, 32):
        trial = b.fresh()
        old = trial.device.dma_mask
        try:
            dma_ops.dma_set_mask(trial.device, (1 << bits) - 1)
        except DmaError as error:
            refused += 1
            if error.errno != 5:
                raise Violation("dma_set_mask fails with another errno than EIO", errno=error.errno) from None
            if trial.device.dma_mask != old:
                raise Violation("a refused mask was stored", mask=trial.device.dma_mask, old=old) from None
            if not trial.subject.reach:
                continue
            lot = trial.lot("one")
            trial.expect_read(map_page(trial, lot), lot, "after a refused mask the device reads other bytes")
    if not refused:
        raise NotTested("every mask is accepted")


@check
def coherent_mask_is_separate(b: Bench) -> None:
    """Raising the streaming mask leaves coherent memory below the coherent mask, which is 32 bits by default."""
    old = b.device.coherent_dma_mask
    try:
        dma_ops.dma_set_mask(b.device, (1 << 64) - 1)
    except DmaError as error:
        raise NotTested("a 64-bit mask is refused") from error
    if b.device.coherent_dma_mask != old:
        raise Violation("dma_set_mask changed the coherent mask", was=old, now=b.device.coherent_dma_mask)
    for size in (b.page, 3 * b.page):
        _, handle = dma_ops.dma_alloc_attrs(b.device, size)
        _within([(handle, size, 0)], old, "coherent memory with the default coherent mask")
    for bits in (31, 28):
        try:
            dma_ops.dma_set_coherent_mask(b.device, (1 << bits) - 1)
            _, handle = dma_ops.dma_alloc_attrs(b.device, b.page)
        except DmaError:
            continue
        _within([(handle, b.page, 0)], (1 << bits) - 1, f"coherent memory with a coherent mask of {bits} bits")
    for bits in (31, 30, 28) if b.device.dma_ops is None else ():
        trial = b.fresh()
        trial.device.bus_dma_limit = (1 << bits) - 1
        with suppress(DmaError):
            _, handle = dma_ops.dma_alloc_attrs(trial.device, b.page)
            _within([(handle, b.page, 0)], (1 << bits) - 1, f"coherent memory with a bus_dma_limit of {bits} bits")


@check
def coherent_mask_follows(b: Bench) -> None:
    """A mask that was accepted for streaming is accepted for coherent memory."""
    for bits in MASKS:
        mask = (1 << bits) - 1
        trial = b.fresh()
        try:
            dma_ops.dma_set_mask(trial.device, mask)
        except DmaError:
            continue
        try:
            dma_ops.dma_set_coherent_mask(trial.device, mask)
        except DmaError:
            raise Violation(f"a streaming mask of {bits} bits is accepted, the same coherent mask refused") from None


@check
def max_mapping_size_is_possible(b: Bench) -> None:
    """A single mapping of dma_max_mapping_size() bytes succeeds; with a min_align_mask at any offset below it."""
    for mask in (0, 0xFFF) if b.device.has_dma_parms else (0,):
        trial = b.fresh()
        if mask:
            dma_ops.dma_set_min_align_mask(trial.device, mask)
        size = dma_ops.dma_max_mapping_size(trial.device)
        if size > 1 << 26:
            raise NotTested(f"dma_max_mapping_size() is {size} bytes, more than the bench has")
        offset = 0x800 if mask else 0
        start = trial.start("high")
        segments = [(dma_ops.dma_map_page(trial.device, start, offset, size, DMA_BIDIRECTIONAL), size, 0)]
        unmap_page(trial, segments)


@check
def opt_mapping_size_is_possible(b: Bench) -> None:
    """dma_opt_mapping_size() is not beyond dma_max_mapping_size(), and not 0."""
    best, most = dma_ops.dma_opt_mapping_size(b.device), dma_ops.dma_max_mapping_size(b.device)
    if not 0 < best <= most:
        raise Violation("the best mapping size is beyond the largest", opt=best, max=most)


@check
def min_align_mask_is_kept(b: Bench) -> None:
    """A device with a min_align_mask gets addresses equal to the original modulo mask + 1."""
    for mask in (0xFFF, 0x1FF):
        for where in ("high", "low"):
            trial = b.fresh()
            dma_ops.dma_set_min_align_mask(trial.device, mask)
            for shape in ("one", "odd", "crossing"):
                lot = trial.lot(shape, where)
                page, offset, _ = lot.rows[0]
                segments = map_page(trial, lot)
                if (segments[0][0] ^ (page + offset)) & mask:
                    raise Violation(
                        f"dma_map_page: an address lost its alignment ({shape})",
                        bus=segments[0][0], phys=page + offset, mask=mask,
                    )
                if trial.subject.has("map_sg"):
                    segments = trial.map(trial.table(lot))
                    if (segments[0][0] ^ (page + offset)) & mask:
                        raise Violation(
                            f"dma_map_sg: an address lost its alignment ({shape})",
                            bus=segments[0][0], phys=page + offset, mask=mask,
                        )
                    trial.expect_read(segments, lot)


@check
def required_mask_is_only_asked(b: Bench) -> None:
    """dma_get_required_mask() changes no mask, nor whether the device goes through the table, and is a mask."""
    masks = b.device.dma_mask, b.device.coherent_dma_mask
    required = dma_ops.dma_get_required_mask(b.device)
    if (b.device.dma_mask, b.device.coherent_dma_mask) != masks:
        raise Violation("dma_get_required_mask() changed a mask", was=masks[0], now=b.device.dma_mask)
    if required & (required + 1) & ((1 << 64) - 1):
        raise Violation("the required mask is no mask", required=required)
    if not b.subject.reach:
        return
    for bits in (0, 32, 64):
        asked = b.fresh()
        with suppress(DmaError):
            if bits:
                dma_ops.dma_set_mask(asked.device, (1 << bits) - 1)
            lot = asked.lot("one", "low")
            direct = []
            for _ in range(2):
                segments = map_page(asked, lot)
                direct.append(asked.fixed(segments[0][0]))
                unmap_page(asked, segments)
                dma_ops.dma_get_required_mask(asked.device)
            if direct[0] != direct[1]:
                raise Violation("asking for the required mask changed how the device is mapped", direct=direct)


@check
def required_mask_covers_memory(b: Bench) -> None:
    """A device with the required mask reaches the last page of RAM as it is, if any device does; and what limits the
    bus does not make the mask smaller."""
    required = dma_ops.dma_get_required_mask(b.device)
    if b.device.dma_ops is None:
        narrow = b.fresh()
        narrow.device.bus_dma_limit = 0xFFFFFF
        if dma_ops.dma_get_required_mask(narrow.device) != required:
            raise Violation("a limit of the bus changes the required mask", required=required)
    last = max(end for _, end in b.machine.ram_ranges) - b.page
    seen: list[bool] = []
    for mask in ((1 << 64) - 1, required):
        trial = b.fresh()
        try:
            dma_ops.dma_set_mask(trial.device, mask)
            address = dma_ops.dma_map_page(trial.device, last, 0, b.page, DMA_BIDIRECTIONAL)
        except (DmaError, KernelBug) as error:
            if not seen:
                raise NotTested(f"the last page of RAM is out of reach: {error}") from None
            raise Violation(f"the last page of RAM is out of reach with the required mask: {error}") from None
        seen.append(trial.reach(address) == last)
    if seen == [True, False]:
        raise Violation("the last page of RAM is bounced with the required mask", required=required)
