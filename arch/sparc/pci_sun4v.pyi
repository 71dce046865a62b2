# SPDX-License-Identifier: MIT
from collections.abc import Iterable, Mapping

from dma_ops.device import Walker
from dma_ops.machine import Machine

from .iommu_common import SparcIommuOps

class Hypervisor(Walker):
    machine: Machine
    tsb: int
    base: int
    entries: int
    iotsb: int
    atu_base: int
    atu_entries: int
    most: int
    def fail_map(self, nth: int) -> None: ...
    def mapped(self, atu: bool = False) -> dict[int, int]: ...

class Sun4vDmaOps(SparcIommuOps):
    dma_addr_mask: int
    vpci_major: int
    hypervisor: Hypervisor
    def __init__(self, machine: Machine, *, base: int = 0x80000000, size: int = 0x80000000, atu_base: int = 0,
                 vpci_major: int = 2, most: int = 1024, firmware: Mapping[int, int] | None = None) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def table(self) -> dict[int, int]: ...
    def preset(self, *, fill: Iterable[tuple[int, int]] = ()) -> None: ...
