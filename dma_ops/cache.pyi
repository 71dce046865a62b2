# SPDX-License-Identifier: MIT
from scatterlist.memory import PhysMem

class Cache:
    def __new__(cls, mem: PhysMem) -> Cache: ...
