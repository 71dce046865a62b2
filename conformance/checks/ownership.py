# SPDX-License-Identifier: MIT
"""Who may touch the bytes when: directions, syncs, and attributes that leave syncs out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import dma_ops
from dma_ops import DMA_ATTR_SKIP_CPU_SYNC, DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, DmaFault, KernelBug

from . import check
from .bench import Bench, NotTested, Segment, Violation
from .pairing import map_page, unmap_page


@check
def direction_none_is_a_bug(b: Bench) -> None:
    """Every entry point BUGs on DMA_NONE and on what is no direction, before it touches anything."""
    lot = b.lot("one")
    sgt = b.table(lot)
    page, offset, length = lot.rows[0]
    before = b.counters()
    calls: dict[str, Callable[[int], object]] = {
        "dma_map_page": lambda d: dma_ops.dma_map_page(b.device, page, offset, length, d),
        "dma_map_sgtable": lambda d: dma_ops.dma_map_sgtable(b.device, sgt, d),
        "dma_map_sg": lambda d: dma_ops.dma_map_sg(b.device, sgt, d),
        "dma_map_resource": lambda d: dma_ops.dma_map_resource(b.device, page, length, d),
        "dma_unmap_page": lambda d: dma_ops.dma_unmap_page(b.device, 0x1000, length, d),
        "dma_unmap_sg": lambda d: dma_ops.dma_unmap_sg(b.device, sgt, d),
        "dma_sync_single_for_cpu": lambda d: dma_ops.dma_sync_single_for_cpu(b.device, 0x1000, length, d),
        "dma_sync_sg_for_device": lambda d: dma_ops.dma_sync_sg_for_device(b.device, sgt, 1, d),
    }
    for direction in (3, 4, -1):
        for name, call in calls.items():
            try:
                call(direction)
            except KernelBug:
                continue
            raise Violation(f"{name} takes direction {direction}")
    b.expect_counters(before, "after calls with no direction")


@check
def directions_are_permissions(b: Bench) -> None:
    """What the direction allows the device can do; memory that is mapped TO_DEVICE it cannot write through a table.

    Reading against the direction is not forbidden, but what one mapping refuses every other one must.
    """
    reads: dict[str, bool] = {}
    seen = 0
    for direction in (DMA_TO_DEVICE, DMA_FROM_DEVICE):
        for shape in ("one", "crossing", "joinable", "tiny"):
            trial = b.fresh()
            lot = trial.lot(shape)
            maps: dict[str, Callable[[], list[Segment]]] = {"dma_map_page": partial(map_page, trial, lot, direction)}
            if trial.subject.has("map_sg"):
                maps["dma_map_sg"] = partial(trial.map, trial.table(lot), direction)
            for name, call in maps.items():
                for address, length, _ in call():
                    try:
                        if direction == DMA_TO_DEVICE:
                            trial.device.dma_read(address, length)
                        else:
                            trial.device.dma_write(address, bytes(length))
                    except DmaFault as fault:
                        raise Violation(f"{name}: the direction allows this: {fault} ({shape})") from None
                    for at in (address, address + length - 1):
                        if trial.fixed(at):
                            continue                    # a fixed window knows no directions
                        seen += 1
                        if direction == DMA_FROM_DEVICE:
                            reads[f"{name} of {shape}"] = trial.reach(at) is not None
                        elif trial.reach(at, write=True) is not None:
                            raise Violation(f"{name}: the device can write what is mapped TO_DEVICE ({shape})", bus=at)
    if not seen:
        raise NotTested("every address came from a fixed window")
    if any(reads.values()) and not all(reads.values()):
        lets = sorted(name for name, gets in reads.items() if gets)
        raise Violation(f"reading what is mapped FROM_DEVICE is refused by others, but not by {', '.join(lets)}")


@check
def syncs_carry_the_bytes(b: Bench) -> None:
    """TO_DEVICE: what the CPU wrote before the sync, the device reads. FROM_DEVICE: the other way round."""
    trial = b.fresh()
    for shape in ("one", "crossing"):
        lot = trial.lot(shape)
        lot.rows, lot.data = lot.rows[:1], lot.data[:1]
        segments = map_page(trial, lot, DMA_TO_DEVICE)
        address, length, _ = segments[0]
        for _ in range(2):
            trial.expect_read(segments, lot)
            dma_ops.dma_sync_single_for_cpu(trial.device, address, length, DMA_TO_DEVICE)
            trial.refill(lot)
            dma_ops.dma_sync_single_for_device(trial.device, address, length, DMA_TO_DEVICE)
        trial.expect_read(segments, lot, "after dma_sync_single_for_device the device reads other bytes")
        unmap_page(trial, segments, DMA_TO_DEVICE)
        segments = map_page(trial, lot, DMA_FROM_DEVICE)
        address = segments[0][0]
        for _ in range(2):
            raw = trial.random.randbytes(length)
            trial.write(segments, raw)
            dma_ops.dma_sync_single_for_cpu(trial.device, address, length, DMA_FROM_DEVICE)
            trial.same(trial.cpu(lot), raw, f"after dma_sync_single_for_cpu the CPU reads other bytes ({shape})")
            dma_ops.dma_sync_single_for_device(trial.device, address, length, DMA_FROM_DEVICE)
        unmap_page(trial, segments, DMA_FROM_DEVICE)
        trial.expect_guards(lot)


@check
def bidirectional_syncs(b: Bench) -> None:
    """BIDIRECTIONAL: both syncs carry the bytes, over and over, on single mappings and lists."""
    for shape in ("one", "odd", "joinable"):
        trial = b.fresh()
        lot = trial.lot(shape)
        single = shape == "one" or not trial.subject.has("map_sg")
        if single:
            lot.rows, lot.data = lot.rows[:1], lot.data[:1]
            segments = map_page(trial, lot)
            address, length, _ = segments[0]
        else:
            sgt = trial.table(lot)
            segments = trial.map(sgt)
        for _ in range(2):
            trial.expect_read(segments, lot)
            raw = trial.random.randbytes(lot.size)
            trial.write(segments, raw)
            if single:
                dma_ops.dma_sync_single_for_cpu(trial.device, address, length, DMA_BIDIRECTIONAL)
            else:
                dma_ops.dma_sync_sgtable_for_cpu(trial.device, sgt, DMA_BIDIRECTIONAL)
            trial.same(trial.cpu(lot), raw, f"after the sync for the CPU it reads other bytes ({shape})")
            trial.refill(lot)
            if single:
                dma_ops.dma_sync_single_for_device(trial.device, address, length, DMA_BIDIRECTIONAL)
            else:
                dma_ops.dma_sync_sgtable_for_device(trial.device, sgt, DMA_BIDIRECTIONAL)
        trial.expect_read(segments, lot, "after the sync for the device it reads other bytes")


@check
def hand_over_and_back(b: Bench) -> None:
    """While a buffer stays mapped, sync_for_cpu gives it to the CPU and sync_for_device back, for many turns."""
    lot = b.lot("crossing")
    lot.rows, lot.data = lot.rows[:1], lot.data[:1]
    segments = map_page(b, lot)
    address, length, _ = segments[0]
    for turn in range(4):
        half = length // 2
        raw = b.random.randbytes(half)
        b.write([(address + half, half, 0)], raw)       # the device writes one half, the CPU the other
        dma_ops.dma_sync_single_for_cpu(b.device, address, length, DMA_BIDIRECTIONAL)
        seen = b.cpu(lot)
        b.same(seen, lot.content[:half] + raw + lot.content[2 * half :], f"turn {turn}: the CPU reads other bytes")
        page, offset, _ = lot.rows[0]
        mine = b.random.randbytes(half)
        b.machine.cpu_write(page + offset, mine)
        lot.data = [mine + seen[half:]]
        dma_ops.dma_sync_single_for_device(b.device, address, length, DMA_BIDIRECTIONAL)
        b.expect_read(segments, lot, f"turn {turn}: the device reads other bytes")
    unmap_page(b, segments)
    b.same(b.cpu(lot), lot.content, "unmap brought back other bytes")


@check
def partial_syncs(b: Bench) -> None:
    """A sync of a part of a single mapping carries that part; the rest stays the device's."""
    _sync_parts(b)


