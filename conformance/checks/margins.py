# SPDX-License-Identifier: MIT
"""What lies just outside: entries behind the count, stale fields, a device that is said to work and does not."""

from __future__ import annotations

from contextlib import suppress

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DmaError, KernelBug

from . import check
from .bench import SG_DMA_BUS_ADDRESS, Bench, NotTested, Violation
from .pairing import map_page, unmap_page

BEYOND = 2                              # entries behind the count


@check
def entries_behind_the_count_stay(b: Bench) -> None:
    """Map, sync and unmap of the first entries of a longer list leave the others as they are.

    Those carry the address and length of a live mapping, as after an earlier use of the list: whoever goes one entry
    too far releases it, or writes over them.
    """
    for shape in ("one", "adjacent", "joinable", "pages"):
        trial = b.fresh()
        beside = trial.lot("one")
        before = trial.counters()
        neighbour = map_page(trial, beside)
        alone = trial.counters()
        lot = trial.lot(shape)
        count = len(lot.rows)
        sgt = trial.table([*lot.rows, *beside.rows * BEYOND])
        for i in range(count, count + BEYOND):
            sgt.set_dma(i, *neighbour[0][:2])
        behind = sgt.entries()[count:]
        sgt.orig_nents = count
        segments = trial.map(sgt)
        trial.expect_read(segments, lot)
        raw = trial.random.randbytes(lot.size)
        trial.write(segments, raw)
        dma_ops.dma_sync_sgtable_for_cpu(trial.device, sgt, DMA_BIDIRECTIONAL)
        dma_ops.dma_sync_sgtable_for_device(trial.device, sgt, DMA_BIDIRECTIONAL)
        trial.unmap(sgt)
        trial.same(trial.cpu(lot), raw, f"of a part of a list the CPU reads other bytes ({shape})")
        sgt.orig_nents = count + BEYOND
        if sgt.entries()[count:] != behind:
            raise Violation(f"entries behind the count were changed ({shape})", count=count)
        trial.expect_read(neighbour, beside, f"a list with more entries than were unmapped ({shape}): its neighbour's")
        trial.expect_counters(alone, f"after the first {count} entries of a longer list were unmapped ({shape})")
        unmap_page(trial, neighbour)
        trial.expect_counters(before, f"after a list and its neighbour were unmapped ({shape})")


@check
def stale_fields_are_written(b: Bench) -> None:
    """A list that was used before has old addresses and lengths in it: map writes what it counts, and unmap releases
    that and no more."""
    for shape in ("one", "adjacent", "joinable", "pages"):
        trial = b.fresh()
        beside = trial.lot("one")
        neighbour = map_page(trial, beside)
        alone = trial.counters()
        lot = trial.lot(shape)
        sgt = trial.table(lot)
        for i in range(len(lot.rows)):
            sgt.set_dma(i, *neighbour[0][:2])
        segments = trial.map(sgt)
        trial.expect_read(segments, lot, f"of a list with old addresses in it the device reads other bytes ({shape})")
        trial.unmap(sgt)
        trial.expect_counters(alone, f"after a list with old addresses in it was unmapped ({shape})")
        trial.expect_read(neighbour, beside, f"after a list with old addresses in it was unmapped ({shape}): beside it")


@check
def ram_is_never_marked(b: Bench) -> None:
    """A list of RAM alone has no mark, neither while it is mapped nor after it was."""
    for shape in ("one", "adjacent", "joinable", "pages"):
        sgt = b.table(b.lot(shape))
        for when, act in (("mapped", b.map), ("unmapped", b.unmap)):
            try:
                act(sgt)
            except KernelBug as error:
                raise NotTested(f"lists are a BUG: {error}") from None
            for at, entry in enumerate(sgt.entries()):
                if entry[5] & SG_DMA_BUS_ADDRESS:
                    raise Violation(f"an entry of RAM is marked in a list that is {when} ({shape})", entry=at)


@check
def what_is_supported_works(b: Bench) -> None:
    """A device whose mask is accepted can map a page of RAM, and get coherent memory if the backend hands out any."""
    accepted = False
    for bits in (64, 32):
        with suppress(DmaError):
            dma_ops.dma_set_mask(b.fresh().device, (1 << bits) - 1)
            accepted = True
    if not accepted:
        raise NotTested("no mask is accepted")
    if b.subject.has("map_page") and not b.subject.reach:
        raise Violation("a mask is accepted, but no page of RAM can be mapped")
    if b.subject.has("alloc"):
        try:
            cpu, handle = dma_ops.dma_alloc_attrs(b.device, b.page)
        except (DmaError, KernelBug) as error:
            raise Violation(f"a mask is accepted, but there is no coherent memory: {error}") from None
        dma_ops.dma_free_attrs(b.device, b.page, cpu, handle)


@check
def what_the_mask_covers_maps(b: Bench) -> None:
    """A page that ends where the mask does is mapped if the one below it is."""
    for bits in range(24, 37):
        trial = b.fresh()
        last = (1 << bits) - b.page
        if not any(start <= last - b.page and last + b.page <= end for start, end in b.machine.ram_ranges):
            continue
        try:
            dma_ops.dma_set_mask(trial.device, (1 << bits) - 1)
            dma_ops.dma_map_page(trial.device, last - b.page, 0, b.page, DMA_BIDIRECTIONAL)
        except (DmaError, KernelBug):
            continue
        try:
            dma_ops.dma_map_page(trial.device, last, 0, b.page, DMA_BIDIRECTIONAL)
        except DmaError as error:
            raise Violation(f"the last page below a mask of {bits} bits is out of reach: {error}") from None


def _pages(b: Bench, bits: int, most: int = 512) -> int:
    """How many pages can be mapped with a mask of so many bits, at most."""
    start = b.start("high")
    dma_ops.dma_set_mask(b.device, (1 << bits) - 1)
    for n in range(most):
        try:
            dma_ops.dma_map_page(b.device, start, 0, b.page, DMA_BIDIRECTIONAL)
        except DmaError:
            return n
    return most


def _use_up(b: Bench, more: int) -> None:
    """Map as many pages as a narrow mask lets, and so many more, in vain; a page beyond it must be found after that."""
    bits = b.machine.page_shift + 8
    try:
        n = _pages(b.fresh(), bits)
        if _pages(b.fresh(), 32, n + 1) <= n:
            raise NotTested("a wider mask has no more addresses than a narrow one")
        _pages(b, bits, n + more)
        dma_ops.dma_set_mask(b.device, 0xFFFFFFFF)
    except (DmaError, KernelBug) as error:
        raise NotTested(f"the addresses of a narrow mask cannot be used up: {error}") from None
    lot = b.lot("one", "high")
    try:
        segments = map_page(b, lot)
    except DmaError as error:
        raise Violation(f"with the addresses of {bits} bits used up a wider mask finds none: {error}") from None
    b.expect_read(segments, lot, "with the addresses of a narrow mask used up the device reads other bytes")


@check
def a_wider_mask_reaches_more(b: Bench) -> None:
    """Where the addresses of a narrow mask are used up, a wider mask that is accepted has more."""
    _use_up(b, 0)


@check
def a_failure_bars_no_wider_mask(b: Bench) -> None:
    """So it has where a map failed for the narrow mask."""
    _use_up(b, 1)
