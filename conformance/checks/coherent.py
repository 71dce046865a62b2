# SPDX-License-Identifier: MIT
"""Coherent memory: alignment, contents, and that each allocation is given back whole."""

from __future__ import annotations

from contextlib import suppress

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DmaError, KernelBug

from . import check
from .bench import Bench, NotTested, Segment, Violation
from .pairing import map_page


def _sizes(b: Bench) -> tuple[int, ...]:
    page = b.page
    return (64, page - 1, page, page + 1, 2 * page, 3 * page, 5 * page + 12, 10 * page)


def _expect_memory(b: Bench, cpu: int, handle: int, size: int, what: str) -> None:
    """Device and CPU see one memory without syncs. cpu is looked at where it is an address of RAM."""
    segment: list[Segment] = [(handle, size, 0)]
    raw = b.random.randbytes(size)
    b.write(segment, raw)
    b.same(b.read(segment), raw, f"{what}: the device does not read back what it wrote")
    ranges = b.machine.ram_ranges
    if any(start <= cpu and cpu + size <= end for start, end in ranges):
        for _ in range(2):                              # the second time lines of a cache would be stale
            b.same(b.machine.cpu_read(cpu, size), raw, f"{what}: the CPU reads other bytes than the device wrote")
            raw = b.random.randbytes(size)
            b.machine.cpu_write(cpu, raw)
            b.same(b.read(segment), raw, f"{what}: the device reads other bytes than the CPU wrote")
            raw = b.random.randbytes(size)
            b.write(segment, raw)


@check
def coherent_memory_is_aligned(b: Bench) -> None:
    """CPU and DMA address are aligned to the smallest page order that holds the size."""
    before = b.counters()
    small = []
    for size in (b.page, *_sizes(b), *reversed(_sizes(b)), b.page, 7 * b.page):     # all live, one behind the other
        cpu, handle = dma_ops.dma_alloc_attrs(b.device, size)
        small.append((size, cpu, handle))
    live = list(small)
    large = b.fresh()
    for pages in (65, 129, 65, 65):
        with suppress(DmaError, KernelBug):             # which not every machine has
            live.append((pages * b.page, *dma_ops.dma_alloc_attrs(large.device, pages * b.page)))
    for size, cpu, handle in live:
        order = max((size - 1).bit_length(), b.page.bit_length() - 1)
        for name, address in (("CPU", cpu), ("DMA", handle)):
            if address & ((1 << order) - 1):
                raise Violation(
                    f"the {name} address of {size} bytes of coherent memory is not aligned",
                    address=address, alignment=1 << order,
                )
    for size, cpu, handle in small:
        dma_ops.dma_free_attrs(b.device, size, cpu, handle)
    b.expect_counters(before, "after all coherent memory was freed")


@check
def coherent_memory_is_shared(b: Bench) -> None:
    """Both sides see one memory, and no two allocations have any in common."""
    live = []
    for size in _sizes(b)[:6]:
        cpu, handle = dma_ops.dma_alloc_attrs(b.device, size)
        _expect_memory(b, cpu, handle, size, f"coherent memory of {size} bytes")
        raw = b.random.randbytes(size)
        b.write([(handle, size, 0)], raw)
        live.append((size, handle, raw))
    for size, handle, raw in live:
        b.same(b.read([(handle, size, 0)]), raw, f"another allocation changed coherent memory of {size} bytes")


@check
def coherent_memory_beside_streaming(b: Bench) -> None:
    """Coherent memory has nothing in common with what is mapped at the same time, however small that is."""
    if not b.subject.reach:
        raise NotTested("no page of RAM can be mapped for the device")
    for n in (1, 2):
        lots = [b.lot([(b.frames(1)[0], 64, 256)]) for _ in range(n)]
        maps = [map_page(b, lot) for lot in lots]
        for size in (b.page, 2 * b.page):
            _, handle = dma_ops.dma_alloc_attrs(b.device, size)
            raw = b.random.randbytes(size)
            b.write([(handle, size, 0)], raw)
            for lot, segments in zip(lots, maps, strict=True):
                b.expect_read(segments, lot, "coherent memory and a mapping have memory in common: the device reads")
                mine = b.random.randbytes(lot.size)
                b.write(segments, mine)
                lot.data = [mine]
            b.same(b.read([(handle, size, 0)]), raw, "a mapping's bytes are in coherent memory")


