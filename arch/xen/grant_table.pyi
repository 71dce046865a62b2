# SPDX-License-Identifier: MIT
from dma_ops.machine import Machine

from .p2m import P2m

class GrantTable:
    machine: Machine
    p2m: P2m
    version: int
    per_frame: int
    max_frames: int
    nr_frames: int
    shared: int
    status: int
    size: int
    free_count: int
    def __init__(self, machine: Machine, *, version: int = 1, max_frames: int = 4, p2m: P2m | None = None) -> None: ...
    def table(self) -> dict[int, tuple[int, int, int, int]]: ...
    def free_list(self) -> list[int]: ...
    @property
    def used(self) -> int: ...
    def map_by_backend(self, ref: int, write: bool = False, mapped: bool = True) -> None: ...
