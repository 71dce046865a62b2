# SPDX-License-Identifier: MIT
from dma_ops.device import DmaMapOps, Walker
from dma_ops.machine import Machine

class R4030(Walker):
    machine: Machine
    trstbl_base: int
    trstbl_lim: int

class JazzDmaOps(DmaMapOps):
    machine: Machine
    def __init__(self, machine: Machine) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def flush(self) -> None: ...
    def table(self) -> dict[int, tuple[int, int]]: ...
