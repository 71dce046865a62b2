# SPDX-License-Identifier: MIT
"""What must be true while a program runs.

The oracle knows which bytes exist, who owns them, and what each side must see in them; it asks the device through the
hardware's translation, and the backend only for its counters.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dma_ops
from dma_ops import DMA_FROM_DEVICE, DMA_TO_DEVICE, DmaError, DmaFault, KernelBug
from scatterlist.core import SgTable

from ..checks.bench import SG_DMA_BUS_ADDRESS, Bench, Segment, Violation, errno_of
from ..facts import Subject
from .explained import Sight, explanation
from .memory import Memory, Span, lines, overlap, random_bytes

ALLOWED = frozenset({errno.EINVAL, errno.ENOMEM, errno.EIO, errno.EREMOTEIO})
MAPS = ("page", "sg", "phys", "iova", "resource", "buf")
MEMORY = ("coherent", "pages", "noncontiguous")
RELEASE = {"sg": "DMA-03", "coherent": "DMA-31", "pages": "DMA-31", "noncontiguous": "DMA-31"}     # else DMA-02
MAX_LIVE = 24                           # mappings at a time


class Broken(Violation):
    """A clause is broken: which one, and by what."""

    def __init__(self, clause: str, text: str, **evidence: object) -> None:
        super().__init__(text, **evidence)
        self.clause = clause

    def __str__(self) -> str:
        return f"{self.clause}: {Violation.__str__(self)}"


class KernelDead(Exception):
    """A fault of Linux that is known killed the kernel: the program is over, and nothing is wrong."""


@dataclass(slots=True)
class Live:
    """A mapping. view: the bytes that the device sees or has written; cpu: a sync gave it to the CPU; dirty: which then
    wrote; astray: a known fault of Linux led it elsewhere, so that nothing is expected of its bytes."""

    key: int
    kind: str
    spans: list[Span]
    segments: list[Segment]
    direction: int
    undo: Callable[[], object]
    view: bytearray
    sgt: SgTable | None = None
    sizes: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    wrote: bytearray = field(default_factory=bytearray)
    cpu: bool = False
    dirty: bool = False
    astray: bool = False
    cpu_addr: int = 0

    def __post_init__(self) -> None:
        self.wrote = bytearray(len(self.view))

    @property
    def release(self) -> str:
        return RELEASE.get(self.kind, "DMA-02")


class Oracle:
    """A backend's machine with memory, what is mapped, and what must be true of it."""

    def __init__(self, made: Subject, *, p2p: bool = False) -> None:
        self.bench = Bench(made, "programs")
        self.subject = made
        self.record = made.record
        self.device: dma_ops.Device = self.bench.device
        self.machine = self.bench.machine
        self.ops = self.bench.ops
        self.page = self.bench.page
        self.memory = Memory(self.bench, p2p=p2p)
        self.p2p = p2p
        self.live: dict[int, Live] = {}
        self.gone: list[tuple[Segment, Live]] = []
        self.armed: tuple[str, int] | None = None
        self.fired = False              # did the last call meet the allocation that fail() doomed?
        self.failures: list[str] = []   # the kinds of calls that failed
        self.refused_rows: list[tuple[int, int, int]] = []      # of lists that failed
        self.history: list[Live] = []
        self.refused = False            # did the last one?
        self.code = 0                   # and with which errno?
        self.entries = self.segments = 0                # of all that was mapped
        self.calls = 0
        self.met: Counter[str] = Counter()
        self.base = self.bench.counters()
        # the two steps are of a newer kernel; its bounce buffers keep the offset in a granule, those of 6.1 do not
        self.has_iova = self.record.id == "iommu_dma_ops" and not self.device.untrusted
        self.lists_die = any(
            known.what.startswith("lists are a BUG") and (not known.machines or made.config.name in known.machines)
            for known in made.record.known
        )
        self.lowered: bool = False            # was a mask set that is smaller than the one before?

    # -- judging -----------------------------------------------------------------------------------------------

    def broken(self, clause: str, text: str, live: Live | None = None, *, data: tuple[bytes, bytes] = (b"", b""),
               spans: Sequence[Span] = (), **evidence: object) -> None:
        """Raise Broken, unless it is a fault of Linux that is known and shows where it should."""
        what = explanation(Sight(self, clause, text, live, *data, spans, evidence))
        if not what:
            raise Broken(clause, text, **evidence)
        self.met[f"{clause} {what}"] += 1

    def _same(self, clause: str, seen: bytes, meant: bytes, text: str, live: Live | None = None,
              spans: Sequence[Span] = ()) -> None:
        """Bytes must be what is meant. spans: where they are, if not where the mapping is."""
        if seen == meant:
            return
        if live is not None and not spans:
            spans = live.spans
        pairs = enumerate(zip(seen, meant, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(seen), len(meant)))
        self.broken(clause, text, live, data=(seen, meant), spans=spans, byte=at, of=len(meant), seen=seen[at : at + 8],
                    meant=meant[at : at + 8])
        if live is not None:
            live.astray = True

    @contextmanager
    def _alive(self, clause: str, what: str) -> Iterator[None]:
        try:
            yield
        except KernelBug as bug:
            self.broken(clause, f"{what}: the kernel would die: {bug}")
            raise KernelDead(str(bug)) from None

    def _limit(self) -> int:
        return min(self.device.dma_mask, self.device.bus_dma_limit or self.device.dma_mask)

    # -- the device's accesses ---------------------------------------------------------------------------------

    def _get(self, live: Live, clause: str, text: str) -> None:
        """The device must read what is meant."""
        if live.astray:
            return
        seen = b""
        try:
            for address, length, _ in live.segments:
                seen += self.device.dma_read(address, length)
        except DmaFault as fault:
            self.broken(clause, f"{text}: {fault}", live)
            live.astray = True
            return
        self._same(clause, seen, bytes(live.view), text, live)

    def _put(self, live: Live, at: int, raw: bytes, clause: str) -> None:
        """The device writes; that must be possible."""
        todo, skip = raw, at
        for address, length, _ in live.segments:
            if skip >= length:
                skip -= length
                continue
            part, todo = todo[: length - skip], todo[length - skip :]
            if part:
                try:
                    self.bench.write([(address + skip, len(part), 0)], part)
                except Violation as fault:
                    self.broken(clause, str(fault), live)
                    live.astray = True
                    return
            skip = 0
        live.view[at : at + len(raw)] = raw
        live.wrote[at : at + len(raw)] = b"\1" * len(raw)

    def _expect_memory(self, live: Live, clause: str, text: str) -> None:
        """The CPU must see what is meant: in the mapping's bytes, and around them."""
        if not live.astray:
            self._same(clause, self.memory.read(live.spans), self.memory.content(live.spans), text, live)
        if live.astray:
            self.memory.learn(live.spans, self.memory.read(live.spans))
        around = [part for part in self.memory.around(live.spans) if not self._device_owns([part])]
        self._same("DMA-22", self.memory.read(around), self.memory.content(around),
                   f"{text}: memory beside the buffer changed", live, around)
        self.memory.learn(around, self.memory.read(around))     # so that a known fault is met where it happens

    def _device_owns(self, spans: Sequence[Span]) -> bool:
        return any(overlap(spans, other.spans) for other in self.live.values() if other.direction != DMA_TO_DEVICE)

    # -- mapping -----------------------------------------------------------------------------------------------

    def _may_map(self, key: int, spans: Sequence[Span], direction: int) -> bool:
        """May a driver map this? Bytes that a device can write belong to one mapping, with their cache lines."""
        if key in self.live or len(self.live) >= MAX_LIVE:
            return False
        mine = lines(spans)
        if direction != DMA_TO_DEVICE and any(overlap([a], mine[i + 1 :]) for i, a in enumerate(mine)):
            return False
        return not any(
            overlap(mine, lines(other.spans))
            for other in self.live.values()
            if direction != DMA_TO_DEVICE or other.direction != DMA_TO_DEVICE
        )

    def _fill(self, key: int, spans: list[Span]) -> None:
        """The CPU prepares the bytes, as far as no other mapping has them."""
        for i, span in enumerate(spans):
            taken = lines([span])
            if not any(overlap(taken, lines(other.spans)) for other in self.live.values()):
                self.memory.write([span], random_bytes((key, i), span[1] - span[0]))

    def _attempt(self, key: int, kind: str, call: Callable[[], list[Segment]], sgt: SgTable | None = None) -> (
            list[Segment] | None):
        """Make the call; None if it fails, as it may."""
        self.fired = self.refused = False
        self.code = 0
        armed, self.armed = self.armed, None
        before = None
        rows = [row[:3] for row in sgt.entries()] if sgt is not None else []
        if armed is not None:
            before = self.bench.counters()
            self.machine.fail(*armed)
        try:
            with self._alive("DMA-11", f"{kind} {key}"):
                segments = call()
        except DmaError as error:
            self.failures.append(kind)
            self.refused_rows += rows
            self.refused = True
            self.code = code = errno_of(error)
            if kind == "map_sg" and code not in ALLOWED:
                self.broken("DMA-11", f"a map fails with {errno.errorcode.get(code, code)}")
            if sgt is not None and [row[:3] for row in sgt.entries()] != rows:
                self.broken("DMA-12", "a failed map changed the list")
            segments = None
        finally:
            if armed is not None:
                self.fired = not any(self.machine.fails(armed[0]) for _ in range(armed[1]))
        if segments is None:
            self._after_failure(before)
        return segments

    def _after_failure(self, before: dict[str, int] | None) -> None:
        """Nothing more is allocated than before, and the other mappings are as good as they were."""
        if before is not None:
            self._expect_counters(before, "DMA-13", "after a failed call")
        for live in self.live.values():
            if live.direction != DMA_FROM_DEVICE and not live.cpu:
                self._get(live, "DMA-16", "after another call failed the device reads other bytes")

    def _expect_counters(self, before: dict[str, int], clause: str, when: str) -> None:
        after = self.bench.counters()
        if after != before:
            changes = {key: after.get(key, 0) - before.get(key, 0) for key in before | after}
            said = ", ".join(f"{key} {change:+d}" for key, change in sorted(changes.items()) if change)
            self.broken(clause, f"{when} the counters are not what they were: {said}")
            for key, change in changes.items():     # a known leak: from now on that is the base
                self.base[key] = self.base.get(key, 0) + change

    def _mapped(self, live: Live) -> None:
        """What must be true of a new mapping."""
        limit = self._limit()
        for address, length, flags in live.segments:
            if not flags & SG_DMA_BUS_ADDRESS and address + length - 1 > limit:
                self.broken("DMA-27", "an address beyond the mask", live, bus=address, length=length, mask=limit)
        self._expect_apart(live)
        self.entries += max(len(live.sizes), 1)
        self.segments += len(live.segments)
        self.live[live.key] = live
        self.history.append(live)
        if live.direction != DMA_FROM_DEVICE:
            self._get(live, "DMA-21", "the device reads other bytes than the CPU wrote")
        if live.direction == DMA_TO_DEVICE:
            for address, length, flags in live.segments:
                for at in {address, address + length - 1} if not flags & SG_DMA_BUS_ADDRESS else ():
                    if self.bench.reach(at, write=True) is not None and not self.bench.fixed(at):
                        self.broken("DMA-18", "the device can write what is mapped TO_DEVICE", live, bus=at)

    def _expect_apart(self, live: Live) -> None:
        """No address means two things: where two mappings share one, it is the same byte."""
        for other in self.live.values():
            for address, length, phys in _extents(live):
                for at, n, there in _extents(other):
                    if at < address + length and address < at + n:
                        same = phys is not None and there is not None and phys - address == there - at
                        if not same and not live.astray and not other.astray:
                            self.broken("DMA-01", "two live mappings share an address", live, bus=max(address, at))


def _extents(live: Live) -> Iterator[tuple[int, int, int | None]]:
    """(bus address, length, physical address) of each run; None where the physical address is not the driver's."""
    if not live.spans:
        for address, length, flags in live.segments:
            if not flags & SG_DMA_BUS_ADDRESS:
                yield address, length, None
        return
    spans = list(live.spans)
    for address, length, flags in live.segments:
        at, left = address, length
        while left and spans:
            start, end = spans[0]
            step = min(left, end - start)
            if not flags & SG_DMA_BUS_ADDRESS:
                yield at, step, start
            at, left = at + step, left - step
            spans[0] = (start + step, end)
            if start + step == end:
                spans.pop(0)
