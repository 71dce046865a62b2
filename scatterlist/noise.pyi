# SPDX-License-Identifier: MIT
from random import Random

class Noise(Random):
    def randbytes(self, n: int) -> bytes: ...
