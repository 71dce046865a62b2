# SPDX-License-Identifier: MIT
"""What a kernel and a device do to a driver. Each scenario has a machine of its own; what it finds names a clause."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dma_ops
from dma_ops import DMA_FROM_DEVICE, DMA_TO_DEVICE, DmaError, KernelBug

from ..checks.bench import Lot, NotTested
from ..checks.failure import KINDS
from ..facts import Subject
from .rig import NAMES, SHAPES, Api, Findings, Flight, Rig, doomed

DIRECTIONS = (DMA_TO_DEVICE, DMA_FROM_DEVICE)
MOST_FAILURES = 4                       # of one kind, in one request


@contextmanager
def bound(rig: Rig) -> Iterator[None]:
    """The driver's time with its device. Raises NotTested if it does not take the device, and need not."""
    ret = rig.call("probe", rig.device)
    rig.say(f"probe = {ret}")
    if ret:
        if rig.bench.subject.reach and has_coherent(rig):
            rig.found.add("DRV-02", f"probe answers {ret}")
        raise NotTested(f"the driver does not take the device: probe answers {ret}")
    yield
    rig.call("remove", rig.device)
    rig.say("remove")
    rig.debug.unbind(rig.device)
    rig.listen("remove")
    left = rig.object.kernel.allocated
    if left:
        rig.found.add("DRV-10", f"{len(left)} objects of kmalloc, {sum(left.values())} bytes, are never freed")


def has_coherent(rig: Rig) -> bool:
    try:
        cpu, bus = dma_ops.dma_alloc_coherent(rig.device, 4096)
    except DmaError:
        return False
    dma_ops.dma_free_coherent(rig.device, 4096, cpu, bus)
    return True


def begin(rig: Rig, lot: Lot, direction: int) -> Flight | None:
    """A request that is mapped. None: it was not, which is a finding if it could have been."""
    ret, flight = rig.start(lot, direction)
    if ret == 0:
        return flight
    if ret > 0:
        rig.found.add("DRV-15", f"{rig.map_member} answers {ret}, which is neither 0 nor -errno")
    elif rig.possible(lot, direction) and has_coherent(rig):
        what = f"{lot.shape}, {NAMES[direction]}"
        rig.found.add("DRV-03", f"{rig.map_member} answers {ret} for {what}, which can be mapped")
    return None


def life(rig: Rig) -> None:
    """Every shape in both directions, one request after another, twice: the second time nothing may be new."""
    with bound(rig):
        for shape in SHAPES:
            for direction in DIRECTIONS:
                lot = rig.lot(shape)
                if lot is None:
                    continue
                before: dict[str, int] = {}
                for again in (False, True):
                    before = rig.counters() if again else before
                    flight = begin(rig, lot, direction)
                    if flight is None:
                        break
                    raw = rig.transfer(flight)
                    rig.finish(flight)
                    rig.expect(flight, raw)
                    if again:
                        rig.same(before, "DRV-09", f"after unmap ({lot.shape}, {NAMES[direction]})")
                    rig.bench.refill(lot)


def sync(rig: Rig) -> None:
    """A buffer that stays mapped while the CPU and the device take turns."""
    if not rig.has("sync"):
        raise NotTested("the driver has no sync")
    with bound(rig):
        for shape in ("pages", "joinable"):
            for direction in DIRECTIONS:
                lot = rig.lot(shape)
                flight = begin(rig, lot, direction) if lot is not None else None
                if flight is None:
                    continue
                raw = rig.transfer(flight)
                if rig.sync(flight, for_cpu=True):
                    if direction == DMA_FROM_DEVICE:
                        rig.expect(flight, raw, "DRV-12", "after the sync for the CPU")
                    else:
                        rig.bench.refill(flight.lot)
                    if rig.sync(flight, for_cpu=False):
                        raw = rig.transfer(flight, "DRV-12")
                rig.finish(flight)
                rig.expect(flight, raw, "DRV-12")


def crowd(rig: Rig) -> None:
    """Four requests at once, which end in another order."""
    with bound(rig):
        flights: list[Flight] = []
        for shape, direction in zip(("one", "joinable", "pages", "one"), DIRECTIONS * 2, strict=True):
            lot = rig.lot(shape)
            ret, flight = rig.start(lot, direction) if lot is not None else (-1, None)
            if ret == 0 and flight is not None:
                flights.append(flight)
        raws = {id(flight): rig.transfer(flight, "DRV-18") for flight in reversed(flights)}
        for flight in flights[1::2] + flights[::2]:
            rig.finish(flight)
            rig.expect(flight, raws[id(flight)], "DRV-18")