@check
def aligned_partial_syncs(b: Bench) -> None:
    """The same for a device that wants bounce buffers to keep the low bits of an address."""
    if not b.device.has_dma_parms:
        raise NotTested("the device has no dma_parms")
    dma_ops.dma_set_min_align_mask(b.device, 0xFFF)
    _sync_parts(b)


def _sync_parts(b: Bench) -> None:
    first = b.frames(3, "high", contiguous=True)[0]
    lot = b.lot([(first, b.page // 2 + 20, 2 * b.page)])
    segments = map_page(b, lot)
    address, length, _ = segments[0]
    page, offset, _ = lot.rows[0]
    raw = b.random.randbytes(length)
    b.write(segments, raw)
    for at, n in ((0, 64), (b.page // 2 - 20, 4), (b.page - 3, 130), (length - 100, 100), (b.page, b.page)):
        dma_ops.dma_sync_single_for_cpu(b.device, address + at, n, DMA_BIDIRECTIONAL)
        b.same(
            b.machine.cpu_read(page + offset + at, n), raw[at : at + n],
            f"after a sync of {n} bytes at {at} the CPU reads other bytes",
        )
        mine = b.random.randbytes(n)
        b.machine.cpu_write(page + offset + at, mine)
        dma_ops.dma_sync_single_for_device(b.device, address + at, n, DMA_BIDIRECTIONAL)
        raw = raw[:at] + mine + raw[at + n :]
        b.same(b.read(segments), raw, f"after a sync of {n} bytes at {at} the device reads other bytes")
    unmap_page(b, segments)
    b.same(b.cpu(lot), raw, "unmap brought back other bytes")
    b.expect_guards(lot)


def _expect_no_maintenance(b: Bench, what: str) -> None:
    """No cache maintenance since machine.events was set; what else is logged there, the IOMMU's TLB, is no sync."""
    events = [event for event in b.machine.events or () if event[0] in ("sync_dev", "sync_cpu")]
    b.machine.events = None
    if events:
        raise Violation(f"{what} did cache maintenance", events=events)


@check
def skip_cpu_sync_at_unmap(b: Bench) -> None:
    """DMA_ATTR_SKIP_CPU_SYNC at unmap leaves the buffer as it is: no copy back, no cache maintenance."""
    for shape in ("one", "crossing"):
        trial = b.fresh()
        lot = trial.lot(shape)
        lot.rows = lot.rows[:1]
        segments = map_page(trial, lot, DMA_FROM_DEVICE)
        length = segments[0][1]
        trial.write(segments, trial.random.randbytes(length))
        page, offset, _ = lot.rows[0]
        memory = trial.machine.mem.peek(page + offset, length)
        trial.machine.events = []
        unmap_page(trial, segments, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC)
        trial.same(trial.machine.mem.peek(page + offset, length), memory, "unmap without sync changed the memory")
        _expect_no_maintenance(trial, "unmap without sync")


@check
def skip_cpu_sync_at_map(b: Bench) -> None:
    """DMA_ATTR_SKIP_CPU_SYNC at map does no cache maintenance, on single mappings and lists."""
    b.machine.events = []
    lot = b.lot("crossing")
    segments = map_page(b, lot, DMA_BIDIRECTIONAL, DMA_ATTR_SKIP_CPU_SYNC)
    unmap_page(b, segments, DMA_BIDIRECTIONAL, DMA_ATTR_SKIP_CPU_SYNC)
    if b.subject.has("map_sg"):
        sgt = b.table(b.lot("joinable"))
        b.map(sgt, DMA_BIDIRECTIONAL, DMA_ATTR_SKIP_CPU_SYNC)
        b.unmap(sgt, DMA_BIDIRECTIONAL, DMA_ATTR_SKIP_CPU_SYNC)
    _expect_no_maintenance(b, "a map that is to skip syncs")


@check
def need_sync_is_honest(b: Bench) -> None:
    """Where dma_need_sync() is false, the bytes arrive without a sync."""
    lot = b.lot("one")
    segments = map_page(b, lot)
    if dma_ops.dma_need_sync(b.device, segments[0][0]):
        unmap_page(b, segments)
        raise NotTested("dma_need_sync() is true for every buffer that was tried")
    raw = b.random.randbytes(lot.size)
    b.write(segments, raw)
    b.same(b.cpu(lot), raw, "dma_need_sync() is false, but the CPU does not read what the device wrote")
    b.refill(lot)
    b.expect_read(segments, lot, "dma_need_sync() is false, but the device does not read what the CPU wrote")
    unmap_page(b, segments)
