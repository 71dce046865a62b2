# SPDX-License-Identifier: MIT
"""Maps that fail: which errno, what the list looks like afterwards, and what is still allocated."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from typing import TYPE_CHECKING

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DmaError, KernelBug
from scatterlist.core import SgTable

from ..facts import LIMITS
from . import check
from .bench import Bench, Lot, NotTested, Row, Violation, errno_of

if TYPE_CHECKING:
    from ..facts import Subject

ALLOWED = frozenset({errno.EINVAL, errno.ENOMEM, errno.EIO, errno.EREMOTEIO})
KINDS = ("iova", "table", "swiotlb", "entries", "pages", "chunk", "iommu_map", "lv1", "set")


@dataclass(frozen=True, slots=True)
class Way:
    """A way to make a map fail: arrange() gives the list on a new bench, arm() comes right before the map."""

    label: str
    arrange: Callable[[Bench], Lot]
    arm: Callable[[Bench], object] = bool
    kind: str = ""                      # of the allocation that fails
    nth: int = 0


@dataclass(slots=True)
class Failure:
    """A map that failed, as a check gets it. bug: the kernel died instead."""

    way: Way
    bench: Bench
    lot: Lot
    sgt: SgTable
    counters: dict[str, int]
    table: dict[int, int]               # before the map, if it was asked for
    error: DmaError | None = None
    bug: KernelBug | None = None


def _plain(shape: str) -> Callable[[Bench], Lot]:
    return lambda b: b.lot(shape)


def _fail(kind: str, nth: int) -> Callable[[Bench], object]:
    return lambda b: b.machine.fail(kind, nth)


def _unreachable(shape: str) -> Callable[[Bench], Lot]:
    def arrange(b: Bench) -> Lot:
        if b.subject.reach[0] is None:
            raise NotTested("the device reaches all RAM")
        lot = b.lot(shape, "low")
        lot.rows.append((b.machine.alloc_ram(0), 16, b.page // 2))
        return lot

    return arrange


def _is_cached(b: Bench) -> bool:
    """Does the machine model a CPU cache? Then maintenance of large ranges takes its time."""
    at = b.start("low")
    b.machine.cpu_write(at, b"\x5a")
    return bool(b.machine.mem.peek(at, 1) != b"\x5a")


def _oversized(size: int) -> Callable[[Bench], Lot]:
    def arrange(b: Bench) -> Lot:
        if size > 8 << 20 and _is_cached(b):
            raise NotTested("too large for the model of the cache")
        lot = b.lot("odd")
        lot.rows.append((b.start("low"), 0, size))
        return lot

    return arrange


def _exhausted(b: Bench) -> Lot:
    """The window is full but for two holes of one page; the list needs more."""
    for bits in (26, 28, 30):
        try:
            dma_ops.dma_set_mask(b.device, (1 << bits) - 1)
            break
        except DmaError:
            continue
    most = 1 << (18 if _is_cached(b) else 26)
    start = b.start("high")
    live: list[tuple[int, int]] = []
    size, total = most, 0
    while size >= b.page:
        if len(live) > 600 or total > 1 << 30:
            raise NotTested("the window is too large to fill")
        try:
            live.append((dma_ops.dma_map_page(b.device, start, 0, size, DMA_TO_DEVICE), size))
            total += size
        except DmaError:
            size >>= 1
    if not live:
        raise NotTested("nothing can be mapped with the small mask")
    for address, size in live[-2:]:
        dma_ops.dma_unmap_page(b.device, address, size, DMA_TO_DEVICE)
    lot = b.lot("pages", "high")
    lot.rows += b.lot("crossing", "high").rows * 3
    per = max(size for _, size in live[-2:]) // b.page
    lot.rows += [lot.rows[0]] * (2 * per if per <= 64 else 0)
    return lot


def _empty(offset: int) -> Callable[[Bench], Lot]:
    def arrange(b: Bench) -> Lot:
        first = b.rows("odd")
        return b.lot([*first[:2], (b.frames(1)[0], offset, 0), *first[2:]])

    return arrange


def _ways() -> Iterator[Way]:
    for kind in KINDS:
        for nth, shape in ((1, "odd"), (2, "odd"), (3, "odd"), (5, "odd"), (2, "mixed"), (4, "mixed")):
            yield Way(f"allocation {nth} of {kind} fails ({shape})", _plain(shape), _fail(kind, nth), kind, nth)
    yield Way("the last entry lies beyond the device's reach", _unreachable("odd"))
    for size in ((1 << 18) + 4096, (4 << 20) + 4096, 1 << 30, 0xFFFF0000):
        yield Way(f"the last entry has {size} bytes", _oversized(size))
    yield Way("the window is full", _exhausted)
    yield Way("entry 2 is empty", _empty(0))
    yield Way("entry 2 is empty, with an offset", _empty(24))


WAYS = tuple(_ways())


def attempt(way: Way, trial: Bench, direction: int = DMA_TO_DEVICE, *, table: bool = False) -> Failure | None:
    """One map on a new bench; None if it succeeds after all, or the way is none on this machine."""
    try:
        lot = way.arrange(trial)
        sgt = trial.table(lot)
    except (NotTested, KernelBug, DmaError):
        return None
    failure = Failure(way, trial, lot, sgt, trial.counters(), dict(trial.ops.table()) if table else {})
    way.arm(trial)
    try:
        trial.map(sgt, direction)
    except DmaError as error:
        failure.error = error
    except KernelBug as bug:
        failure.bug = bug
    else:
        return None
    return failure


@cache
def usable(subject: Subject) -> tuple[Way, ...]:
    """The ways that can lead to a failure here, found out once: a kind of allocation that the backend does not make
    cannot fail, the first time or the fifth; with other random lists the nth of one that it makes may well come. The
    seed is a constant, so that every run finds the same."""
    made = {way.kind for way in WAYS if way.nth == 1 and attempt(way, Bench(subject, "ways")) is not None}
    return tuple(
        way for way in WAYS
        if (way.kind in made if way.kind else attempt(way, Bench(subject, "ways")) is not None)
    )


def provoke(
    b: Bench, direction: int = DMA_TO_DEVICE, among: Callable[[Way], bool] = lambda way: True, *, table: bool = False
) -> Iterator[Failure]:
    """Every map that could be made to fail, each on a bench of its own. Raises NotTested if none could."""
    failed = 0
    for way in filter(among, usable(b.subject)):
        failure = attempt(way, b.fresh(), direction, table=table)
        if failure is not None:
            failed += 1
            yield failure
    if not failed:
        raise NotTested(f"no map could be made to fail in {len(WAYS)} ways")


def _oversize(way: Way) -> bool:
    return "bytes" in way.label


@check
def errors_are_allowed(b: Bench) -> None:
    """dma_map_sgtable fails with one of EINVAL, ENOMEM, EIO, EREMOTEIO; dma_map_sg of the same list with 0."""
    _expect_errors(b, lambda way: not _oversize(way))


@check
def oversized_entries_are_errors(b: Bench) -> None:
    """So does the map of a list with an entry that is longer than what the backend can map."""
    _expect_errors(b, _oversize)


def _expect_errors(b: Bench, among: Callable[[Way], bool]) -> None:
    for failure in provoke(b, among=among):
        trial = failure.bench
        if failure.bug is not None and "empty" in failure.way.label:
            continue                                    # DMA-41 sees those
        if failure.bug is not None:
            raise Violation(f"{failure.way.label}: the kernel would die: {failure.bug}")
        assert failure.error is not None
        code = errno_of(failure.error)
        if code not in ALLOWED:
            raise Violation(f"{failure.way.label}: dma_map_sgtable fails with {errno.errorcode.get(code, code)}")
        if failure.sgt.nents != failure.sgt.orig_nents:
            raise Violation(f"{failure.way.label}: a failed map changed nents", nents=failure.sgt.nents)
        if any("not allowed" in line for line in trial.machine.dmesg):
            raise Violation(f"{failure.way.label}: the backend answered an errno that is not allowed")
        twin = trial.twin()
        lot = failure.way.arrange(twin)
        sgt = twin.table(lot)
        twin.counters()
        failure.way.arm(twin)
        try:
            count = dma_ops.dma_map_sg(twin.device, sgt, DMA_TO_DEVICE)
        except DmaError:
            continue
        raise Violation(f"{failure.way.label}: dma_map_sgtable fails, dma_map_sg maps", count=count)


@check
def failure_keeps_the_list(b: Bench) -> None:
    """After a failed map page, offset and length of every entry are as before."""
    for failure in provoke(b, DMA_BIDIRECTIONAL):
        if failure.bug is not None:
            continue
        rows: list[Row] = [row[:3] for row in failure.sgt.entries()]
        if rows != failure.lot.rows:
            at = next(i for i, (a, c) in enumerate(zip(rows, failure.lot.rows, strict=True)) if a != c)
            raise Violation(
                f"{failure.way.label}: a failed map changed the list", entry=at, was=failure.lot.rows[at], now=rows[at]
            )


def _entries_count(b: Bench) -> bool:
    """Is an entry in the table one that counts? Not where an ordinary unmap only makes entries invalid, or stale."""
    lot = b.lot("one")
    page, offset, length = lot.rows[0]
    table = dict(b.ops.table())
    address = dma_ops.dma_map_page(b.device, page, offset, length, DMA_TO_DEVICE)
    dma_ops.dma_unmap_page(b.device, address, length, DMA_TO_DEVICE)
    b.ops.flush()
    gets_through = b.reach(address) is not None and not b.record.stale
    return dict(b.ops.table()) == table or gets_through


@check
def failure_releases_all(b: Bench) -> None:
    """After a failed map nothing is allocated that was not before, the table is as before, and a map works again."""
    count_entries = _entries_count(b.fresh())
    for failure in provoke(b, table=count_entries):
        if failure.bug is not None:
            continue
        trial = failure.bench
        trial.expect_counters(failure.counters, f"{failure.way.label}: after the failed map")
        if count_entries:
            after = dict(trial.ops.table())
            if after != failure.table:
                left = sorted(set(after.items()) - set(failure.table.items()))
                raise Violation(f"{failure.way.label}: a failed map left entries in the table", entries=left)
        if "full" in failure.way.label:
            continue
        again = trial.lot("one")
        address = dma_ops.dma_map_page(trial.device, *again.rows[0], DMA_BIDIRECTIONAL)
        trial.expect_read([(address, again.rows[0][2], 0)], again, "after a failed map the device reads other bytes")


@check
def failure_keeps_the_neighbours(b: Bench) -> None:
    """A failed map does not touch what is mapped already."""
    for failure in provoke(b):
        if failure.bug is not None or "full" in failure.way.label:
            continue
        trial = failure.bench
        lot = trial.lot("joinable")
        sgt = trial.table(lot)
        segments = trial.map(sgt)
        again = trial.table(failure.lot)
        before = trial.counters()
        failure.way.arm(trial)
        try:
            trial.map(again, DMA_TO_DEVICE)
        except DmaError:
            after = trial.counters()                        # what is left behind too much is DMA-13's to see
            gone = [key for key in before if after.get(key, 0) < before[key]]
            if gone:
                raise Violation(f"{failure.way.label}: it released {', '.join(gone)} of another list") from None
        except KernelBug:
            pass
        else:
            continue
        trial.expect_read(segments, lot, f"{failure.way.label}: after it the device reads other bytes elsewhere")
        raw = trial.random.randbytes(lot.size)
        trial.write(segments, raw)
        trial.unmap(sgt)
        trial.same(trial.cpu(lot), raw, f"{failure.way.label}: after it the CPU reads other bytes elsewhere")


@check
def failed_pages_are_errors(b: Bench) -> None:
    """dma_map_page that cannot map answers DMA_MAPPING_ERROR, and nothing else; what it maps, the device reaches."""
    for kind in KINDS:
        for nth in (1, 2):
            trial = b.fresh()
            lot = trial.lot("one")
            trial.machine.fail(kind, nth)
            _map_or_fail(trial, lot, f"allocation {nth} of {kind} fails")
    for limit in set(LIMITS).difference(b.subject.reach):
        trial = b.fresh()
        with suppress(MemoryError):
            page = trial.machine.alloc_ram(0, limit)
            _map_or_fail(trial, trial.lot([(page, 16, trial.page // 2)]), "the page may lie beyond the device's reach")


def _map_or_fail(b: Bench, lot: Lot, what: str) -> None:
    page, offset, length = lot.rows[0]
    before = b.counters()
    try:
        address = dma_ops.dma_map_page(b.device, page, offset, length, DMA_BIDIRECTIONAL)
    except DmaError:
        b.expect_counters(before, f"{what}: after dma_map_page failed")
        return
    b.expect_read([(address, length, 0)], lot, f"{what}: dma_map_page answers no error, the device reads other bytes")


@check
def failed_allocations_release_all(b: Bench) -> None:
    """Coherent memory that cannot be had leaves nothing behind."""
    for kind in KINDS:
        for nth in (1, 2, 3):
            trial = b.fresh()
            size = 3 * trial.page
            before = trial.counters()
            trial.machine.fail(kind, nth)
            try:
                _, handle = dma_ops.dma_alloc_attrs(trial.device, size)
            except DmaError:
                trial.expect_counters(before, f"allocation {nth} of {kind} fails: after dma_alloc_attrs failed")
                continue
            except KernelBug:
                continue                                # failed_allocations_are_errors sees those
            raw = trial.random.randbytes(size)
            trial.write([(handle, size, 0)], raw)
            seen = trial.read([(handle, size, 0)])
            trial.same(seen, raw, f"allocation {nth} of {kind} fails: what dma_alloc_attrs gives is no memory")


@check
def failed_allocations_are_errors(b: Bench) -> None:
    """Coherent memory that cannot be had is an error, and no more than that."""
    for kind in KINDS:
        for nth in (1, 2, 3):
            trial = b.fresh()
            trial.machine.fail(kind, nth)
            try:
                dma_ops.dma_alloc_attrs(trial.device, 3 * trial.page)
            except DmaError:
                continue
            except KernelBug as bug:
                raise Violation(f"allocation {nth} of {kind} fails: the kernel would die: {bug}") from None


@check
def the_last_byte_is_no_error(b: Bench) -> None:
    """The highest address of a window is told from DMA_MAPPING_ERROR, or is never given out."""
    if b.machine.dma_addr_mask > 0xFFFFFFFF:
        raise NotTested("no window reaches up to 2^64")
    mapped = _last_bytes(b, 1 << 17)
    twin = b.twin()
    _last_bytes(twin, mapped)
    before = twin.counters()
    pages = _turns(twin)
    try:
        dma_ops.dma_map_page(twin.device, pages[mapped % len(pages)], b.page - 1, 1, DMA_TO_DEVICE)
    except DmaError:
        twin.expect_counters(before, f"with {mapped} mappings of a page's last byte: after the next one failed")
    except KernelBug:
        return                                          # DMA-11 sees those


def _turns(b: Bench) -> range:
    """The pages of a block, to be mapped in turn, so that every cache colour has its."""
    block = b.blocks("high")[0]
    return range(block.start, block.start + block.frames * b.page, b.page)


def _last_bytes(b: Bench, most: int) -> int:
    """Map the last byte of a page over and over, until it fails; how often that was."""
    seen: set[int] = set()
    device, last, pages = b.device, b.page - 1, cycle(_turns(b))
    for n in range(most):
        try:
            address = dma_ops.dma_map_page(device, next(pages), last, 1, DMA_TO_DEVICE)
        except (DmaError, KernelBug):
            return n
        if address in seen:
            return n                                    # nothing is allocated, so nothing runs out
        seen.add(address)
    return most


@check
def successes_are_honest(b: Bench) -> None:
    """Where an allocation fails and the map succeeds all the same, every byte is reached."""
    mapped = 0
    for kind in KINDS:
        for nth in (1, 2, 3):
            trial = b.fresh()
            lot = trial.lot("pages")
            sgt = trial.table(lot)
            trial.machine.fail(kind, nth)
            try:
                segments = trial.map(sgt, DMA_TO_DEVICE)
            except (DmaError, KernelBug):
                continue
            mapped += 1
            trial.expect_read(segments, lot, f"allocation {nth} of {kind} fails, the map does not: other bytes")
    if not mapped:
        raise NotTested("no map succeeded while an allocation failed")
