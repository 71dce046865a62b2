# SPDX-License-Identifier: MIT
from dma_ops.device import Walker
from dma_ops.machine import Machine

class TceWalker(Walker):
    def __init__(self, machine: Machine) -> None: ...
