# SPDX-License-Identifier: MIT
"""A case as a list of operations: each call of the DMA API with its arguments and what came of it, and what the device
and the CPU did to the memory.

    with recording(rows): run_case(...)

Rows are plain data, {"t", "machine", "op", "args", "result" or "error", "events", "counts"}: t counts from 0 (a model
has no clock), machine counts the machines in the order in which the case meets them, events are the cache operations
within the call, counts by how much it changed the models' counts of IOTLB flushes and of bounce slots in use. While
nothing records, the API is untouched and nothing is paid.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import dma_ops
from dma_ops import DmaError, DmaFault, KernelBug
from scatterlist.core import SgTable

Row = dict[str, Any]
KEPT = 64                               # entries of a value
SHOWN = 8                               # of these on a terminal, and bytes
OWNERS = ("dma_ops", "conformance")     # packages whose modules may have bound an API function to a name
BENCH = ("read", "write", "cpu", "refill")


def plain(value: object) -> Any:
    """A value as JSON has it; a table is its entries and, once mapped, its segments."""
    if isinstance(value, SgTable):
        entries = {"entries": _short([list(row[:3]) for row in value.entries()])}
        segments = [list(one) for one in value.segments()]
        return {**entries, "segments": _short(segments)} if any(one[1] for one in segments) else entries
    if isinstance(value, bytes | bytearray):
        return {"bytes": len(value), "first": bytes(value[:SHOWN]).hex()}
    if isinstance(value, list | tuple):
        return _short([plain(one) for one in value])
    if value is None or isinstance(value, bool | int | str):
        return value
    return getattr(value, "name", None) or type(value).__name__


def _short(items: list[Any]) -> list[Any]:
    return items if len(items) <= KEPT else [*items[:KEPT], f"and {len(items) - KEPT} more"]


def _counted(dev: Any) -> dict[str, int]:
    """What the models count that a call may change."""
    domain, pool = getattr(dev.dma_ops, "domain", None), dev.io_tlb_mem
    flushes, slots = getattr(domain, "syncs", None), getattr(pool, "used", None)
    found = {"IOTLB flushes": flushes, "bounce slots": slots}
    return {name: value for name, value in found.items() if isinstance(value, int)}


class _Recorder:
    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.machines: list[object] = []
        self.tables: list[object] = []
        self.inside = False

    @staticmethod
    def _number(thing: object, known: list[object]) -> int:
        if not any(thing is one for one in known):
            known.append(thing)
        return next(i for i, one in enumerate(known) if one is thing)

    def _plain(self, value: object) -> Any:
        if isinstance(value, SgTable):
            return {"table": self._number(value, self.tables), **plain(value)}
        return plain(value)

    def call(self, op: str, dev: Any, arguments: dict[str, Any], function: Callable[[], Any]) -> Any:
        """The function's result, with a row about it. Calls that an operation makes are no operations of their own."""
        if self.inside:
            return function()
        machine, counted = dev.machine, _counted(dev)
        args = {key: self._plain(value) for key, value in arguments.items()}
        row: Row = {"t": len(self.rows), "machine": self._number(machine, self.machines), "op": op, "args": args}
        self.rows.append(row)
        own = machine.events is None            # else the check itself listens
        if own:
            machine.events = []
        before = len(machine.events)
        self.inside = True
        try:
            value = function()
        except (DmaError, DmaFault, KernelBug) as error:
            row["error"] = str(error)
            raise
        except Exception as error:              # a Violation, or a backend's own
            row["error"] = f"{type(error).__name__}: {error}"
            raise
        else:
            tables = [one for one in arguments.values() if isinstance(one, SgTable)]
            row["result"] = self._plain(tables[0] if value is None and tables and "_map_" in op else value)
            return value
        finally:
            self.inside = False
            events = machine.events[before:] if machine.events is not None else []
            if events:
                row["events"] = _short([list(map(plain, event)) for event in events])
            if own:
                machine.events = None
            counts = {name: now - counted.get(name, 0) for name, now in _counted(dev).items()}
            if any(counts.values()):
                row["counts"] = {name: count for name, count in counts.items() if count}


