# SPDX-License-Identifier: MIT
from .device import Walker
from .iommu import IommuDomain
from .machine import Machine

class VirtioWalker(Walker): ...

class VirtioDomain(IommuDomain):
    def __init__(self, machine: Machine, page_mask: int = ...) -> None: ...
    def table(self) -> dict[int, tuple[int, int, int]]: ...
