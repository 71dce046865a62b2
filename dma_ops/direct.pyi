# SPDX-License-Identifier: MIT
from typing import Self

from .device import Device, DmaMapOps, Walker

class DirectWalker(Walker): ...

class DmaDirect(DmaMapOps):
    unmap_sg_is_stub: bool
    def __new__(cls, *, unmap_sg_is_stub: bool = False) -> Self: ...
    def need_sync(self, dev: Device, addr: int) -> bool: ...
