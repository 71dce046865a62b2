# SPDX-License-Identifier: MIT
from dma_ops import Machine, Walker

PAGE_SHIFTS: tuple[int, ...]

class Ioc(Walker):
    machine: Machine
    ibase: int
    imask: int
    tcnfg: int
    pdir_base: int
    def __init__(self, machine: Machine, ibase: int, imask: int, tcnfg: int, pdir_base: int) -> None: ...
