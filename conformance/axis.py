# SPDX-License-Identifier: MIT
"""The second axis of P2PDMA: per route and design, what the core lets arrive (policy) and what happens if it does
(mechanism).

policy     supported, refused: what dma_pci_p2pdma_supported() tells a driver, which then does not try. It is Linux
           6.1's, whichever the design; RAM is always supported
mechanism  native: every byte is reached where it is, by the design's own way; fallback: by another (one mapping per
           segment, dma_map_sg underneath, a copy through host memory); refused: an errno, and nothing was touched;
           unsafe: it is mapped to what the hardware does not lead to the peer, or a refusal or an unmap left traces,
           or the kernel would die; absent: no P2P page can exist on this machine, or the call is a NULL pointer
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DmaError, DmaFault, KernelBug
from scatterlist.core import SgTable
from scatterlist.entry import sg_is_pci_p2pdma

from .checks.bench import SG_DMA_BUS_ADDRESS, Bench, Lot, Row, Segment, errno_of
from .checks.topology import FORWARDS, UNKNOWN, Kind, Peers, peers
from .facts import Subject
from .paths import DESIGNS, Path, entries

#: What lies where, by route: the host bridge above the peers, and whose memory each entry is.
LISTS: dict[str, tuple[tuple[int, int], tuple[Kind, ...]]] = {
    "same-switch": (UNKNOWN, ("near", "near2")),
    "host-bridge": (FORWARDS, ("far", "far")),
    "blocked": (UNKNOWN, ("far",)),
    "mixed-list": (FORWARDS, ("ram", "ram", "near", "far", "ram", "near2")),
    "two-providers": (UNKNOWN, ("near", "near2", "near")),
}
NO_P2PDMA = "the machine has no CONFIG_PCI_P2PDMA, so no P2P page exists"
COPY = "copy through host memory"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a design makes of a route. seen: the fallback, the errno, or what goes wrong."""

    policy: str
    mechanism: str
    seen: str = ""

    def __str__(self) -> str:
        return f"{self.mechanism} ({self.seen})" if self.seen else self.mechanism


def run_route(design: str, route: str, subject: Subject, seed: str = "0") -> Outcome:
    """What becomes of a route, one of selection.ROUTES, under a design, one of paths.DESIGNS."""
    path = DESIGNS[design]
    if route == "host-memory":
        return Outcome("supported", *try_ram(path, subject, seed))
    policy = "supported" if dma_ops.dma_pci_p2pdma_supported(subject.device) else "refused"
    if not subject.machine.pci_p2pdma:
        return Outcome(policy, "absent", NO_P2PDMA)
    return Outcome(policy, *try_peers(path, subject, seed, *LISTS[route]))


def try_ram(path: Path, subject: Subject, seed: str) -> tuple[str, str]:
    """(mechanism, what was seen) of pages of RAM."""
    bench = Bench(subject, seed)
    return _judge(bench, bench.lot("pages" if subject.reach else [_page(bench)]), path)


def try_peers(path: Path, subject: Subject, seed: str, host: tuple[int, int],
              kinds: tuple[Kind, ...]) -> tuple[str, str]:
    """(mechanism, what was seen) of a page of each kind, below a host bridge."""
    bench = Bench(subject, seed)
    p = peers(bench, host)
    rows = [
        _page(bench) if kind == "ram" and not subject.reach else p.row(kind, 0, bench.page) for kind in kinds
    ]
    forwards = host == FORWARDS
    return _judge(bench, p.lot(rows), path, p, reachable=forwards or "far" not in kinds, forwards=forwards)


def _page(bench: Bench) -> Row:
    """A page of RAM wherever there is one: for a device that is refused all of them."""
    return bench.machine.alloc_ram(0), 0, bench.page


