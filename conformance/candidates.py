# SPDX-License-Identifier: MIT
"""What each design of 2021 costs, and where a bug would hide: counted and measured over all backends.

Nothing here is an opinion: that a backend is native or needs a fallback is what conformance.axis saw when it ran, and
segments and flushes are those of a fixed set of lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import dma_ops
from arch import BackendRecord, MachineConfig
from dma_ops import DMA_FROM_DEVICE, Device, DmaError, KernelBug
from dma_ops.iommu import IommuDomain
from scatterlist.layout import LAYOUTS

from .axis import DESIGN_ROUTES, Outcome, run_design
from .facts import Subject
from .paths import DESIGNS, PATHS, Path, Row

P2P_ROUTES = DESIGN_ROUTES[1:]
FALLBACKS = ("per-segment", "dma_map_sg")
LIST_BYTES = 256 << 10
FLUSHES = ("rpcit", "strbuf_flush")     # events of backends without an IommuDomain that counts

SUMMARY = {
    "legacy": "dma_map_sg as merged in 6.0, the mark in dma_flags",
    "A": "dma_map_sg, the mark in bit 2 of page_link",
    "B": "dma_map_p2p_sg, -ENXIO where it is absent",
    "C": "dma_map_new: ranges in, a DMA vector out",
    "new": "since 6.16: dma_iova_link, or dma_map_phys",
}
#: The calls that a driver has to be written for.
CALLS = {
    "legacy": ("dma_map_sg",),
    "A": ("dma_map_sg",),
    "B": ("dma_map_sg", "dma_map_p2p_sg"),
    "C": ("dma_map_new",),
    "new": ("dma_iova_link", "dma_map_phys"),
}
HIDES = {
    "legacy": "at the gate: a driver that does not ask hands P2P pages to backends that take them for RAM",
    "A": "at the gate, and in the bit: whoever copies page_link without its mask has a wrong pointer",
    "B": "in unmap: page types are asked again and must not have changed; the second path runs only on P2P",
    "C": "in the fallbacks: on most machines one serves all DMA, and the native path is not what was tested",
    "new": "in the caller: it asks for the P2P type, keeps it until unmap, and must unwind a link that failed",
}


@dataclass(slots=True)
class Cost:
    """Of mapping and unmapping the fixed lists. flushes: of the IOTLB; None where the backend counts none."""

    bytes: int
    segments: int
    flushes: int | None


@dataclass(slots=True)
class Design:
    """A design's line of the report; backends by id."""

    id: str
    what: str
    native: list[str] = field(default_factory=list)         # P2P memory
    refusing: list[str] = field(default_factory=list)       # P2P memory, while RAM is mapped
    fallback: list[str] = field(default_factory=list)       # all DMA takes one
    no_map_sg: list[str] = field(default_factory=list)      # a fallback to dma_map_sg cannot work
    ungated: list[str] = field(default_factory=list)        # wrong memory is reached if the gate is forgotten
    write: int = 0                                          # mapping paths of a driver
    test: int = 0                                           # and those behind them that run on some machine
    segments: float = 0.0                                   # per MiB
    flushes: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)    # bytes per segment, by machine word
    reach32: str = ""
    hides: str = ""


