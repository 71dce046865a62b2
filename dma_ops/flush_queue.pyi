# SPDX-License-Identifier: MIT
from .iommu import IommuDomain
from .iova import IovaDomain

class FlushQueue:
    domain: IommuDomain
    space: IovaDomain
    timeout: int
    started: int
    finished: int
    now: int
    timer_on: bool
    def __init__(
        self, domain: IommuDomain, space: IovaDomain, *, nr_cpus: int = 1, single: bool = False, size: int = 0,
        timeout: int = 0,
    ) -> None: ...
    def tick(self, ms: int, *, cpu: int = 0) -> None: ...
    def flush(self, *, cpu: int = 0) -> None: ...
    @property
    def waiting(self) -> int: ...
