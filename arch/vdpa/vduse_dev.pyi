# SPDX-License-Identifier: MIT
from dma_ops.device import DmaMapOps
from dma_ops.machine import Machine

from .iova_domain import VduseIovaDomain

class VduseDmaOps(DmaMapOps):
    machine: Machine
    domain: VduseIovaDomain
    def __init__(self, machine: Machine, max_iotlb_entries: int = 2048) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def table(self) -> dict[int, tuple[int, int]]: ...
