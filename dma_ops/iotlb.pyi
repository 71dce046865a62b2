# SPDX-License-Identifier: MIT
class Iotlb:
    shift: int
    commands: int
    fills: int
    deaf: bool
    short: bool
    def __init__(self, shift: int) -> None: ...
    def __len__(self) -> int: ...
    def holds(self, addr: int, write: bool = False) -> int | None: ...
