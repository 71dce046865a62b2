# SPDX-License-Identifier: MIT
"""One machine with the driver under test, its device's hardware, and dma-debug; what goes wrong becomes findings."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import dma_ops
from dma_ops import DMA_FROM_DEVICE, DMA_TO_DEVICE, Device, DmaError, DmaFault
from dma_ops import debug as dma_debug
from dma_ops.c_api import CObject
from scatterlist.core import SgTable

from ..checks.bench import Bench, Lot, NotTested, Row, Violation
from ..drivers.base import HardwareError
from ..drivers.nvme import Controller
from ..facts import Subject
from .control import Control
from .table import OPERATIONS, SYMBOL, VERSION, BlockRequest, Command, DriverTable, Extent, request, text

Api = Literal["legacy", "new"]
NAMES = {DMA_TO_DEVICE: "to device", DMA_FROM_DEVICE: "from device"}
SHAPES = ("one", "pages", "adjacent", "joinable", "crossing", "reversed", "mixed", "long")
MOST_EXTENTS = 4096

#: What dma-debug reports, as clauses; 20 needs no clause: the rig's own buffers never share a cache line.
REPORTED = {
    **dict.fromkeys((1, 2, 3, 4, 5, 6, 7), "DRV-07"),
    8: "DRV-08",
    **dict.fromkeys((9, 10, 11, 12, 13, 14), "DRV-11"),
    **dict.fromkeys((15, 16, 17), "DRV-14"),
    **dict.fromkeys((18, 19), "DRV-13"),
    21: "DRV-09",
}


class DriverError(ValueError):
    """An object that is no driver under test; the message is one sentence for the user."""


@dataclass(slots=True)
class Flight:
    """A request on its way through the driver."""

    lot: Lot
    direction: int
    command: Command
    sgt: SgTable | None = None
    rq: BlockRequest | None = None


@dataclass(slots=True)
class Findings:
    """What was seen of the driver: (clause, text), and the steps that led to it."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def add(self, clause: str, said: str) -> None:
        if (clause, said) not in self.rows:
            self.rows.append((clause, said))
            self.steps.append(f"  {clause}: {said}")


class Hardware(Protocol):
    """Executes a descriptor: reads, if raw is None, else writes raw. Raises DmaFault, HardwareError."""

    def execute(self, command: int, raw: bytes | None, /) -> bytes: ...


class Extents:
    """Hardware that reads an array of { le64 address, le32 length, le32 last }."""

    ROW = struct.Struct("<QII")

    def __init__(self, device: Device) -> None:
        self.device = device

    def execute(self, descriptor: int, raw: bytes | None) -> bytes:
        extents = []
        for at in range(MOST_EXTENTS):
            address, length, last = self.ROW.unpack(self.device.dma_read(descriptor + at * 16, 16))
            if not length:
                raise HardwareError(f"descriptor {at} is of no bytes")
            extents.append((address, length))
            if last:
                return move(self.device, extents, raw)
        raise HardwareError(f"none of {MOST_EXTENTS} descriptors is the last")


def move(device: Device, extents: Sequence[tuple[int, int]], raw: bytes | None) -> bytes:
    """Read the extents, or write raw over them. Raises HardwareError if they are longer than raw."""
    if raw is not None and sum(length for _, length in extents) > len(raw):
        raise HardwareError("the descriptors are of more bytes than the request")
    out, at = b"", 0
    for address, length in extents:
        if raw is None:
            out += device.dma_read(address, length)
        else:
            device.dma_write(address, raw[at : at + length])
        at += length
    return out


HARDWARE: dict[str, Callable[[Device], Hardware]] = {"nvme": Controller, "extents": Extents}


