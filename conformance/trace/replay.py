# SPDX-License-Identifier: MIT
"""A trace's workload on another machine: each map, unmap and sync that the trace shows, through the public DMA API.

All devices of the trace become the one device of the machine, so they share its bus addresses and its bounce buffers.
What the trace unmaps is unmapped as it was mapped: a driver's errors are not replayed. Only the workload is: the bytes
are not, so where there are bounce buffers, maps and unmaps skip the copies (DMA_ATTR_SKIP_CPU_SYNC), but for syncs.

Where the trace's physical addresses go: what is RAM of the machine stays. Anything else is folded into the machine's
largest range of RAM (what a bounce pool leaves of it): the distance from that range's start is kept modulo its size.
So a buffer stays in one piece, and neighbours stay neighbours. Two frames may become one; a frame may be mapped twice
anywhere but on ps3_ioc0_dma_ops. MMIO
(dma_map_resource, DMA_ATTR_MMIO) is folded into the 1 GiB above the RAM.
"""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dma_ops
from dma_ops import DmaError, DmaFault, KernelBug
from dma_ops.swiotlb import swiotlb_init
from scatterlist import SgTable

from ..cost import FLUSHES
from .events import COHERENT, MAP, PAGES, SG, SGT, UNMAP, Event

if TYPE_CHECKING:
    from arch import BackendRecord, MachineConfig
    from dma_ops import Device

SAMPLES = 500                       # of a time series, at most
DRAIN = 4096                        # actions after which the machine's log is counted
MAX_CONTENT = 256 << 20             # bytes of RAM that syncs may fill
MMIO_SPAN = 1 << 30
ATTRS = {"WEAK_ORDERING": 1 << 1, "WRITE_COMBINE": 1 << 2, "NO_KERNEL_MAPPING": 1 << 4, "SKIP_CPU_SYNC": 1 << 5,
         "FORCE_CONTIGUOUS": 1 << 6, "ALLOC_SINGLE_PAGES": 1 << 7, "NO_WARN": 1 << 8, "PRIVILEGED": 1 << 9}
SKIP_CPU_SYNC = ATTRS["SKIP_CPU_SYNC"]
CACHE = ("sync_dev", "sync_cpu")


class Unplaced(Exception):
    """A buffer that fits nowhere; the message says why."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is other than in the machine's configuration."""

    mask_bits: int | None = None
    swiotlb_force: bool = False
    p2p_refused: bool = False


@dataclass(slots=True)
class Figures:
    """What a replay found. failures: by what the caller gets ("-ENOMEM"); largest_hole and span: of the bus addresses
    from the lowest to the highest that was mapped when most ranges were."""

    maps: int = 0
    unmaps: int = 0
    syncs: int = 0
    syncs_skipped: int = 0
    entries: int = 0
    segments: int = 0
    mapped_bytes: int = 0
    bounced: int = 0
    bounced_bytes: int = 0
    unreachable: int = 0
    folded: int = 0
    peak_bytes: int = 0
    peak_ranges: int = 0
    span: int = 0
    largest_hole: int = 0
    flushes: int | None = None
    cache_syncs: int | None = None
    failures: Counter[str] = field(default_factory=Counter)
    first_failure: int = 0

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


