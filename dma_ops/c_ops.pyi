# SPDX-License-Identifier: MIT
from .c_api import CObject
from .device import Device, DmaMapOps, Walker

class CWalker(Walker): ...

class CDmaMapOps(DmaMapOps):
    object: CObject
    def __init__(self, object: CObject, symbol: str) -> None: ...
    def setup(self, dev: Device) -> None: ...
