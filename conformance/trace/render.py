# SPDX-License-Identifier: MIT
"""A trace's check and replays, for people and as JSON (conformance/schemas/trace.schema.json)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .events import Reader
from .history import KINDS, History
from .replay import Replay, Scenario

FORMAT = "dma-conformance trace 1"


def document(reader: Reader, history: History, replays: list[Replay], scenario: Scenario) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "format": FORMAT,
        "file": reader.name,
        "input": {
            "lines": reader.lines,
            "events": dict(sorted(reader.events.items())),
            "other_events": dict(sorted(reader.other.items())),
            "comment_lines": reader.comments,
            "unknown_lines": reader.unknown,
            "damaged_events": reader.damaged,
            "first_damaged": None if reader.first_damaged is None else
            {"line": reader.first_damaged[0], "text": reader.first_damaged[1]},
            "lost_events": reader.lost,
            "lost_at_lines": reader.lost_lines,
            "overwritten_events": reader.overwritten,
            "guessed_lists": reader.guessed,
            "truncated_lists": reader.truncated,
            "seconds": seconds(reader),
        },
        "devices": sorted(history.buses),
        "check": {
            "findings": [finding.json() for finding in history.findings],
            "counts": dict(sorted(history.counts.items())),
            "before_start": dict(sorted(history.before.items())),
            "reordered": history.reordered,
            "mapped_at_end": history.live,
        },
        "scenario": {"mask_bits": scenario.mask_bits, "swiotlb": "force" if scenario.swiotlb_force else None,
                     "p2p": "refused" if scenario.p2p_refused else None},
        "replays": [_replay(replay) for replay in replays],
    }


def _replay(replay: Replay) -> dict[str, Any]:
    figures = asdict(replay.figures)
    figures["failures"] = dict(sorted(replay.figures.failures.items()))
    return {"backend": replay.record.id, "machine": replay.config.name, "reason": replay.reason or None,
            "stopped_at_line": replay.stopped_at or None, **figures, "series": replay.series}


def seconds(reader: Reader) -> float:
    return round(reader.last - reader.first, 6) if reader.first is not None else 0.0


def summary(reader: Reader, history: History) -> Iterator[str]:
    """What was read, and what of it could not be."""
    events = reader.events.total()
    yield (f"{reader.name}: {_count(events, 'dma:* event')} of {_count(len(history.buses), 'device')} in "
           f"{seconds(reader):.3f} s; {_count(reader.other.total(), 'other event')}, "
           f"{_count(reader.comments, 'comment line')}")
    if reader.unknown:
        yield f"{_count(reader.unknown, 'line')} neither an event nor a comment"
    if reader.damaged and reader.first_damaged is not None:
        line, text = reader.first_damaged
        yield f"{_count(reader.damaged, 'dma:* event')} unreadable, the first on line {line}: {text}"
    if reader.lost_lines:
        many = str(reader.lost) if reader.lost else "an unknown number of"
        yield f"{many} events lost, first before line {reader.lost_lines[0]}: what is found after it is uncertain"
    if reader.overwritten:
        yield f"{reader.overwritten} events overwritten before the first line: the buffer was too small for all"
    if history.before:
        what = ", ".join(f"{name} {count}" for name, count in sorted(history.before.items()))
        yield f"of mappings made before the trace began: {what}"
    if history.reordered:
        yield f"{history.reordered} unmaps traced after the next map of their address, which several CPUs explain"
    if reader.truncated:
        yield f"{_count(reader.truncated, 'list')} of more entries than the kernel prints: the first 128 are known"
    if reader.guessed:
        yield f"{_count(reader.guessed, 'list')} whose entries' lengths are guessed (docs/trace.md)"


def findings(history: History, most: int) -> Iterator[Text]:
    for finding in history.findings[:most]:
        text = Text(f"line {finding.line}: {finding.function}: {finding.text}")
        if finding.mapped_at and finding.kind != "leak":
            text.append(f" [mapped on line {finding.mapped_at}]")
        if finding.task:
            text.append(f" [{finding.task}]")
        if not finding.certain:
            text.append(" (uncertain: events are missing)", style="yellow")
        yield text
    total = history.counts.total()
    if total > most:
        yield Text(f"… and {total - most} more (--max-show, --json)")
    if total:
        yield Text("\n".join(f"{count} × {kind}: {KINDS[kind]}" for kind, count in _by_count(history.counts)))
    elif history.live:
        yield Text(f"no findings; {_count(history.live, 'mapping')} live at the end")
    else:
        yield Text("no findings: everything that was mapped was unmapped, as it was mapped")


def table(replays: list[Replay]) -> Table:
    shown = Table(title="replayed", title_justify="left", box=None, pad_edge=False, show_edge=False)
    shown.add_column("backend", no_wrap=True)
    shown.add_column("machine", no_wrap=True)
    for name in ("maps", "failed", "entries", "segments", "bounced", "peak", "ranges", "largest hole", "flushes",
                 "folded"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("result")
    for replay in replays:
        figures = replay.figures
        failures = ", ".join(f"{name} {count}" for name, count in sorted(figures.failures.items()))
        notes = [replay.reason] if replay.reason else []
        if replay.stopped_at:
            notes[0] += f", at line {replay.stopped_at}"
        if failures:
            notes.append(failures)
        notes = notes or ["nothing failed"]
        if figures.unreachable:
            notes.append(f"{figures.unreachable} buffers the device cannot reach")
        if figures.syncs_skipped:
            notes.append(f"{figures.syncs_skipped} syncs not made")
        bad = bool(replay.reason or figures.failures or figures.unreachable)
        shown.add_row(
            replay.record.id, replay.config.name, str(figures.maps), str(figures.failed), str(figures.entries),
            str(figures.segments), size(figures.bounced_bytes), size(figures.peak_bytes), str(figures.peak_ranges),
            size(figures.largest_hole), "–" if figures.flushes is None else str(figures.flushes),
            str(figures.folded), Text("; ".join(notes), style="yellow" if bad else ""),
        )
    return shown


def show(console: Console, reader: Reader, history: History, replays: list[Replay], most: int) -> None:
    for line in summary(reader, history):
        console.print(Text(line))
    for text in findings(history, most):
        console.print(text, soft_wrap=True)
    if replays:
        console.print()
        console.print(table(replays))


def size(n: int) -> str:
    """Bytes with three digits or so: 0, 512, 7.2M."""
    value, unit = float(n), ""
    for unit in ("", "K", "M", "G", "T", "P", "E"):
        if value < 1000 or unit == "E":
            break
        value /= 1024
    return str(n) if not unit else f"{value:.1f}{unit}" if value < 100 else f"{value:.0f}{unit}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _by_count(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