class Rig:
    """The driver, loaded for a machine of its own. Raises DriverError. control: let that one be driven instead, on the
    machine and with the requests that the driver would get."""

    def __init__(
        self, subject: Subject, path: str, api: Api, seed: str, findings: Findings, *, control: bool = False
    ) -> None:
        self.api = api
        self.found = findings
        self.bench = Bench(subject, seed)
        self.device, self.machine = self.bench.device, self.bench.machine
        self.object = CObject(path, self.machine)
        self.table = table_of(self.object)
        self.hardware = HARDWARE[text(self.table.hardware)](self.device) if self.table.hardware else None
        self.debug = dma_debug.enable(self.device, all_errors=True)
        self.control = Control(self.device) if control else None
        self._reports = 0
        self._lines = 0

    @property
    def map_member(self) -> str:
        return "map_sg" if self.api == "legacy" else "map_rq"

    def has(self, member: str) -> bool:
        return bool(getattr(self.table, member))

    def call(self, member: str, *arguments: int | Device | SgTable) -> int:
        """A member of the driver's table; 0 where it has none. Raises KernelBug."""
        if self.control is not None:
            answered: int = getattr(self.control, member)(*arguments[1:])
            self.listen(member)
            return answered
        address = getattr(self.table, member)
        if not address:
            return 0
        answer = self.object.call(address, *arguments)
        self.listen(member)
        return answer

    def say(self, step: str) -> None:
        self.found.steps.append(step)

    def listen(self, during: str) -> None:
        """What dma-debug and the kernel's log have said since."""
        for report in self.debug.reports[self._reports :]:
            clause = REPORTED.get(report.number)
            if clause:
                self.found.add(clause, f"{report.text.splitlines()[0]} (in {during})")
        self._reports = len(self.debug.reports)
        for line in self.machine.dmesg[self._lines :]:
            if line.startswith("WARNING"):
                self.found.add("DRV-01", f"{line} (in {during})")
        self._lines = len(self.machine.dmesg)

    # -- requests ----------------------------------------------------------------------------------------------

    def lot(self, shape: str) -> Lot | None:
        """The entries of a request as a block layer cuts them for this driver; None if it cannot have such a one."""
        try:
            long = shape == "long"
            rows = [(self._run(34), 0, 34 * self.bench.page)] if long else self.bench.rows(shape)
        except NotTested:
            return None
        align = max(self.table.align, 1)
        rows = [
            (page, offset - offset % align, max(length - length % align, align)) for page, offset, length in rows
        ]
        rows = list(self._cut(rows, dma_ops.dma_get_max_seg_size(self.device)))
        total = sum(length for _, _, length in rows)
        room = dma_ops.dma_max_mapping_size(self.device)
        if total > room or 0 < self.table.max_bytes < total or 0 < self.table.max_segments < len(rows):
            return None
        lot = self.bench.lot(rows)
        lot.shape = shape
        return lot

    def _run(self, n: int) -> int:
        return self.bench.frames(n, contiguous=True)[0]

    def _cut(self, rows: Sequence[Row], most: int) -> Iterator[Row]:
        most = max(most - most % self.bench.page, self.bench.page)
        for page, offset, length in rows:
            for done in range(0, length, most):
                at = offset + done
                yield page + at - at % self.bench.page, at % self.bench.page, min(most, length - done)

    def possible(self, lot: Lot, direction: int) -> bool:
        """Can this machine map the entries at all?"""
        twin = self.bench.table(lot)
        try:
            self.device.debug = None
            dma_ops.dma_map_sgtable(self.device, twin, direction, 0)
        except DmaError:
            return False
        finally:
            self.device.debug = self.debug
        self.device.debug = None
        dma_ops.dma_unmap_sgtable(self.device, twin, direction, 0)
        self.device.debug = self.debug
        return True

    def start(self, lot: Lot, direction: int) -> tuple[int, Flight]:
        """Let the driver map a request: its answer, 0 or -errno."""
        flight = Flight(lot, direction, Command())
        command = ctypes.addressof(flight.command)
        if self.control is not None:
            ret = self.control.map(command, lot.rows, direction, self.api)
            self.listen(self.map_member)
        elif self.api == "legacy":
            flight.sgt = self.bench.table(lot)
            ret = self.call("map_sg", self.device, flight.sgt, direction, command)
        else:
            flight.rq = request(lot.rows, write=direction == DMA_TO_DEVICE)
            ret = self.call("map_rq", self.device, ctypes.addressof(flight.rq), command)
        what = f"{lot.shape}: {len(lot.rows)} entries, {lot.size} bytes, {NAMES[direction]}"
        self.say(f"{self.map_member}({what}) = {ret}")
        return ret, flight

    def finish(self, flight: Flight) -> None:
        self.call("unmap", self.device, ctypes.addressof(flight.command))
        self.say(f"unmap({flight.lot.shape})")

    def sync(self, flight: Flight, *, for_cpu: bool) -> bool:
        """Did the driver sync?"""
        ret = self.call("sync", self.device, ctypes.addressof(flight.command), int(for_cpu)) if self.has("sync") else -1
        self.say(f"sync({flight.lot.shape}, for_cpu={for_cpu}) = {ret}")
        return ret == 0

    def execute(self, flight: Flight, raw: bytes | None) -> bytes | None:
        """Let the device do what the descriptors say: the bytes that it read; None if it could not."""
        try:
            if self.control is not None:
                seen = move(self.device, self.control.mapped[ctypes.addressof(flight.command)].extents, raw)
            elif self.hardware is not None:
                seen = self.hardware.execute(flight.command.descriptor, raw)
            else:
                seen = move(self.device, self._extents(flight), raw)
        except DmaFault as fault:
            self.found.add("DRV-05", f"the device's access to {fault} ({flight.lot.shape}, {NAMES[flight.direction]})")
        except HardwareError as error:
            self.found.add("DRV-04", f"{error} ({flight.lot.shape}, {NAMES[flight.direction]})")
        else:
            self.say(f"the device executes {flight.lot.shape}")
            return seen
        return None

    def _extents(self, flight: Flight) -> list[tuple[int, int]]:
        room = (Extent * 512)()
        n = self.call("extents", self.device, ctypes.addressof(flight.command), ctypes.addressof(room), len(room))
        if not 0 < n <= len(room):
            raise HardwareError(f"extents() answered {n}")
        return [(row.addr, row.len) for row in room[:n]]

    def transfer(self, flight: Flight, clause: str = "DRV-06") -> bytes | None:
        """Let the device do the request, and look at the bytes that it read: those that it wrote are seen after the
        unmap. None if that cannot be."""
        lot = flight.lot
        if flight.direction == DMA_TO_DEVICE:
            seen = self.execute(flight, None)
            if seen is not None and seen != lot.content:
                self.found.add(clause, f"the device reads {differs(seen, lot.content)} ({lot.shape})")
            return None
        raw = self.bench.random.randbytes(lot.size)
        return raw if self.execute(flight, raw) is not None else None

    def expect(self, flight: Flight, raw: bytes | None, clause: str = "DRV-06", when: str = "after unmap") -> None:
        """The CPU reads what the device wrote, and finds everything else as it was."""
        lot = flight.lot
        if raw is not None:
            seen = self.bench.cpu(lot)
            if seen != raw:
                self.found.add(clause, f"{when} the CPU reads {differs(seen, raw)} ({lot.shape})")
        try:
            self.bench.expect_guards(lot)
        except Violation as violation:
            self.found.add(clause, str(violation))

    # -- what is allocated -------------------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        counters = self.bench.counters()
        counters["mappings that dma-debug knows"] = sum(1 for _ in self.debug.entries(self.device))
        counters["objects of kmalloc"] = len(self.object.kernel.allocated)
        return counters

    def same(self, before: dict[str, int], clause: str, when: str) -> None:
        after = self.counters()
        left = {key: after.get(key, 0) - before.get(key, 0) for key in before | after}
        changed = ", ".join(f"{key} {change:+d}" for key, change in sorted(left.items()) if change)
        if changed:
            self.found.add(clause, f"{when} is left: {changed}")


