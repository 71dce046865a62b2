# SPDX-License-Identifier: MIT
"""Page, dma-page and mapping iterators, against oracles that walk entry by entry and byte by byte."""

import re
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import SgTable

PAGE = 4096
BOTH = sg.SG_MITER_FROM_SG | sg.SG_MITER_TO_SG

Row = tuple[int, int, int]
page_shifts = st.sampled_from([12, 13, 16])
filled = st.tuples(st.integers(0, 63).map(lambda frame: frame << 16), st.integers(0, 70000), st.integers(1, 9000))
empty = st.tuples(st.integers(0, 63).map(lambda frame: frame << 16), st.integers(0, PAGE - 1), st.just(0))
row_lists = st.lists(filled | empty, min_size=1, max_size=6)


def pages(rows: list[Row], page_shift: int = 12) -> list[int]:
    """Each entry's pages, the ones before its offset too."""
    return [page + (i << page_shift) for page, offset, length in rows
            for i in range((offset + length + (1 << page_shift) - 1) >> page_shift)]


def pieces(rows: list[Row], page_shift: int = 12) -> list[Row]:
    """(page, offset, length) of the bytes of each entry on each page; an empty entry with an offset is a piece."""
    mask = (1 << page_shift) - 1
    out: list[Row] = []
    for page, offset, length in rows:
        for _, same in groupby(range(page + offset, page + offset + length), lambda at: at >> page_shift):
            run = list(same)
            out.append((run[0] & ~mask, run[0] & mask, len(run)))
        if offset and not length:
            out.append((page, offset, 0))
    return out


def behind(parts: list[Row], skip: int) -> list[Row]:
    """The pieces behind skip bytes."""
    out: list[Row] = []
    for page, offset, length in parts:
        step = min(skip, length)
        if skip == 0 or step < length:
            out.append((page, offset + step, length - step))
        skip -= step
    return out


# -- pages -----------------------------------------------------------------------------------------------------

@given(rows=row_lists, page_shift=page_shifts, nents=st.integers(0, 7), pgoffset=st.integers(0, 20))
def test_pages(rows, page_shift, nents, pgoffset) -> None:
    table = SgTable(rows, page_shift=page_shift)
    assert list(sg.for_each_sg_page(table, nents, pgoffset)) == pages(rows[:nents], page_shift)[pgoffset:]
    assert list(sg.for_each_sgtable_page(table, pgoffset)) == pages(rows, page_shift)[pgoffset:]


@given(rows=row_lists, dma=st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 20000)), min_size=6, max_size=6),
       nents=st.integers(0, 6), page_shift=page_shifts, dma_length=st.booleans(), pgoffset=st.integers(0, 9))
def test_dma_pages(rows, dma, nents, page_shift, dma_length, pgoffset) -> None:
    """Linux counts an entry's dma pages from its CPU offset, and does not round the address down."""
    table = SgTable(rows, page_shift=page_shift, dma_length=dma_length)
    for i in range(len(rows)):
        table.set_dma(i, *dma[i])
    nents = table.nents = min(nents, len(rows))
    expected = []
    for (_, offset, length), (address, mapped) in list(zip(rows, dma, strict=False))[:nents]:
        count = (offset + (mapped if dma_length else length) + (1 << page_shift) - 1) >> page_shift
        expected += [address + (i << page_shift) for i in range(count)]
    assert list(sg.for_each_sg_dma_page(table, nents, pgoffset)) == expected[pgoffset:]
    assert list(sg.for_each_sgtable_dma_page(table, pgoffset)) == expected[pgoffset:]


@pytest.mark.parametrize(
    ("offset", "length", "count"),
    [(8197, 10, 3), (0, 0, 0), (1, 0, 1), (0, 2**32 - 2 * PAGE, 2**20 - 2), (0, 2**32 - PAGE + 1, 0),
     (PAGE, 2**32 - PAGE + 5, 1)],
)
def test_counts_are_32_bits_wide(offset, length, count) -> None:
    """Over 4 GiB - PAGE_SIZE an entry has no pages, or few."""
    table = SgTable([(0x1000, offset, length), (0x9000, 0, 1)])
    it = sg.for_each_sgtable_page(table, count)
    assert next(it) == 0x9000 and it.sg == list(table)[1] and it.sg_pgoffset == 0
    table = SgTable([(0, 0, 0)] * 2)
    sg.sg_set_page(table, 0, 1, offset)
    table.set_dma(0, 0x5000, length)
    table.set_dma(1, 0x9000, 1)
    assert next(sg.for_each_sgtable_dma_page(table, count)) == 0x9000


def test_dma_pages_after_a_merge_start_at_the_wrong_offset() -> None:
    """Two buffers merged to one page of bus: the first entry's CPU offset makes a second page of it."""
    table = SgTable([(0x1000, 100, 3996), (0x8000, 0, 100)])
    table.set_dma(0, 0x10000, 4096)
    table.nents = 1
    assert list(sg.for_each_sgtable_dma_page(table)) == [0x10000, 0x11000]


def test_the_iterator_tells_its_entry() -> None:
    table = SgTable([(0x1000, 0, 5000), (0x8000, 0, 1)])
    it = sg.for_each_sgtable_page(table)
    seen = [(page, list(table).index(it.sg), it.sg_pgoffset) for page in it]
    assert seen == [(0x1000, 0, 0), (0x2000, 0, 1), (0x8000, 1, 0)]
    assert it.sg is None and list(it) == []
    start = list(table)[1]
    assert list(sg.for_each_sg_page(start, 9)) == [0x8000]


# -- mapping iterator ------------------------------------------------------------------------------------------

