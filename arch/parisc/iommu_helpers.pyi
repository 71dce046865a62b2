# SPDX-License-Identifier: MIT
from dma_ops import DmaMapOps, Machine

class PdirOps(DmaMapOps):
    machine: Machine
    pdir: int
    entries: int
    ibase: int
    linear_base: int
    coherence_index: bool
    has_ioc: bool
    commands: int
    last_command: int
    def resources(self) -> dict[str, int]: ...
    def table(self) -> dict[int, int]: ...
