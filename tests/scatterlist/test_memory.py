# SPDX-License-Identifier: MIT
"""Sparse physical memory, against a dictionary of bytes."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import PhysMem, SgTable
from scatterlist.memory import fnv1a, splitmix64

CHUNK = 4096
TOP = 2**64

addresses = st.one_of(
    st.integers(0, 3 * CHUNK),
    st.integers(-CHUNK - 10, CHUNK).map(lambda at: at % TOP),           # around the wrap
    st.integers(0, 5).map(lambda i: 2**40 + i * CHUNK - 3),
)
steps = st.lists(st.tuples(addresses, st.binary(max_size=60) | st.integers(0, 9000)), max_size=12)


@given(steps=steps, look=addresses, n=st.integers(0, 9000))
def test_memory_is_what_was_written(steps, look, n) -> None:
    """Bytes are poked, numbers are runs of 0xab; an access wraps behind the last address."""
    mem, expected = PhysMem(), {}
    for at, what in steps:
        data = what if isinstance(what, bytes) else b"\xab" * what
        mem.poke(at, data)
        expected.update(((at + i) % TOP, byte) for i, byte in enumerate(data))
    assert mem.peek(look, n) == bytes(expected.get((look + i) % TOP, 0) for i in range(n))


@given(poked=st.lists(st.integers(0, 20), max_size=8), first=st.integers(0, 3 * CHUNK), n=st.integers(0, 8 * CHUNK))
def test_zeroing(poked, first, n) -> None:
    """sg_zero_buffer fills page by page: what was never written stays absent."""
    mem, expected = PhysMem(), bytearray(24 * CHUNK)
    for i in poked:
        mem.poke(i * CHUNK + i, b"\xff" * CHUNK)
        expected[i * CHUNK + i:(i + 1) * CHUNK + i] = b"\xff" * CHUNK
    used = mem.used
    assert sg.sg_zero_buffer(mem, SgTable([(0, first, 20 * CHUNK)]), 1, n) == n
    expected[first:first + n] = bytes(n)
    assert mem.peek(0, len(expected)) == expected and mem.used == used


def test_the_index_grows() -> None:
    """Far more chunks than it begins with, spread over all of the address space."""
    mem = PhysMem()
    places = [(i * 0x9E3779B97F4A7C15) % TOP & ~(CHUNK - 1) for i in range(1, 3000)]
    for i, at in enumerate(places):
        mem.poke(at, i.to_bytes(8, "little"))
    assert mem.used == len(set(places)) == 2999
    assert [int.from_bytes(mem.peek(at, 8), "little") for at in places] == list(range(2999))
    assert mem.peek(places[0] + 8, 16) == bytes(16)


def test_any_buffer_of_bytes() -> None:
    mem = PhysMem()
    mem.poke(0, memoryview(b"abcdef")[2:4])
    mem.poke(10, bytearray(b"xyz"))
    mem.poke(20, b"")
    assert mem.peek(0, 13) == b"cd" + bytes(8) + b"xyz" and mem.peek(5, 0) == b""
    assert mem.used == 1
    with pytest.raises(TypeError):
        mem.poke(0, None)


@pytest.mark.parametrize(("data", "expected"), [        # from the authors' list of test vectors
    (b"", 0xCBF29CE484222325),
    (b"a", 0xAF63DC4C8601EC8C),
    (b"foobar", 0x85944171F73967E8),
    (memoryview(b"foobar")[:3], 0xDCB27518FED9D577),
    (array("H", [0x6F66, 0x626F, 0x7261]), 0x85944171F73967E8),
], ids=["nothing", "a", "foobar", "foo", "shorts"])
def test_fnv1a(data, expected) -> None:
    assert fnv1a(data) == expected


@pytest.mark.parametrize("data", [None, "foobar", memoryview(b"foobar")[::2]], ids=["None", "str", "stride"])
def test_what_is_no_buffer(data) -> None:
    with pytest.raises((TypeError, BufferError)):
        fnv1a(data)
    with pytest.raises((TypeError, BufferError)):
        PhysMem().poke(0, data)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("at", [0, 16, CHUNK - 8, CHUNK - 3, TOP - 3 * CHUNK, TOP - CHUNK - 4])
def test_words_are_those_that_are_not_zero(at, big_endian) -> None:
    mem, n = PhysMem(), 2000
    written = {0: 1, 1: 1 << 63, 510: 5, 511: 6, 512: 7, 513: 0, 1023: 8, 1999: 9, 2000: 10}
    for i, value in written.items():
        mem.poke((at + 8 * i) % TOP, value.to_bytes(8, "big" if big_endian else "little"))
    assert mem.words(at, n, big_endian) == {i: value for i, value in written.items() if value and i < n}
    assert mem.words(at, 0, big_endian) == PhysMem().words(at, n, big_endian) == {}


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 31, 32])
def test_splitmix64(n) -> None:
    words = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC)
    assert splitmix64(0, n) == b"".join(word.to_bytes(8, "little") for word in words)[:n]