class Placement:
    """Where the trace's physical addresses go on a machine."""

    def __init__(self, device: Device) -> None:
        machine = device.machine
        self.ranges = list(machine.ram_ranges)
        pool: Any = device.io_tlb_mem
        if pool is not None:
            parts = [part for start, end in self.ranges
                     for part in ((start, min(end, pool.start)), (max(start, pool.end), end))]
            self.ranges = [part for part in parts if part[0] < part[1]]
        self.start, end = max(self.ranges, key=lambda part: part[1] - part[0])
        align = max(machine.page_size, 1 << 16)
        self.start = -(-self.start // align) * align
        self.size = (end - self.start) // align * align
        self.top = -(-max(end for _, end in machine.ram_ranges) // MMIO_SPAN) * MMIO_SPAN
        self.page = machine.page_size
        self.moved = 0

    def ram(self, phys: int, size: int) -> int:
        """Raises Unplaced."""
        for start, end in self.ranges:
            if start <= phys and phys + size <= end:
                return phys
        self.moved += 1
        if size > self.size:
            raise Unplaced("larger than the RAM")
        at = (phys - self.start) % self.size
        if at + size > self.size:                       # not across the end
            at = (self.size - size) // self.page * self.page - self.page + at % self.page
            if at < 0:
                raise Unplaced("larger than the RAM")
        return self.start + at

    def mmio(self, phys: int, size: int) -> int:
        if phys >= self.top:
            return phys
        if size > MMIO_SPAN:
            raise Unplaced("larger than the space above the RAM")
        self.moved += 1
        return self.top + min(phys % MMIO_SPAN, MMIO_SPAN - size)


class Live:
    """A mapping on the model: what it takes to undo it."""

    __slots__ = ("addr", "bytes", "cpu", "dir", "kind", "ranges", "sgt", "size")

    def __init__(self, kind: str, size: int, direction: int) -> None:
        self.kind = kind
        self.size = size
        self.dir = direction
        self.addr = 0
        self.cpu = 0
        self.sgt: SgTable | None = None
        self.ranges: list[tuple[int, int]] = []
        self.bytes = 0


class Replay:
    """One backend on one machine. reason: why it cannot, or why it stopped; figures are what it did."""

    def __init__(self, record: BackendRecord, config: MachineConfig, scenario: Scenario,
                 ram: list[tuple[int, int]]) -> None:
        """ram: the memory of the trace's own machine, as far as the trace tells; what is elsewhere is a peer's."""
        self.record = record
        self.config = config
        self.scenario = scenario
        self.ram = ram
        self.reason = ""
        self.stopped_at = 0
        self.figures = Figures()
        self.series: list[dict[str, float | int]] = []
        self.device = config.build()
        self.machine = self.device.machine
        self.ops = self.device.dma_ops if self.device.dma_ops is not None else self.device.direct
        self._live: dict[int, Live] = {}
        self._ranges = 0
        self._bytes = 0
        self._actions = 0
        self._every = 1
        self._cookie: Any = getattr(self.ops, "cookie", None)
        self._ms: int | None = None
        self._kinds: Counter[str] = Counter()
        if scenario.swiotlb_force and not self._force_swiotlb():
            return
        self.place = Placement(self.device)
        self._pool = self.device.io_tlb_mem is not None
        self._limit = MAX_CONTENT // 4096 + self.machine.mem.used
        if scenario.mask_bits is not None:
            try:
                dma_ops.dma_set_mask_and_coherent(self.device, (1 << scenario.mask_bits) - 1)
            except DmaError as error:
                self.reason = f"dma_set_mask of {scenario.mask_bits} bits answers {_errno(error)}"
                return
        self.machine.events = []

    def _force_swiotlb(self) -> bool:
        """The boot parameter; backends that have no bounce pool stay as they are."""
        pool: Any = self.device.io_tlb_mem
        if pool is None:
            if self.device.dma_ops is not None:
                return True
            try:
                pool = self.device.io_tlb_mem = swiotlb_init(self.machine, force_bounce=True)
            except (MemoryError, ValueError) as error:
                self.reason = f"swiotlb=force: no pool: {error}"
        if pool is None:
            self.reason = self.reason or "swiotlb=force: the machine has no memory for a pool"
            return False
        pool.force_bounce = True
        return True

    # -- actions -----------------------------------------------------------------------------------------------

    def feed(self, event: Event, mapping: Event) -> None:
        """Do what the event did, to the mapping that it is about."""
        if self.reason:
            return
        what = event.what
        try:
            if what == MAP:
                self._map(mapping)
            if what == UNMAP or mapping.failed:
                live = self._live.pop(mapping.line, None)
                if live is not None:
                    self._undo(live)
            elif what != MAP:
                self._sync(event, mapping)
        except KernelBug as bug:
            self.reason = f"the kernel would die: {bug}"
            self.stopped_at = event.line
        self._actions += 1
        if self._cookie is not None:
            self._tick(event.time)
        if self._actions % DRAIN == 0:
            self._drain()
        if self._actions % self._every == 0:
            self._sample(event.time)

    def _map(self, mapping: Event) -> None:
        figures = self.figures
        live = Live(mapping.kind, mapping.size, mapping.dir)
        try:
            if mapping.kind == SG:
                self._map_sg(mapping, live)
            elif mapping.kind in (COHERENT, PAGES, SGT):
                self._alloc(mapping, live)
            else:
                self._map_page(mapping, live)
        except (DmaError, Unplaced, MemoryError, OSError, ValueError, OverflowError) as error:
            figures.failures[_errno(error)] += 1
            figures.first_failure = figures.first_failure or mapping.line
            return
        figures.maps += 1
        figures.segments += len(live.ranges)
        live.bytes = sum(size for _, size in live.ranges)
        figures.mapped_bytes += live.bytes
        self._bytes += live.bytes
        self._ranges += len(live.ranges)
        self._live[mapping.line] = live
        figures.peak_bytes = max(figures.peak_bytes, self._bytes)
        figures.peak_ranges = max(figures.peak_ranges, self._ranges)

    def _foreign(self, phys: int) -> bool:
        """Is it the memory of a peer, as far as the trace tells?"""
        return bool(self.ram) and not any(start <= phys < end for start, end in self.ram)

    def _refuse(self, mapping: Event) -> None:
        if self.scenario.p2p_refused and (
                mapping.mmio or (mapping.phys is not None and self._foreign(mapping.phys))
                or any(self._foreign(phys) for phys, _ in mapping.rows)):
            raise DmaError(errno.EREMOTEIO, "P2P refused")

    def _map_page(self, mapping: Event, live: Live) -> None:
        self._refuse(mapping)
        self.figures.entries += 1
        attrs = self._attrs(mapping)
        phys = mapping.phys or 0
        if mapping.mmio:
            phys = self.place.mmio(phys, mapping.size)
            live.kind = "resource"
            live.addr = dma_ops.dma_map_resource(self.device, phys, mapping.size, mapping.dir, attrs)
        else:
            phys = self.place.ram(phys, mapping.size)
            offset = phys & (self.place.page - 1)
            live.addr = dma_ops.dma_map_page(self.device, phys - offset, offset, mapping.size, mapping.dir, attrs)
            self._look(live.addr, phys, mapping.size)
        live.ranges = [(live.addr, mapping.size)]

    def _map_sg(self, mapping: Event, live: Live) -> None:
        self._refuse(mapping)
        page = self.place.page
        placed = [(self.place.ram(phys, length), length) for phys, length in mapping.rows]
        self.figures.entries += len(placed)
        live.sgt = sgt = SgTable([(phys & -page, phys & (page - 1), length) for phys, length in placed],
                                 page_shift=self.machine.page_shift)
        dma_ops.dma_map_sgtable(self.device, sgt, mapping.dir, self._attrs(mapping))
        live.ranges = [(addr, length) for addr, length, _ in sgt.segments()]
        if not self.machine.need_sg_dma_length:
            live.ranges = [(addr, row[2]) for (addr, _), row in zip(live.ranges, sgt.entries(), strict=False)]
        self._look_at_list(live.ranges, placed)

    def _alloc(self, mapping: Event, live: Live) -> None:
        self.figures.entries += 1
        if mapping.kind in (PAGES, SGT):
            live.kind = PAGES
            live.cpu, live.addr = dma_ops.dma_alloc_pages(self.device, mapping.size, mapping.dir)
        else:
            live.cpu, live.addr = dma_ops.dma_alloc_attrs(self.device, mapping.size,
                                                          self._attrs(mapping) & ~SKIP_CPU_SYNC)
        live.ranges = [(live.addr, mapping.size)]

    def _attrs(self, mapping: Event) -> int:
        attrs = SKIP_CPU_SYNC if self._pool else 0
        if mapping.attrs:
            for word in mapping.attrs.split("|"):
                attrs |= ATTRS.get(word, 0)
        return attrs

    def _look(self, addr: int, phys: int, size: int) -> None:
        """Does the device reach the buffer itself, other memory (a bounce buffer), or nothing?"""
        try:
            reached = self.ops.walker.lookup(self.device, addr)[0]
        except DmaFault:
            try:
                reached = self.ops.walker.lookup(self.device, addr, True)[0]
            except DmaFault:
                self.figures.unreachable += 1
                return
        if reached != phys:
            self.figures.bounced += 1
            self.figures.bounced_bytes += size

    def _look_at_list(self, ranges: list[tuple[int, int]], placed: list[tuple[int, int]]) -> None:
        """The first byte of each entry, found by walking the segments."""
        index, (addr, left) = 0, ranges[0]
        for phys, length in placed:
            if not left:
                index += 1
                if index == len(ranges):
                    return
                addr, left = ranges[index]
            self._look(addr, phys, length)
            addr, left = addr + length, max(0, left - length)

    def _undo(self, live: Live) -> None:
        dev = self.device
        attrs = SKIP_CPU_SYNC if self._pool else 0
        if live.sgt is not None:
            dma_ops.dma_unmap_sgtable(dev, live.sgt, live.dir, attrs)
            live.sgt.free()
        elif live.kind == COHERENT:
            dma_ops.dma_free_attrs(dev, live.size, live.cpu, live.addr)
        elif live.kind == PAGES:
            dma_ops.dma_free_pages(dev, live.size, live.cpu, live.addr, live.dir)
        elif live.kind == "resource":
            dma_ops.dma_unmap_resource(dev, live.addr, live.size, live.dir, attrs)
        else:
            dma_ops.dma_unmap_page(dev, live.addr, live.size, live.dir, attrs)
        self.figures.unmaps += 1
        self._bytes -= live.bytes
        self._ranges -= len(live.ranges)

    def _sync(self, event: Event, mapping: Event) -> None:
        live = self._live.get(mapping.line)
        if live is None or live.kind in (COHERENT, "resource"):
            return
        if self._pool and self.machine.mem.used > self._limit:
            self.figures.syncs_skipped += 1
            return
        for_cpu = event.name.endswith("cpu")
        if live.sgt is not None:
            sync_list = dma_ops.dma_sync_sgtable_for_cpu if for_cpu else dma_ops.dma_sync_sgtable_for_device
            sync_list(self.device, live.sgt, live.dir)
        else:
            offset = min(event.addr - mapping.addr, live.size - 1)
            sync = dma_ops.dma_sync_single_for_cpu if for_cpu else dma_ops.dma_sync_single_for_device
            sync(self.device, live.addr + offset, min(event.size, live.size - offset), live.dir)
        self.figures.syncs += 1

    # -- counting ----------------------------------------------------------------------------------------------

    def _tick(self, time: float) -> None:
        """A flush queue's timer runs with the trace's clock."""
        ms = int(time * 1000)
        if self._ms is not None and ms > self._ms:
            self._cookie.tick(min(ms - self._ms, 1000))
        self._ms = ms

    def _drain(self) -> None:
        events = self.machine.events
        if events:
            self._kinds.update(event[0] for event in events)
            events.clear()
        self.machine.dmesg.clear()

    def _sample(self, time: float) -> None:
        pool: Any = self.device.io_tlb_mem
        ranges, hole, span = len(self._live), 0, 0
        if self._live:
            ordered = sorted(item for live in self._live.values() for item in live.ranges)
            ranges, end = len(ordered), ordered[0][0]
            for start, size in ordered:
                hole = max(hole, start - end)
                end = max(end, start + size)
            span = end - ordered[0][0]
        if ranges >= max((sample["ranges"] for sample in self.series), default=0):
            self.figures.span, self.figures.largest_hole = span, hole
        self.series.append({
            "time": round(time, 6), "bytes": self._bytes, "ranges": ranges, "span": span, "largest_hole": hole,
            "bounce_slots": pool.used if pool is not None else 0, "failed": self.figures.failed,
        })
        if len(self.series) > SAMPLES:
            self.series = self.series[1::2]
            self._every *= 2

    def finish(self, time: float) -> None:
        """Call it once, after the last action."""
        if self._actions and not self.reason:
            self._sample(time)
        self._drain()
        figures = self.figures
        if hasattr(self, "place"):
            figures.folded = self.place.moved
        cache = sum(self._kinds[kind] for kind in CACHE)
        other = sum(self._kinds[kind] for kind in FLUSHES)
        syncs = getattr(getattr(self._cookie, "domain", None), "syncs", None)
        if syncs is not None or other:
            figures.flushes = syncs if syncs is not None else other
        if cache:
            figures.cache_syncs = cache
        if not self.reason and not figures.maps and figures.failures:
            self.reason = "every mapping fails"
        for live in self._live.values():                    # what the trace leaves mapped
            if live.sgt is not None:
                live.sgt.free()
        self._live.clear()


def _errno(error: Exception) -> str:
    if isinstance(error, Unplaced):
        return f"no place: {error}"
    if isinstance(error, OSError) and error.errno:
        return f"-{errno.errorcode.get(error.errno, str(error.errno))}"
    return str(error) or type(error).__name__
