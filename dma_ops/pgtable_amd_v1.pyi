# SPDX-License-Identifier: MIT
from .device import Walker
from .machine import Machine
from .pgtable import PageTable

class AmdV1Domain(PageTable):
    def __init__(self, machine: Machine, mode: int = 3) -> None: ...
    @property
    def mode(self) -> int: ...

class AmdV1Walker(Walker):
    def __init__(self, machine: Machine, context: int) -> None: ...
    @property
    def context(self) -> int: ...