@given(rows=row_lists, page_shift=page_shifts, nents=st.integers(0, 7))
def test_miter_pieces(rows, page_shift, nents) -> None:
    table = SgTable(rows, page_shift=page_shift)
    assert list(sg.sg_miter_start(table, nents, BOTH)) == pieces(rows[:nents], page_shift)


@given(rows=row_lists, skips=st.lists(st.integers(0, 9000), max_size=4))
def test_miter_skip(rows, skips) -> None:
    table, left = SgTable(rows), pieces(rows)
    miter = sg.sg_miter_start(table, len(rows), BOTH)
    for skip in skips:
        there = sum(piece[2] for piece in left)
        assert sg.sg_miter_skip(miter, skip) is (skip <= there)
        left = behind(left, skip)
        if left and sg.sg_miter_next(miter):
            assert (miter.page, miter.addr - miter.page, miter.length) == left.pop(0)
    assert list(miter) == left


@given(rows=row_lists, uses=st.lists(st.integers(0, 4096), max_size=20))
def test_miter_resumes_behind_the_consumed_bytes(rows, uses) -> None:
    miter, left = sg.sg_miter_start(SgTable(rows), len(rows), BOTH), pieces(rows)
    for use in uses:
        if not miter.next():
            assert left == []
            return
        assert (miter.page, miter.addr - miter.page, miter.length) == left[0]
        assert miter.consumed == miter.length
        miter.consumed = used = min(use, miter.length)
        page, offset, length = left.pop(0)
        if used < length:
            left.insert(0, (page, offset + used, length - used))
    assert list(miter) == left


def test_miter_stop_unmaps() -> None:
    miter = sg.sg_miter_start(SgTable([(0, 16, 100)]), 1, BOTH)     # a page at address 0 is a page
    assert sg.sg_miter_next(miter) and (miter.page, miter.addr, miter.length, miter.consumed) == (0, 16, 100, 100)
    miter.consumed = 30
    sg.sg_miter_stop(miter)
    assert (miter.page, miter.addr, miter.length, miter.consumed) == (0, 0, 0, 0)
    sg.sg_miter_stop(miter)                                         # once more changes nothing
    assert miter.next() and (miter.addr, miter.length) == (46, 70)
    miter.stop()
    assert not sg.sg_miter_next(miter)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([(0x1000, PAGE, 0), (0x5000, 0, 100), (0x9000, 0, 7)], [(0x2000, 0, 0), (0x9000, 0, 7)],
                     id="an entry of one page is lost"),
        pytest.param([(0x1000, PAGE, 0), (0x5000, 0, 8192)], [(0x2000, 0, 0), (0x6000, 0, PAGE)],
                     id="a page is lost"),
        pytest.param([(0x1000, 2 * PAGE + 5, 0), (0x5000, 0, 100)], [(0x3000, 5, 0), (0x5000, 0, 100)],
                     id="not with bytes before it on its page"),
    ],
)
def test_an_empty_entry_behind_its_page_swallows_the_next_page(rows, expected) -> None:
    """sg_miter_get_next_page moves sg_pgoffset to a page that sg_page_count does not count."""
    assert list(sg.sg_miter_start(SgTable(rows), 9, BOTH)) == expected


@pytest.mark.parametrize("flags", [0, sg.SG_MITER_ATOMIC])
def test_miter_without_a_direction_warns(flags) -> None:
    table = SgTable([(0x1000, 0, 1)])
    with pytest.warns(RuntimeWarning,
                      match="^WARNING: sg_miter_start: neither SG_MITER_TO_SG nor SG_MITER_FROM_SG$"):
        assert list(sg.sg_miter_start(table, 1, flags)) == [(0x1000, 0, 1)]


# -- refused ---------------------------------------------------------------------------------------------------

def freed_page_iter():
    table = SgTable([(0x1000, 0, 1)])
    it = sg.for_each_sgtable_page(table)
    table.free()
    return it


def freed_miter():
    table = SgTable([(0x1000, 0, 1)])
    miter = sg.sg_miter_start(table, 1, BOTH)
    table.free()
    return miter


def consume_too_much() -> None:
    miter = sg.sg_miter_start(SgTable([(0x1000, 0, 5)]), 1, BOTH)
    miter.next()
    miter.consumed = 6


NOT_STARTED = "the iterator was not started, or its table was freed"
REFUSED = [
    (lambda: next(freed_page_iter()), ValueError, "the table was freed during the iteration"),
    (lambda: freed_page_iter().sg, ValueError, "the table was freed during the iteration"),
    (lambda: next(sg.PageIter.__new__(sg.PageIter)), ValueError, "the table was freed during the iteration"),
    (sg.PageIter, TypeError, "use for_each_sg_page(...) or for_each_sg_dma_page(...)"),
    (lambda: freed_miter().next(), ValueError, NOT_STARTED),
    (lambda: freed_miter().stop(), ValueError, NOT_STARTED),
    (lambda: freed_miter().skip(1), ValueError, NOT_STARTED),
    (lambda: sg.SgMappingIter.__new__(sg.SgMappingIter).next(), ValueError, NOT_STARTED),
    (lambda: sg.sg_miter_start(SgTable([(0, 0, 1)]), 1, BOTH).skip(-1), ValueError,
     "sg_miter_skip backwards: Linux would leave the page"),
    (consume_too_much, ValueError, "WARN: consumed 6 of 5 bytes"),
    (lambda: sg.for_each_sg_page(SgTable(), 1), ValueError, "this table has no list (never allocated, or freed)"),
    (lambda: sg.for_each_sg_page(None, 1), TypeError, "an SgTable or SgEntry is needed, not NoneType"),
]


@pytest.mark.parametrize(("call", "error", "sentence"), REFUSED)
def test_refused(call, error, sentence) -> None:
    with pytest.raises(error, match="^" + re.escape(sentence) + "$"):
        call()
