# SPDX-License-Identifier: MIT
"""The second axis of P2PDMA: per route, what the core lets arrive (policy) and what happens if it does (mechanism).

run_route() is the legacy API's, for the matrix; run_design() that of each design of 2021, for their comparison.

policy     supported, refused: what dma_pci_p2pdma_supported() tells a driver, which then does not try
mechanism  native: every byte is reached where it is, by the design's own way; fallback: by another (one mapping per
           segment, dma_map_sg underneath, a copy through host memory); refused: an errno, and nothing was touched;
           unsafe: it is mapped to what the hardware does not lead to the peer, or a refusal left traces, or the kernel
           would die; absent: no P2P page can exist on this machine, or the backend leaves map_sg NULL
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
from .paths import DESIGNS, Mapping, Path, entries

LISTS: dict[str, tuple[tuple[int, int], tuple[Kind, ...]]] = {
    "same-switch": (UNKNOWN, ("near", "near2")),
    "host-bridge": (FORWARDS, ("far", "far")),
    "blocked": (UNKNOWN, ("far",)),
    "mixed-list": (FORWARDS, ("ram", "ram", "near", "far", "ram", "near2")),
    "two-providers": (UNKNOWN, ("near", "near2", "near")),
}
DESIGN_ROUTES = ("host memory", "same switch", "host bridge", "blocked", "mixed list", "two providers")
COPY = "copy through host memory"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a design makes of a route. seen: the fallback, the errno, or what goes wrong."""

    policy: str
    mechanism: str
    seen: str = ""

    def __str__(self) -> str:
        return f"{self.mechanism} ({self.seen})" if self.seen else self.mechanism


def run_route(route: str, subject: Subject, seed: str) -> tuple[str, str, str]:
    """(policy, mechanism, what was seen) of a route."""
    policy = "supported" if dma_ops.dma_pci_p2pdma_supported(subject.device) else "refused"
    if route == "host-memory":
        return _host_memory(Bench(subject, seed))
    if not subject.machine.pci_p2pdma:
        return policy, "absent", "the machine has no CONFIG_PCI_P2PDMA, so no P2P page exists"
    if not subject.has("map_sg"):
        return policy, "absent", "the backend has no map_sg; calling it is a NULL call"
    if not subject.reach and route == "mixed-list":
        return policy, "refused", "no page of RAM can be mapped"
    bench = Bench(subject, seed)
    host, kinds = LISTS[route]
    p = peers(bench, host)
    rows = [p.row(kind, 0, bench.page) for kind in kinds]
    mechanism, seen = _try(
        p, p.lot(rows), DESIGNS["legacy"], reachable=route != "blocked", forwards=host == FORWARDS
    )
    return policy, mechanism, seen


def _host_memory(bench: Bench) -> tuple[str, str, str]:
    """Ordinary RAM, for comparison: native, or refused where nothing can be mapped at all."""
    if not bench.subject.reach:
        return "supported", "refused", "no page of RAM can be mapped"
    lot = bench.lot("one")
    page, offset, length = lot.rows[0]
    address = dma_ops.dma_map_page(bench.device, page, offset, length, DMA_BIDIRECTIONAL)
    bench.expect_read([(address, length, 0)], lot)
    phys = bench.reach(address)
    if phys == page + offset:
        return "supported", "native", ""
    return "supported", "fallback", "bounced"


def run_design(design: str, route: str, subject: Subject, seed: str = "0") -> Outcome:
    """What becomes of a route, one of DESIGN_ROUTES, under a design, one of paths.DESIGNS."""
    path = DESIGNS[design]
    policy = "supported" if dma_ops.dma_pci_p2pdma_supported(subject.device) else "refused"
    bench = Bench(subject, f"{seed}:{design}:{route}")
    if route == "host memory":
        if not subject.reach:
            return Outcome("supported", "refused", "no page of RAM can be mapped")
        lot = bench.lot("pages")
        return Outcome("supported", *_judge(bench, lot, path))
    if not subject.machine.pci_p2pdma:
        return Outcome(policy, "absent", "the machine has no CONFIG_PCI_P2PDMA")
    if route == "mixed list" and not subject.reach:
        return Outcome(policy, "refused", "no page of RAM can be mapped")
    host, kinds = LISTS[route.replace(" ", "-")]
    p = peers(bench, host)
    lot = p.lot([p.row(kind, 0, bench.page) for kind in kinds])
    return Outcome(policy, *_try(p, lot, path, reachable=route != "blocked", forwards=host == FORWARDS))


def _try(p: Peers, lot: Lot, path: Path, *, reachable: bool, forwards: bool) -> tuple[str, str]:
    return _judge(p.bench, lot, path, p, reachable=reachable, forwards=forwards)


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
            return "absent", "the backend has no map_sg"
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
    kinds = kinds_of(mapping)
    mapping.undo()
    ways = [mapping.how] if path.design in ("C", "new") and mapping.how != "native" else []
    if not arrived:
        if (p.seen(lot) if p is not None else b.cpu(lot)) != raw:
            return "unsafe", "what the device wrote is lost"
        ways.append(COPY)
    if ways:
        return "fallback", ", ".join(ways)
    return "native", kinds if p is not None else ""


def in_memory(b: Bench, lot: Lot) -> bytes:
    """What lies in the entries, past the CPU's cache."""
    return b"".join(b.machine.mem.peek(page + offset, length) for page, offset, length in lot.rows)


def kinds_of(mapping: Mapping) -> str:
    """How the segments are marked. Design B marks nothing: there it is the list's pages that tell."""
    if mapping.requests:
        flags = [request.bus for request in mapping.requests]
    elif mapping.vector is not None:
        flags = [bool(flag & SG_DMA_BUS_ADDRESS) for _, _, flag in mapping.vector]
    else:
        assert mapping.table is not None
        marks = marked(mapping.table)
        flags = [i in marks for i in range(mapping.table.nents)]
    return ", ".join(sorted({"bus address" if flag else "mapped" for flag in flags}))


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
