# SPDX-License-Identifier: MIT
"""Noise is Python's own generator: each number, whatever was asked for before."""

import pickle
from random import Random

import pytest

from scatterlist.noise import Noise

SEEDS = ("", "0:DMA-01:jazz_dma_ops:pica61:legacy:maps", "\0", "\0a", "ä", "x" * 5000)


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_are_pythons(seed):
    ours, theirs = Noise(seed), Random(seed)
    asks = [
        *(lambda r, n=n: r.randbytes(n) for n in (0, 1, 2, 3, 4, 5, 7, 2495, 2496, 2500, 65537)),
        *(lambda r, k=k: r.getrandbits(k) for k in (0, 1, 31, 32, 33, 63, 64, 65, 96, 1000)),
        lambda r: r.random(), lambda r: r.randrange(10, 5000), lambda r: r.sample(range(64), 15),
        lambda r: r.choice("abc"), lambda r: r.shuffle(list(range(9))), lambda r: r.gauss(),
    ]
    for turn in range(200):
        ask = asks[turn * 7 % len(asks)]
        assert ask(ours) == ask(theirs)


def test_a_seed_begins_anew():
    noise = Noise("a")
    first = noise.randbytes(9)
    noise.seed("a")
    assert noise.randbytes(9) == first


@pytest.mark.parametrize("wrong", [
    lambda: Noise(5), lambda: Noise(None), lambda: Noise("a").getrandbits(-1), lambda: Noise("a").randbytes(-1),
], ids=["number", "none", "bits", "bytes"])
def test_what_is_no_request(wrong):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        wrong()


@pytest.mark.parametrize("ask", [lambda n: n.getstate(), lambda n: n.setstate(()), pickle.dumps],
                         ids=["getstate", "setstate", "pickle"])
def test_its_state_is_not_to_be_had(ask):
    with pytest.raises(NotImplementedError):
        ask(Noise("a"))
