# SPDX-License-Identifier: MIT
from dma_ops.device import DmaMapOps, Walker
from dma_ops.iova import IovaDomain
from dma_ops.machine import Machine

from .iotlb import VhostIotlb

class Simulator(Walker): ...

class VdpasimDmaOps(DmaMapOps):
    machine: Machine
    iotlb: VhostIotlb
    space: IovaDomain
    corrupted: bool
    def __init__(self, machine: Machine, max_iotlb_entries: int = 2048) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def table(self) -> dict[int, tuple[int, int, int, int]]: ...
