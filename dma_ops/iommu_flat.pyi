# SPDX-License-Identifier: MIT
from typing import Self

from .device import Walker
from .iommu import IommuDomain
from .machine import Machine

class FlatWalker(Walker):
    entries: dict[int, tuple[int, int]]

class FlatDomain(IommuDomain):
    fail_map: int
    fail_part: int
    fail_sync: int
    def __new__(cls, machine: Machine, granule: int = 4096) -> Self: ...
    def table(self) -> dict[int, tuple[int, int]]: ...