def fixed_lists(device: Device, limit: int | None) -> list[list[Row]]:
    """Scattered whole pages; the same memory in a row, cut into pages; buffers that begin and end within pages."""
    machine = device.machine
    page = machine.page_size
    n = max(LIST_BYTES // page, 4)
    start = machine.alloc_ram((2 * n - 1).bit_length(), limit)
    scattered = [(start + i * page, 0, page) for i in range(2 * n - 2, -1, -2)]
    neighbours = [(start + i * page, 0, page) for i in range(n)]
    within = [(start + i * page, 16, page - 64) for i in range(n)]
    return [scattered, neighbours, within]


def measure(record: BackendRecord, config: MachineConfig, path: Path) -> Cost | None:
    """None where a list cannot be mapped."""
    subject = Subject(record, config)
    if not subject.reach:
        return None
    device = config.build()
    with suppress(DmaError):
        dma_ops.dma_set_max_seg_size(device, 1 << 20)
    machine = device.machine
    try:
        lists = fixed_lists(device, subject.reach[-1])
    except MemoryError:
        return None
    domain = getattr(device.dma_ops, "domain", None)
    domain = domain if isinstance(domain, IommuDomain) else None
    machine.events = []
    total = segments = 0
    before = getattr(domain, "syncs", 0)
    for rows in lists:
        try:
            mapping = path.map(device, rows, DMA_FROM_DEVICE)
        except (DmaError, KernelBug):
            return None
        segments += len(mapping.extents())
        total += sum(length for _, _, length in rows)
        mapping.undo()
    kinds = Counter(event[0] for event in machine.events)
    if domain is not None:
        flushes: int | None = domain.syncs - before
    else:
        flushes = sum(kinds[kind] for kind in FLUSHES) or None
    return Cost(total, segments, flushes)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A machine's outcomes under a design, by route."""

    backend: str
    machine: str
    design: str
    routes: dict[str, Outcome]


def outcomes(records: Iterable[BackendRecord], *, every_machine: bool = False) -> list[Verdicts]:
    """The verdicts of each backend (on its first machine with P2P memory, or the first; or on every one)."""
    rows = []
    for record in records:
        for config in record.machines if every_machine else (representative(record),):
            subject = Subject(record, config)
            rows += [
                Verdicts(record.id, config.name, design, {
                    route: run_design(design, route, subject) for route in DESIGN_ROUTES
                })
                for design in DESIGNS
            ]
    return rows


def representative(record: BackendRecord) -> MachineConfig:
    """The first machine on which P2P pages can exist, if there is one."""
    for config in record.machines:
        if config.build().machine.pci_p2pdma:
            return config
    return record.machines[0]


def compare(
    records: Sequence[BackendRecord], *, every_machine: bool = False
) -> tuple[list[Design], list[Verdicts]]:
    """A line per design, from one machine of each backend, and the verdicts of these machines or of all."""
    shown = outcomes(records, every_machine=every_machine)
    chosen = {(record.id, representative(record).name) for record in records}
    rows = [row for row in shown if (row.backend, row.machine) in chosen]
    cannot = [record.id for record in records if not by_map_sg(record)]
    lines = []
    for name, path in DESIGNS.items():
        line = Design(name, SUMMARY[name], write=len(CALLS[name]), hides=HIDES[name])
        line.no_map_sg = cannot if name == "C" else []
        hows: set[str] = set()
        for row in (row for row in rows if row.design == name):
            ram = row.routes["host memory"]
            p2p = [row.routes[route] for route in P2P_ROUTES]
            if p2p[0].policy == "supported" and p2p[0].mechanism == "native":
                line.native.append(row.backend)
            elif p2p[0].policy == "refused" and ram.mechanism in ("native", "fallback"):
                line.refusing.append(row.backend)
            ways = [way for way in FALLBACKS if way in ram.seen] if ram.mechanism == "fallback" else []
            if ways:
                line.fallback.append(row.backend)
            hows.update(ways or ["native"])
            if any(outcome.policy == "refused" and outcome.mechanism == "unsafe" for outcome in p2p):
                line.ungated.append(row.backend)
        line.test = max(len(hows), len(CALLS[name]))
        line.segments, line.flushes = totals(records, path)
        line.memory = memory(name)
        line.reach32 = {"A": "no: page_link has no third bit", "legacy": "yes, for a word per entry"}.get(name, "yes")
        lines.append(line)
    return lines, shown


def by_map_sg(record: BackendRecord) -> bool:
    """Can dma_map_new() fall back to dma_map_sg here? Where nothing can be mapped at all, it is not dma_map_sg's
    fault."""
    config = representative(record)
    subject = Subject(record, config)
    if not subject.reach:
        return True
    device = config.build()
    page = device.machine.alloc_ram(0, subject.reach[-1])
    try:
        PATHS["C/dma_map_sg"].map(device, [(page, 0, device.machine.page_size)], DMA_FROM_DEVICE)
    except (DmaError, KernelBug):
        return False
    return True


def totals(records: Iterable[BackendRecord], path: Path) -> tuple[float, float]:
    """(segments, flushes) per MiB, on the first machine of each backend that legacy and the path map all lists on."""
    done = segments = flushed = flushes = 0
    for record in records:
        cost = measure(record, record.machines[0], path)
        if cost is None or measure(record, record.machines[0], DESIGNS["legacy"]) is None:
            continue
        done += cost.bytes
        segments += cost.segments
        if cost.flushes is not None:
            flushed += cost.bytes
            flushes += cost.flushes
    mib = 1 << 20
    return (segments * mib / done if done else 0.0), (flushes * mib / flushed if flushed else 0.0)


def memory(design: str) -> dict[str, int]:
    """Bytes per segment: what goes in and what comes out. A scatterlist has both in one entry."""
    if design in ("C", "new"):
        vec = {"64": 16, "32": 12}
        return {word: LAYOUTS[word].sizeof("phys_vec") + vec[word] for word in ("64", "32")}
    flags = {"legacy": "64-dma_length-dma_flags"}.get(design, "64-dma_length")
    plain = LAYOUTS["32-dma_length"].sizeof()
    return {"64": LAYOUTS[flags].sizeof(), "32": plain + (4 if design == "legacy" else 0)}


def as_json(lines: Sequence[Design], rows: Sequence[Verdicts]) -> dict[str, object]:
    return {
        "designs": [asdict(line) for line in lines],
        "verdicts": [
            {
                "backend": row.backend, "machine": row.machine, "design": row.design,
                "routes": {route: asdict(outcome) for route, outcome in row.routes.items()},
            }
            for row in rows
        ],
    }


def screen(lines: Sequence[Design], total: int) -> list[tuple[str, list[str]]]:
    """(question, an answer per design) for the one screen."""
    base = lines[0]

    def of(names: Sequence[str]) -> str:
        return f"{len(names)} of {total}"

    def times(value: float, to: float) -> str:
        return f"{value:.0f} (×{value / to:.1f})" if to else "–"

    return [
        ("", [line.what for line in lines]),
        ("P2P memory is mapped natively", [of(line.native) for line in lines]),
        ("P2P memory is refused, RAM goes on", [of(line.refusing) for line in lines]),
        ("all DMA takes the fallback", [of(line.fallback) for line in lines]),
        ("where dma_map_sg cannot be it", [", ".join(line.no_map_sg) or "–" for line in lines]),
        ("wrong memory if nobody asks first", [of(line.ungated) for line in lines]),
        ("a driver's mapping calls to write", [str(line.write) for line in lines]),
        ("paths behind them to test", [str(line.test) for line in lines]),
        ("segments per MiB", [times(line.segments, base.segments) for line in lines]),
        ("IOTLB flushes per MiB", [times(line.flushes, base.flushes) for line in lines]),
        ("bytes per segment, 64/32 bits", [f"{line.memory['64']}/{line.memory['32']}" for line in lines]),
        ("32-bit machines", [line.reach32 for line in lines]),
        ("a bug hides", [line.hides for line in lines]),
    ]


MARKS = {"native": "native", "fallback": "fallback", "refused": "refused", "unsafe": "UNSAFE", "absent": "–"}


def cell(outcome: Outcome) -> str:
    """Policy and mechanism: what the core lets arrive, and what happens if it does arrive."""
    if outcome.mechanism == "absent":
        return "–"
    seen = f" {outcome.seen}" if outcome.mechanism == "refused" and outcome.seen.isupper() else ""
    said = MARKS[outcome.mechanism] + seen
    return said if outcome.policy == "supported" else f"gate, else {said}"
