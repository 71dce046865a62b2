# SPDX-License-Identifier: MIT
"""The second axis of P2PDMA: per route, what the core lets arrive (policy) and what happens if it does (mechanism).

policy     supported, refused: what dma_pci_p2pdma_supported() tells a driver, which then does not try
mechanism  native: every byte is reached where it is; fallback: it arrives by a copy; refused: an errno, and nothing
           was touched; unsafe: it is mapped to what the hardware does not lead to the peer, or a refusal left traces;
           absent: no P2P page can exist on this machine
"""

from __future__ import annotations

import errno

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DmaError, DmaFault, KernelBug

from .checks.bench import SG_DMA_BUS_ADDRESS, Bench, Lot, Row, Segment, errno_of
from .checks.topology import FORWARDS, UNKNOWN, Kind, Peers, peers
from .facts import Subject

LISTS: dict[str, tuple[tuple[int, int], tuple[Kind, ...]]] = {
    "same-switch": (UNKNOWN, ("near", "near2")),
    "host-bridge": (FORWARDS, ("far", "far")),
    "blocked": (UNKNOWN, ("far",)),
    "mixed-list": (FORWARDS, ("ram", "ram", "near", "far", "ram", "near2")),
}


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
    mechanism, seen = _try(p, p.lot(rows), reachable=route != "blocked", forwards=host == FORWARDS)
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


def _try(p: Peers, lot: Lot, *, reachable: bool, forwards: bool) -> tuple[str, str]:
    b = p.bench
    sgt = b.table(lot)
    before = b.counters()
    try:
        segments = b.map(sgt)
    except KernelBug as bug:
        return "unsafe", f"the kernel would die: {bug}"
    except DmaError as error:
        name = errno.errorcode.get(errno_of(error), str(error.errno))
        if b.counters() != before:
            return "unsafe", f"{name}, but something stays allocated"
        if [row[:3] for row in sgt.entries()] != lot.rows or any(row[5] & SG_DMA_BUS_ADDRESS for row in sgt.entries()):
            return "unsafe", f"{name}, but the list was changed"
        return "refused", name
    if not reachable:
        return "unsafe", f"mapped to {segments[0][0]:#x}, where the device does not reach the peer"
    wrong = _wrong_way(p, lot, segments, forwards=forwards)
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
    arrived = p.seen(lot) == raw
    b.unmap(sgt)
    if not arrived:
        return ("fallback", "copied at unmap") if p.seen(lot) == raw else ("unsafe", "what the device wrote is lost")
    kinds = {"bus address" if flags & SG_DMA_BUS_ADDRESS else "mapped" for _, _, flags in segments}
    return "native", ", ".join(sorted(kinds))


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