def _wrapped(name: str, function: Any, recorder: _Recorder) -> Any:
    @wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        dev = args[0] if args else keywords.get("dev")
        if not isinstance(dev, dma_ops.Device):
            return function(*args, **keywords)
        try:
            names = list(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            names = []
        names += [f"arg{i}" for i in range(len(names), len(args))]
        named = {**dict(zip(names[1:], args[1:], strict=False)), **{k: v for k, v in keywords.items() if k != "dev"}}
        return recorder.call(name, dev, {"dev": dev, **named}, lambda: function(*args, **keywords))

    return call


def _bench_method(name: str, function: Any, recorder: _Recorder) -> Any:
    labels = {"read": "device reads", "write": "device writes", "cpu": "CPU reads", "refill": "CPU writes"}

    @wraps(function)
    def call(bench: Any, what: Any, *raw: bytes) -> Any:
        if not hasattr(what, "rows"):
            what = list(what)                   # segments, which may come one by one
        named = {"at": getattr(what, "rows", what), **({"data": raw[0]} if raw else {})}
        return recorder.call(labels[name], bench.device, named, lambda: function(bench, what, *raw))

    return call


def _functions() -> dict[str, Any]:
    return {name: getattr(dma_ops, name) for name in dma_ops.__all__ if name.startswith("dma_")}


@contextmanager
def recording(rows: list[Row]) -> Iterator[list[Row]]:
    """Append a row for every operation until the block ends. Not for two threads at once."""
    from .checks import checks
    from .checks.bench import Bench

    checks()                                    # so that their modules are there
    recorder = _Recorder(rows)
    functions = _functions()
    calls = {id(function): _wrapped(name, function, recorder) for name, function in functions.items()}
    undo: list[tuple[Any, str, Any]] = []
    for module_name, module in list(sys.modules.items()):
        if module is None or module_name.partition(".")[0] not in OWNERS or module is sys.modules[__name__]:
            continue
        for name, value in list(vars(module).items()):
            if id(value) in calls and functions.get(getattr(value, "__name__", "")) is value:
                undo.append((module, name, value))
                setattr(module, name, calls[id(value)])
    for name in BENCH:
        original = getattr(Bench, name)
        undo.append((Bench, name, original))
        setattr(Bench, name, _bench_method(name, original, recorder))
    try:
        yield rows
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)


def _number(value: int) -> str:
    return f"{value:#x}" if value >= 4096 else str(value)


def show(value: Any) -> str:
    """A plain value for people: numbers beyond a page in hex."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return _number(value)
    if isinstance(value, list):
        more = [f"and {len(value) - SHOWN} more"] if len(value) > SHOWN else []
        return "[" + ", ".join([*(show(one) for one in value[:SHOWN]), *more]) + "]"
    if isinstance(value, dict):
        if "bytes" in value:
            return f"{value['bytes']} bytes {value['first']}…"
        return f"t{value.get('table', '')} {show(value.get('segments', value.get('entries')))}"
    return str(value)


def lines(rows: list[Row], last: int = 24) -> list[str]:
    """For a terminal: the last rows, which are those before the end of the case."""
    shown = rows[-last:]
    machines = len({row["machine"] for row in rows}) > 1
    out = [f"… {len(rows) - len(shown)} earlier operations"] if len(rows) > len(shown) else []
    for row in shown:
        args = ", ".join(f"{key} {show(value)}" for key, value in row["args"].items() if key != "dev")
        said = f"{row['op']}({args})"
        if "error" in row:
            said += f" !! {row['error']}"
        elif row["result"] is not None:
            said += f" -> {show(row['result'])}"
        for event in row.get("events", ()):
            said += f"; {show(event)}"
        for name, count in row.get("counts", {}).items():
            said += f"; {name} {count:+d}"
        where = f"m{row['machine']} " if machines else ""
        out.append(f"{row['t']:>5} {where}{said}")
    return out
