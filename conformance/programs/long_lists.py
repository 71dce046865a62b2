# SPDX-License-Identifier: MIT
"""Lists of hundreds and thousands of entries, judged as a whole: nothing in Python is done for a single segment.

Of a list as a whole: how many segments, their sum, the mask, max_seg_size, the boundary, and that the CPU's side is as
it was. Through the hardware's translation the device reads SAMPLES places of each list when it is mapped, and again
before it is unmapped, with others mapped in between; after all are gone it tries the ends of each.
"""

from __future__ import annotations

import errno
import operator
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

import dma_ops
from dma_ops import DMA_TO_DEVICE, DmaError, DmaFault
from scatterlist.core import SgTable

from ..checks.bench import errno_of

if TYPE_CHECKING:
    from .oracle import Live
    from .world import World

SAMPLES = 4
AMOUNT = 1 << 20                        # bytes of RAM from which the entries are taken
LONGEST = 64                            # bytes that are read at a place
FEW = 64                                # the entries of machines whose lists cannot be chained
WORDS, HALVES = 4, 8                    # struct scatterlist, as 64-bit and as 32-bit words

Rows = Callable[[Random, int, int, int], Iterator[tuple[int, int, int]]]       # (random, frames, page, n)


def _pages(random: Random, frames: int, page: int, n: int) -> Iterator[tuple[int, int, int]]:
    """Whole pages, in any order."""
    return ((frame * page, 0, page) for frame in random.choices(range(frames), k=n))


def _runs(random: Random, frames: int, page: int, n: int) -> Iterator[tuple[int, int, int]]:
    """Stretches of pages, an entry for each page."""
    frame = left = 0
    for _ in range(n):
        if not left:
            frame, left = random.randrange(frames), random.randrange(1, 33)
        yield frame * page, 0, page
        frame, left = (frame + 1) % frames, left - 1


def _pieces(random: Random, frames: int, page: int, n: int) -> Iterator[tuple[int, int, int]]:
    """Parts of pages."""
    for frame in random.choices(range(frames), k=n):
        offset = random.randrange(0, page - 64, 16)
        yield frame * page, offset, random.randrange(1, page - offset)


PATTERNS: dict[str, Rows] = {"pages": _pages, "runs": _runs, "pieces": _pieces}


@cache
def _content() -> bytes:
    return Random("long lists").randbytes(AMOUNT)


@dataclass(slots=True)
class Mapped:
    """A list. ends: behind the last byte of each entry, and of each segment, in bytes of the list."""

    sgt: SgTable
    rows: array[int]
    sides: tuple[bytes, bytes]
    addresses: list[int]
    lengths: list[int]
    entry_ends: list[int]
    segment_ends: list[int]
    live: Live


