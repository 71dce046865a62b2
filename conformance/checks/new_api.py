# SPDX-License-Identifier: MIT
"""The newer DMA API: mapping by physical address, and ranges in two steps."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import dma_ops
from dma_ops import (
    DMA_ATTR_MMIO,
    DMA_ATTR_REQUIRE_COHERENT,
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    DmaError,
    DmaIovaState,
    DmaMapOps,
    KernelBug,
    WrappedOps,
    dma_iova_destroy,
    dma_iova_free,
    dma_iova_link,
    dma_iova_sync,
    dma_iova_try_alloc,
    dma_iova_unlink,
    dma_map_phys,
    dma_need_unmap,
    dma_unmap_phys,
)
from dma_ops.pyops import NEWER

from . import check
from .bench import DIRECTIONS, Bench, NotTested, Segment, Violation, errno_of
from .crowds import POOL, small_pool
from .topology import peers

BAR = 1 << 20


def granule(b: Bench) -> int:
    """What an IOMMU maps at least, as dma_get_merge_boundary() says it."""
    return dma_ops.dma_get_merge_boundary(b.device) + 1


def as_drivers_do(b: Bench) -> None:
    """What drivers that use the newer API set: without it, a bounced head loses its offset."""
    if b.device.untrusted:
        dma_ops.dma_set_min_align_mask(b.device, granule(b) - 1)


def device_memory(b: Bench) -> int:
    """An address above all RAM that the machine can have, for registers of some device."""
    top = max(end for _, end in b.machine.ram_ranges)
    at = (top + 2 * BAR - 1) & -BAR
    if at + BAR - 1 > b.machine.phys_addr_mask:
        raise NotTested("the machine has no physical address above its RAM")
    return at


@contextmanager
def logged(b: Bench) -> Iterator[list[tuple[object, ...]]]:
    """The machine's events in here: cache maintenance and what IOMMU drivers are told."""
    old, events = b.machine.events, []  # type: ignore[var-annotated]
    b.machine.events = events
    try:
        yield events
    finally:
        b.machine.events = old


def expect_quiet(b: Bench, events: list[tuple[object, ...]], start: int, what: str) -> None:
    """No cache maintenance on device memory."""
    for kind, *facts in events:
        if kind in ("sync_dev", "sync_cpu") and isinstance(facts[0], int) and start <= facts[0] < start + BAR:
            raise Violation(f"cache maintenance of {what}", at=facts[0], size=facts[1])


def expect_table(b: Bench, before: dict[int, object], when: str) -> None:
    """No entry is there that was not, nor the other way round; many older tables keep stale ones by design."""
    if not b.subject.two_step:
        return
    after = dict(b.ops.table())
    if after != before:
        changed = sorted(key for key in before | after if before.get(key) != after.get(key))
        raise Violation(f"{when} the table is not what it was", entries=changed)


class Failing(WrappedOps):
    """The device's own backend, whose due-th mapping call from now fails; what a caller does then can be seen."""

    left: list[int]

    @classmethod
    def on(cls, b: Bench, due: int) -> None:
        """Put it between the core and the backend, and before dma-direct for a device that bypasses its backend."""
        device, left = b.device, [due]
        if device.dma_ops is not None:
            device.dma_ops = cls.around(device.dma_ops, left)
        device.direct = cls.around(device.direct, left)

    @classmethod
    def around(cls, inner: DmaMapOps, left: list[int]) -> Failing:
        members = ("map_phys", "iova_link") if inner.filled & NEWER["map_phys"] else ("map_page", "map_resource")
        unused = [name for name in ("map_phys", "iova_link", "map_page", "map_resource")
                  if name not in members or not (inner.filled & NEWER.get(name, 0) or name in inner.ops)]
        wrapped: Failing = type(cls.__name__, (cls,), dict.fromkeys(unused))(inner)
        wrapped.left = left
        return wrapped

    def fails(self) -> bool:
        self.left[0] -= 1
        return self.left[0] == 0

    def map_phys(self, dev: dma_ops.Device, *given: int) -> int | None:
        return None if self.fails() else self.inner_map_phys(dev, *given)

    def map_page(self, dev: dma_ops.Device, *given: int) -> int | None:
        return None if self.fails() else self.inner_map_page(dev, *given)

    def map_resource(self, dev: dma_ops.Device, *given: int) -> int | None:
        return None if self.fails() else self.inner_map_resource(dev, *given)

    def iova_link(self, dev: dma_ops.Device, state: DmaIovaState, *given: int) -> int:
        return -errno.ENOMEM if self.fails() else self.inner_iova_link(dev, state, *given)


