# SPDX-License-Identifier: MIT
from collections.abc import Iterable

from dma_ops.device import DmaMapOps, Walker
from dma_ops.machine import Machine

from .ioport import Dvma

class IoUnit(Walker):
    machine: Machine
    page_table: int

class IounitDmaOps(DmaMapOps):
    machine: Machine
    dvma: Dvma
    def __init__(self, machine: Machine, dvma: Dvma | None = None) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def table(self) -> dict[int, int]: ...
    def preset(self, *, fill: Iterable[tuple[int, int]] = (), rotor: Iterable[tuple[int, int]] = ()) -> None: ...
