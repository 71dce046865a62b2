# SPDX-License-Identifier: MIT
"""The 26th backend: Heron, an invented machine, as a third party would add its own.

    dma-conformance run --backend py:examples.backend:RECORD

chip.py is the hardware, heron.py the kernel's side of it, this file tells the suite. docs/adding-a-backend.md goes
through them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from arch import BackendRecord, MachineConfig
from arch.record import TABLES_JOIN_PROVIDERS
from dma_ops import Device, Machine

from .heron import HeronDmaOps


def build(name: str, ram: Iterable[tuple[int, int]], big_endian: bool) -> Device:
    """A new machine, and the device under test on it."""
    machine = Machine(name, arch="heron", big_endian=big_endian, ram=ram, pci_p2pdma=True)
    return Device("0000:00:01.0", machine, dma_ops=HeronDmaOps(machine))


RECORD = BackendRecord(
    id="heron_dma_ops",
    ops=HeronDmaOps,
    source=("examples/backend/heron.py: HeronDmaOps",),
    machines=(
        MachineConfig("heron", "little-endian, 64 MiB",
                      partial(build, "heron", ((0, 64 << 20),), False)),
        MachineConfig("heron-be", "big-endian, 31 MiB from 1 MiB on and 32 MiB above 4 GiB",
                      partial(build, "heron-be", ((1 << 20, 32 << 20), (4 << 30, (4 << 30) + (32 << 20))), True)),
    ),
    p2pdma=True,
    walker="Translator",
    proof="read",
    known=(TABLES_JOIN_PROVIDERS,),         # of Linux's core, whatever the backend
)
