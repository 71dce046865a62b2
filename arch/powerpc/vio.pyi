# SPDX-License-Identifier: MIT
from .dma_iommu import DmaIommuOps
from .iommu import IommuTable

class VioCmo:
    entitled: int
    reserve_size: int
    excess_size: int
    excess_free: int
    spare: int
    min: int
    desired: int
    curr: int
    high: int
    balance_queued: bool
    nr_devices: int
    devices: list[VioDmaMappingOps]
    def __init__(self, entitlement: int, devices: int) -> None: ...
    def balance(self) -> None: ...
    def entitlement_update(self, entitlement: int) -> None: ...

class VioDmaMappingOps(DmaIommuOps):
    cmo: VioCmo
    desired: int
    entitled: int
    allocated: int
    allocs_failed: int
    def __init__(self, tbl: IommuTable | None = ..., *, cmo: VioCmo, desired: int | None = ...) -> None: ...
    def set_desired(self, desired: int) -> None: ...
    def remove(self) -> None: ...
    def resources(self) -> dict[str, int]: ...
    def flush(self) -> None: ...