def table_of(loaded: CObject) -> DriverTable:
    """The driver's table. Raises DriverError."""
    name = os.path.basename(loaded.path)
    try:
        table = DriverTable.from_address(loaded.symbol(SYMBOL))
    except LookupError:
        raise DriverError(f"{name} has no symbol {SYMBOL} (see dma_conformance/driver.h)") from None
    if table.version != VERSION:
        raise DriverError(f"{name} has a driver table of version {table.version}, not {VERSION}")
    if text(table.hardware) not in ("", *HARDWARE) or not (table.hardware or table.extents):
        raise DriverError(f"{name}: hardware is {text(table.hardware)!r}, not one of {', '.join(HARDWARE)}")
    if not (table.map_sg or table.map_rq) or not table.unmap:
        raise DriverError(f"{name} has neither map_sg nor map_rq, or no unmap")
    assert all(hasattr(table, member) for member in OPERATIONS)
    return table


def differs(seen: bytes, meant: bytes) -> str:
    if len(seen) != len(meant):
        return f"{len(seen)} bytes, not {len(meant)}"
    at = next(i for i, (a, b) in enumerate(zip(seen, meant, strict=True)) if a != b)
    return f"other bytes from byte {at} of {len(meant)} on"


@contextmanager
def doomed(rig: Rig, kind: str, nth: int) -> Iterator[list[bool]]:
    """Let the nth allocation of a kind fail; the list says afterwards whether it came to that."""
    reached: list[bool] = []
    rig.machine.fail(kind, nth)
    yield reached
    reached.append(not any(rig.machine.fails(kind) for _ in range(nth)))


__all__ = ["DriverError", "Findings", "Flight", "NotTested", "Rig", "doomed", "table_of"]
