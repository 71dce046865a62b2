# SPDX-License-Identifier: MIT
"""The books: memory and its owners, the table that the events of a run write, live bus addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MMIO, CACHE = 16, 4                     # bits of prot in a `map` event
_MAP = re.compile(r"map (0x[0-9a-f]+) (0x[0-9a-f]+) n=(\d+)/(\d+) prot=(0x[0-9a-f]+)(?: ret=(\S+))?")
_UNMAP = re.compile(r"unmap (0x[0-9a-f]+) n=(\d+)/(\d+)")
_SYNC = re.compile(r"(sync_dev|sync_cpu) (0x[0-9a-f]+)\+(0x[0-9a-f]+)")


def number(text: str) -> int:
    return int(text, 0)


@dataclass(frozen=True, slots=True)
class Part:
    """Memory that an operation names. kind: "ram", or of P2P memory "bus", "host", "unsup", "?" (not known)."""

    phys: int
    length: int
    kind: str
    bus: int = 0                        # its bus address, of P2P memory

    @property
    def end(self) -> int:
        return self.phys + self.length


@dataclass(slots=True)
class Arena:
    """A named stretch of RAM, or of a provider's BAR."""

    phys: int
    size: int
    page: int
    kind: str = "ram"
    bus: int = 0
    provider: str = ""


class Memory:
    """The arenas of a run, and tokens that name parts of them: arena:page:offset:length or address:length."""

    def __init__(self, page: int) -> None:
        self.page = page
        self.arenas: dict[str, Arena] = {}

    def part(self, token: str) -> Part | None:
        """None for memory that the recorder did not get."""
        words = token.split(":")
        if len(words) == 2:
            return self.at(number(words[0]), number(words[1]))
        arena = self.arenas.get(words[0])
        if arena is None:
            return None
        phys = arena.phys + number(words[1]) * arena.page + number(words[2])
        return Part(phys, number(words[3]), arena.kind, arena.bus + phys - arena.phys)

    def at(self, phys: int, length: int) -> Part:
        arena = self.provider(phys)
        if arena is None:
            return Part(phys, length, "ram")
        return Part(phys, length, arena.kind, arena.bus + phys - arena.phys)

    def provider(self, phys: int) -> Arena | None:
        for arena in self.arenas.values():
            if arena.kind != "ram" and arena.phys <= phys < arena.phys + arena.size:
                return arena
        return None


@dataclass(slots=True)
class Entry:
    phys: int
    prot: int


@dataclass(slots=True)
class MapEvent:
    iova: int
    phys: int
    done: int
    prot: int
    ret: str


class Table:
    """What the IOMMU driver was told, one entry per granule. The `ptes` of a run's state say whether this is all."""

    def __init__(self, granule: int) -> None:
        self.granule = granule
        self.entries: dict[int, Entry] = {}

    def apply(self, events: list[str]) -> list[MapEvent]:
        """Book the events of one operation; its map requests."""
        maps = []
        for event in events:
            if found := _MAP.match(event):
                iova, phys, prot = number(found[1]), number(found[2]), number(found[5])
                done = int(found[3])
                maps.append(MapEvent(iova, phys, done, prot, found[6] or ""))
                for i in range(done):
                    self.entries[iova + i * self.granule] = Entry(phys + i * self.granule, prot)
            elif found := _UNMAP.match(event):
                for i in range(int(found[2])):
                    self.entries.pop(number(found[1]) + i * self.granule, None)
        return maps

    def snapshot(self) -> dict[int, int]:
        return {iova: entry.phys for iova, entry in self.entries.items()}

    def granules(self, addr: int, size: int) -> range:
        """The granules of a range of bus addresses."""
        g = self.granule
        return range(addr & -g, (addr + size + g - 1) & -g if size else addr & -g, g)

    def left(self, addr: int, size: int) -> list[int]:
        """The entries in a range of bus addresses."""
        return [iova for iova in self.granules(addr, size) if iova in self.entries]

    def walk(self, addr: int, length: int) -> Iterator[tuple[int, int, Entry | None]]:
        """(bytes so far, bytes, entry) of each granule that a range touches."""
        at = 0
        while at < length:
            iova = addr + at
            step = min(length - at, self.granule - iova % self.granule)
            yield at, step, self.entries.get(iova & -self.granule)
            at += step


@dataclass(slots=True)
class Live:
    """Bus addresses that somebody owns. size: of the allocation, in bytes, whole granules."""

    first: int
    size: int

    @property
    def end(self) -> int:
        return self.first + self.size


@dataclass(slots=True)
class Slot:
    """What an operation with an id made, as long as it is there."""

    kind: str
    parts: list[Part] = field(default_factory=list)
    addr: int = 0
    size: int = 0
    segments: list[tuple[int, int, bool]] = field(default_factory=list)
    live: list[Live] = field(default_factory=list)
    linked: set[int] = field(default_factory=set)       # granules, of a range
    bounce: int = 0                                     # slots of the pool that it took
    attrs: int = 0
    failed: bool = False
    ends: list[tuple[str, int, int]] = field(default_factory=list)      # (kind, first, last byte) of each segment


def maintained(events: list[str]) -> Iterator[tuple[str, int, int]]:
    """(which, physical address, bytes) of the cache maintenance among events."""
    for event in events:
        if found := _SYNC.match(event):
            yield found[1], number(found[2]), number(found[3])