class Long:
    """The lists of one call."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = Random(f"long lists:{seed}")
        self.page = world.page
        self.start, self.frames = self._ram()
        self.refused = 0

    def _ram(self) -> tuple[int, int]:
        """Contiguous pages with known content. Later counters are compared with these allocated."""
        world = self.world
        order = max((AMOUNT // self.page).bit_length() - 1, 3)
        before = world.machine.pages_allocated
        while True:
            try:
                start = world.machine.alloc_ram(order, world.subject.reach[0])
                break
            except MemoryError:
                order -= 1
                if order < 0:
                    raise
        world.base["pages of RAM"] = world.base.get("pages of RAM", 0) + world.machine.pages_allocated - before
        world.machine.mem.poke(start, _content()[: self.page << order])
        return start, 1 << order

    def rows(self, pattern: str, n: int) -> array[int]:
        made = array("Q")
        start = self.start
        for page, offset, length in PATTERNS[pattern](self.random, self.frames, self.page, n):
            made.extend((start + page, offset, min(length, self.start + self.frames * self.page - start - page)))
        return made

    def live(self, sgt: SgTable, rows: array[int], addresses: list[int], lengths: list[int]) -> Live:
        """What stands for the list where a fault of Linux is looked for: its lowest segment, its longest entry."""
        from .oracle import Live

        low = addresses.index(min(addresses))
        start = rows[0] + rows[1]
        return Live(0, "sg", [(start, start + rows[2])], [(addresses[low], lengths[low], 0)], DMA_TO_DEVICE, bool,
                    bytearray(), sgt, [max(rows[2::3])], [max(rows[1::3])])

    # -- one list ----------------------------------------------------------------------------------------------

    def map(self, rows: array[int]) -> Mapped | None:
        """A list mapped and judged; None if there is no room for it."""
        world = self.world
        sgt = SgTable.from_rows(rows, page_shift=world.machine.page_shift)
        before = _sides(sgt)
        try:
            with world._alive("DMA-11", "long_lists"):
                dma_ops.dma_map_sgtable(world.device, sgt, DMA_TO_DEVICE)
        except DmaError as error:
            from .oracle import ALLOWED

            world.failures.append("map_sg")
            world.refused, world.code = True, errno_of(error)
            self.refused += 1
            if world.code not in ALLOWED:
                world.broken("DMA-11", f"a map fails with {errno.errorcode.get(world.code, world.code)}")
            if _sides(sgt) != before:
                world.broken("DMA-12", "a failed map changed the list")
            return None
        addresses, lengths = _segments(sgt, aliased=not world.machine.need_sg_dma_length)
        mapped = Mapped(sgt, rows, before, addresses, lengths, list(accumulate(rows[2::3])), list(accumulate(lengths)),
                        self.live(sgt, rows, addresses, lengths))
        world.entries += sgt.orig_nents
        world.segments += len(addresses)
        self.judge(mapped)
        return mapped

    def judge(self, mapped: Mapped) -> None:
        world, device = self.world, self.world.device
        addresses, lengths, entries = mapped.addresses, mapped.lengths, len(mapped.entry_ends)
        live = mapped.live
        world.history.append(live)
        if _sides(mapped.sgt) != mapped.sides:
            world.broken("DMA-05", "mapping changed the CPU's side of the list", live)
        if len(addresses) > entries:
            world.broken("DMA-07", "more segments than entries", live, segments=len(addresses), entries=entries)
        if mapped.segment_ends[-1] != mapped.entry_ends[-1]:
            world.broken("DMA-06", "the segments' lengths do not add up", live, segments=mapped.segment_ends[-1],
                         entries=mapped.entry_ends[-1])
            return
        if not set(mapped.entry_ends).issuperset(mapped.segment_ends):
            world.broken("DMA-10", "an entry was split", live)
        last = max(map(operator.add, addresses, lengths)) - 1
        if last > world._limit():
            world.broken("DMA-27", "an address beyond the mask", live, bus=last, mask=world._limit())
        if device.has_dma_parms:
            longest, boundary = dma_ops.dma_get_max_seg_size(device), dma_ops.dma_get_seg_boundary(device)
            if max(lengths) > longest:
                self._merged(mapped, live, "DMA-08", "a merged segment is longer than max_seg_size",
                             [i for i, length in enumerate(lengths) if length > longest])
            if world.subject.translates and (min(addresses) ^ last) & ~boundary:
                self._merged(mapped, live, "DMA-09", "a merged segment crosses the boundary", [
                    i for i, (at, length) in enumerate(zip(addresses, lengths, strict=True))
                    if (at ^ at + length - 1) & ~boundary
                ])
        self.look(mapped, "DMA-21", "the device reads other bytes than the CPU wrote")

    def _merged(self, mapped: Mapped, live: Live, clause: str, text: str, suspects: Sequence[int]) -> None:
        """The clause is broken if one of these segments has more than one entry."""
        for i in suspects:
            first = mapped.segment_ends[i] - mapped.lengths[i]
            ends = mapped.entry_ends
            if bisect_right(ends, first) != bisect_right(ends, mapped.segment_ends[i] - 1):
                self.world.broken(clause, text, live, bus=mapped.addresses[i], length=mapped.lengths[i])
                return

    def look(self, mapped: Mapped, clause: str, text: str) -> None:
        """The device reads some places of the list."""
        live = mapped.live
        for _ in range(SAMPLES):
            at = self.random.randrange(mapped.entry_ends[-1])
            i, j = bisect_right(mapped.entry_ends, at), bisect_right(mapped.segment_ends, at)
            page, offset, size = mapped.rows[3 * i : 3 * i + 3]
            inside = at - (mapped.entry_ends[i] - size)
            bus = mapped.addresses[j] + at - (mapped.segment_ends[j] - mapped.lengths[j])
            n = min(size - inside, LONGEST)
            first = page + offset + inside - self.start
            try:
                seen = self.world.device.dma_read(bus, n)
            except DmaFault as fault:
                self.world.broken(clause, f"{text}: {fault}", live)
                return
            self.world._same(clause, seen, _content()[first : first + n], text, live)
            if live.astray:
                return

    def unmap(self, mapped: Mapped) -> None:
        """A list unmapped, after the device has looked at it once more."""
        self.look(mapped, "DMA-16", "later the device reads other bytes")
        with self.world._alive("DMA-03", "long_lists"):
            dma_ops.dma_unmap_sgtable(self.world.device, mapped.sgt, DMA_TO_DEVICE)
        for i in {0, len(mapped.addresses) - 1}:
            self.world.gone.append(((mapped.addresses[i], mapped.lengths[i], 0), mapped.live))


def _words(sgt: SgTable) -> tuple[array[int], array[int]]:
    """The entries as 64-bit and as 32-bit words, links and all: they are one block of memory."""
    raw = b"".join(view.tobytes() for view in sgt.views())
    return array("Q", raw), array("I", raw)


def _sides(sgt: SgTable) -> tuple[bytes, bytes]:
    """The CPU's side: pages and links, and offsets with lengths."""
    words, _ = _words(sgt)
    return words[0::WORDS].tobytes(), words[1::WORDS].tobytes()


