# SPDX-License-Identifier: MIT
from dma_ops.machine import Machine

class VhostIotlb:
    machine: Machine
    base: int
    limit: int
    nmaps: int
    def __init__(self, machine: Machine, limit: int) -> None: ...
    def table(self) -> dict[int, tuple[int, int, int, int]]: ...