def _judge(
    b: Bench, lot: Lot, path: Path, p: Peers | None = None, *, reachable: bool = True, forwards: bool = True
) -> tuple[str, str]:
    """(mechanism, what was seen) of a list."""
    given = path.prepare(b.device, lot.rows)
    before = b.counters(), b.ops.table()
    try:
        mapping = path.call(b.device, given, DMA_BIDIRECTIONAL)
    except KernelBug as bug:
        if str(bug).startswith("call of NULL"):
            return "absent", "the backend has no map_sg, and Linux would call it"
        return "unsafe", f"the kernel would die: {bug}"
    except DmaError as error:
        name = errno.errorcode.get(errno_of(error), str(error.errno))
        if (b.counters(), b.ops.table()) != before:
            return "unsafe", f"{name}, but something stays allocated"
        if isinstance(given, SgTable) and (entries(given) != lot.rows or marked(given)):
            return "unsafe", f"{name}, but the list was changed"
        return "refused", name
    segments = [(address, length, 0) for address, length in mapping.extents()]
    if not reachable:
        return "unsafe", f"mapped to {segments[0][0]:#x}, where the device does not reach the peer"
    wrong = _wrong_way(p, lot, segments, forwards=forwards) if p is not None else ""
    if wrong:
        return "unsafe", wrong
    try:
        seen = b"".join(b.device.dma_read(address, length) for address, length, _ in segments)
        raw = b.random.randbytes(lot.size)
        b.write(segments, raw)
    except DmaFault as fault:
        return "unsafe", str(fault)
    if seen != lot.content:
        return "unsafe", "the device reads other bytes"
    arrived = p.seen(lot) == raw if p is not None else in_memory(b, lot) == raw
    try:
        mapping.undo()
    except KernelBug as bug:
        return "unsafe", f"the kernel would die in unmap: {bug}"
    if b.counters() != before[0] and _grows(b, lot, path):
        return "unsafe", "something stays allocated after unmap"
    ways = [mapping.how] if path.design in ("C", "new") and mapping.how != "native" else []
    if not arrived:
        if (p.seen(lot) if p is not None else b.cpu(lot)) != raw:
            return "unsafe", "what the device wrote is lost"
        ways.append(COPY)
    if ways:
        return "fallback", ", ".join(ways)
    return "native", kinds_of(p, segments) if p is not None else ""


def _grows(b: Bench, lot: Lot, path: Path) -> bool:
    """Is more allocated after one more map and unmap? Then it is a leak, and nothing that a backend keeps for later."""
    before = b.counters()
    path.map(b.device, lot.rows, DMA_BIDIRECTIONAL).undo()
    return b.counters() != before


def in_memory(b: Bench, lot: Lot) -> bytes:
    """What lies in the entries, past the CPU's cache."""
    return b"".join(b.machine.mem.peek(page + offset, length) for page, offset, length in lot.rows)


def kinds_of(p: Peers, segments: list[Segment]) -> str:
    """What the segments are, by who answers to their addresses: a peer below the switch, or the host bridge."""
    claimed = {p.client.claim(address) is not None for address, _, _ in segments}
    return ", ".join(word for word, kind in (("bus address", True), ("mapped", False)) if kind in claimed)


def marked(sgt: SgTable) -> set[int]:
    """The entries that carry a mark, wherever it is."""
    return {i for i, sg in enumerate(sgt) if sg.dma_flags & SG_DMA_BUS_ADDRESS or sg_is_pci_p2pdma(sg)}


def _wrong_way(p: Peers, lot: Lot, segments: list[Segment], *, forwards: bool) -> str:
    """A peer's memory that the device would reach through a host bridge which does not forward."""
    b = p.bench
    owners: list[Row] = [row for row in lot.rows if p.kind(row) != "ram"]
    if forwards:
        return ""
    for address, length, _ in segments:
        if p.client.claim(address) is not None:
            continue
        for at in range(address, address + length, b.page):
            phys = b.reach(at)
            if phys is not None and any(row[0] <= phys < row[0] + row[1] + row[2] for row in owners):
                return f"{at:#x} leads to the peer's memory through a host bridge that does not forward"
    return ""
