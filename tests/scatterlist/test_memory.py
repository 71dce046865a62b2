# SPDX-License-Identifier: MIT
"""Sparse physical memory, against a dictionary of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import PhysMem, SgTable

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
