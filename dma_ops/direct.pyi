# SPDX-License-Identifier: MIT
from typing import Self

from .device import Device, Walker
from .phys import PhysMapOps

class DirectWalker(Walker): ...

class DmaDirect(PhysMapOps):
    unmap_sg_is_stub: bool
    def __new__(cls, *, unmap_sg_is_stub: bool = False) -> Self: ...
    def need_sync(self, dev: Device, addr: int) -> bool: ...
