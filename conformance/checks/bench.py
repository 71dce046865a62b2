# SPDX-License-Identifier: MIT
"""The bench a check works on: a new machine with the device under test, buffers in its RAM, and the oracles.

What is right is decided by bytes, by the device's own accesses through the hardware, and by counters; nothing here
knows how a backend chooses addresses or when it merges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NoReturn

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, DmaError, DmaFault, KernelBug
from scatterlist.core import SgTable

from ..noise import Noise

if TYPE_CHECKING:
    from random import Random

    from arch import BackendRecord, MachineConfig

    from ..facts import Subject

DIRECTIONS = (DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE)
GUARD = 192                             # bytes before and after a buffer that nothing may change: three cache lines
IO_PAGE = 1 << 16                       # the largest page of an IOMMU
Row = tuple[int, int, int]              # (page, offset, length) of an entry
Segment = tuple[int, int, int]          # (dma_address, dma_length, dma_flags)
PREFETCHING = ("arm", "arm64")          # whose CPUs load lines that no instruction asked for
SG_DMA_BUS_ADDRESS = 1                  # include/linux/scatterlist.h, Linux 6.1


class Violation(Exception):
    """The rule is broken. evidence: what was seen, for the report."""

    def __init__(self, text: str, **evidence: object) -> None:
        super().__init__(text)
        self.evidence = evidence

    def __str__(self) -> str:
        seen = ", ".join(f"{key} {show(value)}" for key, value in self.evidence.items())
        return f"{self.args[0]} ({seen})" if seen else str(self.args[0])


class NotTested(Exception):
    """The check could not bring about what the rule speaks of; the message says why."""


def show(value: object) -> str:
    """A value of evidence: integers beyond a page in hex, bytes cut short."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:#x}" if value >= 4096 else str(value)
    if isinstance(value, bytes):
        return value[:8].hex() + ("…" if len(value) > 8 else "")
    if isinstance(value, tuple):
        return "(" + ", ".join(show(item) for item in value) + ")"
    if isinstance(value, list):
        shown = [show(item) for item in value[:8]] + (["…"] if len(value) > 8 else [])
        return "[" + ", ".join(shown) + "]"
    return str(value)


@dataclass(slots=True)
class Block:
    """A stretch of RAM from which buffers are carved."""

    start: int
    frames: int
    free: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Lot:
    """The CPU's side of a list: its entries, the bytes that the CPU put into each, and the bytes around them."""

    shape: str
    rows: list[Row]
    data: list[bytes]
    guards: list[tuple[int, bytes]]

    @property
    def content(self) -> bytes:
        return b"".join(self.data)

    @property
    def size(self) -> int:
        return sum(length for _, _, length in self.rows)


#: The shapes of Bench.rows, in the order in which the checks go through them.
SHAPES = (
    "one", "pages", "adjacent", "odd", "crossing", "touching", "joinable", "reversed", "tiny", "mixed",
)


