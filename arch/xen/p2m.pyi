# SPDX-License-Identifier: MIT
from array import array
from typing import Literal

from dma_ops.machine import Machine

GUESTS: dict[str, int]

class P2m:
    machine: Machine
    guest: int
    p2m: int
    nr_frames: int
    m2p: int
    nr_machine_frames: int
    free_top: int
    gap: int
    def __init__(self, machine: Machine, guest: Literal["pv", "hvm", "arm"] = "pv", frames: int = 0,
                 machine_frames: int = 0, *, free_top: int = 0, gap: int = 1) -> None: ...
    def set(self, pfn: int, mfn: int, n: int = 1) -> None: ...
    def load(self, pfn: int, mfns: array[int]) -> None: ...
    def machine_frame(self, pfn: int) -> int: ...
    def guest_frame(self, mfn: int) -> int: ...
