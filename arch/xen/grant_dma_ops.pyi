# SPDX-License-Identifier: MIT
from dma_ops.device import DmaMapOps, Walker
from dma_ops.machine import Machine

from .grant_table import GrantTable

class BackendDomain(Walker):
    domid: int

class XenGrantDmaOps(DmaMapOps):
    machine: Machine
    grants: GrantTable
    backend_domid: int
    has_data: bool
    broken: bool
    def __init__(self, grants: GrantTable, backend_domid: int = 0) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def table(self) -> dict[int, tuple[int, int, int, int]]: ...
