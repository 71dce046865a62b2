# SPDX-License-Identifier: MIT
"""A timeline as a picture: time runs down, bus addresses run across, and a mapping is the rectangle of both.

A rectangle is filled with who owns the memory: the device from the map on, the CPU after a sync for it. In it: R, W
where the device reads or writes. Beside it: B and b where bounce slots are taken and given back, > and < where bytes
are copied into them and out of them, F where the IOTLB is flushed. Addresses far apart are moved together; each range
has a letter, and the legend has the addresses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from typing import Any

from dma_ops import DMA_FROM_DEVICE, DMA_TO_DEVICE

from ..cost import FLUSHES
from ..timeline import Row
from ..timeline import show as spelled

LAST = 40                               # rows that are drawn
LINE, TOP = 17, 44                      # pixels
GAP, PANEL = 14, 250
CHARACTER = 6.7
WIDEST = 118                            # characters of a row
SPELLED = 400                           # and of what it tells in full
BOXES = 16                              # segments of a mapping that are drawn


def asset(name: str) -> str:
    """A file of conformance/templates."""
    return (files("conformance") / "templates" / name).read_text(encoding="utf-8")


def standalone(picture: str) -> str:
    """The picture as a file of its own, light or dark as its viewer is."""
    light, dark, style = (asset(f"{name}.css") for name in ("light", "dark", "picture"))
    style = (f"<style>svg {{ {light} background: var(--page); }}"
             f"@media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}"
             f"@media (pointer: coarse) {{ svg {{ width: 100%; height: auto; }} }}{style}</style>")     # a phone
    start = picture.index(">") + 1
    return f"{picture[:start]}{style}{picture[start:]}\n"


@dataclass(slots=True)
class Mapping:
    """segments: (bus address, length). owners: (row, "dev" or "cpu"), in the order of the rows. end: of the unmap."""

    segments: list[tuple[int, int]]
    begin: int
    end: int | None = None
    owners: list[tuple[int, str]] = field(default_factory=list)

    def has(self, segment: tuple[int, int]) -> bool:
        return any(at < segment[0] + max(segment[1], 1) and segment[0] < at + max(length, 1)
                   for at, length in self.segments)


@dataclass(slots=True)
class Story:
    """What the rows tell. marks: (row, bus address, letter, is it bad?). beside: by row, (sign, words)."""

    mappings: list[Mapping] = field(default_factory=list)
    marks: list[tuple[int, int, str, bool]] = field(default_factory=list)
    beside: dict[int, list[tuple[str, str]]] = field(default_factory=dict)


def _segments(value: Any) -> list[tuple[int, int]]:
    if isinstance(value, dict):
        value = value.get("segments", [])
    if not isinstance(value, list):
        return []
    return [(one[0], one[1]) for one in value if isinstance(one, list) and len(one) > 1 and isinstance(one[0], int)]


def _target(row: Row) -> list[tuple[int, int]]:
    """The bus ranges that a call is about."""
    args = row["args"]
    if row["op"].startswith("device "):
        return _segments(args["at"])
    for name in ("sgt", "sg", "sgl"):
        if name in args:
            return _segments(args[name])
    at = next((args[name] for name in ("addr", "dma_handle", "handle", "dma_addr") if name in args), None)
    return [(at + args.get("offset", 0), args.get("size", 1))] if isinstance(at, int) else []


def _made(row: Row) -> list[tuple[int, int]]:
    """The bus ranges that a call made."""
    result, args = row.get("result"), row["args"]
    if isinstance(result, dict):
        return _segments(result)
    if isinstance(result, list) and len(result) == 2 and isinstance(result[1], int):
        return [(result[1], args.get("size", 1))]               # dma_alloc_*: where the CPU and the device see it
    return [(result, args.get("size", 1))] if isinstance(result, int) and not isinstance(result, bool) else []


def tell(rows: Sequence[Row]) -> Story:
    """What was mapped, when, and whose it was."""
    story = Story()
    live: list[Mapping] = []
    for line, row in enumerate(rows):
        op, good = row["op"], "error" not in row
        story.beside[line] = list(_beside(row))
        if good and op.startswith("dma_") and ("_unmap" in op or "_free" in op or "_destroy" in op):
            for mapping in _hit(live, _target(row)):
                mapping.end = line
                live.remove(mapping)
        elif good and op.startswith("dma_") and ("_map_" in op or "_alloc_" in op) and (made := _made(row)):
            mapping = Mapping(made, line, owners=[(line, "dev")])
            live.append(mapping)
            story.mappings.append(mapping)
        elif op.startswith("dma_sync"):
            for mapping in _hit(live, _target(row)):
                mapping.owners.append((line, "cpu" if "for_cpu" in op else "dev"))
        elif op.startswith("device "):
            for segment in _target(row):
                mapped = bool(_hit(live, [segment]))
                story.marks.append((line, segment[0], "R" if "reads" in op else "W", not (mapped and good)))
    return story


def _beside(row: Row) -> Iterator[tuple[str, str]]:
    counts, events = row.get("counts", {}), [event for event in row.get("events", ()) if isinstance(event, list)]
    flushes = counts.get("IOTLB flushes", 0) + sum(event[0] in FLUSHES for event in events)
    slots = counts.get("bounce slots", 0)
    if flushes:
        yield "F", f"{flushes} IOTLB flushes"
    if slots:
        yield ("B", f"{slots} bounce slots are taken") if slots > 0 else ("b", f"{-slots} bounce slots are given back")
    for sign, direction, said in ((">", DMA_TO_DEVICE, "into"), ("<", DMA_FROM_DEVICE, "out of")):
        copied = [event[2] for event in events if event[0] == "bounce" and event[3] == direction]
        if copied:
            yield sign, f"{sum(copied)} bytes are copied {said} the bounce buffer"
    syncs = {event[0] for event in events}
    if "sync_dev" in syncs:
        yield "w", "the CPU's cache is written back"
    if "sync_cpu" in syncs:
        yield "i", "the CPU's cache is invalidated"


def _hit(live: list[Mapping], segments: list[tuple[int, int]]) -> list[Mapping]:
    return [mapping for mapping in live if any(mapping.has(segment) for segment in segments)]


class Axis:
    """Bus addresses across: ranges that touch or overlap share a stretch, what lies between is left out."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self.clusters: list[tuple[int, int]] = []
        for at, length in sorted(ranges):
            end = at + max(length, 1)
            if self.clusters and at <= self.clusters[-1][1] + 4096:
                begin, before = self.clusters[-1]
                self.clusters[-1] = begin, max(before, end)
            else:
                self.clusters.append((at, end))
        room = PANEL - GAP * max(len(self.clusters) - 1, 0)
        weights = [max(end - begin, 1).bit_length() for begin, end in self.clusters]
        self.wide = max(room / max(sum(weights), 1), 1.2)
        self.starts: list[float] = []
        x = 0.0
        for weight in weights:
            self.starts.append(x)
            x += weight * self.wide + GAP
        self.weights = weights
        self.width = max(x - GAP, 60)

    def x(self, address: int) -> float:
        for (begin, end), start, weight in zip(self.clusters, self.starts, self.weights, strict=True):
            if begin <= address <= end:
                return start + weight * self.wide * (address - begin) / (end - begin)
        return 0.0


def letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"{chr(ord('a') + number // 26 - 1)}{chr(ord('a') + number % 26)}"


def _brief(value: Any) -> str:
    """A value in few characters: of a list the first two."""
    if isinstance(value, dict) and "bytes" not in value:
        return f"t{value.get('table', '')} {_brief(value.get('segments', value.get('entries')))}"
    if isinstance(value, list) and value and isinstance(value[0], list):
        more = f" +{len(value) - 2}" if len(value) > 2 else ""
        return f"[{', '.join(spelled(one) for one in value[:2])}{more}]"
    return spelled(value)


def _words(row: Row, say: Callable[[Any], str]) -> str:
    args = ", ".join(f"{key} {say(value)}" for key, value in row["args"].items() if key not in ("dev", "attrs"))
    said = f"{row['op']}({args})"
    if "error" in row:
        return f"{said} !! {row['error']}"
    return said if row.get("result") is None else f"{said} -> {say(row['result'])}"


def _full(row: Row, shown: str) -> str:
    """What the row's text leaves out, for who points at it."""
    said = _words(row, spelled)
    return "" if said == shown else f"<title>{escape(said if len(said) <= SPELLED else said[:SPELLED] + '…')}</title>"


def _few(marks: list[tuple[int, int, str, bool]]) -> list[tuple[int, int, str, bool]]:
    """The first ones of each row, and all that are bad."""
    seen: Counter[int] = Counter()
    kept = []
    for mark in marks:
        seen[mark[0]] += 1
        if mark[3] or seen[mark[0]] <= BOXES:
            kept.append(mark)
    return kept


