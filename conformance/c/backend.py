# SPDX-License-Identifier: MIT
"""Backends under test in C: a struct dma_map_ops in a shared object, on machines of ours (dma_ops.c_ops)."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

from arch import BackendRecord, MachineConfig
from arch.record import TABLES_JOIN_PROVIDERS
from dma_ops import Device, Machine
from dma_ops.c_api import CObject
from dma_ops.c_ops import CDmaMapOps

from .compile import CompileError, compiled

MIB = 1 << 20


class BackendError(ValueError):
    """An object that is no backend; the message is one sentence for the user."""


def build(
    path: Path, symbol: str, name: str, ram: Iterable[tuple[int, int]], *, page_shift: int, coherent: bool
) -> Device:
    """A new machine with a device behind the object's struct dma_map_ops. Every machine has a copy of the object."""
    arch = "c" if coherent else "arm64"     # whose devices may not snoop
    machine = Machine(name, arch=arch, page_shift=page_shift, ram=ram, pci_p2pdma=True, cached=not coherent)
    ops = CDmaMapOps(CObject(path, machine), symbol)
    dev = Device("0000:00:01.0", machine, dma_ops=ops, mask=0xFFFFFFFF, coherent=coherent)
    ops.setup(dev)
    return dev


@cache
def record(name: str) -> BackendRecord:
    """The backend that c:PATH:SYMBOL names; PATH is an object, or a C file to be compiled. Raises BackendError."""
    path, _, symbol = name.removeprefix("c:").rpartition(":")
    if not path or not symbol:
        raise BackendError(f"{name!r} is not c:PATH:SYMBOL")
    try:
        target = Path(path)
        if target.suffix == ".c":
            target = compiled(target, 12, os.environ.get("CFLAGS", ""), _folder())
        loaded = CObject(target)
        ops = CDmaMapOps(loaded, symbol)
    except (OSError, ValueError, LookupError, CompileError) as error:
        raise BackendError(f"backend {name!r} cannot be loaded: {error}") from None
    made = partial(build, target.resolve(), symbol, page_shift=loaded.machine.page_shift)
    rams = (("low", "64 MiB", ((0, 64 * MIB),)),
            ("split", "31 MiB from 1 MiB on and 32 MiB at 2 GiB", ((MIB, 32 * MIB), (2 << 30, (2 << 30) + 32 * MIB))))
    configs = [MachineConfig(key, facts, partial(made, key, ram, coherent=True)) for key, facts, ram in rams]
    if "sync_single_for_cpu" in ops.ops:
        ram = rams[0][2]
        configs.append(MachineConfig("noncoherent", "64 MiB, and a device that does not snoop the CPU's cache",
                                     partial(made, "noncoherent", ram, coherent=False)))
    return BackendRecord(
        id=symbol, ops=CDmaMapOps, source=(f"{Path(path).name}: {symbol}",), machines=tuple(configs),
        p2pdma=bool(ops.flags & 1), walker="dma_conformance_translate", proof="read",
        known=(TABLES_JOIN_PROVIDERS,),         # the machines' kernel is 6.1
    )


@cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="dma-conformance-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
