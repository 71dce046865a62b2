# SPDX-License-Identifier: MIT
from typing import Any

from dma_ops.machine import Machine

from .ps3_lv1 import LogicalMemory, Lv1Segment

class DmaRegion:
    machine: Machine
    memory: LogicalMemory
    segment: Lv1Segment
    bus_addr: int
    len: int
    offset: int
    page_size: int
    def __init__(self, machine: Machine, memory: LogicalMemory, *, page_size: int = ..., bus_addr: int = ...,
                 addr: int = ..., len: int = ..., **options: Any) -> None: ...
    @property
    def chunks(self) -> list[tuple[int, int, int, int]]: ...

class SbRegion(DmaRegion):
    dynamic: bool
    def __init__(self, machine: Machine, memory: LogicalMemory, *, dynamic: bool = ..., page_size: int = ...,
                 bus_addr: int = ..., addr: int = ..., len: int = ...) -> None: ...

class Ioc0Region(DmaRegion):
    ioid: int
    def __init__(self, machine: Machine, memory: LogicalMemory, *, ioid: int = ..., page_size: int = ...,
                 bus_addr: int = ..., addr: int = ..., len: int = ...) -> None: ...