# -- by physical address ---------------------------------------------------------------------------------------

@check
def phys_maps_bytes(b: Bench) -> None:
    """dma_map_phys: the device reaches the very bytes, the CPU sees what it wrote, unmap gives all back."""
    for direction in DIRECTIONS:
        for shape in ("one", "pages", "odd"):
            lot = b.lot(shape)
            before = b.counters()
            segments: list[Segment] = [
                (dma_map_phys(b.device, page + offset, length, direction), length, 0)
                for page, offset, length in lot.rows
            ]
            if direction != DMA_FROM_DEVICE:
                b.expect_read(segments, lot)
            raw = lot.content
            if direction != DMA_TO_DEVICE:
                raw = b.random.randbytes(lot.size)
                b.write(segments, raw)
            for address, length, _ in segments:
                dma_unmap_phys(b.device, address, length, direction)
            b.same(b.cpu(lot), raw, f"after unmap the CPU reads other bytes ({shape})")
            b.expect_guards(lot)
            b.expect_counters(before, "after dma_unmap_phys")
            b.expect_gone(segments, "dma_unmap_phys")


@check
def aligned_buffers_are_given_back(b: Bench) -> None:
    """So it is for a device that wants the low bits of an address kept, for which a bounce buffer has spare slots."""
    if not b.device.has_dma_parms:
        raise NotTested("the device has no dma_parms")
    dma_ops.dma_set_min_align_mask(b.device, 0xFFF)
    for offset, length in ((0x900, 512), (0x800, 0x900), (0xC04, 100)):
        lot = b.lot([(b.frames(2, contiguous=True)[0], offset, length)])
        before = b.counters()
        address = dma_map_phys(b.device, lot.rows[0][0] + offset, length, DMA_TO_DEVICE)
        b.expect_read([(address, length, 0)], lot)
        dma_unmap_phys(b.device, address, length, DMA_TO_DEVICE)
        b.expect_counters(before, f"after dma_unmap_phys of {length} bytes at {offset:#x}")


@check
def failed_phys_maps_leave_nothing(b: Bench) -> None:
    """dma_map_phys or a link that fails gives back what it had got, a bounce buffer first of all."""
    for kind, ranged in product(("iova", "table", "swiotlb", "entries"), (False, b.subject.two_step)):
        for offset, length in ((0, b.page), (40, 100), (40, b.page)):
            trial = b.fresh()
            phys = trial.frames(3, contiguous=True)[0] + offset
            before = trial.counters()
            state = DmaIovaState()
            linked = ranged and dma_iova_try_alloc(trial.device, state, phys, length)
            trial.machine.fail(kind, 1)
            try:
                if linked:
                    dma_iova_link(trial.device, state, phys, 0, length, DMA_BIDIRECTIONAL)
                    dma_iova_unlink(trial.device, state, 0, length, DMA_BIDIRECTIONAL)
                else:
                    dma_unmap_phys(trial.device, dma_map_phys(trial.device, phys, length, DMA_BIDIRECTIONAL), length,
                                   DMA_BIDIRECTIONAL)
            except DmaError:
                pass
            except KernelBug:
                continue
            if linked:
                dma_iova_free(trial.device, state)
            trial.expect_counters(before, f"allocation of {kind} fails: after a map of {length} bytes at {offset}")


