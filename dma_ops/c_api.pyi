# SPDX-License-Identifier: MIT
from os import PathLike
from typing import Literal

from scatterlist import BioVecs, SgTable

from .c_kernel import Kernel
from .device import Device
from .machine import Machine

class CObject:
    path: str
    kernel: Kernel
    def __init__(self, path: str | PathLike[str], machine: Machine | None = None) -> None: ...
    @property
    def machine(self) -> Machine: ...
    def symbol(self, name: str) -> int: ...
    def call(
        self,
        name: str | int,
        *arguments: int | str | bytearray | Device | SgTable | BioVecs | None,
        result: Literal["int", "long", "bool", "pointer", "void"] = "int",
    ) -> int: ...
