# SPDX-License-Identifier: MIT
from dma_ops import DmaMapOps, Machine

from .ioc import PAGE_SHIFTS as PAGE_SHIFTS
from .ioc import Ioc

class SbaOps(DmaMapOps):
    machine: Machine
    walker: Ioc
    pdir: int
    entries: int
    ibase: int
    imask: int
    iovp_shift: int
    res_hint: int
    res_bitshift: int
    saved_cnt: int
    shift_wraps: bool
    commands: int
    last_command: int
    def __init__(
        self,
        machine: Machine,
        window: int,
        *,
        ibase: int = ...,
        iovp_shift: int = 0,
        agp: bool = False,
        entries: int | None = None,
        shift_wraps: bool = False,
    ) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def flush(self) -> None: ...
    def table(self) -> dict[int, int]: ...