@check
def bounced_granules_hold_nothing_of_others(b: Bench) -> None:
    """A device that is not trusted sees whole granules of a bounce buffer: beside its bytes is nothing of others."""
    if not (b.device.untrusted and small_pool(b)):
        raise NotTested("the device is trusted")
    pool = b.device.io_tlb_mem
    start, size = getattr(pool, "start", 0), b.page
    b.machine.mem.poke(start, b"\xa5" * POOL)
    if b.device.has_dma_parms:
        dma_ops.dma_set_min_align_mask(b.device, size - 1)      # so that there is something before the bytes, too
    for offset, length in ((40, 100), (0, 100), (size - 100, 100), (1000, 2000)):
        lot = b.lot([(b.frames(1)[0], offset, length)])
        b.machine.cpu_write(lot.rows[0][0] + offset, bytes(length))
        address = dma_map_phys(b.device, lot.rows[0][0] + offset, length, DMA_BIDIRECTIONAL)
        if any(b.read([(address & -size, size, 0)])):
            raise Violation("an untrusted device sees what others left beside its buffer", offset=offset, length=length)


@check
def small_buffers_share_no_line(b: Bench) -> None:
    """What kmalloc gives out for less than a cache line may have a neighbour in it, which the CPU uses all the time:
    neither loses its bytes."""
    if b.device.dma_coherent or not b.machine.bounce_unaligned_kmalloc:
        raise NotTested("no buffer of kmalloc shares a cache line here, or none that would matter")
    page = b.frames(1)[0]
    for size, bucket in ((8, 8), (16, 16), (24, 32), (32, 32), (80, 96), (96, 96)):
        for direction in (DMA_FROM_DEVICE, DMA_BIDIRECTIONAL):
            at, beside = page + 192, page + 192 + bucket
            b.machine.cpu_write(page, b.random.randbytes(512))
            try:
                address = dma_map_phys(b.device, at, size, direction)
            except DmaError:
                continue                                    # without a bounce pool
            mine, raw = b.random.randbytes(16), b.random.randbytes(size)
            b.machine.cpu_write(beside, mine)
            b.device.dma_write(address, raw)
            dma_unmap_phys(b.device, address, size, direction)
            b.same(b.machine.cpu_read(at, size), raw, f"of a buffer of {size} bytes the CPU reads other bytes")
            b.same(b.machine.cpu_read(beside, 16), mine, f"beside a buffer of {size} bytes the CPU reads other bytes")


@check
def mmio_is_reached_or_refused(b: Bench) -> None:
    """DMA_ATTR_MMIO: memory without pages is reached where it is, without cache maintenance or a copy; or refused,
    and then nothing is left."""
    at = device_memory(b)
    raw = b.random.randbytes(b.page)
    b.machine.mem.poke(at + 64, raw)
    before, table = b.counters(), dict(b.ops.table())
    with logged(b) as events:
        try:
            address = dma_map_phys(b.device, at + 64, b.page, DMA_BIDIRECTIONAL, DMA_ATTR_MMIO)
        except DmaError:
            b.expect_counters(before, "after a refused mapping of device memory")
            expect_table(b, table, "after a refused mapping of device memory")
            return
        phys = b.reach(address)
        if phys != at + 64:
            raise Violation("a mapping of device memory leads elsewhere", bus=address, phys=phys, meant=at + 64)
        segments = [(address, b.page, 0)]
        b.same(b.read(segments), raw, "the device reads other bytes of device memory")
        raw = b.random.randbytes(b.page)
        b.write(segments, raw)
        dma_unmap_phys(b.device, address, b.page, DMA_BIDIRECTIONAL, DMA_ATTR_MMIO)
    expect_quiet(b, events, at, "device memory")
    b.same(b.machine.mem.peek(at + 64, b.page), raw, "what the device wrote into device memory is lost")
    b.expect_counters(before, "after device memory was unmapped")
    b.expect_gone(segments, "dma_unmap_phys")


