# SPDX-License-Identifier: MIT
"""Noise: Python's numbers, bytes of its own, and that a seed decides what comes."""

from random import Random

import pytest

from conformance.noise import Noise


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
