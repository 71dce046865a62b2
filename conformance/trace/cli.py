# SPDX-License-Identifier: MIT
"""dma-conformance trace."""

from __future__ import annotations

import fnmatch
import gc
import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from ..completion import backend_ids
from ..selection import Selection, SelectionError, suggest
from ..terminal import Sentence
from . import render
from .events import Reader, TraceError
from .history import History
from .replay import Replay, Scenario

if TYPE_CHECKING:
    from arch import BackendRecord, MachineConfig


def choose(backends: tuple[str, ...], machine: str | None) -> list[tuple[BackendRecord, MachineConfig]]:
    """The first machine of each backend, or those that the glob fits. Raises SelectionError."""
    records = [record for _, record in Selection(backends=backends).records()]
    if machine is None:
        return [(record, record.machines[0]) for record in records]
    chosen = [(record, config) for record in records for config in record.machines
              if fnmatch.fnmatchcase(config.name, machine)]
    if not chosen:
        names = [config.name for record in records for config in record.machines]
        raise SelectionError(f"no chosen backend has a machine {machine!r}{suggest(machine, names)}")
    return chosen


def examine(stream: BinaryIO, name: str, replaying: list[tuple[BackendRecord, MachineConfig]], scenario: Scenario, *,
            mask_bits: int | None = None, devices: tuple[str, ...] = (), running: bool = False,
            ) -> tuple[Reader, History, list[Replay]]:
    """One pass over the trace: check and replay. Raises TraceError."""
    reader = Reader(stream, name)
    masks = None if mask_bits is None else {"": ((1 << mask_bits) - 1,) * 2}
    history = History(reader, masks, running=running)
    replays: list[Replay] = []
    known: dict[str, bool] = {}
    begun = False
    feed = history.feed
    for event in reader:
        if not begun:                                   # the header has been read: the replays need its memory map
            begun = True
            replays = [Replay(record, config, scenario, reader.ram) for record, config in replaying]
        if devices:
            if event.dev not in known:
                known[event.dev] = any(fnmatch.fnmatchcase(event.dev, glob) for glob in devices)
            if not known[event.dev]:
                continue
        mapping = feed(event)
        if mapping is not None:
            for replay in replays:
                replay.feed(event, mapping)
    if not reader.events:
        raise TraceError(_nothing(reader))
    if devices and not any(known.values()):
        raise TraceError(f"{name}: no device is called {' or '.join(devices)}{suggest(devices[0], known)}")
    history.finish()
    for replay in replays:
        replay.finish(reader.last)
    return reader, history, replays


def open_binary(name: str) -> AbstractContextManager[BinaryIO]:
    """The file, or the standard input for "-". Raises OSError."""
    return cast("AbstractContextManager[BinaryIO]", click.open_file(name, "rb"))


def _nothing(reader: Reader) -> str:
    if not reader.lines:
        return f"{reader.name} is empty"
    text = f"{reader.name}: no dma:* event in {reader.lines} lines"
    if reader.first_damaged is not None:
        return f"{text} can be read; line {reader.first_damaged[0]} begins as one"
    if reader.other:
        return f"{text}, only {reader.other.total()} other events: enable events/dma"
    return f"{text}: this is no ftrace text"


@click.command("trace")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--backend", "-b", "backends", multiple=True, metavar="ID|GLOB", shell_complete=backend_ids,
              help="Replay it there; '*' is all.")
@click.option("--machine", metavar="NAME|GLOB", help="Which of the backends' machines; each one's first without.")
@click.option("--device", "-d", "devices", multiple=True, metavar="NAME|GLOB", help="Only these devices of the trace.")
@click.option("--mask", "mask_bits", type=click.IntRange(1, 64), metavar="BITS",
              help="The device's DMA mask: of the replays, or if there are none, for the check.")
@click.option("--swiotlb", type=click.Choice(["force"]), help="Replay with every mapping bounced, where Linux would.")
@click.option("--p2p", type=click.Choice(["refused"]), help="Replay with peers' memory and MMIO refused (-EREMOTEIO).")
@click.option("--running", is_flag=True, help="Drivers still work when the trace ends: what is mapped then is no leak.")
@click.option("--max-show", type=click.IntRange(0), default=20, show_default=True, help="Findings to print.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="DIR/trace.json too.")
def trace_command(
    file: Path, backends: tuple[str, ...], machine: str | None, devices: tuple[str, ...], mask_bits: int | None,
    swiotlb: str | None, p2p: str | None, running: bool, max_show: int, as_json: bool, out: Path | None,
) -> None:
    """Check a dma:* ftrace log of a real kernel, and replay it on other machines.

    FILE is what tracefs, "trace-cmd report" or "perf script" print, plain or gzipped; - is the standard input. Exit
    status: 0 if the trace shows no wrong use of the DMA API, 1 if it does, 2 for a file or an option that makes no
    sense. What a replay finds does not change it.
    """
    if not backends and (machine or swiotlb or p2p):
        raise click.UsageError("--machine, --swiotlb and --p2p are about a replay: name a --backend")
    replaying = choose(backends, machine) if backends else []
    scenario = Scenario(mask_bits if backends else None, swiotlb == "force", p2p == "refused")
    try:
        with open_binary(str(file)) as stream:
            threshold = gc.get_threshold()
            gc.set_threshold(200_000, 50, 100)          # no cycles are made here, but many objects
            try:
                reader, history, replays = examine(
                    stream, str(file), replaying, scenario, mask_bits=None if backends else mask_bits,
                    devices=devices, running=running)
            finally:
                gc.set_threshold(*threshold)
        whole = render.document(reader, history, replays, scenario)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / "trace.json").write_text(json.dumps(whole, ensure_ascii=False) + "\n", encoding="utf-8")
    except TraceError as error:
        raise Sentence(str(error)) from None
    except OSError as error:
        raise Sentence(f"{error.filename or file}: {error.strerror or error}") from None
    if as_json:
        click.echo(json.dumps(whole, indent=2, ensure_ascii=False))
    else:
        from ..screen import console

        render.show(console(), reader, history, replays, max_show)
    sys.exit(1 if history.counts else 0)