@check
def coherent_memory_is_zeroed(b: Bench) -> None:
    """New coherent memory is zero to its end, also where another had it before."""
    for size in _sizes(b)[:6]:
        for _ in range(2):
            cpu, handle = dma_ops.dma_alloc_attrs(b.device, size)
            if any(b.read([(handle, size, 0)])):
                raise Violation(f"{size} bytes of new coherent memory are not zero")
            b.write([(handle, size, 0)], b"\xa5" * size)
            with suppress(DmaError, KernelBug):             # coherent_memory_is_released sees those
                dma_ops.dma_free_attrs(b.device, size, cpu, handle)


@check
def coherent_memory_is_released(b: Bench) -> None:
    """Each allocation is given back whole, and it alone, in whatever order."""
    before = b.counters()
    live = []
    for size in _sizes(b)[:6]:
        cpu, handle = dma_ops.dma_alloc_attrs(b.device, size)
        raw = b.random.randbytes(size)
        b.write([(handle, size, 0)], raw)
        live.append((size, cpu, handle, raw))
    b.random.shuffle(live)
    gone = []
    while live:
        size, cpu, handle, _ = live.pop()
        dma_ops.dma_free_attrs(b.device, size, cpu, handle)
        gone.append((handle, size, 0))
        for other, _, at, raw in live:
            b.same(b.read([(at, other, 0)]), raw, f"freeing {size} bytes changed another allocation")
    b.expect_counters(before, "after all coherent memory was freed")
    b.expect_gone(gone, "to coherent memory after it was freed")


@check
def coherent_memory_beyond_the_boundary(b: Bench) -> None:
    """The segment boundary is one of lists: coherent memory may be larger, or be refused, but the call comes back."""
    if not b.device.has_dma_parms:
        raise NotTested("the device has no dma_parms, and no boundary of its own")
    dma_ops.dma_set_seg_boundary(b.device, 2 * b.page - 1)
    for pages in (2, 3, 4, 8):
        size = pages * b.page
        try:
            cpu, handle = dma_ops.dma_alloc_attrs(b.device, size)
        except DmaError:
            continue
        except KernelBug as bug:                        # or hang
            raise Violation(f"{pages} pages of coherent memory with a boundary of 2: {bug}") from None
        _expect_memory(b, cpu, handle, size, f"{pages} pages of coherent memory with a boundary of 2")


@check
def noncontiguous_is_one_segment(b: Bench) -> None:
    """dma_alloc_noncontiguous() gives exactly one DMA segment over the whole size."""
    for size in (b.page, 5 * b.page, 5 * b.page + 100):
        before = b.counters()
        try:
            sgt = dma_ops.dma_alloc_noncontiguous(b.device, size, DMA_BIDIRECTIONAL)
        except DmaError as error:
            raise NotTested(f"dma_alloc_noncontiguous: {error}") from None
        segments = b.segments(sgt)
        if sgt.nents != 1 or segments[0][1] < size:
            raise Violation("not one DMA segment", size=size, nents=sgt.nents, length=segments[0][1])
        raw = b.random.randbytes(size)
        b.write([(segments[0][0], size, 0)], raw)
        dma_ops.dma_sync_sgtable_for_cpu(b.device, sgt, DMA_FROM_DEVICE)
        seen = b"".join(b.machine.cpu_read(page + offset, length) for page, offset, length, *_ in sgt.entries())
        b.same(seen[:size], raw, f"{size} bytes of noncontiguous memory: the CPU reads other bytes")
        dma_ops.dma_free_noncontiguous(b.device, size, sgt, DMA_BIDIRECTIONAL)
        b.expect_counters(before, f"after {size} bytes of noncontiguous memory were freed")
