# SPDX-License-Identifier: MIT
"""sgl_alloc and sgl_free: lists with their pages, from an allocator that may fail at any of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import SgTable

PAGE = 4096


class Allocator:
    """Frames from 1 MiB on; the fail_at-th page is not there."""

    def __init__(self, fail_at: int = 0, page_shift: int = 12) -> None:
        self.fail_at, self.page_shift = fail_at, page_shift
        self.asked = 0
        self.live: list[tuple[int, int]] = []

    def alloc(self, order: int) -> int | None:
        self.asked += 1
        if self.asked == self.fail_at:
            return None
        page = (1 << 20) + (self.asked << self.page_shift + order)
        self.live.append((page, order))
        return page

    def free(self, page: int, order: int) -> None:
        self.live.remove((page, order))


@given(length=st.integers(1, 200000), order=st.integers(0, 3), chainable=st.booleans(),
       page_shift=st.sampled_from([12, 13, 16]), max_ents=st.sampled_from([0, 2]))
def test_every_entry_has_its_pages(length, order, chainable, page_shift, max_ents) -> None:
    unit, pages = 1 << page_shift + order, Allocator(0, page_shift)
    table, count = sg.sgl_alloc_order(length, order, chainable, pages.alloc, pages.free, page_shift=page_shift,
                                      max_ents=max_ents)
    assert count == -(-length // unit) == table.nents == table.orig_nents == pages.asked
    assert sg.sg_nents(table) == count + chainable                          # the spare slot carries the end mark
    assert table.arrays() == [count + chainable]                            # one array, whatever fits a page
    entries = table.entries()
    assert [row[0] for row in entries] == [page for page, _ in pages.live]
    assert [row[1] for row in entries] == [0] * count
    assert [row[2] for row in entries] == [unit] * (count - 1) + [length - unit * (count - 1)]
    sg.sgl_free_order(table, order, pages.free)
    assert pages.live == [] and table.sgl is None


@given(length=st.integers(1, 20 * PAGE), order=st.integers(0, 2), chainable=st.booleans(), data=st.data())
def test_a_failure_frees_what_was_allocated(length, order, chainable, data) -> None:
    count = -(-length // (PAGE << order))
    fail_at = data.draw(st.integers(1, count))
    pages = Allocator(fail_at)
    assert sg.sgl_alloc_order(length, order, chainable, pages.alloc, pages.free) == (None, 0)
    assert pages.asked == fail_at and pages.live == []


@pytest.mark.parametrize(
    ("length", "order", "why"),
    [
        (2**32 - PAGE + 1, 0, "nent << 12 is 0 in 32 bits"),
        (2**32 - (PAGE << 3) + 1, 3, "nent << 15 is 0 in 32 bits"),
        (2**32 + PAGE, 0, "nent << 12 is 4096 in 32 bits"),
        (2**64 - 1, 0, "rounding up gives 0"),
        (2**64 - PAGE, 0, "nent is cut to 32 bits"),
        (PAGE, 11, "no such order"),
    ],
)
def test_what_the_arithmetic_refuses(length, order, why) -> None:
    pages = Allocator()
    assert sg.sgl_alloc_order(length, order, False, pages.alloc) == (None, 0), why
    assert pages.asked == 0


def test_the_largest_list_of_order_10() -> None:
    pages = Allocator()
    table, count = sg.sgl_alloc_order(2**32 - (PAGE << 10), 10, False, pages.alloc)
    assert count == 1023 and table.length == 2**32 - (PAGE << 10)


def test_single_pages() -> None:
    pages = Allocator()
    table, count = sg.sgl_alloc(PAGE + 1, pages.alloc, pages.free, page_shift=12)
    assert (count, [x.length for x in table], pages.live) == (2, [PAGE, 1], [(0x101000, 0), (0x102000, 0)])
    sg.sgl_free(table, pages.free)
    assert pages.live == []


def test_no_bytes() -> None:
    with pytest.raises(ValueError, match=r"^sgl_alloc of 0 bytes: Linux would write before the array$"):
        sg.sgl_alloc(0, Allocator().alloc)
    table, count = sg.sgl_alloc_order(0, 0, True, Allocator().alloc)
    assert count == 0 and sg.sg_nents(table) == 1 and table.orig_nents == 0


def test_free_of_n_entries_leaks_the_rest() -> None:
    """nents below the list's is for chained lists whose parts are freed one by one: the other pages stay."""
    pages = Allocator()
    table, _ = sg.sgl_alloc(4 * PAGE, pages.alloc)
    sg.sgl_free_n_order(table, 3, 0, pages.free)
    assert pages.live == [(0x104000, 0)] and table.sgl is None
    with pytest.raises(ValueError, match="no list"):
        sg.sgl_free(table, pages.free)


def test_free_passes_over_entries_without_a_page() -> None:
    freed: list[tuple[int, int]] = []
    sg.sgl_free_n_order(SgTable([(0x1000, 0, 1), (0, 0, 1), (0x3000, 0, 1)]), 9, 2,
                        lambda page, order: freed.append((page, order)))
    assert freed == [(0x1000, 2), (0x3000, 2)]


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [(0x1004, ValueError, "^page 0x1004 is not a frame's address$"), (-1, OverflowError, None),
     ("page", TypeError, None), (KeyError("no"), KeyError, "no")],
)
def test_an_allocator_that_misbehaves_loses_no_page(answer, error, sentence) -> None:
    pages = Allocator()

    def alloc(order: int):
        if pages.asked < 2:
            return pages.alloc(order)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(error, match=sentence):
        sg.sgl_alloc(5 * PAGE, alloc, pages.free)
    assert pages.asked == 2 and pages.live == []


def test_the_list_cannot_be_freed_under_its_view() -> None:
    pages = Allocator()
    table, _ = sg.sgl_alloc(PAGE, pages.alloc)
    with memoryview(table), pytest.raises(BufferError):
        sg.sgl_free(table, pages.free)
    assert len(pages.live) == 1