@check
def require_coherent_fails(b: Bench) -> None:
    """DMA_ATTR_REQUIRE_COHERENT: an error where the device does not snoop, and never a copy of the memory."""
    page = b.frames(1)[0]
    before = b.counters()
    for offset, length in ((0, b.page), (40, 100)):
        try:
            address = dma_map_phys(b.device, page + offset, length, DMA_BIDIRECTIONAL, DMA_ATTR_REQUIRE_COHERENT)
        except DmaError:
            b.expect_counters(before, "after a mapping that could not be coherent")
            continue
        if not b.device.dma_coherent:
            raise Violation("memory is mapped as coherent for a device that does not snoop", bus=address)
        used = getattr(b.device.io_tlb_mem, "used", 0)
        if used or (b.subject.translates and b.reach(address) != page + offset):
            raise Violation("memory that must be coherent was copied", bus=address, phys=b.reach(address))
        dma_unmap_phys(b.device, address, length, DMA_BIDIRECTIONAL, DMA_ATTR_REQUIRE_COHERENT)
        b.expect_counters(before, "after a coherent mapping was unmapped")


@check
def need_unmap_is_true_where_unmap_matters(b: Bench) -> None:
    """dma_need_unmap(): False only if leaving out the unmap call leaves nothing behind."""
    lot = b.lot("one")
    page, offset, length = lot.rows[0]
    before = b.counters()
    dma_map_phys(b.device, page + offset, length, DMA_FROM_DEVICE)
    if not dma_need_unmap(b.device):
        b.expect_counters(before, "though no unmap call is said to be needed,")


@check
def host_bridge_memory_is_mmio(b: Bench) -> None:
    """A peer's memory that dma_map_sg takes through the host bridge: no cache maintenance, no copy."""
    p = peers(b)
    lot = p.lot(p.rows("far"))
    sgt = b.table(lot)
    start = p.providers["far"].bars[0].start
    with logged(b) as events:
        try:
            segments = b.map(sgt)
        except DmaError:
            return
        phys = b.reach(segments[0][0])
        b.unmap(sgt)
    if phys != lot.rows[0][0] + lot.rows[0][1]:
        raise Violation("a peer's memory is copied to a bounce buffer", bus=segments[0][0], phys=phys)
    for kind, *facts in events:
        if kind in ("sync_dev", "sync_cpu") and start <= facts[0] < start + (4 << 20):  # type: ignore[operator]
            raise Violation("cache maintenance of a peer's memory", at=facts[0], size=facts[1])


# -- ranges in two steps ---------------------------------------------------------------------------------------

@check
def try_alloc_maps_nothing(b: Bench) -> None:
    """dma_iova_try_alloc: a range of the device's, at the memory's offset into a granule, and nothing behind it; or
    False, with the state cleared."""
    for phys, size in ((0, b.page), (3 * 256 + 4, 3 * b.page + 100), (0, 16 * b.page)):
        before, table = b.counters(), dict(b.ops.table())
        state = DmaIovaState()
        if not dma_iova_try_alloc(b.device, state, phys, size):
            if state or state.addr:
                raise Violation("no range is given, but the state has one", addr=state.addr, size=state.size)
            if b.subject.two_step:
                raise Violation("a device with iommu-dma is given no range", size=size)
            b.expect_counters(before, "after no range was given")
            continue
        if state.size != size or (state.addr - phys) % granule(b) or not state:
            raise Violation("the range is another one than was asked for", addr=state.addr, size=state.size, of=size)
        if state.addr + size - 1 > dma_ops.dma_get_mask(b.device):
            raise Violation("the range is beyond the device's mask", addr=state.addr, size=size)
        expect_table(b, table, "with nothing linked")
        b.expect_gone([(state.addr, size, 0)], "a range in which nothing is linked")
        dma_iova_free(b.device, state)
        b.expect_counters(before, "after dma_iova_free")
    for size in (0, 1 << 63):
        state = DmaIovaState()
        if dma_iova_try_alloc(b.device, state, 0, size) or state:
            raise Violation("an impossible size is given a range", size=size)


