# SPDX-License-Identifier: MIT
"""What a trace shows of a driver's use of the DMA API: dma-debug's checks (kernel/dma/debug.c), made afterwards.

What was mapped before the trace began may be unmapped and synced in it; that is counted and no finding. Where events
were lost before an event, what pairs it with others is a guess, and its findings say so. A kernel with several CPUs may
trace an unmap after the next user's map of the same address; REORDER is how long that is waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .events import COHERENT, MAP, MAPPING_ERROR, PAGES, SG, SYNC, UNMAP, Event, Reader

MAX_FINDINGS = 10_000               # kept; all are counted
MAX_GONE = 1 << 16                  # addresses per device whose last unmap is remembered
MAX_PAGES = 4096                    # pages of a range that are entered one by one
REORDER = 0.010                     # seconds
BIDIRECTIONAL, TO_DEVICE, FROM_DEVICE = range(3)
DMA_DIRECTIONS = ("DMA_BIDIRECTIONAL", "DMA_TO_DEVICE", "DMA_FROM_DEVICE", "DMA_NONE")
MAY_OVERLAP = ("SKIP_CPU_SYNC", "CACHELINES_OVERLAP")

KINDS = {
    "leak": "still mapped when the trace ends",
    "double-unmap": "unmapped once more",
    "invalid-address": "unmap of DMA_MAPPING_ERROR",
    "wrong-size": "unmapped with another size",
    "wrong-function": "unmapped with the function of another kind of mapping",
    "wrong-cpu-address": "freed with another CPU address",
    "wrong-count": "list unmapped or synced with another entry count",
    "wrong-direction": "unmapped or synced with another direction",
    "wrong-attributes": "MMIO at map or at unmap, but not both",
    "sync-unmapped": "sync of what was unmapped",
    "sync-outside": "sync beyond the mapping",
    "overlap": "two mappings of one device overlap",
    "beyond-mask": "address that the device cannot reach",
    "error": "the mapping failed",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """line: of the event that shows it; mapped_at: of the event that made the mapping, 0 if there is none."""

    kind: str
    line: int
    device: str
    function: str
    text: str
    certain: bool = True
    mapped_at: int = 0
    task: str = ""

    def json(self) -> dict[str, object]:
        return {"kind": self.kind, "line": self.line, "device": self.device, "function": self.function,
                "text": self.text, "certain": self.certain, "mapped_at": self.mapped_at or None, "task": self.task}


Range = tuple[int, int, Event, int | None]      # start, end, whose, physical minus bus address


@dataclass(slots=True)
class Bus:
    """What one device has mapped, by bus address."""

    pages: dict[int, list[Range]] = field(default_factory=dict)
    large: list[Range] = field(default_factory=list)
    lists: dict[int, list[Event]] = field(default_factory=dict)       # by the first entry's physical address
    gone: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)
    masks: tuple[int, int] | None = None
    asked: bool = False

    def enter(self, item: Range) -> list[Range]:
        """Enter a range; those that may overlap it, some more than once."""
        start, end = item[0], item[1]
        first, last = start >> 12, (end - 1 if end > start else start) >> 12
        near = [*self.large] if self.large else []
        if last - first >= MAX_PAGES:
            near += [other for page, here in self.pages.items() if first <= page <= last for other in here]
            self.large.append(item)
            return near
        for page in range(first, last + 1):
            here = self.pages.get(page)
            if here is None:
                self.pages[page] = [item]
            else:
                near += here
                here.append(item)
        return near

    def remove(self, mapping: Event) -> None:
        for start, size in mapping.ranges:
            first, last = start >> 12, (start + size - 1 if size else start) >> 12
            if last - first >= MAX_PAGES:
                self.large = [item for item in self.large if item[2] is not mapping]
                continue
            for page in range(first, last + 1):
                here = self.pages.get(page)
                if here is None:
                    continue
                if len(here) == 1:
                    if here[0][2] is mapping:
                        del self.pages[page]
                    continue
                here[:] = [item for item in here if item[2] is not mapping]
                if not here:
                    del self.pages[page]

    def at(self, addr: int) -> list[Range]:
        """The ranges that hold this address or begin there, oldest first."""
        found = [item for item in self.pages.get(addr >> 12, ()) if item[0] <= addr < item[1] or item[0] == addr]
        if self.large:
            found += [item for item in self.large if item[0] <= addr < item[1]]
        return found

    def forget(self, key: tuple[str, int], event: Event) -> None:
        """Remember that it was unmapped."""
        self.gone.pop(key, None)
        self.gone[key] = (event.line, event.name)
        if len(self.gone) > MAX_GONE:
            del self.gone[next(iter(self.gone))]


class History:
    """Feed it the events in order; finish() adds what only the end shows.

    masks: (mask, coherent mask) by device, or one for all under ""; running: drivers are at work when the trace ends,
    so what is mapped then is no leak.
    """

    def __init__(self, reader: Reader, masks: dict[str, tuple[int, int]] | None = None, *,
                 running: bool = False) -> None:
        self.reader = reader
        self.running = running
        self.findings: list[Finding] = []
        self.counts: Counter[str] = Counter()
        self.before: Counter[str] = Counter()       # unmaps and syncs of what was mapped before the trace began
        self.reordered = 0
        self.live = 0
        self.buses: dict[str, Bus] = {}
        self._masks = masks

    # -- events ------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> Event | None:
        """The mapping that the event is about, or None where this trace shows none."""
        bus = self.buses.get(event.dev)
        if bus is None:
            bus = self.buses[event.dev] = Bus()
        if event.what == MAP:
            return self._map(bus, event)
        if event.what == UNMAP:
            return self._unmap(bus, event)
        if event.what == SYNC:
            return self._sync(bus, event)
        err = f"-{abs(event.err)}" if event.kind == SG else "NULL"
        self._found("error", event, None, f"{event.name.removesuffix('_err')} answered {err}", certain=True)
        return None

    def _map(self, bus: Bus, event: Event) -> Event | None:
        kind = event.kind
        if kind == SG:
            failed = False
        elif kind in (COHERENT, PAGES):
            failed = _null(event.virt)
        else:
            failed = event.addr in MAPPING_ERROR
        if failed:
            event.failed = True
            self._found("error", event, None, f"{event.name} of {event.size} bytes failed", certain=True)
            return event
        self._reachable(bus, event)
        if kind == SG:
            known = event.ents == event.nents and len(event.rows) == len(event.ranges)
            for i, (start, size) in enumerate(event.ranges):
                item = (start, start + size, event, event.rows[i][0] - start if known else None)
                near = bus.enter(item)
                if near:
                    self._overlaps(near, item, event)
            if event.phys is not None:
                bus.lists.setdefault(event.phys, []).append(event)
        else:
            start = event.addr
            item = (start, start + event.size, event, event.phys - start if event.phys is not None else None)
            near = bus.enter(item)
            if near:
                self._overlaps(near, item, event)
        self.live += 1
        return event

    def _reachable(self, bus: Bus, event: Event) -> None:
        if not bus.asked:
            masks = self._masks if self._masks is not None else self.reader.masks
            bus.asked, bus.masks = True, masks.get(event.dev) or masks.get("")
        if bus.masks is None:
            return
        mask = bus.masks[event.kind == COHERENT]
        for start, size in event.ranges:
            if start + size - 1 > mask:
                self._found("beyond-mask", event, None, f"DMA addr {start:#018x}+{size} overflow (mask {mask:x})",
                            certain=True)
                return

    def _overlaps(self, near: list[Range], item: Range, event: Event) -> None:
        start, end, _, offset = item
        for other_start, other_end, old, other_offset in near:
            if other_start >= end or start >= other_end or old is event:
                continue
            if offset is not None and other_offset == offset:
                if old.dir == event.dir == TO_DEVICE or any(word in attrs for word in MAY_OVERLAP
                                                            for attrs in (old.attrs, event.attrs)):
                    continue
                text = "cacheline tracking EEXIST, overlapping mappings aren't supported"
            else:
                text = "device address is mapped already"
            text += (f" [device address={start:#018x}] [size={end - start} bytes] "
                     f"[mapped at {other_start:#x} with {other_end - other_start} bytes]")
            finding = self._make("overlap", event, old, text)
            if old.overlaps is None:
                old.overlaps = []
            if len(old.overlaps) < 100:
                old.overlaps.append((event.time, finding))
            return

    def _unmap(self, bus: Bus, event: Event) -> Event | None:
        mapping = self._find_list(bus, event) if event.kind == SG else self._find(bus, event)
        addr = event.phys if event.kind == SG else event.addr
        if addr is None:
            return None
        key = ("sg" if event.kind == SG else "", addr)
        if mapping is None:
            self._unmap_of_nothing(bus, event, key)
            return None
        if not _same(event, mapping):
            self._differences(event, mapping)
        bus.remove(mapping)
        if mapping.kind == SG and mapping.phys is not None:
            here = bus.lists[mapping.phys]
            here.remove(mapping)
            if not here:
                del bus.lists[mapping.phys]
        bus.forget(key, event)
        if mapping.kind == SG:
            bus.forget(("", mapping.addr), event)
        self.live -= 1
        if mapping.overlaps is not None:
            self._settle(mapping, event.time)
        return mapping

    def _differences(self, event: Event, mapping: Event) -> None:
        """What of an unmap does not fit the mapping."""
        at = f"[device address={mapping.addr:#018x}] [size={event.size or mapping.size} bytes]"
        if event.kind not in (SG, mapping.kind):
            self._found("wrong-function", event, mapping, f"device driver frees DMA memory with wrong function {at} "
                        f"[mapped as {mapping.kind}] [unmapped as {event.kind}]")
        elif event.kind != SG and event.size != mapping.size:
            self._found("wrong-size", event, mapping, "device driver frees DMA memory with different size "
                        f"[device address={mapping.addr:#018x}] [map size={mapping.size} bytes] "
                        f"[unmap size={event.size} bytes]")
        if event.kind == COHERENT and mapping.kind == COHERENT and event.virt != mapping.virt:
            self._found("wrong-cpu-address", event, mapping, "device driver frees DMA memory with different CPU "
                        f"address {at} [cpu alloc address={mapping.virt}] [cpu free address={event.virt}]")
        if event.kind == SG and event.nents != mapping.nents:
            self._found("wrong-count", event, mapping, "device driver frees DMA sg list with different entry count "
                        f"[map count={mapping.nents}] [unmap count={event.nents}]")
        if event.dir != mapping.dir and mapping.kind != COHERENT:
            self._found("wrong-direction", event, mapping, "device driver frees DMA memory with different direction "
                        f"{at} [mapped with {DMA_DIRECTIONS[mapping.dir]}] "
                        f"[unmapped with {DMA_DIRECTIONS[event.dir]}]")
        if event.name == "dma_unmap_phys" and ("MMIO" in event.attrs) != ("MMIO" in mapping.attrs):
            self._found("wrong-attributes", event, mapping, f"device driver frees DMA memory with different attributes "
                        f"{at} [mapped with {mapping.attrs or 'none'}] [unmapped with {event.attrs or 'none'}]")

    def _unmap_of_nothing(self, bus: Bus, event: Event, key: tuple[str, int]) -> None:
        if event.kind in (COHERENT, PAGES) and _null(event.virt):
            return                                      # free(NULL) is allowed
        if event.kind != SG and event.addr in MAPPING_ERROR:
            self._found("invalid-address", event, None, "device driver tries to free an invalid DMA memory address",
                        certain=True)
        elif key in bus.gone:
            line, name = bus.gone[key]
            if event.kind == SG:
                where = f"[physical address={key[1]:#018x}] [{name} on line {line}]"
            else:
                where = f"[device address={key[1]:#018x}] [size={event.size} bytes] [{name} on line {line}]"
            self._found("double-unmap", event, None,
                        f"device driver tries to free DMA memory it has not allocated {where}")
        else:
            self.before[event.name] += 1
            bus.forget(key, event)

    def _find(self, bus: Bus, event: Event) -> Event | None:
        """The mapping that begins here: the oldest that fits best."""
        best, fit = None, -1
        for item in bus.at(event.addr):
            owner = item[2]
            if item[0] == event.addr and (owner.kind != SG or owner.addr == event.addr):
                points = 4 * (owner.kind == event.kind) + 2 * (owner.size == event.size) + (owner.dir == event.dir)
                if points > fit:
                    best, fit = owner, points
        return best

    def _find_list(self, bus: Bus, event: Event) -> Event | None:
        best, fit = None, -1
        for owner in bus.lists.get(event.phys or 0, ()):
            points = 2 * (owner.nents == event.nents) + (owner.dir == event.dir)
            if points > fit:
                best, fit = owner, points
        return best

    def _sync(self, bus: Bus, event: Event) -> Event | None:
        item = next((item for item in bus.at(event.addr) if event.addr + event.size <= item[1]), None)
        if item is None:
            item = next(iter(bus.at(event.addr)), None)
        if item is None:
            if ("", event.addr) in bus.gone:
                self._found("sync-unmapped", event, None, "device driver tries to sync DMA memory it has not allocated "
                            f"[device address={event.addr:#018x}] [size={event.size} bytes]")
            else:
                self.before[event.name] += 1
            return None
        start, end, mapping, _ = item
        if event.kind == SG:
            if event.nents != mapping.nents:
                self._found("wrong-count", event, mapping, "device driver syncs DMA sg list with different entry count "
                            f"[map count={mapping.nents}] [sync count={event.nents}]")
        elif event.addr + event.size > end:
            self._found("sync-outside", event, mapping, "device driver syncs DMA memory outside allocated range "
                        f"[device address={start:#018x}] [allocation size={end - start} bytes] "
                        f"[sync offset+size={event.addr - start + event.size}]")
        self._sync_direction(event, mapping)
        return mapping

    def _sync_direction(self, event: Event, mapping: Event) -> None:
        if mapping.dir in (BIDIRECTIONAL, event.dir):
            return
        how = (f"[device address={event.addr:#018x}] [size={mapping.size} bytes] "
               f"[mapped with {DMA_DIRECTIONS[mapping.dir]}] [synced with {DMA_DIRECTIONS[event.dir]}]")
        self._found("wrong-direction", event, mapping,
                    f"device driver syncs DMA memory with different direction {how}")

    # -- findings ----------------------------------------------------------------------------------------------

    def _make(self, kind: str, event: Event, mapping: Event | None, text: str, certain: bool = False) -> Finding:
        return Finding(kind, event.line, event.dev, event.name, f"DMA-API: {event.dev}: {text}",
                       certain or self.reader.certain, mapping.line if mapping is not None else 0, event.task)

    def _found(self, kind: str, event: Event, mapping: Event | None, text: str, *, certain: bool = False) -> None:
        self._add(self._make(kind, event, mapping, text, certain))

    def _add(self, finding: Finding) -> None:
        self.counts[finding.kind] += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)

    def _settle(self, mapping: Event, time: float) -> None:
        """The mapping is gone: what overlapped it a moment before was only traced too early."""
        for since, finding in mapping.overlaps or ():
            if time - since <= REORDER:
                self.reordered += 1
            else:
                self._add(finding)

    def finish(self) -> None:
        """Call it once, after the last event: reports what is left, a line per device."""
        for dev, bus in self.buses.items():
            left = {item[2].line: item[2] for items in (*bus.pages.values(), bus.large) for item in items}
            for mapping in left.values():
                self._settle(mapping, float("inf"))
            if not left or self.running:
                continue
            ordered = sorted(left.values(), key=lambda mapping: mapping.line)
            self._add(_leak(dev, ordered, self.reader))
        self.findings.sort(key=lambda finding: (finding.line, finding.device))


def _null(virt: str) -> bool:
    """Is it a NULL pointer, as %p prints it? "" where the kernel prints none."""
    return virt == "(null)" or (bool(virt) and not virt.strip("0x"))


def _same(event: Event, mapping: Event) -> bool:
    """Nothing to say about an unmap, in the usual case."""
    return (event.kind == mapping.kind != COHERENT and event.dir == mapping.dir and event.attrs == mapping.attrs
            and (event.nents == mapping.nents if event.kind == SG else event.size == mapping.size))


def _leak(dev: str, left: list[Event], reader: Reader) -> Finding:
    one = left[0]
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(Counter(m.name for m in left).items()))
    return Finding("leak", one.line, dev, one.name,
                   f"DMA-API: {dev}: device driver has pending DMA allocations while released from device "
                   f"[count={len(left)}] One of leaked entries details: [device address={one.addr:#018x}] "
                   f"[size={one.size} bytes] [mapped with {DMA_DIRECTIONS[one.dir]}] [mapped as {one.kind}] "
                   f"({kinds}; lines {_lines(left)})", reader.certain, one.line)


def _lines(left: Iterable[Event]) -> str:
    lines = [str(mapping.line) for mapping in left]
    return ", ".join(lines[:10]) + (", …" if len(lines) > 10 else "")
