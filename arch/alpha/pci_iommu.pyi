# SPDX-License-Identifier: MIT
from collections.abc import Mapping

from dma_ops import Device, DmaMapOps, Machine

from .chipsets import Chipset
from .windows import PciWindows

class AlphaPciOps(DmaMapOps):
    machine: Machine
    chipset: Chipset
    walker: PciWindows
    direct_base: int
    direct_size: int
    dac_offset: int
    tbi: bool
    tbiv: bool
    isa_bridge: Device | None
    tlb_flushes: int
    tlb_start: int
    tlb_end: int
    def __init__(
        self,
        machine: Machine,
        chipset: Chipset,
        *,
        cypress: bool = False,
        isa_bridge: Device | None = None,
        tables: Mapping[str, int] | None = None,
    ) -> None: ...
    @property
    def arenas(self) -> dict[str, dict[str, int]]: ...
    def resources(self) -> dict[str, int]: ...
    def flush(self) -> None: ...
    def table(self, arena: str | None = None) -> dict[int, int]: ...
    def reserve(self, n: int, arena: str | None = None, align_mask: int = 0) -> int: ...
