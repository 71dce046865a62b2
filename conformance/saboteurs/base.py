# SPDX-License-Identifier: MIT
"""What a saboteur is: a small difference over real backends, or in the core, and the rules that must see it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from arch.record import BackendRecord, MachineConfig
from dma_ops import Device, DmaMapOps, Machine, WrappedOps
from dma_ops.device import OPS
from dma_ops.pyops import NEWER

from ..selection import backend, machine

CORE = "dma_direct/x86_64"              # the backend under which a broken core is run, unless another suits better


class Broken(WrappedOps):
    """Base of the broken backends: dma_ops.WrappedOps, with the members that the real one has and no others.

    adds: members that it fills though the real one leaves them NULL.
    """

    adds: tuple[str, ...] = ()

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.real = inner

    @classmethod
    def around(cls, inner: DmaMapOps) -> Broken:
        """The broken backend around a real one; what that leaves NULL stays so. dma-direct has all members."""
        absent = [name for name in OPS if name not in inner.ops and name not in cls.adds] if inner.ops else []
        absent += [name for name in NEWER if not inner.filled & NEWER[name]]
        ops: type[Broken] = type(cls.__name__, (cls,), {**dict.fromkeys(absent), "__module__": cls.__module__})
        return ops(inner)

    def need_sync(self, dev: Device, addr: int) -> bool:
        return bool(self.real.need_sync(dev, addr))  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Saboteur:
    """One difference. breaks: the rules whose clause it breaks, each of which must see it somewhere.

    targets: the real "backend/machine"s it is planted in. ops: the broken backend around the real one; core: what is
    replaced in the library itself, by name; mends: the same for the real backend to compare with, where Linux breaks
    the rule itself; on: what is done to a new device. bug: the number in the list of historical bugs, with commit,
    Linux's fix of it. dies: the kernel's death is the very thing that the rule forbids.
    """

    name: str
    what: str
    breaks: tuple[str, ...]
    targets: tuple[str, ...]
    ops: type[Broken] | None = None
    core: tuple[tuple[str, Callable[..., Any]], ...] = ()
    on: Callable[[Device], None] | None = None
    bug: str = ""
    commit: str = ""
    dies: bool = False
    mends: tuple[tuple[str, Callable[..., Any]], ...] = ()

    def record(self, target: str) -> tuple[BackendRecord, MachineConfig]:
        """The real backend's record and its machine with the saboteur on it. Known faults stay in the record, but for a
        saboteur that is compared with mended code: there they are what has to be seen."""
        name, _, config = target.partition("/")
        real = replace(backend(name), known=()) if self.mends else backend(name)
        chosen = machine(real, config)
        newer = partial(self.build, chosen.newer) if chosen.newer is not None else None
        return real, MachineConfig(chosen.name, chosen.facts, partial(self.build, chosen.build), chosen.sibling, newer)

    def build(self, build: Callable[[], Device]) -> Device:
        device = build()
        if self.ops is not None and device.dma_ops is None:
            device.direct = self.ops.around(device.direct)
        elif self.ops is not None:
            device.dma_ops = self.ops.around(device.dma_ops)  # type: ignore[arg-type]
        if self.on is not None:
            self.on(device)
        return device

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The core is broken in here. A saboteur with nothing of its own is Linux without the mends."""
        with replaced(*(self.mends if self.core or self.ops else ()), *self.core):
            yield

    @contextmanager
    def mended(self) -> Iterator[None]:
        """The core is as the rules would have it in here."""
        with replaced(*self.mends):
            yield


@contextmanager
def replaced(*functions: tuple[str, Callable[..., Any]]) -> Iterator[None]:
    """Functions of the library are replaced in here."""
    undo: list[tuple[object, str, object]] = []
    try:
        for name, broken in functions:
            module, _, attribute = name.rpartition(".")
            undo += _replace(module, attribute, broken)
        yield
    finally:
        for owner, attribute, real in reversed(undo):
            setattr(owner, attribute, real)


def _replace(module: str, attribute: str, broken: Callable[..., Any]) -> list[tuple[object, str, object]]:
    """Put broken(real, …) wherever the suite and the library say the function's name."""
    real = getattr(sys.modules[module], attribute)
    stand_in = partial(broken, real)
    undo: list[tuple[object, str, object]] = []
    for name, owner in list(sys.modules.items()):
        if name.split(".")[0] in ("dma_ops", "conformance") and getattr(owner, attribute, None) is real:
            undo.append((owner, attribute, real))
            setattr(owner, attribute, stand_in)
    return undo


SABOTEURS: dict[str, Saboteur] = {}


def add(made: Saboteur) -> None:
    if made.name in SABOTEURS:
        raise ValueError(f"two saboteurs are called {made.name}")
    SABOTEURS[made.name] = made


def planted_in(
    *targets: str, breaks: Iterable[str], name: str = "", bug: str = "", commit: str = "", dies: bool = False,
    on: Callable[[Device], None] | None = None,
) -> Callable[[type[Broken]], type[Broken]]:
    """Decorator of a broken backend; the name, if not given, from the class: UnmapForgotten is unmap-forgotten."""

    def register(ops: type[Broken]) -> type[Broken]:
        title = name or "".join(f"-{c.lower()}" if c.isupper() else c for c in ops.__name__).lstrip("-")
        what = " ".join((ops.__doc__ or "").split())
        add(Saboteur(title, what, tuple(breaks), targets, ops, on=on, bug=bug, commit=commit, dies=dies))
        return ops

    return register


def in_the_core(
    function: str, *targets: str, breaks: Iterable[str], bug: str = "", commit: str = "", dies: bool = False,
    mends: tuple[tuple[str, Callable[..., Any]], ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a function(real, …) that replaces one of the library; targets default to CORE."""

    def register(broken: Callable[..., Any]) -> Callable[..., Any]:
        what = " ".join((broken.__doc__ or "").split())
        add(Saboteur(
            broken.__name__.replace("_", "-"), what, tuple(breaks), targets or (CORE,), core=((function, broken),),
            bug=bug, commit=commit, dies=dies, mends=mends,
        ))
        return broken

    return register


def is_error(dev: Device, addr: int) -> bool:
    return addr & dev.machine.dma_addr_mask == dev.machine.dma_addr_mask


# -- the memory of translation tables, whatever their format ---------------------------------------------------

BASES = (1 << 43, 1 << 41, 0xE0000000, 0x70000000, 0x1FFF0000)      # where a Machine's table_base may be
BLOCK = 4096


def table_memory(m: Machine) -> tuple[int, bytes]:
    """(start, contents) of what Machine.alloc_table() has handed out so far."""
    end: int = m._alloc_table(0, 1)  # type: ignore[attr-defined]
    start = next(base for base in BASES if base <= end)
    return start, m.mem.peek(start, end - start)


def changes(before: tuple[int, bytes], after: tuple[int, bytes], width: int) -> list[tuple[int, bytes, bytes]]:
    """The aligned words that differ: (address, old, new). Tables that are new count as zeros before."""
    start, new = after
    old = before[1].ljust(len(new), b"\0")
    found = []
    for block in range(0, len(new), BLOCK):
        if old[block : block + BLOCK] != new[block : block + BLOCK]:
            for at in range(block, min(block + BLOCK, len(new)), width):
                if old[at : at + width] != new[at : at + width]:
                    found.append((start + at, old[at : at + width], new[at : at + width]))
    return found