@dataclass(slots=True)
class Range:
    """A range, and what is linked into it from its start on."""

    bench: Bench
    state: DmaIovaState = field(default_factory=DmaIovaState)
    linked: int = 0

    @classmethod
    def of(cls, b: Bench, phys: int, size: int) -> Range:
        made = cls(b)
        if not dma_iova_try_alloc(b.device, made.state, phys, size):
            raise Violation("a device with iommu-dma is given no range", size=size)
        return made

    def link(self, phys: int, size: int, direction: int = DMA_BIDIRECTIONAL, attrs: int = 0) -> None:
        dma_iova_link(self.bench.device, self.state, phys, self.linked, size, direction, attrs)
        self.linked += size

    def sync(self) -> None:
        dma_iova_sync(self.bench.device, self.state, 0, self.linked)

    def segment(self, offset: int = 0, size: int | None = None) -> list[Segment]:
        return [(self.state.addr + offset, self.linked if size is None else size, 0)]

    def destroy(self, direction: int = DMA_BIDIRECTIONAL, attrs: int = 0) -> None:
        dma_iova_destroy(self.bench.device, self.state, self.linked, direction, attrs)


def no_range_error(call: Callable[[], object]) -> int:
    """The errno that a call raises, 0 if none."""
    try:
        call()
    except DmaError as error:
        return errno_of(error)
    return 0


@check
def links_make_one_stretch(b: Bench) -> None:
    """Linked and synced, scattered memory is one stretch on the bus, in order, both ways; destroy gives all back."""
    as_drivers_do(b)
    for direction in DIRECTIONS:
        lot = b.lot("joinable")
        before = b.counters()
        made = Range.of(b, lot.rows[0][0] + lot.rows[0][1], lot.size)
        for page, offset, length in lot.rows:
            made.link(page + offset, length, direction)
        made.sync()
        if direction != DMA_FROM_DEVICE:
            b.expect_read(made.segment(), lot)
        raw = lot.content
        if direction != DMA_TO_DEVICE:
            raw = b.random.randbytes(lot.size)
            b.write(made.segment(), raw)
        made.destroy(direction)
        b.same(b.cpu(lot), raw, "after destroy the CPU reads other bytes")
        b.expect_guards(lot)
        b.expect_counters(before, "after dma_iova_destroy")
        b.expect_gone([(made.state.addr, lot.size, 0)], "dma_iova_destroy")


@check
def link_alignment_is_enforced(b: Bench) -> None:
    """A link that begins inside a granule behind another is refused, -EIO, and so is one behind a link that does not
    fill its granules; the first stays as it was."""
    as_drivers_do(b)
    pages = b.frames(2)
    lot = b.lot([(pages[0], 0, b.page)])
    before = b.counters()
    made = Range.of(b, 0, 2 * b.page)
    made.link(pages[0], b.page)
    table = dict(b.ops.table())
    code = no_range_error(lambda: made.link(pages[1] + 16, b.page - 16))
    if code != errno.EIO:
        raise Violation(f"a link inside a granule: {errno.errorcode.get(code, 'no error')}, not EIO")
    expect_table(b, table, "after a refused link")
    made.sync()
    b.expect_read(made.segment(), lot, "after a refused link the device reads other bytes")
    made.destroy()
    if not b.device.untrusted:
        made = Range.of(b, 0, 2 * b.page)
        made.link(pages[0], 512)
        if not no_range_error(lambda: made.link(pages[1], 512)):
            raise Violation("a link behind one that does not fill its granule is taken")
        made.linked = 512
        made.destroy()
    b.expect_counters(before, "after refused links")


