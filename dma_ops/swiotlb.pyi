# SPDX-License-Identifier: MIT
from .device import Device, IoTlbMemBase
from .machine import Machine

class IoTlbMem(IoTlbMemBase):
    machine: Machine
    start: int
    end: int
    nslabs: int
    nareas: int
    area_nslabs: int
    force_bounce: bool
    for_alloc: bool
    def __init__(
        self,
        machine: Machine,
        start: int,
        nslabs: int,
        nareas: int = 1,
        *,
        force_bounce: bool = False,
        for_alloc: bool = False,
    ) -> None: ...
    @property
    def used(self) -> int: ...
    @property
    def area_index(self) -> tuple[int, ...]: ...
    def live(self) -> dict[int, tuple[int, int]]: ...
    def free_runs(self) -> list[int]: ...
    def map_single(
        self,
        dev: Device,
        orig: int,
        mapping_size: int,
        alloc_size: int,
        alloc_align_mask: int,
        dir: int,
        attrs: int = 0,
    ) -> int | None: ...
    def unmap_single(self, dev: Device, tlb_addr: int, size: int, dir: int, attrs: int = 0) -> None: ...

def swiotlb_init(
    machine: Machine,
    size: int = 0,
    nareas: int = 0,
    *,
    force_bounce: bool = False,
    anywhere: bool = False,
) -> IoTlbMem | None: ...
