# SPDX-License-Identifier: MIT
"""random.Random(text), number by number, whose randbytes() writes the generator's words where they belong.

Python's goes through an integer of as many bits, which takes four times as long: a sixth of the time that a run of the
suite takes. The generator is MT19937 (Matsumoto, Nishimura 1998), seeded as Python seeds it with a text.
"""

from hashlib import sha512
from random import Random

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy

from scatterlist.types cimport u8, u32, u64

cdef enum:
    N = 624
    M = 397

cdef u32 basis[N]               # the state from which every key starts


cdef void make_basis() noexcept:
    cdef u32 i
    basis[0] = 19650218
    for i in range(1, N):
        basis[i] = 1812433253u * (basis[i - 1] ^ (basis[i - 1] >> 30)) + i


make_basis()


cdef inline u32 twist(u32 high, u32 low, u32 other) noexcept nogil:
    cdef u32 y = (high & 0x80000000u) | (low & 0x7fffffffu)
    return other ^ (y >> 1) ^ (0x9908b0dfu if y & 1 else 0)


cdef inline u32 temper(u32 y) noexcept nogil:
    y ^= y >> 11
    y ^= (y << 7) & 0x9d2c5680u
    y ^= (y << 15) & 0xefc60000u
    return y ^ (y >> 18)


cdef class Twister:
    cdef u32 state[N]
    cdef int at

    def __init__(self, bytes key not None):
        """key: words of 32 bits, the lowest byte first."""
        cdef const u8 *raw = key
        cdef u32 words = len(key) // 4, i = 1, j = 0, _k
        cdef u32 *s = self.state
        if not words:
            raise ValueError("a key has one word at least")
        memcpy(s, basis, sizeof(basis))
        for _k in range(max(<u32>N, words)):
            s[i] = ((s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1664525u)) + j
                    + (raw[4 * j] | <u32>raw[4 * j + 1] << 8 | <u32>raw[4 * j + 2] << 16 | <u32>raw[4 * j + 3] << 24))
            i += 1
            if i == N:
                s[0] = s[N - 1]
                i = 1
            j += 1
            if j == words:
                j = 0
        for _k in range(N - 1):
            s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1566083941u)) - i
            i += 1
            if i == N:
                s[0] = s[N - 1]
                i = 1
        s[0] = 0x80000000u
        self.at = N

    cdef void turn(self) noexcept nogil:
        """The next N words."""
        cdef u32 *s = self.state
        cdef int i
        for i in range(N - M):
            s[i] = twist(s[i], s[i + 1], s[i + M])
        for i in range(N - M, N - 1):
            s[i] = twist(s[i], s[i + 1], s[i + M - N])
        s[N - 1] = twist(s[N - 1], s[0], s[M - 1])
        self.at = 0

    cdef u32 next(self) noexcept nogil:
        if self.at == N:
            self.turn()
        self.at += 1
        return temper(self.state[self.at - 1])

    cdef void fill(self, u8 *out, size_t n) noexcept nogil:
        cdef u32 y
        cdef size_t i, step
        while n >= 4:
            if self.at == N:
                self.turn()
            step = min(n // 4, <size_t>(N - self.at))
            for i in range(step):
                y = temper(self.state[self.at + i])
                out[4 * i] = y
                out[4 * i + 1] = y >> 8
                out[4 * i + 2] = y >> 16
                out[4 * i + 3] = y >> 24
            self.at += step
            out += 4 * step
            n -= 4 * step
        if n:
            y = self.next() >> (32 - 8 * n)
            for i in range(n):
                out[i] = y >> 8 * i


class Noise(Random):
    """What random.Random(text) is, but for its state, which cannot be had."""

    def __new__(cls, str text):
        return super().__new__(cls, 0)

    def seed(self, str text not None, version=2):
        raw = text.encode()
        number = int.from_bytes(raw + sha512(raw).digest(), "big")
        self._twister = Twister(number.to_bytes((number.bit_length() + 31) // 32 * 4, "little"))

    def random(self):
        cdef Twister twister = self._twister
        cdef u64 high = twister.next() >> 5
        return (high * 67108864.0 + (twister.next() >> 6)) / 9007199254740992.0

    def getrandbits(self, int k):
        cdef Twister twister = self._twister
        if 0 < k <= 32:
            return twister.next() >> (32 - k)
        if k < 0:
            raise ValueError("number of bits must be non-negative")
        low = int.from_bytes(self.randbytes(k // 32 * 4), "little")
        return low | self.getrandbits(k % 32) << k // 32 * 32 if k % 32 else low

    def randbytes(self, size_t n):
        cdef Twister twister = self._twister
        cdef bytes out = PyBytes_FromStringAndSize(NULL, n)
        twister.fill(<u8 *><char *>out, n)
        return out

    def getstate(self, *_args):
        raise NotImplementedError("the state of Noise is not to be had")

    setstate = __reduce__ = getstate
