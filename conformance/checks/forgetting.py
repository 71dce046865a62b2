# SPDX-License-Identifier: MIT
"""What the hardware remembers of a mapping must go with it: the device touches, the driver unmaps, the device touches
again. A walker that looks the table up afresh cannot show this; one with a TLB does (dma_ops.iotlb)."""

from __future__ import annotations

from dma_ops import DmaError, DmaFault

from . import check
from .bench import Bench, Lot, Segment
from .pairing import map_page, unmap_page

SIZES = (1, 2, 5, 16)                   # pages of a mapping
REUSED = 24                             # mappings of one size, one after another


def touch(b: Bench, segments: list[Segment], lot: Lot) -> None:
    """Let the device read and write all of a mapping, so that whatever translates for it has seen each page."""
    b.expect_read(segments, lot)
    b.write(segments, lot.content)


def expect_forgotten(b: Bench, segments: list[Segment], lot: Lot, what: str) -> None:
    """No page of it leads to the buffer any more: the access faults, or ends somewhere else. What the table as it is
    now, or a window, still lets through is no matter of what the hardware remembers."""
    for address, length, _ in segments:
        for at in range(address, address + length, b.page):
            phys = b.reach(at, True)
            if phys is not None and any(page <= phys < page + offset + size for page, offset, size in lot.rows):
                continue
            try:
                b.device.dma_write(at, b"\x5a")
            except DmaFault:
                continue
            b.same(b.cpu(lot), lot.content, f"{what} the device still writes into the buffer, at {at:#x}")


@check
def translations_are_forgotten(b: Bench) -> None:
    """After unmap, and the flush that a lazy backend owes, the device does not reach the buffer by a translation that
    it used while the mapping lived: neither that of dma_map_page nor that of dma_map_sg."""
    for pages in SIZES:
        lot = b.lot([(b.frames(pages, contiguous=True)[0], 0, pages * b.page)])
        segments = map_page(b, lot)
        touch(b, segments, lot)
        unmap_page(b, segments)
        b.ops.flush()
        expect_forgotten(b, segments, lot, f"after unmap and flush of {pages} pages")
    if not b.subject.has("map_sg"):
        return
    lot = b.lot([(page, 0, b.page) for page in b.frames(5)])
    sgt = b.table(lot)
    segments = b.map(sgt)
    touch(b, segments, lot)
    b.unmap(sgt)
    b.ops.flush()
    expect_forgotten(b, segments, lot, "after unmap and flush of a list")


@check
def addresses_lead_to_their_last_buffer(b: Bench) -> None:
    """An address that is given out again leads to the new buffer, though the device has used it for the old one: no
    flush is asked for here, so that a lazy backend must do it before the address comes again."""
    for pages in SIZES[:3]:
        for _ in range(REUSED):
            lot = b.lot([(b.frames(pages, contiguous=True)[0], 0, pages * b.page)])
            try:
                segments = map_page(b, lot)
            except DmaError:
                break
            touch(b, segments, lot)
            unmap_page(b, segments)
