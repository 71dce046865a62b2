# SPDX-License-Identifier: MIT
"""Every allocation of every entry point fails once: the first, the second, and so on, until the call has its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..facts import Subject
from .generate import applies
from .memory import RAM_FRAMES
from .play import Outcome, step
from .program import Call, Program
from .world import KINDS, KernelDead, World

MOST = 200                              # allocations that one call may make
NEIGHBOUR, FIRST, SECOND = 1, 2, 3      # the names of the mappings
FAR = 2 * RAM_FRAMES + 8                # a frame of the peer behind the host bridge


def _list(page: int) -> list[tuple[int, int, int]]:
    """Entries that are adjacent, that cross pages, that fill them, and that do none of these."""
    return [(1, 0, page), (2, 0, page), (4, page // 2, page), (9, 12, 100), (10, 0, 2 * page), (13, 64, page - 64),
            (14, 0, page // 2)]


#: Each entry point and its arguments but for the name, by the size of a page.
ENTRIES: dict[str, Callable[[int], tuple[object, ...]]] = {
    "map_page": lambda page: ((3, 16, 2 * page), "BIDIRECTIONAL"),
    "map_sg": lambda page: (_list(page), "BIDIRECTIONAL"),
    "map_phys": lambda page: ((11, page // 2, page), "BIDIRECTIONAL"),
    "map_iova": lambda page: ([(1, 64, page - 64), (4, 0, 2 * page), (9, 0, 100)], "BIDIRECTIONAL"),
    "map_buf": lambda page: ((FAR, 0, 2 * page), "BIDIRECTIONAL"),
    "map_resource": lambda page: (2, 0, page, "BIDIRECTIONAL"),
    "alloc": lambda page: (3 * page,),
    "alloc_pages": lambda page: (2 * page,),
    "alloc_noncontiguous": lambda page: (3 * page,),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One failing allocation: which of a call's, and what came of it. refused: the call failed."""

    entry: str
    kind: str
    nth: int
    refused: bool
    outcome: Outcome


def _program(made: Subject, calls: list[Call], p2p: bool) -> Program:
    return Program(made.record.id, made.config.name, tuple(calls), p2p)


def _try(made: Subject, entry: str, kind: str, nth: int, *, beside: bool) -> tuple[Trial, bool]:
    """The trial, and whether the allocation was met. nth 0: none fails."""
    p2p = entry == "map_buf"
    world = World(made, p2p=p2p)
    page = world.page
    arguments = ENTRIES[entry](page)
    before: list[Call] = [("map_page", (NEIGHBOUR, (6, 32, page // 2), "TO_DEVICE"))] if beside else []
    before += [("fail", (kind, nth))] if nth else []
    calls = [*before, (entry, (FIRST, *arguments))]
    after: list[Call] = [("look", (NEIGHBOUR,)), (entry, (SECOND, *arguments))]
    outcome = Outcome(_program(made, [*calls, *after], p2p), met=world.met)
    refused = fired = False
    try:
        for call in calls:
            step(world, call)
        refused, fired = FIRST not in world.live, world.fired
        if nth and refused:
            for call in after:
                step(world, call)
            if SECOND not in world.live:
                world.broken("DMA-16", f"after {entry} failed, it fails again")
        world.end()
    except KernelDead:
        refused = fired = True
    except Exception as error:
        outcome.broken = error
        fired = True
    return Trial(entry, kind, nth, refused, outcome), fired


def trials(made: Subject, entry: str) -> Iterator[Trial]:
    """Let each allocation that an entry point makes fail, on an untouched machine and beside another mapping."""
    p2p = entry == "map_buf"
    if p2p and not (made.record.p2pdma and made.machine.pci_p2pdma):
        return
    if not applies(World(made, p2p=p2p), entry):
        return
    for beside in (False, True):
        sound, _ = _try(made, entry, "", 0, beside=beside)
        if sound.refused:
            return                                      # not a call that this machine can do
        for kind in KINDS:
            for nth in range(1, MOST):
                trial, fired = _try(made, entry, kind, nth, beside=beside)
                if not fired:
                    break
                yield trial
            else:
                raise RuntimeError(f"{entry} makes {MOST} allocations of {kind}")