def failures(rig: Rig) -> None:
    """The k-th allocation of each kind fails while a request is mapped."""
    with bound(rig):
        for shape in ("joinable", "pages"):
            lot = rig.lot(shape)
            if lot is None or not _once(rig, lot):
                continue
            for kind in KINDS:
                for nth in range(1, MOST_FAILURES + 1):
                    if not _fail(rig, lot, kind, nth):
                        break


def _once(rig: Rig, lot: Lot) -> bool:
    """Let everything grow that grows once."""
    ret, flight = rig.start(lot, DMA_FROM_DEVICE)
    if ret == 0:
        rig.finish(flight)
    return ret == 0


def _fail(rig: Rig, lot: Lot, kind: str, nth: int) -> bool:
    """Was there an nth allocation?"""
    what = f"where allocation {nth} of kind {kind} fails ({lot.shape})"
    before = rig.counters()
    with doomed(rig, kind, nth) as reached:
        rig.say(f"allocation {nth} of kind {kind} fails:")
        ret, flight = rig.start(lot, DMA_FROM_DEVICE)
    if not reached[0]:
        if ret == 0:
            rig.finish(flight)
        return False
    if ret == 0:                        # the kernel or the driver found another way; then that must work
        seen = len(rig.found.rows)
        raw = rig.transfer(flight, "DRV-15")
        rig.finish(flight)
        rig.expect(flight, raw, "DRV-15")
        if len(rig.found.rows) > seen:
            rig.found.add("DRV-15", f"{rig.map_member} answers 0 {what}, and what it made of the request is wrong")
    elif ret > 0 or ret < -4095:
        rig.found.add("DRV-15", f"{rig.map_member} answers {ret} {what}, which is no -errno")
    rig.same(before, "DRV-16", what)
    ret, flight = rig.start(lot, DMA_FROM_DEVICE)
    if ret:
        rig.found.add("DRV-17", f"{rig.map_member} answers {ret} after the request that failed {what}")
        return True
    raw = rig.transfer(flight, "DRV-17")
    rig.finish(flight)
    rig.expect(flight, raw, "DRV-17")
    return True


def refusal(rig: Rig) -> None:
    """Where a device can have nothing mapped, the driver says so."""
    if rig.bench.subject.reach:
        raise NotTested("this machine maps RAM for the device")
    ret = rig.call("probe", rig.device)
    rig.say(f"probe = {ret}")
    if ret < 0:
        return
    lot = rig.bench.lot([(rig.machine.alloc_ram(0), 0, rig.bench.page)])
    ret, _ = rig.start(lot, DMA_TO_DEVICE)
    if ret >= 0:
        rig.found.add("DRV-15", f"{rig.map_member} answers {ret} on a machine that can map nothing")
    rig.call("remove", rig.device)


SCENARIOS: dict[str, Callable[[Rig], None]] = {
    function.__name__: function for function in (life, sync, crowd, failures, refusal)
}


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a scenario: the driver's findings, those that a driver without faults has as well, what happened,
    and why nothing did, if so."""

    findings: list[tuple[str, str]]
    shared: list[tuple[str, str]]
    steps: list[str]
    why: str = ""


def play(name: str, subject: Subject, path: str, api: Api, seed: int) -> Played:
    """Play a scenario. Raises DriverError."""
    found, why = _play(name, subject, path, api, seed, control=False)
    if not found.rows:
        return Played([], [], found.steps, why)
    same = {_shape(row) for row in _play(name, subject, path, api, seed, control=True)[0].rows}
    mine = [row for row in found.rows if _shape(row) not in same]
    return Played(mine, [row for row in found.rows if _shape(row) in same], found.steps, why)


def _shape(row: tuple[str, str]) -> tuple[str, str]:
    """A finding without its numbers."""
    return row[0], re.sub(r"0x[0-9a-f]+|\d+|map_\w+", "#", row[1])


def _play(name: str, subject: Subject, path: str, api: Api, seed: int, *, control: bool) -> tuple[Findings, str]:
    found = Findings()
    where = f"{seed}:{name}:{subject.record.id}:{subject.config.name}:{api}"
    rig = Rig(subject, path, api, where, found, control=control)
    if not rig.has(rig.map_member):
        return found, f"the driver has no {rig.map_member}"
    try:
        SCENARIOS[name](rig)
    except NotTested as reason:
        return found, str(reason)
    except KernelBug as bug:
        found.add("DRV-01", f"the kernel dies: {bug}")
    return found, ""