def picture(rows: Sequence[Row], title: str = "timeline") -> str:
    """An SVG element of the last rows on the last machine, in the colours of the page around it."""
    if not rows:
        return ""
    mine = [row for row in rows if row["machine"] == rows[-1]["machine"]][-LAST:]
    story = tell(mine)
    ranges = [segment for mapping in story.mappings for segment in mapping.segments[:BOXES]]
    story.marks = _few(story.marks)
    axis = Axis(ranges + [(at, 1) for _, at, _, _ in story.marks])
    left = 8.0
    text = left + axis.width + 62
    width = text + WIDEST * CHARACTER
    legend = [f"{letter(i)} {begin:#x}–{end - 1:#x}" for i, (begin, end) in enumerate(axis.clusters)]
    bottom = TOP + len(mine) * LINE
    height = bottom + 30 + LINE + LINE * ((len(legend) + 2) // 3)
    out = [f'<svg class="tl" xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
           f'viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{escape(title)}">']
    out.append(f'<text x="{left}" y="14"><tspan class="big">{escape(title)}</tspan></text>')
    for i, start in enumerate(axis.starts):
        middle = left + start + axis.weights[i] * axis.wide / 2
        out.append(f'<text class="soft" x="{middle:.1f}" y="{TOP - 8}" text-anchor="middle">{letter(i)}</text>')
    out.append(f'<text class="soft" x="{text}" y="{TOP - 8}">t    operation</text>')
    out += [f'<line class="rule" x1="{left}" x2="{width:.0f}" y1="{TOP + i * LINE}" y2="{TOP + i * LINE}"/>'
            for i in range(len(mine) + 1)]
    for mapping in story.mappings:
        out += _boxes(mapping, axis, left, len(mine))
    for line, signs in story.beside.items():
        for i, (sign, said) in enumerate(signs):
            out.append(f'<text class="sign" x="{text - 54 + i * 11:.1f}" y="{TOP + line * LINE + 13}">{escape(sign)}'
                       f"<title>{said}</title></text>")
    for line, at, mark, bad in story.marks:
        out.append(f'<text class="{"bad" if bad else "mark"}" x="{left + axis.x(at) + 2:.1f}" '
                   f'y="{TOP + line * LINE + 13}">{mark}{"!" if bad else ""}</text>')
    for line, row in enumerate(mine):
        said = _words(row, _brief)
        cut = said if len(said) <= WIDEST - 5 else said[: WIDEST - 6] + "…"
        kind = ' class="bad"' if "error" in row else ""
        out.append(f'<text{kind} x="{text}" y="{TOP + line * LINE + 13}" xml:space="preserve">{row["t"]:<4} '
                   f"{escape(cut)}{_full(row, cut)}</text>")
    out += _legend(legend, left, bottom)
    return "".join([*out, "</svg>"])


def _boxes(mapping: Mapping, axis: Axis, left: float, lines: int) -> Iterator[str]:
    end = lines if mapping.end is None else mapping.end
    for at, length in mapping.segments[:BOXES]:
        x = left + axis.x(at)
        wide = max(left + axis.x(at + max(length, 1)) - x, 5)
        for (line, owner), (until, _) in zip(mapping.owners, [*mapping.owners[1:], (end, "")], strict=True):
            # the last one runs into the row of its unmap
            tall = (until - line) * LINE + (LINE / 2 if until == end and mapping.end is not None else 0)
            yield (f'<rect class="{owner}" x="{x:.1f}" y="{TOP + line * LINE + 1}" width="{wide:.1f}" '
                   f'height="{max(tall - 1, 4):.1f}"><title>{at:#x}–{at + length - 1:#x}, '
                   f'{"the device" if owner == "dev" else "the CPU"} owns it</title></rect>')


def _legend(ranges: list[str], left: float, bottom: int) -> Iterator[str]:
    y = bottom + 17
    for x, kind, said in ((left, "dev", "the device owns it"), (left + 150, "cpu", "the CPU owns it (dashed)")):
        yield f'<rect class="{kind}" x="{x}" y="{y - 9}" width="12" height="10"/>'
        yield f'<text x="{x + 16}" y="{y}">{said}</text>'
    for x, down, said in (
        (left + 345, 0, "R, W: the device reads, writes (!: it fails, or nothing is mapped)"),
        (left, LINE, "B, b: bounce slots taken, given back; >, <: bytes copied into them, out of them; "
                     "F: IOTLB flushed; w, i: the CPU's cache written back, invalidated"),
    ):
        yield f'<text class="soft" x="{x}" y="{y + down}">{escape(said)}</text>'
    for i, one in enumerate(ranges):
        yield (f'<text class="soft" x="{left + i % 3 * 320}" y="{y + LINE * (2 + i // 3)}">{escape(one)}</text>')
