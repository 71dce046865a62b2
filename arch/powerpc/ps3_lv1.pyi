# SPDX-License-Identifier: MIT
from dma_ops.device import Walker
from dma_ops.machine import Machine

class LogicalMemory:
    rm_size: int
    total: int
    r1_base: int
    r1_offset: int
    def __init__(self, *, rm_size: int = ..., total: int = ..., r1_base: int = ...) -> None: ...

class Lv1Segment(Walker):
    machine: Machine
    memory: LogicalMemory
    bus_addr: int
    size: int
    page_shift: int
    iopt: int
    def __init__(self, machine: Machine, memory: LogicalMemory, bus_addr: int, size: int, page_shift: int) -> None: ...
    def entries(self) -> dict[int, int]: ...
