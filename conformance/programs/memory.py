# SPDX-License-Identifier: MIT
"""The memory that a program uses, numbered by frames, and what the CPU must see in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..checks.bench import Bench, NotTested
from ..checks.topology import FORWARDS, Kind, Peers, peers
from ..noise import Noise

RAM_FRAMES = 8                          # of each stretch of RAM: frames 0 to 7 are the highest that can be mapped,
PEER_FRAMES = 4                         # 8 to 15 the lowest; 16 to 19, 20 to 23 and 24 to 27 the peers' memory
LINE = 64                               # two mappings must not share a line of the CPU's cache
PEERS: tuple[Kind, ...] = ("near", "near2", "far")

Row = tuple[int, int, int]              # (frame, offset, length)
Span = tuple[int, int]                  # physical addresses: first, behind the last


@dataclass(slots=True)
class Area:
    """Contiguous frames. content: what the CPU must read there, as far as no device owns it."""

    start: int
    frames: int
    content: bytearray
    peer: Kind = "ram"
    touched: set[int] = field(default_factory=set)


class Memory:
    """Two stretches of RAM, and if peers are asked for a stretch of each of theirs."""

    def __init__(self, bench: Bench, *, p2p: bool) -> None:
        self.bench = bench
        self.machine = bench.machine
        self.page = bench.page
        self.areas = [self._ram(limit) for limit in (bench.subject.reach[0], bench.subject.reach[-1])]
        self.peers: Peers | None = None
        if p2p:
            self.peers = peers(bench, FORWARDS)
            for kind in PEERS:
                first, _, _ = self.peers.row(kind, 0, PEER_FRAMES * self.page)
                self.areas.append(Area(first, PEER_FRAMES, bytearray(PEER_FRAMES * self.page), kind))
        self.frames = [(area, i) for area in self.areas for i in range(area.frames)]

    def _ram(self, limit: int | None) -> Area:
        order = RAM_FRAMES.bit_length() - 1
        try:
            return Area(self.machine.alloc_ram(order, limit), RAM_FRAMES, bytearray(RAM_FRAMES * self.page))
        except MemoryError:
            raise NotTested(f"the machine has no {RAM_FRAMES} free pages") from None

    def fits(self, rows: Sequence[Row], *, ram: bool = False) -> bool:
        """Is there such memory?"""
        for frame, offset, length in rows:
            if not 0 <= frame < len(self.frames) or length <= 0 or offset < 0:
                return False
            area, i = self.frames[frame]
            if i * self.page + offset + length > area.frames * self.page or (ram and area.peer != "ram"):
                return False
        return bool(rows)

    def phys(self, row: Row) -> tuple[int, int, int]:
        """(page, offset, length) as a scatterlist has it."""
        area, i = self.frames[row[0]]
        return area.start + i * self.page, row[1], row[2]

    def peer(self, row: Row) -> Kind:
        return self.frames[row[0]][0].peer

    def spans(self, rows: Sequence[Row]) -> list[Span]:
        return [(page + offset, page + offset + length) for page, offset, length in map(self.phys, rows)]

    def _parts(self, spans: Sequence[Span]) -> Iterator[tuple[Area, int, int]]:
        for start, end in spans:
            for area in self.areas:
                if area.start <= start < area.start + len(area.content):
                    yield area, start - area.start, end - area.start

    def write(self, spans: Sequence[Span], raw: bytes) -> None:
        """Let the CPU write."""
        at = 0
        for area, first, end in self._parts(spans):
            part = raw[at : at + end - first]
            if area.peer == "ram":
                self.machine.cpu_write(area.start + first, part)
            else:
                self.machine.mem.poke(area.start + first, part)
            area.content[first:end] = part
            area.touched.update(range(first // self.page, (end - 1) // self.page + 1))
            at += end - first

    def learn(self, spans: Sequence[Span], raw: bytes) -> None:
        """From now on the CPU must see what the device wrote."""
        at = 0
        for area, first, end in self._parts(spans):
            area.content[first:end] = raw[at : at + end - first]
            at += end - first

    def content(self, spans: Sequence[Span]) -> bytes:
        """What the CPU must see."""
        return b"".join(area.content[first:end] for area, first, end in self._parts(spans))

    def read(self, spans: Sequence[Span]) -> bytes:
        """What the CPU sees."""
        return b"".join(
            (self.machine.cpu_read if area.peer == "ram" else self.machine.mem.peek)(area.start + first, end - first)
            for area, first, end in self._parts(spans)
        )

    def around(self, spans: Sequence[Span]) -> list[Span]:
        """A cache line before and behind each span, as far as it lies in the same memory."""
        found = []
        for start, end in spans:
            for area in self.areas:
                last = area.start + len(area.content)
                if area.start <= start < last:
                    found += [(max(start - LINE, area.start), start), (end, min(end + LINE, last))]
        return [(a, b) for a, b in found if a < b]

    def touched(self) -> list[Span]:
        """Every frame that was ever written, and its neighbours."""
        found = []
        for area in self.areas:
            frames = {i + d for i in area.touched for d in (-1, 0, 1)}
            for i in sorted(frames & set(range(area.frames))):
                found.append((area.start + i * self.page, area.start + (i + 1) * self.page))
        return found


def lines(spans: Sequence[Span]) -> list[Span]:
    """The spans' cache lines."""
    return [(start // LINE * LINE, -(-end // LINE) * LINE) for start, end in spans]


def overlap(some: Sequence[Span], others: Sequence[Span]) -> bool:
    return any(a < d and c < b for a, b in some for c, d in others)


def random_bytes(tag: object, n: int) -> bytes:
    """The bytes that a call of this tag writes: the same whatever came before it."""
    return Noise(str(tag)).randbytes(n)