def _segments(sgt: SgTable, *, aliased: bool) -> tuple[list[int], list[int]]:
    words, halves = _words(sgt)
    addresses, lengths = words[2::WORDS].tolist(), halves[3 if aliased else 6 :: HALVES].tolist()
    links = len(sgt.arrays()) - 1
    if links:
        array_of = sgt.max_single_alloc
        gone = slice(array_of - 1, links * array_of, array_of)
        del addresses[gone], lengths[gone]
    return addresses[: sgt.nents], lengths[: sgt.nents]


def long_lists(world: World, entries: int, rounds: int, held: int, pattern: str, seed: int) -> None:
    """Map so many lists, one after another, with at most so many at a time; a list that is refused is made shorter."""
    if world.machine.arch_no_sg_chain:
        entries = min(entries, FEW)
    if world.lists_die:
        entries = 1
    world.refused, world.code = False, 0
    before = world.bench.counters()
    work = Long(world, seed)
    stock = work.rows(pattern, 2 * entries)
    before["pages of RAM"] = before.get("pages of RAM", 0) + work.frames
    now: deque[Mapped] = deque()
    for _ in range(rounds):
        first = work.random.randrange(entries + 1)
        mapped = work.map(stock[3 * first : 3 * (first + entries)])
        if mapped is not None:
            now.append(mapped)
        elif now:
            work.unmap(now.popleft())
        else:
            entries = max(entries // 2, 1)
        while len(now) >= max(held, 1):
            if work.random.randrange(2):
                now.reverse()
            work.unmap(now.popleft())
    while now:
        work.unmap(now.popleft())
    world.flush()
    world._expect_counters(before, "DMA-13" if work.refused else "DMA-03", "after long lists")
