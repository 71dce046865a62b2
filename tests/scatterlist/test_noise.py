# SPDX-License-Identifier: MIT
"""Noise: the generator's own numbers, and that a seed decides what comes."""

from random import Random

import pytest

from scatterlist.noise import Noise


class Zero(Noise):
    """Its bytes start from 0."""

    def getrandbits(self, k):
        assert k == 64
        return 0


def test_bytes_are_splitmix64():
    words = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC)
    raw = b"".join(word.to_bytes(8, "little") for word in words)
    for n in range(len(raw) + 1):
        assert Zero().randbytes(n) == raw[:n]


def test_all_else_is_pythons():
    ours, theirs = Noise("a seed"), Random("a seed")
    for ask in (lambda r: r.random(), lambda r: r.sample(range(64), 15), lambda r: r.getrandbits(64)):
        assert ask(ours) == ask(theirs)
    ours.randbytes(5)
    theirs.getrandbits(64)
    assert ours.random() == theirs.random()


def test_a_seed_begins_anew():
    noise = Noise("a")
    first = [noise.randbytes(9), noise.randbytes(9)]
    assert first[0] != first[1]
    noise.seed("a")
    assert [noise.randbytes(9), noise.randbytes(9)] == first
    assert Noise("b").randbytes(9) != first[0]


def test_a_negative_number_of_bytes():
    with pytest.raises(OverflowError):
        Noise("a").randbytes(-1)
