# SPDX-License-Identifier: MIT
from collections.abc import Iterable

from dma_ops import Machine, Walker

class PciWindows(Walker):
    machine: Machine
    enable_bit: int
    sg_bit: int
    tbase_shift: int
    dac_base: int
    dac_size: int
    def __init__(
        self,
        machine: Machine,
        registers: Iterable[tuple[int, int, int]],
        *,
        enable_bit: int,
        sg_bit: int,
        tbase_shift: int = 0,
        dac_base: int = 0,
        dac_size: int = 0,
    ) -> None: ...
    @property
    def registers(self) -> list[tuple[int, int, int]]: ...
