# SPDX-License-Identifier: MIT
"""What each of the three designs of 2021 would have cost, and what Linux's own two APIs do: a summary of a report.

Nothing here is an opinion: that a backend is native or takes a fallback is what conformance.axis saw when the route
ran, and segments and flushes are those of a fixed set of lists (conformance.cost).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scatterlist.layout import LAYOUTS

from .execute import Result
from .results import Report
from .selection import DESIGNS, ROUTES, route_id

P2P_ROUTES = ROUTES[1:]
FALLBACKS = ("per-segment", "dma_map_sg")

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
REACH32 = {
    "legacy": "a word more per entry; Kconfig asks for 64BIT",
    "A": "no: page_link has no third bit",
    "B": "yes, no mark is needed",
    "C": "yes, the mark is the vector's",
    "new": "yes, the caller keeps the type",
}
PAGELESS = {
    "legacy": "no: sg_set_page() wants one",
    "A": "no",
    "B": "no",
    "C": "yes, but for a dma_map_sg fallback",
    "new": "yes, DMA_ATTR_MMIO",
}
HIDES = {
    "legacy": "at the gate: a driver that does not ask hands P2P pages to backends that take them for RAM",
    "A": "at the gate, and in the bit: whoever copies page_link without its mask has a wrong pointer",
    "B": "in unmap: page types are asked again and must not have changed; the second path runs only on P2P",
    "C": "in the fallbacks: on most machines one serves all DMA, and the native path is not what was tested",
    "new": "in the caller: it asks for the P2P type, keeps it until unmap, and must unwind a link that failed",
}


@dataclass(slots=True)
class Design:
    """A design's line of the report; backends by id. Every backend is in exactly one of native, refusing, without and
    absent."""

    id: str
    what: str
    native: list[str] = field(default_factory=list)         # P2P memory, where the core lets it arrive
    refusing: list[str] = field(default_factory=list)       # P2P memory, while RAM is mapped
    without: list[str] = field(default_factory=list)        # neither P2P memory nor RAM is mapped
    absent: list[str] = field(default_factory=list)         # no machine can have P2P memory: CONFIG_PCI_P2PDMA
    fallback: list[str] = field(default_factory=list)       # all DMA takes one
    no_map_sg: list[str] = field(default_factory=list)      # a fallback to dma_map_sg cannot work
    ungated: list[str] = field(default_factory=list)        # wrong memory is reached if the gate is forgotten
    write: int = 0                                          # mapping paths of a driver
    test: int = 0                                           # and those behind them that run on some machine
    segments: float = 0.0                                   # per MiB
    flushes: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)    # bytes per segment, by machine word
    reach32: str = ""
    pageless: str = ""                                      # memory without struct page
    hides: str = ""


class Backend:
    """What one backend made of one design: route by route, machine by machine."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.routes: dict[str, dict[str, Result]] = {}      # by route, then machine
        for result in results:
            self.routes.setdefault(result.what.removeprefix("route/"), {})[result.machine] = result
        self.ram = self.routes.get("host-memory", {})

    def on(self, machine: str) -> list[Result]:
        """The P2P routes' results."""
        return [self.routes[route][machine] for route in P2P_ROUTES if machine in self.routes.get(route, ())]

    @property
    def peers(self) -> list[str]:
        """The machines on which P2P memory can exist."""
        return [name for name in self.ram if any(one.mechanism != "absent" for one in self.on(name))]

    @property
    def native(self) -> bool:
        return any(
            one.policy == "supported" and one.mechanism == "native" for name in self.peers for one in self.on(name)
        )

    @property
    def mapping(self) -> list[str]:
        """The machines on which RAM is mapped."""
        return [name for name, one in self.ram.items() if one.mechanism in ("native", "fallback")]

    @property
    def ungated(self) -> bool:
        return any(
            one.policy == "refused" and one.mechanism == "unsafe" for name in self.peers for one in self.on(name)
        )

    def ways(self) -> dict[str, set[str]]:
        """How RAM is mapped, by machine: one of FALLBACKS or "native"."""
        return {name: {way for way in FALLBACKS if way in self.ram[name].detail} or {"native"} for name in self.mapping}


def by_design(results: Iterable[Result]) -> dict[str, dict[str, Backend]]:
    """The routes' results, by design and backend."""
    sorted_: dict[str, dict[str, list[Result]]] = {name: {} for name in DESIGNS}
    for result in results:
        if result.kind == "route":
            sorted_[result.api].setdefault(result.backend, []).append(result)
    return {design: {name: Backend(rows) for name, rows in of.items()} for design, of in sorted_.items()}


def summary(report: Report) -> list[Design]:
    """A line per design; none if the report is without routes."""
    found = by_design(report.results)
    return [_line(name, found) for name in DESIGNS if found[name]]


def _line(name: str, found: dict[str, dict[str, Backend]]) -> Design:
    line = Design(
        name, SUMMARY[name], write=len(CALLS[name]), memory=memory(name), reach32=REACH32[name],
        pageless=PAGELESS[name], hides=HIDES[name],
    )
    ways: set[str] = set()
    for backend, seen in found[name].items():
        if not seen.peers:
            line.absent.append(backend)
        elif seen.native:
            line.native.append(backend)
        elif set(seen.mapping) & set(seen.peers):
            line.refusing.append(backend)
        else:
            line.without.append(backend)
        taken = seen.ways()
        ways.update(*taken.values())
        if taken and all("native" not in one for one in taken.values()):
            line.fallback.append(backend)
        if seen.ungated:
            line.ungated.append(backend)
    if name == "C":
        line.no_map_sg = _no_map_sg(found["legacy"], found[name])
    line.test = max(len(ways), line.write)
    line.segments, line.flushes = _per_mib(found["legacy"], found[name])
    return line


