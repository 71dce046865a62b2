# SPDX-License-Identifier: MIT
from dma_ops.device import Walker
from dma_ops.iova import IovaDomain
from dma_ops.machine import Machine

from .iotlb import VhostIotlb

class VduseIovaDomain:
    machine: Machine
    iotlb: VhostIotlb
    stream: IovaDomain
    consistent: IovaDomain
    iova_limit: int
    bounce_size: int
    bounce_maps: int
    bounce_map: bool
    def __init__(self, machine: Machine, iova_limit: int, bounce_size: int, max_iotlb_entries: int) -> None: ...
    def bounce_table(self) -> dict[int, tuple[int, int]]: ...

class VduseDaemon(Walker): ...