@check
def unlink_then_free(b: Bench) -> None:
    """Unlinking a part takes that part alone from the device; all unlinked and freed, nothing is left."""
    pages = b.frames(3)
    lots = [b.lot([(page, 0, b.page)]) for page in pages]
    before = b.counters()
    made = Range.of(b, 0, 3 * b.page)
    for page in pages:
        made.link(page, b.page)
    made.sync()
    order = [1, 0, 2]
    for done, i in enumerate(order, 1):
        dma_iova_unlink(b.device, made.state, i * b.page, b.page, DMA_BIDIRECTIONAL)
        b.expect_gone(made.segment(i * b.page, b.page), "dma_iova_unlink")
        for other in order[done:]:
            b.expect_read(made.segment(other * b.page, b.page), lots[other], "a neighbour of what was unlinked changed")
    second = Range.of(b, 0, 3 * b.page)
    if second.state.addr == made.state.addr:
        raise Violation("a range is given out twice, though it was only unlinked", addr=made.state.addr)
    dma_iova_free(b.device, second.state)
    dma_iova_free(b.device, made.state)
    b.expect_counters(before, "after all was unlinked and the range freed")


@check
def destroy_of_the_prefix(b: Bench) -> None:
    """destroy with what is linked, less than the range, gives back the whole range; its addresses are free of entries
    for the next owner."""
    before, table = b.counters(), dict(b.ops.table())
    start = b.start()
    for linked in (0, 1, 3):
        made = Range.of(b, 0, 5 * b.page)
        for i in range(linked):
            made.link(start + i * b.page, b.page)
        if linked:
            made.sync()
        made.destroy()
        b.expect_counters(before, f"after destroy with {linked} of 5 pages linked")
        expect_table(b, table, f"after destroy with {linked} of 5 pages linked")
        again = Range.of(b, 0, 5 * b.page)
        again.link(start, 5 * b.page)
        again.sync()
        again.destroy()
        b.expect_counters(before, "after the next owner's destroy")


@check
def destroy_is_at_once(b: Bench) -> None:
    """After destroy the range is free without any flush, whatever the domain defers for other mappings."""
    start = b.start()
    before = b.ops.resources()
    made = Range.of(b, 0, 2 * b.page)
    made.link(start, 2 * b.page)
    made.sync()
    made.destroy()
    after = b.ops.resources()
    if {key: n for key, n in after.items() if "iova" in key} != {key: n for key, n in before.items() if "iova" in key}:
        raise Violation("destroy leaves the range to the flush queue", resources=str(after))


@check
def failed_link_leaves_nothing(b: Bench) -> None:
    """A link that fails leaves nothing of itself, and all that was linked before."""
    as_drivers_do(b)
    size = granule(b)
    start = b.frames(2, contiguous=True)[0]
    lot = b.lot([(start, 0, size)])
    before = b.counters()
    if b.device.untrusted:
        # a head and a tail that bounce around a middle that does not; the tail's buffer is not to be had
        made = Range.of(b, 0, 4 * size)
        made.link(start, size)
        table = dict(b.ops.table())
        b.machine.fail("swiotlb")
        code = no_range_error(lambda: made.link(start, 2 * size + 100))
    else:
        # across the end of a leaf table: the next one is not to be had
        made = Range.of(b, 0, 1024 * size)
        offset = 512 * size - size
        made.link(start, size)
        table = dict(b.ops.table())
        b.machine.fail("table")
        code = no_range_error(lambda: dma_iova_link(
            b.device, made.state, b.start() & -size, offset, 2 * size, DMA_BIDIRECTIONAL
        ))
    if not code:
        raise NotTested("the link did not fail")
    expect_table(b, table, "after a failed link")
    made.sync()
    b.expect_read(made.segment(), lot, "after a failed link the device reads other bytes of an earlier one")
    made.destroy()
    b.expect_counters(before, "after a failed link and destroy")