class Bench:
    """A new machine from the record's configuration, with the device under test on it.

    fresh() gives the same once more, untouched, with other random numbers; twin() with the same ones.
    """

    def __init__(
        self, subject: Subject, seed: str, profile: Literal["quick", "full"] = "quick", rule: str = ""
    ) -> None:
        self.subject = subject
        self.seed = seed
        self.profile = profile
        self.rule = rule                    # the clause that the check is asked for
        self.random: Random = Noise(seed)
        self.device = subject.config.build()
        self.machine = self.device.machine
        self.ops = self.device.dma_ops if self.device.dma_ops is not None else self.device.direct
        self.page = self.machine.page_size
        self._blocks: dict[str, list[Block]] = {}
        self._virgin: dma_ops.Device | None = None
        self._fresh = 0

    @property
    def record(self) -> BackendRecord:
        return self.subject.record

    @property
    def config(self) -> MachineConfig:
        return self.subject.config

    def fresh(self) -> Bench:
        self._fresh += 1
        return Bench(self.subject, f"{self.seed}/{self._fresh}", self.profile, self.rule)

    def twin(self) -> Bench:
        return Bench(self.subject, self.seed, self.profile, self.rule)

    @property
    def rounds(self) -> int:
        """How often a check that draws random numbers does so."""
        return 1 if self.profile == "quick" else 6

    def sibling(self) -> dma_ops.Device:
        """Another device on the machine: in a domain of its own where the record has such, else beside the one under
        test, with the same backend, mask and limits."""
        if self.config.sibling is not None:
            return self.config.sibling(self.device)
        mine = self.device
        dev = dma_ops.Device(
            f"{mine.name}-2", self.machine, dma_ops=mine.dma_ops, mask=mine.dma_mask, pci=mine.is_pci,
            coherent=mine.dma_coherent, bus_dma_limit=mine.bus_dma_limit, dma_ranges=mine.dma_ranges,
        )
        for name in ("direct", "io_tlb_mem", "dma_ops_bypass", "untrusted", "coherent_dma_mask", "dma_offset"):
            setattr(dev, name, getattr(mine, name))
        return dev

    def read_by(self, dev: dma_ops.Device, address: int, length: int) -> bytes:
        """What another device reads. A fault is a violation."""
        try:
            return dev.dma_read(address, length)
        except DmaFault as fault:
            raise Violation(f"{dev.name} cannot read what is mapped for it: {fault}") from None

    # -- buffers -----------------------------------------------------------------------------------------------

    def blocks(self, where: str) -> list[Block]:
        """"high": in the highest RAM that the device can be mapped to; "low": in the lowest. At least one."""
        return self._blocks.get(where) or self._grow(where)

    def _grow(self, where: str) -> list[Block]:
        if not self.subject.reach:
            raise NotTested("no page of RAM can be mapped for the device")
        limit = self.subject.reach[0] if where == "high" else self.subject.reach[-1]
        for order in (6, 5, 4):
            try:
                start = self.machine.alloc_ram(order, limit)
            except MemoryError:
                continue
            self._blocks.setdefault(where, []).append(Block(start, 1 << order, list(range(1 << order))))
            return self._blocks[where]
        raise NotTested(f"the machine has no {1 << 4} free pages below {show(limit)}")

    def start(self, where: str = "low") -> int:
        """The first byte of a block: a stretch of RAM for mappings whose bytes do not matter."""
        return self.blocks(where)[0].start

    def frames(self, n: int, where: str = "", *, contiguous: bool = False) -> list[int]:
        """n free frames: contiguous ones, or scattered ones of which no two follow one another."""
        where = where or self.random.choice(("high", "low"))
        self.blocks(where)
        for _ in range(2):
            for block in self._blocks[where]:
                taken = self._run(block, n) if contiguous else self._scatter(block, n)
                if taken:
                    gone = set(taken)
                    block.free = [i for i in block.free if i not in gone]
                    return [block.start + i * self.page for i in taken]
            self._grow(where)
        raise NotTested(f"no {n} frames are left on the bench")

    def in_one_io_page(self, n: int) -> int:
        """Where n contiguous frames begin that lie in one I/O page, if that is larger than they are."""
        run = self.frames(2 * n, contiguous=True)
        return next((frame for frame in run[1 : n + 1] if frame % IO_PAGE == 0), run[0])

    def _run(self, block: Block, n: int) -> list[int]:
        free = set(block.free)
        turn = self.random.randrange(len(block.free)) if block.free else 0
        for first in block.free[turn:] + block.free[:turn]:
            if free.issuperset(range(first, first + n)):
                return list(range(first, first + n))
        return []

    def _scatter(self, block: Block, n: int) -> list[int]:
        taken: list[int] = []
        for i in self.random.sample(block.free, min(3 * n, len(block.free))):
            if len(taken) < n and (not taken or i != taken[-1] + 1):
                taken.append(i)
        return taken if len(taken) == n else []

    def rows(self, shape: str, where: str = "") -> list[Row]:
        """Entries of a shape; every list of more than one has entries of different lengths and offsets."""
        page, rnd = self.page, self.random
        if shape == "one":
            return [(self.frames(1, where)[0], rnd.randrange(1, 64) * 4, rnd.randrange(8, page // 2))]
        if shape == "pages":
            run = self.frames(2, where, contiguous=True)
            return [(run[0], 0, 2 * page)] + [(frame, 0, page) for frame in self.frames(3, where)]
        if shape == "adjacent":
            run = self.frames(4, where, contiguous=True)
            return [(run[0], 0, page), (run[1], 0, 2 * page), (run[3], 0, page)]
        if shape == "odd":
            return [
                (frame, offset := rnd.randrange(1, page // 2) * 2 - 1, rnd.randrange(1, page - offset + 1))
                for frame in self.frames(5, where)
            ]
        if shape == "crossing":
            rows = []
            for _ in range(3):
                first = self.frames(3, where, contiguous=True)[0]
                offset = rnd.randrange(page // 2, page)
                rows.append((first, offset, rnd.randrange(page - offset + 1, 3 * page - offset + 1)))
            return rows
        if shape == "touching":             # each entry begins at the very byte at which the last one ended
            first = self.frames(3, where, contiguous=True)[0]
            cuts = [128, *sorted(rnd.sample(range(200, 3 * page - 200), 4)), 3 * page - 64]
            return [
                (first + (a // page) * page, a % page, b - a) for a, b in pairwise(cuts) if b > a
            ]
        if shape == "joinable":             # ends and begins on page boundaries, on frames that do not follow
            frames = self.frames(4, where)
            offset = rnd.randrange(1, page // 4) * 4
            return [
                (frames[0], offset, page - offset),
                (frames[1], 0, page),
                (frames[2], 0, page),
                (frames[3], 0, rnd.randrange(1, page)),
            ]
        if shape == "reversed":             # physically adjacent, but the other way round
            run = self.frames(3, where, contiguous=True)
            return [(run[2], 0, page), (run[1], 0, page - 4), (run[0], 4, page - 4)]
        if shape == "tiny":
            return [
                (frame, offset, length)
                for frame, (offset, length) in zip(
                    self.frames(4, where), ((0, 1), (page - 1, 1), (3, 2), (page - 9, 9)), strict=True
                )
            ]
        if shape == "mixed":
            return [*self.rows("joinable", where), *self.rows("crossing", where), *self.rows("one", where)]
        raise ValueError(f"no shape is called {shape}")

    def lot(self, shape: str | Sequence[Row], where: str = "") -> Lot:
        """Entries of a shape, filled with random bytes by the CPU, and with guards around them."""
        rows = self.rows(shape, where) if isinstance(shape, str) else list(shape)
        guards = []
        for start, end in self._guard_zones(rows):
            raw = self.random.randbytes(end - start)
            self.machine.cpu_write(start, raw)
            guards.append((start, raw))
        lot = Lot(shape if isinstance(shape, str) else "given", rows, [], guards)
        self.refill(lot)
        return lot

    def refill(self, lot: Lot) -> None:
        """Let the CPU write other bytes into every entry."""
        lot.data = [self.random.randbytes(length) for _, _, length in lot.rows]
        for (page, offset, _), raw in zip(lot.rows, lot.data, strict=True):
            self.machine.cpu_write(page + offset, raw)

    def _guard_zones(self, rows: Sequence[Row]) -> list[tuple[int, int]]:
        """What lies within GUARD bytes of the entries, in none of them, and in frames that no other list gets."""
        owned = [(page + offset, page + offset + length) for page, offset, length in rows if length]
        own: set[int] = set()
        for start, end in owned:
            own.update(range(start // self.page, (end - 1) // self.page + 1))
        for block in (block for blocks in self._blocks.values() for block in blocks):
            first = block.start // self.page
            taken = {frame - first + d for frame in own for d in (-1, 0, 1)}.intersection(block.free)
            if taken:
                block.free = [i for i in block.free if i not in taken]
                own.update(first + i for i in taken)
        zones: list[tuple[int, int]] = []
        for frame in sorted(own):
            zones = union(zones, frame * self.page, (frame + 1) * self.page)
        near: list[tuple[int, int]] = []
        for start, end in sorted(owned):
            near = union(near, max(start - GUARD, 0), end + GUARD)
        return [
            part
            for first, last in zones
            for start, end in near
            if first < end and start < last
            for part in subtract((max(first, start), min(last, end)), owned)
        ]

    def table(self, lot: Lot | Sequence[Row]) -> SgTable:
        rows = lot.rows if isinstance(lot, Lot) else list(lot)
        try:
            return SgTable(rows, page_shift=self.machine.page_shift)
        except OSError as error:
            raise NotTested(f"sg_alloc_table of {len(rows)} entries: {error}") from None

    # -- mapping and the device's accesses ---------------------------------------------------------------------

    def map(self, sgt: SgTable, direction: int = DMA_BIDIRECTIONAL, attrs: int = 0) -> list[Segment]:
        """dma_map_sgtable, and the segments it made."""
        dma_ops.dma_map_sgtable(self.device, sgt, direction, attrs)
        return self.segments(sgt)

    def unmap(self, sgt: SgTable, direction: int = DMA_BIDIRECTIONAL, attrs: int = 0) -> None:
        dma_ops.dma_unmap_sgtable(self.device, sgt, direction, attrs)

    def segments(self, sgt: SgTable, count: int | None = None) -> list[Segment]:
        """What sg_dma_address() and sg_dma_len() say of the first count (default: sgt.nents) entries."""
        aliased = not self.machine.need_sg_dma_length
        return [
            (address, length if aliased else dma_length, flags)
            for _, _, length, address, dma_length, flags in sgt.entries()[: sgt.nents if count is None else count]
        ]

    def read(self, segments: Iterable[Segment]) -> bytes:
        """What the device reads, segment after segment. A fault is a violation."""
        out = b""
        for address, length, _ in segments:
            try:
                out += self.device.dma_read(address, length)
            except DmaFault as fault:
                raise Violation(f"the device cannot read what is mapped: {fault}") from None
        return out

    def write(self, segments: Iterable[Segment], raw: bytes) -> None:
        """Let the device write raw over the segments. A fault is a violation. A CPU that fetches ahead may have
        taken the lines into its cache meanwhile, so it has."""
        at = 0
        for address, length, _ in segments:
            self._prefetch(address, length)
            try:
                self.device.dma_write(address, raw[at : at + length])
            except DmaFault as fault:
                raise Violation(f"the device cannot write what is mapped: {fault}") from None
            at += length

    def _prefetch(self, address: int, length: int) -> None:
        if self.machine.arch not in PREFETCHING or self.device.dma_coherent:
            return
        end = address + length
        while address < end:
            n = min(end - address, self.page - address % self.page)
            phys = self.reach(address)
            if phys is not None:
                self.machine.cpu_read(phys, n)
            address += n

    def cpu(self, lot: Lot) -> bytes:
        """What the CPU reads in the entries, one after another."""
        return b"".join(self.machine.cpu_read(page + offset, length) for page, offset, length in lot.rows)

    def expect_read(self, segments: Sequence[Segment], lot: Lot, what: str = "the device reads other bytes") -> None:
        seen = self.read(segments)
        self.same(seen, lot.content, f"{what} ({lot.shape})")

    def same(self, seen: bytes, meant: bytes, text: str) -> None:
        if seen != meant:
            pairs = enumerate(zip(seen, meant, strict=False))
            at = next((i for i, (a, b) in pairs if a != b), min(len(seen), len(meant)))
            raise Violation(text, byte=at, of=len(meant), seen=seen[at : at + 8], meant=meant[at : at + 8])

    def expect_guards(self, lot: Lot) -> None:
        """Nothing around the buffers has changed."""
        for start, raw in lot.guards:
            self.same(self.machine.cpu_read(start, len(raw)), raw, f"memory beside a buffer changed ({lot.shape})")

    def reach(self, address: int, write: bool = False, device: dma_ops.Device | None = None) -> int | None:
        """The physical address behind a bus address by the hardware's own translation; None where it faults."""
        if not 0 <= address < 1 << 64:
            return None                                 # what a broken backend answered is no bus address
        device = device if device is not None else self.device
        ops = device.dma_ops if device.dma_ops is not None else device.direct
        try:
            phys: int = ops.walker.lookup(device, address, write)[0]
        except DmaFault:
            return None
        return phys

    def window(self, address: int) -> int | None:
        """Where an address leads on a machine on which nothing was ever mapped: what a fixed window gives."""
        if self._virgin is None:
            self._virgin = self.config.build()
        return self.reach(address, device=self._virgin)

    def fixed(self, address: int) -> bool:
        """Does the address lead where it leads without any mapping? Then it is no table's doing."""
        phys = self.reach(address)
        return phys is not None and phys == self.window(address)

    def expect_gone(self, segments: Iterable[Segment], what: str) -> None:
        """After unmap and flush no access gets through, but for what reaches memory without any mapping."""
        if self.record.stale:
            return
        for address, length, _ in segments:
            for at in {address, address + length // 2, address + length - 1} if length else ():
                phys = self.reach(at)
                if phys is not None and phys != self.window(at):
                    raise Violation(f"the device still gets through {what}", bus=at, phys=phys)

    # -- counters ----------------------------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """What is allocated, after all lazy frees: by the backend's own count and in RAM."""
        self.ops.flush()
        pool = self.device.io_tlb_mem
        counters = dict(self.ops.resources())
        used = getattr(pool, "used", None)
        if isinstance(used, int):
            counters["swiotlb slots"] = used
        own = sum(block.frames for blocks in self._blocks.values() for block in blocks)
        counters["pages of RAM"] = self.machine.pages_allocated - own
        return counters

    def expect_counters(self, before: dict[str, int], when: str) -> None:
        after = self.counters()
        if after != before:
            leaked = {key: after.get(key, 0) - before.get(key, 0) for key in before | after}
            changed = ", ".join(f"{key} {change:+d}" for key, change in sorted(leaked.items()) if change)
            raise Violation(f"{when} the counters are not what they were: {changed}")

    # -- what may go wrong on purpose --------------------------------------------------------------------------

    def dies(self, error: KernelBug) -> NoReturn:
        raise Violation(f"the kernel would die: {error}")

    def expect_bytes(self, lot: Lot, direction: int, attrs: int = 0) -> list[Segment]:
        """The whole life of a mapping: the device reads what the CPU wrote, the CPU what the device wrote, the
        neighbours stay. The segments, which are unmapped."""
        sgt = self.table(lot)
        segments = self.map(sgt, direction, attrs)
        if direction != DMA_FROM_DEVICE:
            self.expect_read(segments, lot)
        if direction != DMA_TO_DEVICE:
            raw = self.random.randbytes(sum(length for _, length, _ in segments))
            self.write(segments, raw)
        self.unmap(sgt, direction, attrs)
        if direction != DMA_TO_DEVICE:
            self.same(self.cpu(lot), raw, f"the CPU reads other bytes than the device wrote ({lot.shape})")
        self.expect_guards(lot)
        return segments


def errno_of(error: DmaError) -> int:
    return error.errno if error.errno is not None else 0


def union(ranges: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Disjoint ascending ranges with one more that begins at or after the last one's start."""
    if ranges and start <= ranges[-1][1]:
        return [*ranges[:-1], (ranges[-1][0], max(ranges[-1][1], end))]
    return [*ranges, (start, end)]


def subtract(whole: tuple[int, int], holes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of a range without the holes."""
    left = [whole] if whole[0] < whole[1] else []
    for start, end in holes:
        if start < whole[1] and whole[0] < end:
            left = [
                part
                for a, b in left
                for part in ((a, min(b, start)), (max(a, end), b))
                if part[0] < part[1]
            ]
    return left
