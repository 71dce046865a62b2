# SPDX-License-Identifier: MIT
"""The calls of programs, on a backend of one's choice.

A call that no driver may make (of a mapping that does not exist, into memory that a device owns) does nothing, so that
a program stays one whatever is left out of it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, DmaError, DmaIovaState
from dma_ops.dma_buf import DmaBufTable, dma_buf_free_sgt, dma_buf_phys_vec_to_sgt
from dma_ops.p2pdma_state import pcim_p2pdma_provider
from scatterlist.core import SgTable

from ..checks.bench import SG_DMA_BUS_ADDRESS, Lot, Segment
from ..checks.lists import sources
from ..selection import subject
from .long_lists import long_lists
from .memory import Row, Span, lines, overlap, random_bytes
from .oracle import MAPS, MAX_LIVE, MEMORY, Broken, KernelDead, Live, Oracle

__all__ = ["DIRECTIONS", "KINDS", "MAX_LIVE", "Broken", "KernelDead", "World"]

DIRECTIONS = {"BIDIRECTIONAL": DMA_BIDIRECTIONAL, "TO_DEVICE": DMA_TO_DEVICE, "FROM_DEVICE": DMA_FROM_DEVICE}
KINDS = ("iova", "table", "swiotlb", "entries", "pages", "chunk", "iommu_map", "lv1", "set", "exchange")
MOST = 1 << 30                          # bytes that exhaust() maps at most


class World(Oracle):
    """The methods without underscore are the calls; the first argument is the mapping's name, a number."""

    @classmethod
    def of(cls, backend: str, machine: str, *, p2p: bool = False) -> World:
        return cls(subject(backend, machine), p2p=p2p)

    def map_page(self, key: int, row: Row, way: str) -> None:
        """dma_map_page."""
        self._map_one(key, "page", row, way)

    def map_phys(self, key: int, row: Row, way: str) -> None:
        """dma_map_phys."""
        self._map_one(key, "phys", row, way)

    def _map_one(self, key: int, kind: str, row: Row, way: str) -> None:
        direction = DIRECTIONS[way]
        if not self.memory.fits([row], ram=True) or not self._may_map(key, self.memory.spans([row]), direction):
            return
        spans = self.memory.spans([row])
        self._fill(key, spans)
        page, offset, length = self.memory.phys(row)

        def call() -> list[Segment]:
            if kind == "page":
                return [(dma_ops.dma_map_page(self.device, page, offset, length, direction), length, 0)]
            return [(dma_ops.dma_map_phys(self.device, page + offset, length, direction), length, 0)]

        segments = self._attempt(key, f"map_{kind}", call)
        if segments is None:
            return
        address = segments[0][0]
        unmap = dma_ops.dma_unmap_page if kind == "page" else dma_ops.dma_unmap_phys
        self._mapped(Live(key, kind, spans, segments, direction, lambda: unmap(self.device, address, length, direction),
                          bytearray(self.memory.content(spans)), sizes=[length]))

    def map_sg(self, key: int, rows: list[Row], way: str) -> None:
        """dma_map_sgtable."""
        direction = DIRECTIONS[way]
        if not self.memory.fits(rows) or not self._may_map(key, self.memory.spans(rows), direction):
            return
        if self.machine.arch_no_sg_chain and len(rows) > 64:
            return
        spans = self.memory.spans(rows)
        self._fill(key, spans)
        sgt = SgTable([self.memory.phys(row) for row in rows], page_shift=self.machine.page_shift)
        segments = self._attempt(key, "map_sg", lambda: self.bench.map(sgt, direction), sgt)
        if segments is None:
            return
        live = Live(key, "sg", spans, segments, direction, lambda: self.bench.unmap(sgt, direction),
                    bytearray(self.memory.content(spans)), sgt, [row[2] for row in rows], [row[1] for row in rows])
        self._expect_list(live, rows)
        self._mapped(live)

    def _expect_list(self, live: Live, rows: Sequence[Row]) -> None:
        """The segments of a list: how many, how long, and which of them are bus addresses."""
        assert live.sgt is not None
        meant = [self.memory.phys(row) for row in rows]
        if [row[:3] for row in live.sgt.entries()] != meant:
            self.broken("DMA-05", "mapping changed the CPU's side of the list", live)
        if len(live.segments) > len(rows):
            self.broken("DMA-07", "more segments than entries", live, segments=len(live.segments), entries=len(rows))
        total = sum(length for _, length, _ in live.segments)
        if total != sum(live.sizes):
            self.broken("DMA-06", "the segments' lengths do not add up", live, segments=total, entries=sum(live.sizes))
            return
        longest = dma_ops.dma_get_max_seg_size(self.device)
        boundary = dma_ops.dma_get_seg_boundary(self.device)
        lot = Lot("given", meant, [], [])
        for (address, length, _), part in zip(live.segments, sources(lot, live.segments), strict=True):
            if self.device.has_dma_parms and length > longest and len(part) > 1:
                self.broken("DMA-08", "a merged segment is longer than max_seg_size", live, length=length, max=longest)
            if any(n != live.sizes[i] for i, n in part):
                self.broken("DMA-10", "an entry was split", live)
            crosses = (address ^ (address + length - 1)) & ~boundary and all(n <= boundary + 1 for _, n in part)
            if self.device.has_dma_parms and len(part) > 1 and crosses and self.subject.translates:
                self.broken("DMA-09", "a merged segment crosses the boundary", live, bus=address, boundary=boundary)
        if self.memory.peers is not None:
            marked = [(address, length) for address, length, flags in live.segments if flags & SG_DMA_BUS_ADDRESS]
            bus = [(self.memory.peers.bus(self.memory.phys(row)), row[2]) for row in rows
                   if self.memory.peer(row) in ("near", "near2")]
            if marked != bus:
                self.broken("P2P-36", "other segments are bus addresses", live, marked=marked, meant=bus)

    def map_resource(self, key: int, number: int, offset: int, length: int, way: str) -> None:
        """dma_map_resource of a page of registers beyond all RAM."""
        direction = DIRECTIONS[way]
        start = self._registers(number) + offset
        if key in self.live or not self.subject.has("map_resource") or start + length > self.machine.phys_addr_mask:
            return
        spans = [(start, start + length)]
        if any(overlap(spans, other.spans) for other in self.live.values()):
            return
        raw = random_bytes(key, length)
        self.machine.mem.poke(start, raw)
        segments = self._attempt(
            key, "map_resource",
            lambda: [(dma_ops.dma_map_resource(self.device, start, length, direction), length, 0)],
        )
        if segments is not None:
            address = segments[0][0]
            self._mapped(Live(
                key, "resource", spans, segments, direction,
                lambda: dma_ops.dma_unmap_resource(self.device, address, length, direction), bytearray(raw),
            ))

    def _registers(self, number: int) -> int:
        top = max(end for _, end in self.machine.ram_ranges)
        return (top + (1 << 24) & ~((1 << 24) - 1)) + number * 4 * self.page

    def map_iova(self, key: int, rows: list[Row], way: str) -> None:
        """dma_iova_try_alloc, a dma_iova_link per row, dma_iova_sync: rows but the first begin, rows but the last end
        on a page."""
        direction = DIRECTIONS[way]
        if not self.memory.fits(rows, ram=True) or not self._may_map(key, self.memory.spans(rows), direction):
            return
        whole = [(i == 0 or not row[1]) and (i == len(rows) - 1 or not (row[1] + row[2]) % self.page)
                 for i, row in enumerate(rows)]
        if not all(whole) or not self.has_iova:
            return
        spans = self.memory.spans(rows)
        self._fill(key, spans)
        state = DmaIovaState()
        total = sum(row[2] for row in rows)

        def call() -> list[Segment]:
            linked = 0
            if not dma_ops.dma_iova_try_alloc(self.device, state, spans[0][0], total):
                raise DmaError(errno.ENOMEM)
            try:
                for start, end in spans:
                    dma_ops.dma_iova_link(self.device, state, start, linked, end - start, direction)
                    linked += end - start
                dma_ops.dma_iova_sync(self.device, state, 0, total)
            except DmaError:
                dma_ops.dma_iova_destroy(self.device, state, linked, direction)
                raise
            return [(state.addr, total, 0)]

        segments = self._attempt(key, "map_iova", call)
        if segments is not None:
            self._mapped(Live(
                key, "iova", spans, segments, direction,
                lambda: dma_ops.dma_iova_destroy(self.device, state, total, direction),
                bytearray(self.memory.content(spans)),
            ))

    def map_buf(self, key: int, row: Row, way: str) -> None:
        """dma_buf_phys_vec_to_sgt of a peer's memory."""
        peers = self.memory.peers
        if peers is None or not self.memory.fits([row]) or self.memory.peer(row) == "ram":
            return
        spans, direction = self.memory.spans([row]), DIRECTIONS[way]
        if row[1] % self.page or not self._may_map(key, spans, direction):
            return
        self._fill(key, spans)
        kind = self.memory.peer(row)
        provider = pcim_p2pdma_provider(peers.providers[kind], 0)
        assert provider is not None
        flags = 0 if kind == "far" else SG_DMA_BUS_ADDRESS
        made: list[DmaBufTable] = []

        def call() -> list[Segment]:
            made.append(dma_buf_phys_vec_to_sgt(self.device, provider, [(spans[0][0], row[2])], row[2], direction))
            return [(address, length, flags) for address, length in made[0].segments]

        segments = self._attempt(key, "map_buf", call)
        if segments is not None:
            self._mapped(Live(key, "buf", spans, segments, direction,
                              lambda: dma_buf_free_sgt(self.device, made[0], direction),
                              bytearray(self.memory.content(spans))))

    def unmap(self, key: int) -> None:
        """The unmap or free that belongs to the mapping; then both sides see what they must."""
        live = self.live.get(key)
        if live is None:
            return
        if live.dirty:
            self.sync_device(key)
        with self._alive("DMA-01" if live.kind in MAPS else live.release, f"unmap {key}"):
            live.undo()
        del self.live[key]
        self.gone += [(segment, live) for segment in live.segments if not segment[2] & SG_DMA_BUS_ADDRESS]
        if live.kind in MAPS and live.kind != "resource":
            if live.direction != DMA_TO_DEVICE:
                self.memory.learn(live.spans, self.memory.read(live.spans) if live.astray else bytes(live.view))
            self._expect_memory(live, "DMA-21", "after unmap the CPU reads other bytes")
        entries = live.sgt.entries() if live.sgt is not None and live.kind == "sg" else []
        if any(entry[5] & SG_DMA_BUS_ADDRESS for entry in entries):
            self.broken("P2P-50", "unmap left a mark")

    # -- turns -------------------------------------------------------------------------------------------------

    def _turn(self, key: int) -> Live | None:
        live = self.live.get(key)
        return live if live is not None and live.kind in ("page", "phys", "sg") else None

    def _sync(self, live: Live, *, device: bool) -> None:
        if live.sgt is not None:
            call = dma_ops.dma_sync_sgtable_for_device if device else dma_ops.dma_sync_sgtable_for_cpu
            call(self.device, live.sgt, live.direction)
        else:
            address, length, _ = live.segments[0]
            one = dma_ops.dma_sync_single_for_device if device else dma_ops.dma_sync_single_for_cpu
            one(self.device, address, length, live.direction)

    def _sync_clause(self, live: Live) -> str:
        if live.kind == "sg":
            return "DMA-04"
        return "DMA-20" if live.direction == DMA_BIDIRECTIONAL else "DMA-19"

    def sync_cpu(self, key: int) -> None:
        """The mapping's turn goes to the CPU."""
        live = self._turn(key)
        if live is None or live.cpu:
            return
        clause = self._sync_clause(live)
        with self._alive(clause, f"sync_cpu {key}"):
            self._sync(live, device=False)
        live.cpu = True
        if live.direction != DMA_TO_DEVICE:
            self.memory.learn(live.spans, self.memory.read(live.spans) if live.astray else bytes(live.view))
        self._expect_memory(live, clause, "after the sync for the CPU it reads other bytes")

    def cpu_write(self, key: int, at: int, length: int, tag: int) -> None:
        """The CPU writes into a mapping that is its turn."""
        live = self._turn(key)
        if live is None or not live.cpu or live.direction == DMA_FROM_DEVICE or length <= 0:
            return
        spans = _within(live.spans, at, length)
        others = (other for other in self.live.values() if other is not live)
        if not spans or any(overlap(lines(spans), lines(other.spans)) for other in others):
            return
        self.memory.write(spans, random_bytes(tag, length))
        live.dirty = True

    def sync_device(self, key: int) -> None:
        """The mapping's turn goes back to the device."""
        live = self._turn(key)
        if live is None or not live.cpu:
            return
        clause = self._sync_clause(live)
        with self._alive(clause, f"sync_device {key}"):
            self._sync(live, device=True)
        live.cpu = live.dirty = False
        if live.direction != DMA_FROM_DEVICE:
            live.view[:] = self.memory.content(live.spans)
            self._get(live, clause, "after the sync for the device it reads other bytes")

    def device_write(self, key: int, at: int, length: int, tag: int) -> None:
        """The device writes into a mapping that is its turn."""
        live = self.live.get(key)
        if live is None or live.cpu or live.astray or live.direction == DMA_TO_DEVICE or length <= 0:
            return
        length = min(length, len(live.view) - at)
        if length > 0:
            self._put(live, at, random_bytes(tag, length), "DMA-18" if live.kind in MAPS else "DMA-31")
            if live.cpu_addr and not live.astray:
                seen = self.machine.mem.peek(live.cpu_addr, len(live.view))
                self._same("DMA-31", seen, bytes(live.view), "the CPU reads other bytes of coherent memory", live)

    def look(self, key: int) -> None:
        """The device reads a mapping."""
        live = self.live.get(key)
        if live is not None and not live.cpu and live.direction != DMA_FROM_DEVICE:
            self._get(live, "DMA-16", "later the device reads other bytes")

    # -- memory from the backend -------------------------------------------------------------------------------

    def alloc(self, key: int, size: int) -> None:
        """dma_alloc_attrs."""
        self._memory(key, "coherent", size)

    def alloc_pages(self, key: int, size: int) -> None:
        """dma_alloc_pages."""
        self._memory(key, "pages", size)

    def alloc_noncontiguous(self, key: int, size: int) -> None:
        """dma_alloc_noncontiguous."""
        self._memory(key, "noncontiguous", size)

    def _memory(self, key: int, kind: str, size: int) -> None:
        if key in self.live or len(self.live) >= MAX_LIVE or not self.subject.allocates:
            return
        if kind != "coherent" and not self.subject.has("alloc_pages"):
            return
        made: list[SgTable | int] = []

        def call() -> list[Segment]:
            if kind == "coherent":
                cpu, handle = dma_ops.dma_alloc_attrs(self.device, size)
            elif kind == "pages":
                cpu, handle = dma_ops.dma_alloc_pages(self.device, size, DMA_BIDIRECTIONAL)
            else:
                made.append(dma_ops.dma_alloc_noncontiguous(self.device, size, DMA_BIDIRECTIONAL))
                handle = self.bench.segments(made[0])[0][0]     # type: ignore[arg-type]
                return [(handle, size, 0)]
            made.append(cpu)
            return [(handle, size, 0)]

        segments = self._attempt(key, kind, call)
        if segments is None:
            return
        handle = segments[0][0]
        first = made[0]

        def undo() -> None:
            if kind == "coherent":
                dma_ops.dma_free_attrs(self.device, size, first, handle)         # type: ignore[arg-type]
            elif kind == "pages":
                dma_ops.dma_free_pages(self.device, size, first, handle, DMA_BIDIRECTIONAL)     # type: ignore[arg-type]
            else:
                dma_ops.dma_free_noncontiguous(self.device, size, first, DMA_BIDIRECTIONAL)  # type: ignore[arg-type]

        live = Live(key, kind, [], segments, DMA_BIDIRECTIONAL, undo, bytearray(size))
        self._expect_apart(live)
        limit = self.device.coherent_dma_mask
        if kind == "coherent" and handle + size - 1 > limit:
            self.broken("DMA-28", "coherent memory beyond the coherent mask", live, bus=handle, mask=limit)
        self.live[key] = live
        self.history.append(live)
        if kind == "coherent":
            self._get(live, "DMA-31", "new coherent memory is not zero")
            ram = any(start <= first and first + size <= end for start, end in self.machine.ram_ranges)  # type: ignore
            live.cpu_addr = first if ram else 0                                  # type: ignore[assignment]
        raw = random_bytes(key, size)
        if not live.astray:
            self._put(live, 0, raw, "DMA-31")
            self._get(live, "DMA-31", "the device does not read back what it wrote")

    # -- the device and the machine ----------------------------------------------------------------------------

    def set_mask(self, bits: int, *, coherent: bool = False) -> None:
        """dma_set_mask, while nothing is mapped."""
        if self.live:
            return
        old = self.device.dma_mask
        mask = (1 << bits) - 1
        self.bench.ops.flush()
        with self._alive("DMA-26", "dma_set_mask"):
            try:
                (dma_ops.dma_set_mask_and_coherent if coherent else dma_ops.dma_set_mask)(self.device, mask)
            except DmaError:
                if self.device.dma_mask != old:
                    self.broken("DMA-26", "a refused mask was stored", mask=self.device.dma_mask, old=old)
        self.lowered |= self.device.dma_mask < old
        self.base = self.bench.counters()

    def set_limits(self, longest: int, boundary_bits: int) -> None:
        """max_seg_size and the segment boundary, while nothing is mapped."""
        if not self.live and self.device.has_dma_parms:
            dma_ops.dma_set_max_seg_size(self.device, longest)
            dma_ops.dma_set_seg_boundary(self.device, (1 << boundary_bits) - 1)

    def fail(self, kind: str, nth: int) -> None:
        """Let an allocation of the next mapping call fail."""
        self.armed = (kind, nth)

    def flush(self) -> None:
        """Finish what is lazy; then nothing that was unmapped lets the device through."""
        self.ops.flush()
        gone, self.gone = self.gone, []
        if self.record.stale:
            return
        granule = max(self.page, 4096)
        held = [(address // granule, (address + self._whole(live, length) - 1) // granule)
                for live in self.live.values() for address, length, _ in live.segments]
        for (address, length, _), live in gone:
            for at in {address, address + length - 1}:
                if any(first <= at // granule <= last for first, last in held):
                    continue
                phys = self.bench.reach(at)
                if phys is not None and phys != self.bench.window(at):
                    self.broken(live.release, "the device still gets through after unmap and flush", live, bus=at,
                                phys=phys)

    def _whole(self, live: Live, length: int) -> int:
        """The bytes that a segment may hold on the bus: coherent memory is whole pages, a power of two of them."""
        return self.page << ((length - 1) // self.page).bit_length() if live.kind in MEMORY else length

    def exhaust(self, row: Row, size: int, order: str) -> None:
        """Map until it fails, ever smaller pieces, then unmap all, first in first out or the other way round."""
        if not self.memory.fits([(*row[:2], 1)], ram=True):
            return
        page, offset, _ = self.memory.phys(row)
        if self._device_owns([(page, page + size)]):
            return
        before = self.bench.counters()
        taken: list[tuple[int, int]] = []
        total = 0
        while size >= self.page and len(taken) < 200 and total < MOST:
            try:
                with self._alive("DMA-11", "exhaust"):
                    address = dma_ops.dma_map_page(self.device, page, offset, size, DMA_TO_DEVICE)
            except DmaError:
                self.failures.append("map_page")
                size >>= 1
                continue
            taken.append((address, size))
            self.history.append(Live(0, "page", [], [(address, size, 0)], DMA_TO_DEVICE, bool, bytearray()))
            total += size
            phys = self.bench.reach(address)
            if phys is None:
                self.broken("DMA-21", "the device cannot read what is mapped", self.history[-1], bus=address)
        self._after_failure(None)
        for address, size in taken if order == "fifo" else reversed(taken):
            with self._alive("DMA-01", "exhaust"):
                dma_ops.dma_unmap_page(self.device, address, size, DMA_TO_DEVICE)
        self._expect_counters(before, "DMA-02", "after all that filled the window was unmapped")

    def long_lists(self, entries: int, rounds: int, held: int, pattern: str, seed: int) -> None:
        """Lists of so many entries, one after another, of which so many at a time stay mapped, and back to none."""
        if not self.live and self.subject.has("map_sg"):
            long_lists(self, entries, rounds, held, pattern, seed)

    def end(self) -> None:
        """Unmap all: every counter is what it was, every byte what it must be, and a map works as at first."""
        for key in list(self.live):
            self.unmap(key)
        self.flush()
        base = dict(self.base)
        self._expect_counters(base, "DMA-13" if self.failures else "DMA-01", "with nothing mapped")
        touched = self.memory.touched()
        self._same("DMA-22", self.memory.read(touched), self.memory.content(touched), "memory changed by itself",
                   spans=touched)


def _within(spans: Sequence[Span], at: int, length: int) -> list[Span]:
    """The bytes at to at + length of the spans; none if they do not have so many."""
    found = []
    for start, end in spans:
        n = end - start
        if at < n and length:
            step = min(length, n - at)
            found.append((start + at, start + at + step))
            length -= step
            at = 0
        else:
            at = max(at - n, 0)
    return found if not length else []