@check
def live_ranges_are_disjoint(b: Bench) -> None:
    """No address is given out twice while it is somebody's: ranges and single mappings, taken and given back."""
    rnd, step = b.random, granule(b)
    live: dict[int, tuple[int, Callable[[], object]]] = {}
    start = b.start()
    for _ in range(60 * b.rounds):
        if live and rnd.random() < 0.4:
            live.pop(rnd.choice(list(live)))[1]()
            continue
        size = rnd.choice((1, step, 3 * step, 8 * step - 1))
        state = DmaIovaState()
        if rnd.random() < 0.5 and dma_iova_try_alloc(b.device, state, 0, size):
            address = state.addr
            undo: Callable[[], object] = partial(dma_iova_free, b.device, state)
        else:
            address = dma_map_phys(b.device, start, size, DMA_TO_DEVICE)
            undo = partial(dma_unmap_phys, b.device, address, size, DMA_TO_DEVICE)
        first, end = address & -step, (address + size + step - 1) & -step
        for other, (stop, _) in live.items():
            if first < stop and other < end:
                raise Violation("an address has two owners", first=first, other=other)
        live[first] = end, undo
    for _, undo in live.values():
        undo()


@check
def bounced_edges_hide_the_neighbours(b: Bench) -> None:
    """For a device that is not trusted: only the unaligned head and tail are copies; the granules between are the
    memory itself; what else is in the edges' granules is not shown, and not overwritten."""
    as_drivers_do(b)
    g = granule(b)
    for offset, size in ((g - 512, 512 + g + 100), (0, g + 100), (g - 512, 512), (100, 50), (0, 2 * g)):
        frames = b.frames(4, contiguous=True)
        secret = b.random.randbytes(4 * b.page)
        b.machine.cpu_write(frames[0], secret)
        own = secret[offset : offset + size]
        before = b.counters()
        made = Range.of(b, frames[0] + offset, size)
        made.link(frames[0] + offset, size)
        made.sync()
        b.same(b.read(made.segment()), own, "the device reads other bytes")
        first, last = made.state.addr & -g, (made.state.addr + size + g - 1) & -g
        head, tail = made.state.addr - first, last - made.state.addr - size
        for at, beside in (
            (first, secret[offset - head : offset]), (last - tail, secret[offset + size : offset + size + tail]),
        ):
            if len(beside) > 8 and b.device.dma_read(at, len(beside)) == beside:
                raise Violation("an untrusted device reads what is beside its buffer", bus=at, bytes=len(beside))
        for at in range(-(-made.state.addr // g) * g, (made.state.addr + size) // g * g, g):
            if b.reach(at) != frames[0] + offset + at - made.state.addr:
                raise Violation("a whole granule in the middle is copied, too", bus=at)
        raw = b.random.randbytes(size)
        b.write([(first, head, 0)] if head else [], b"\xee" * head)
        b.write(made.segment(), raw)
        made.destroy()
        meant = secret[:offset] + raw + secret[offset + size :]
        b.same(b.machine.cpu_read(frames[0], len(meant)), meant, "after destroy other bytes are in memory")
        b.expect_counters(before, "after a bounced range was destroyed")


@check
def sync_makes_links_usable(b: Bench) -> None:
    """dma_iova_sync over a part that is linked succeeds, and the device reaches that part from then on."""
    lot = b.lot("pages")
    before = b.counters()
    made = Range.of(b, 0, lot.size)
    for (page, offset, length), raw in zip(lot.rows, lot.data, strict=True):
        at = made.linked
        made.link(page + offset, length)
        dma_iova_sync(b.device, made.state, at, length)
        b.same(b.read(made.segment(at, length)), raw, "after sync the device reads other bytes")
    made.destroy()
    b.expect_counters(before, "after links and syncs one by one")
