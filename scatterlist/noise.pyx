# SPDX-License-Identifier: MIT
"""Seeded bytes for whoever needs many: Python's randbytes() goes through an integer of as many bits."""

from random import Random

from cpython.bytes cimport PyBytes_FromStringAndSize

from scatterlist.types cimport u8, u64


cdef void fill(u8 *out, size_t n, u64 state) noexcept nogil:
    """SplitMix64 (Steele, Lea, Flood 2014), the lowest byte first."""
    cdef u64 z
    cdef size_t i, step
    while n:
        state += 0x9E3779B97F4A7C15u
        z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu
        z ^= z >> 31
        step = min(n, <size_t>8)
        for i in range(step):
            out[i] = z >> 8 * i
        out += step
        n -= step


class Noise(Random):
    """random.Random, but for randbytes(n): it draws 64 bits, and n bytes follow from them."""

    def randbytes(self, size_t n):
        cdef bytes out = PyBytes_FromStringAndSize(NULL, n)
        fill(<u8 *><char *>out, n, self.getrandbits(64))
        return out
