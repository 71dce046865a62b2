# SPDX-License-Identifier: MIT
"""Random numbers whose bytes come at C speed: Python's randbytes() goes through an integer of as many bits."""

from random import Random

from scatterlist.memory import splitmix64


class Noise(Random):
    """random.Random, but for randbytes(n): it draws 64 bits, and n bytes follow from them."""

    def randbytes(self, n: int) -> bytes:
        return splitmix64(self.getrandbits(64), n)
