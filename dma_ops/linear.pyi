# SPDX-License-Identifier: MIT
from scatterlist.memory import PhysMem

class LinearMem(PhysMem):
    size: int
    def __init__(self, of: PhysMem, size: int) -> None: ...
