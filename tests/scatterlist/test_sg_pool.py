# SPDX-License-Identifier: MIT
"""Chained tables from pools of 8 to 128 entries (lib/sg_pool.c)."""

import errno
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import SgTable

POOLS = [8, 16, 32, 64, 128]


def pool_of(n: int) -> int:
    return next(size for size in POOLS if n <= size)


def taken(before: dict[int, int]) -> dict[int, int]:
    """The arrays in use since then."""
    return {size: n - before[size] for size, n in sg.sg_pool_usage().items() if n != before[size]}


def sizes(nents: int, first: int) -> list[int]:
    """The arrays of a chained table: each but the last gives a slot to the link."""
    out = [first] if first else []
    left = nents - (first - 1 if first else 0)
    while left > 128:
        out.append(128)
        left -= 127
    return [*out, left]


@given(nents=st.integers(1, 1000), first=st.integers(2, 64))
def test_tables_around_a_first_chunk(nents, first) -> None:
    before = sg.sg_pool_usage()
    inline, table = SgTable([(0, 0, 0)] * first), SgTable()
    if nents <= first:
        with pytest.raises(ValueError, match=r"^the first chunk must be the table's list already"):
            sg.sg_alloc_table_chained(table, nents, inline, first)
        return
    sg.sg_alloc_table_chained(table, nents, inline, first)
    expected: dict[int, int] = {}
    for n in sizes(nents, first)[1:]:
        expected[pool_of(n)] = expected.get(pool_of(n), 0) + 1
    assert table.arrays() == sizes(nents, first) and taken(before) == expected
    assert inline.sgl is None and table.nents == table.orig_nents == sg.sg_nents(table) == nents
    sg.sg_free_table_chained(table, first)
    assert taken(before) == {} and table.sgl is None


@given(nents=st.integers(1, 600), first=st.integers(0, 1), inline=st.booleans())
def test_a_first_chunk_of_one_entry_is_ignored(nents, first, inline) -> None:
    before = sg.sg_pool_usage()
    table = SgTable()
    chunk = SgTable([(0, 0, 0)]) if inline and nents > first else None
    sg.sg_alloc_table_chained(table, nents, chunk, first)
    assert table.arrays() == sizes(nents, 0) and sum(taken(before).values()) == len(sizes(nents, 0))
    assert chunk is None or len(chunk) == 1
    sg.sg_free_table_chained(table, 0 if nents == 1 else first)
    assert taken(before) == {}


def test_a_small_table_stays_in_its_first_chunk() -> None:
    before = sg.sg_pool_usage()
    table = SgTable([(0x1000, 5, 6), (0x2000, 0, 7), (0x3000, 0, 8), (0x4000, 0, 9)])
    sg.sg_alloc_table_chained(table, 2, table, 4)
    assert table.entries() == [(0, 0, 0, 0, 0, 0)] * 2 and sg.sg_nents(table) == table.nents == 2
    sg.sg_free_table_chained(table, 4)                      # not ours to free
    assert len(table) == 2 and taken(before) == {}
    sg.sg_alloc_table_chained(table, 5, table, 4)           # and now it grows out of it
    assert table.arrays() == [4, 2] and taken(before) == {8: 1}
    sg.sg_free_table_chained(table, 4)
    assert taken(before) == {} and table.sgl is None


def test_without_a_first_chunk_its_size_still_counts() -> None:
    """Linux then takes the first array from a pool too, and the free side takes it for the caller's: it leaks."""
    before = sg.sg_pool_usage()
    table = SgTable()
    sg.sg_alloc_table_chained(table, 20, None, 16)
    assert table.arrays() == [16, 5] and taken(before) == {16: 1, 8: 1}
    sg.sg_free_table_chained(table, 16)
    assert taken(before) == {16: 1}
    sg.sg_alloc_table_chained(table, 3, None, 16)
    sg.sg_free_table_chained(table, 16)                     # fits the chunk that never was: nothing is freed
    assert table.arrays() == [3] and taken(before) == {16: 1, 8: 1}
    sg.sg_alloc_table_chained(table, 1, None, 1)
    sg.sg_free_table_chained(table, 1)
    assert table.arrays() == [1] and taken(before) == {16: 1, 8: 2}


def test_without_chaining_128_entries_are_all() -> None:
    before = sg.sg_pool_usage()
    table = SgTable(chaining=False)
    with pytest.raises(OSError, match="__sg_alloc_table of 129 entries: Invalid argument") as caught:
        sg.sg_alloc_table_chained(table, 129)
    assert caught.value.errno == errno.EINVAL and table.sgl is None and taken(before) == {}
    sg.sg_alloc_table_chained(table, 128)
    assert taken(before) == {128: 1}
    sg.sg_free_table_chained(table)
    assert taken(before) == {}


@pytest.mark.parametrize(
    ("nents", "pool"),
    [(0, 0), (1, 0), (8, 0), (9, 1), (16, 1), (17, 2), (32, 2), (33, 3), (64, 3), (65, 4), (128, 4), (65536 + 9, 1)],
)
def test_pool_index(nents, pool) -> None:
    """The argument is an unsigned short."""
    assert sg.sg_pool_index(nents) == pool


def four() -> SgTable:
    return SgTable([(0, 0, 0)] * 4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: sg.sg_pool_index(129), "kernel BUG at lib/sg_pool.c: 129 entries of a pool of 128"),
        (lambda: sg.sg_alloc_table_chained(SgTable(), 0),
         "kernel BUG at lib/sg_pool.c: sg_alloc_table_chained of 0 entries"),
        (lambda: sg.sg_alloc_table_chained(SgTable(), 2**31),
         "kernel BUG at lib/sg_pool.c: sg_alloc_table_chained of 2147483648 entries"),
        (lambda: sg.sg_alloc_table_chained(SgTable(), 300, None, 200),
         "kernel BUG at lib/sg_pool.c: 200 entries of a pool of 128"),
        (lambda: sg.sg_alloc_table_chained(four(), 5, four(), 5), "the table's list has no room for 5 entries"),
        (lambda: sg.sg_alloc_table_chained(SgTable(), 9, four(), 5),
         "nents_first_chunk 5 does not fit the first chunk's memory"),
        (lambda: sg.sg_alloc_table_chained(table := SgTable(), 9, table, 4),
         "this table has no list (never allocated, or freed)"),
    ],
)
def test_refused(call, sentence) -> None:
    before = sg.sg_pool_usage()
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        call()
    assert taken(before) == {}
