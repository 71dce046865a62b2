# SPDX-License-Identifier: MIT
"""The kernel's dma:* events (include/trace/events/dma.h) from the text that tracefs, trace-cmd or perf print.

One pass, one line at a time. The layouts of Linux 6.12 and of later kernels are the same to the reader, as fields have
names; what it does not know it counts. An entry's length is in no event: it is that of the mapped segment where there
are as many segments as entries, or is given by a kprobe event (docs/trace.md), or is guessed.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

MAX_LINE = 4 << 20
MAX_NAMES = 500                     # kinds of other events that are told apart
PAGE = 4096
U32, U64 = (1 << 32) - 1, (1 << 64) - 1
MAPPING_ERROR = (U32, U64)          # DMA_MAPPING_ERROR of either dma_addr_t

DIRECTIONS = ("BIDIRECTIONAL", "TO_DEVICE", "FROM_DEVICE", "NONE")
_DIRECTION = {name: number for number, name in enumerate(DIRECTIONS)}

#: What a mapping is made with, spelt as dma-debug does.
SINGLE, SG, COHERENT, RESOURCE, PAGES, SGT = (
    "single", "scather-gather", "coherent", "resource", "noncoherent", "noncontiguous")
MAP, UNMAP, SYNC, FAILED = range(4)

#: Event: (what it does, what kind of mapping it is about).
EVENTS = {
    "dma_map_page": (MAP, SINGLE), "dma_map_phys": (MAP, SINGLE), "dma_map_resource": (MAP, RESOURCE),
    "dma_unmap_page": (UNMAP, SINGLE), "dma_unmap_phys": (UNMAP, SINGLE), "dma_unmap_resource": (UNMAP, RESOURCE),
    "dma_alloc": (MAP, COHERENT), "dma_free": (UNMAP, COHERENT),
    "dma_alloc_pages": (MAP, PAGES), "dma_free_pages": (UNMAP, PAGES),
    "dma_alloc_sgt": (MAP, SGT), "dma_free_sgt": (UNMAP, SGT), "dma_alloc_sgt_err": (FAILED, SGT),
    "dma_map_sg": (MAP, SG), "dma_unmap_sg": (UNMAP, SG), "dma_map_sg_err": (FAILED, SG),
    "dma_sync_single_for_cpu": (SYNC, SINGLE), "dma_sync_single_for_device": (SYNC, SINGLE),
    "dma_sync_sg_for_cpu": (SYNC, SG), "dma_sync_sg_for_device": (SYNC, SG),
}

#: The frequent events, of one range each: a match with the whole line is twice as fast as the way through the fields.
_SINGLE = re.compile(r".*?\[\d+\] +(?:\S{1,8} +)?(\d+\.\d+): +(?:dma:)?"
                     r"(dma_(?:un)?map_(?:page|phys|resource)|dma_sync_single_for_(?:cpu|device)): +(\S+) dir=(\w+) "
                     r"dma_addr=([0-9a-f]{1,16}) size=(\d{1,20})(?: phys_addr=([0-9a-f]{1,16}))?(?: attrs=(\S*))?")
#: Any event's head. perf pads names on the left; trace-cmd -l has no [CPU], --ts-diff puts a difference before the
#: name, and a first second's times are whole microseconds.
_HEAD = re.compile(r".*?\s(\d{1,20}(?:\.\d+)?): +(?:\(\+\d*\) +)?(?:dma:)?(dma_\w+): ")
_RAW = ("device=", "[FAILED TO PARSE]")
_FIELD = re.compile(r" (\w+)=(\{[^}]*\}|\S*(?: \d+(?= |$))*)")     # older trace-cmds print arrays as "1 2 3"
_OTHER = re.compile(r".*?\s\d+(?:\.\d+)?: +(?:\(\+\d*\) +)?([A-Za-z_][\w:.]*): ?")
_LOST = re.compile(r"CPU:\s*\d+ \[(?:LOST (?:(\d+) )?EVENTS|(?:(\d+) )?EVENTS DROPPED)\]")
_LENGTHS = re.compile(r'\(__dma_map_sg\S*\) name="([^"]*)" nents=(\d{1,9}) (.*)')
_LENGTH = re.compile(r"\b[lc](\d{1,6})=(\d{1,10})\b")
_MASK = re.compile(r"# pci (\S+) .*\bdma_mask_bits=(\d{1,2})\b(?: consistent=(\d{1,2})\b)?")
_WRITTEN = re.compile(r"# entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18})")
_USABLE = re.compile(r"# .*e820: \[mem 0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\] usable")
_TASK = re.compile(r"\s*(\S.*?-\d+)\s+(?:\[|\d+[.\w]{4,}\s)|\s*(\S.*?)\s+(?:\d+/)?(\d+)\s+\[")


class TraceError(ValueError):
    """The input is no such trace; the message is one sentence for the user."""


class Damaged(ValueError):
    """A line that begins as an event and does not go on as one."""


class Event:
    """One dma:* event; that of a map stands for the mapping too.

    rows: [(physical address, length)] of a list's entries that the kernel printed (128 at most); ranges: [(bus address,
    length)]; nents and ents count them all. failed and overlaps: for history.py.
    """

    __slots__ = ("addr", "attrs", "dev", "dir", "ents", "err", "failed", "guessed", "kind", "line", "name", "nents",
                 "overlaps", "phys", "ranges", "raw", "rows", "size", "time", "virt", "what")

    line: int
    time: float
    name: str
    what: int
    kind: str
    dev: str
    dir: int
    addr: int
    size: int
    phys: int | None
    attrs: str
    rows: list[tuple[int, int]]
    ranges: list[tuple[int, int]]
    nents: int
    ents: int
    guessed: bool
    failed: bool
    virt: str
    err: int
    raw: str
    overlaps: list[tuple[float, Any]] | None

    @property
    def mmio(self) -> bool:
        return self.kind == RESOURCE or "MMIO" in self.attrs

    @property
    def task(self) -> str:
        """The task and its pid, as the trace names them."""
        match = _TASK.match(self.raw)
        return "" if match is None else match[1] or f"{match[2]}-{match[3]}"


class Reader:
    """Iterate to get the events; what else the stream held is in the counters, which grow meanwhile."""

    def __init__(self, stream: BinaryIO, name: str = "-") -> None:
        self.name = name
        self.lines = 0
        self.events: Counter[str] = Counter()
        self.other: Counter[str] = Counter()
        self.comments = 0
        self.unknown = 0                            # lines that are nothing of the above
        self.damaged = 0                            # dma:* events that cannot be read
        self.first_damaged: tuple[int, str] | None = None
        self.lost = 0                               # events, as far as the trace says how many
        self.lost_lines: list[int] = []
        self.overwritten = 0                        # events that the ring buffer dropped before the first line
        self.guessed = 0                            # lists whose entries' lengths are guessed
        self.truncated = 0                          # lists of more entries than the kernel prints
        self.masks: dict[str, tuple[int, int]] = {}         # device: (mask, coherent mask), from "# pci" lines
        self.ram: list[tuple[int, int]] = []                # usable memory, from a boot log in the header
        self.first: float | None = None
        self.last = 0.0
        self._stream = _text(stream, name)
        self._lengths: dict[str, tuple[int, dict[int, int]]] = {}

    @property
    def certain(self) -> bool:
        """Has nothing been lost so far that could change what is paired with what?"""
        return not self.lost_lines and not self.damaged

    def __iter__(self) -> Iterator[Event]:
        """Raises TraceError."""
        readline = self._stream.readline
        while True:
            try:
                line = readline(MAX_LINE)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise TraceError(f"{self.name}: the gzip data breaks off or is damaged after line {self.lines} "
                                 f"({error})") from None
            except OSError as error:
                raise TraceError(f"{self.name}: {error.strerror or error}") from None
            if not line:
                return
            self.lines += 1
            match = _SINGLE.match(line)
            if match is not None:
                event = self._event(match[2], match, line)
            else:
                name, time, rest = _head(line)
                if name not in EVENTS:
                    self._else(line)
                    continue
                if rest.startswith(_RAW):
                    raise TraceError(f"{self.name}: line {self.lines} has the event's raw fields: give what `trace-cmd "
                                     "report` prints without -R, or the text of tracefs if trace-cmd is too old")
                event = self._event(name, (time, rest), line)
            if event is not None:
                yield event

    def _event(self, name: str, found: re.Match[str] | tuple[str, str], line: str) -> Event | None:
        """found: what _SINGLE matched, or the time and the fields. None if the line is damaged, which is counted."""
        event = Event()
        event.name, event.raw, event.line = name, line, self.lines
        event.what, event.kind = EVENTS[name]
        try:
            if isinstance(found, tuple):
                event.time = float(found[0]) / (1 if "." in found[0] else 1_000_000)
                self._fields(event, found[1])
            else:
                time, _, event.dev, direction, addr, size, phys, attrs = found.groups()
                event.time = float(time)
                event.dir = _DIRECTION[direction]
                event.addr, event.size, event.attrs = int(addr, 16), int(size), attrs or ""
                if event.what == MAP:
                    if phys is None:
                        raise Damaged("phys_addr")
                    event.phys = int(phys, 16)
                    event.ranges, event.rows, event.overlaps = [(event.addr, event.size)], [], None
                    event.failed = False
                event.nents = event.ents = 1
            if not 0 <= event.time < 1e15:
                raise Damaged("time")
            if event.size > U64 or (event.addr + event.size > U64 + 1 and event.addr != U64):
                raise Damaged("size")
        except (ValueError, KeyError):
            self.damaged += 1
            if self.first_damaged is None:
                self.first_damaged = (self.lines, line[:200].strip())
            return None
        self.events[name] += 1
        if self.first is None:
            self.first = event.time
        self.last = event.time
        return event

    def _fields(self, event: Event, rest: str) -> None:
        """The fields by their names. Raises KeyError or ValueError."""
        fields = dict(_FIELD.findall(rest))
        event.dev = rest.partition(" ")[0]
        if not event.dev or "=" in event.dev:
            raise Damaged("device")
        event.dir = _DIRECTION[fields.get("dir", "BIDIRECTIONAL")]
        event.attrs = fields.get("attrs", "")
        event.virt = fields.get("virt_addr", "")
        event.phys, event.addr, event.size = None, 0, 0
        event.nents = event.ents = 1
        event.rows, event.overlaps, event.failed = [], None, False
        if event.kind == SG:
            return self._list(event, fields)
        event.addr, event.size = int(fields["dma_addr"], 16), int(fields["size"])
        event.ranges = [(event.addr, event.size)]
        if event.kind == SGT and "phys_addrs" in fields:
            event.nents = len(_array(fields["phys_addrs"]))
        elif event.kind in (SINGLE, RESOURCE) and event.what == MAP:
            event.phys = int(fields["phys_addr"], 16)

    def _list(self, event: Event, fields: dict[str, str]) -> None:
        event.ranges, event.guessed = [], False
        if event.what == FAILED:
            event.err = int(fields["err"])
            event.nents = len(_array(fields["dma_addrs"]))
            return
        if event.what in (SYNC, MAP):
            addresses, sizes = _array(fields["dma_addrs"]), _array(fields["sizes"])
            if not addresses or len(addresses) != len(sizes) or max(sizes) > U32:
                raise Damaged("dma_addrs")
            event.ranges = list(zip(addresses, sizes, strict=True))
            event.addr, event.size = addresses[0], sum(sizes)
            if any(addr + size > U64 + 1 for addr, size in event.ranges):
                raise Damaged("sizes")
            event.nents = event.ents = len(addresses)
            if event.what == SYNC:
                return
        physes = _array(fields["phys_addrs"])
        if not physes:
            raise Damaged("phys_addrs")
        event.phys, event.nents = physes[0], len(physes)
        if event.what == UNMAP:
            return
        if "nents" in fields:
            event.nents = int(fields["nents"].partition("/")[2])
            event.ents = int(fields["ents"].partition("/")[2])
            if event.nents < len(physes) or event.ents < len(event.ranges) or event.nents > U32:
                raise Damaged("nents")
        lengths = self._entry_lengths(event, physes)
        event.rows = list(zip(physes, lengths, strict=True))
        self.truncated += event.nents > len(physes)

    def _entry_lengths(self, event: Event, physes: list[int]) -> list[int]:
        count = len(physes)
        sizes = [size for _, size in event.ranges]
        nents, told = self._lengths.pop(event.dev, (0, {}))
        if nents == event.nents:
            lengths = [told.get(i) or PAGE - phys % PAGE for i, phys in enumerate(physes)]
            exact = sum(lengths) == sum(sizes) if count == nents else all(i in told for i in range(count))
            if max(lengths) <= U32 and (exact or count < nents):
                event.guessed = not exact
                self.guessed += event.guessed
                return lengths
        if event.ents == event.nents and count == len(sizes):
            return sizes
        self.guessed += 1
        event.guessed = True
        return _guess(physes, sum(sizes) if count == event.nents else count * PAGE)

    def _else(self, line: str) -> None:
        """A line that is no dma:* event."""
        if line.startswith("#"):
            self.comments += 1
            if (match := _MASK.match(line)) is not None:
                bits, coherent = int(match[2]), int(match[3] or match[2])
                self.masks[match[1]] = ((1 << min(bits, 64)) - 1, (1 << min(coherent, 64)) - 1)
            elif (match := _WRITTEN.match(line)) is not None:
                self.overwritten = max(0, int(match[2]) - int(match[1]))
            elif (match := _USABLE.match(line)) is not None and len(self.ram) < 1000:
                self.ram.append((int(match[1], 16), int(match[2], 16) + 1))
        elif (match := _LOST.match(line)) is not None:
            self.lost += int((match[1] or match[2] or "0")[:18])
            if len(self.lost_lines) < 1000:
                self.lost_lines.append(self.lines)
        elif (match := _OTHER.match(line[:1000])) is not None:
            name = match[1] if match[1] in self.other or len(self.other) < MAX_NAMES else "(more names)"
            self.other[name] += 1
            if "(__dma_map_sg" in line and (match := _LENGTHS.search(line)) is not None:
                self._told(match)
        elif not line.strip() or line.startswith(("cpus=", "version = ")):
            self.comments += 1
        else:
            self.unknown += 1

    def _told(self, match: re.Match[str]) -> None:
        """A kprobe event that gives the lengths of the list that is mapped next."""
        nents, (before, lengths) = int(match[2]), self._lengths.get(match[1], (0, {}))
        if before != nents:
            lengths = {}
        lengths |= {int(i): int(length) for i, length in _LENGTH.findall(match[3]) if int(i) < nents}
        if len(self._lengths) < MAX_NAMES or match[1] in self._lengths:
            self._lengths[match[1]] = (nents, lengths)


def _head(line: str) -> tuple[str, str, str]:
    """Name, time and fields of what may be a dma:* event; the time as it is written, also where it is damaged."""
    if "dma_" not in line:
        return "", "", ""
    match = _HEAD.match(line)
    if match is not None:
        return match[2], match[1], line[match.end():].strip()
    if _OTHER.match(line[:1000]) is not None:       # another event, that tells of one
        return "", "", ""
    before, _, rest = line.partition(": dma")
    name, _, rest = f"dma{rest}".partition(": ")
    return name.removeprefix("dma:"), before.rpartition(" ")[2], rest.strip()


def _guess(physes: list[int], total: int) -> list[int]:
    """Each entry runs to its page's end, the last one takes what remains; at least a byte, and no more than total in
    all where that can be."""
    lengths = []
    for i, phys in enumerate(physes):
        others = len(physes) - 1 - i                # each wants a byte
        length = PAGE - phys % PAGE if others else total
        lengths.append(min(max(1, min(length, total - others)), U32))
        total -= lengths[-1]
    return lengths


def _array(text: str) -> list[int]:
    """"{0x1,0x2}" of the kernel, or "1 2". Raises ValueError."""
    values = [int(word, 0) for word in text.strip("{}").replace(",", " ").split()]
    if any(not 0 <= value <= U64 for value in values):
        raise Damaged("array")
    return values


def _text(stream: BinaryIO, name: str) -> io.TextIOWrapper:
    """The lines of a file that may be packed. Raises TraceError."""
    buffered = cast(io.BufferedReader, stream if hasattr(stream, "peek") else io.BufferedReader(stream))
    try:
        head = buffered.peek(16)[:16]
    except OSError as error:
        raise TraceError(f"{name}: {error.strerror or error}") from None
    if head.startswith(b"\x17\x08\x44tracing"):
        raise TraceError(f"{name} is trace-cmd's binary file: give what `trace-cmd report {name}` prints")
    if head.startswith(b"PERFILE2"):
        raise TraceError(f"{name} is perf's binary file: give what `perf script -i {name}` prints")
    packed: BinaryIO = cast(BinaryIO, gzip.GzipFile(fileobj=buffered)) if head.startswith(b"\x1f\x8b") else buffered
    return io.TextIOWrapper(packed, encoding="utf-8", errors="replace", newline="\n")