def _no_map_sg(legacy: dict[str, Backend], design: dict[str, Backend]) -> list[str]:
    """The backends on which dma_map_sg maps nothing of what the design maps, and on how many machines if not on all."""
    names = []
    for backend, seen in design.items():
        dead = [name for name in seen.mapping if backend in legacy and name not in legacy[backend].mapping]
        if dead:
            names.append(backend if len(dead) == len(seen.mapping) else f"{backend} ({len(dead)} of {len(seen.ram)})")
    return names


def _per_mib(legacy: dict[str, Backend], design: dict[str, Backend]) -> tuple[float, float]:
    """(segments, flushes), on the first machine of each backend on which legacy and the design map all the lists."""
    done = segments = flushed = flushes = 0
    for backend, seen in design.items():
        base = legacy[backend].ram if backend in legacy else {}
        costs = (one.cost for name, one in seen.ram.items() if one.cost and name in base and base[name].cost)
        cost = next(costs, None)
        if cost is None:
            continue
        done += cost["bytes"]
        segments += cost["segments"]
        if "flushes" in cost:
            flushed += cost["bytes"]
            flushes += cost["flushes"]
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


def as_json(report: Report) -> dict[str, Any]:
    return {
        "designs": [asdict(line) for line in summary(report)],
        "verdicts": [
            {
                "backend": one.backend, "machine": one.machine, "design": one.api, "route": one.what[6:],
                "policy": one.policy, "mechanism": one.mechanism, "seen": one.detail, "verdict": one.verdict.value,
            }
            for one in report.results if one.kind == "route"
        ],
    }


def screen(lines: Sequence[Design]) -> list[tuple[str, list[str]]]:
    """(question, an answer per design) for the one screen."""
    base = lines[0]
    total = len(base.native) + len(base.refusing) + len(base.without) + len(base.absent)

    def count(of: Callable[[Design], Sequence[str]]) -> list[str]:
        few = [f": {', '.join(of(line))}" if 0 < len(of(line)) <= 2 else "" for line in lines]
        return [f"{len(of(line))} of {total}{names}" for line, names in zip(lines, few, strict=True)]

    def times(value: float, to: float) -> str:
        return f"{value:.0f} (×{value / to:.1f})" if to else "–"

    return [
        ("", [line.what for line in lines]),
        ("P2P memory is mapped", count(lambda line: line.native)),
        ("refused, while RAM is mapped", count(lambda line: line.refusing)),
        ("refused, and RAM as well", count(lambda line: line.without)),
        ("absent: no CONFIG_PCI_P2PDMA", count(lambda line: line.absent)),
        ("all DMA takes a fallback", count(lambda line: line.fallback)),
        ("… which dma_map_sg cannot be", [", ".join(line.no_map_sg) or "–" for line in lines]),
        ("wrong memory if nobody asks first", count(lambda line: line.ungated)),
        ("a driver's mapping calls to write", [str(line.write) for line in lines]),
        ("paths behind them to test", [str(line.test) for line in lines]),
        ("segments per MiB", [times(line.segments, base.segments) for line in lines]),
        ("IOTLB flushes per MiB", [times(line.flushes, base.flushes) for line in lines]),
        ("bytes per segment, 64/32 bits", [f"{line.memory['64']}/{line.memory['32']}" for line in lines]),
        ("P2P memory on 32-bit machines", [line.reach32 for line in lines]),
        ("memory without struct page", [line.pageless for line in lines]),
        ("a bug hides", [line.hides for line in lines]),
    ]


GLYPHS = {"native": "n", "fallback": "f", "refused": "r", "unsafe": "U", "absent": "-"}
_ORDER = ("unsafe", "fallback", "native", "refused", "absent")


def glyphs(seen: Backend) -> str:
    """A letter per route, RAM's first: what most machines show that can have such memory; u if some are unsafe."""
    word = ""
    for route in ROUTES:
        counts = Counter(one.mechanism for one in seen.routes.get(route, {}).values() if one.mechanism != "absent")
        most = max(counts, key=lambda name: (counts[name], -_ORDER.index(name))) if counts else "absent"
        word += "u" if counts["unsafe"] and most != "unsafe" else GLYPHS.get(most, "?")
    return f"{word[0]} {word[1:]}"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A backend's outcomes under a design, by route, and the machines that all had these."""

    backend: str
    design: str
    cells: tuple[str, ...]
    machines: tuple[str, ...]


def verdicts(report: Report) -> list[Verdicts]:
    """Every outcome there is; machines with the same ones share a row."""
    rows = []
    for design, of in by_design(report.results).items():
        for backend, seen in of.items():
            same: dict[tuple[str, ...], list[str]] = {}
            for machine in seen.ram:
                cells = tuple(cell(seen.routes[route][machine]) for route in ROUTES)
                same.setdefault(cells, []).append(machine)
            rows += [Verdicts(backend, design, cells, tuple(names)) for cells, names in same.items()]
    return sorted(rows, key=lambda row: row.backend)


def cell(result: Result) -> str:
    """Policy and mechanism: what the core lets arrive, and what happens if it does arrive."""
    if result.what == route_id("host-memory") or result.mechanism == "absent" or result.policy == "supported":
        gate = ""
    else:
        gate = "gate, else "
    word = {"unsafe": "UNSAFE"}.get(result.mechanism, result.mechanism or result.verdict.value)
    errno = f" {result.detail}" if result.mechanism == "refused" and result.detail.isupper() else ""
    return f"{gate}{word}{errno}"
