# SPDX-License-Identifier: MIT
from dma_ops import Machine, Walker

class IoAdapter(Walker):
    machine: Machine

class CcioIoa(IoAdapter):
    io_pdir_base: int
    io_chain_id_mask: int
    def __init__(self, machine: Machine, pdir_base: int, chain_id_mask: int) -> None: ...

class SbaIoc(IoAdapter):
    ibase: int
    imask: int
    pdir_base: int
    frame_mask: int
    def __init__(self, machine: Machine, ibase: int, imask: int, pdir_base: int, phys_bits: int) -> None: ...
