# SPDX-License-Identifier: MIT
"""Tables: the rows of Linux's tools/testing/scatterlist, the traps with their numbers, and a slow oracle."""

import errno
from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import SgTable

PAGE = 4096
MAX = 0xFFFFFFFF
ALLOC_TABLE = getattr(sg, "__sg_alloc_table")
FREE_TABLE = getattr(sg, "__sg_free_table")


def shapes(table: SgTable) -> list[tuple[int, int, int]]:
    return [(sg.sg_page(x) // PAGE, x.offset, x.length) for x in table]


# (page frames, appended frames, size in bytes or None for all, max_segment, entries or None for EINVAL)
ROWS = [
    ([0], None, PAGE, 0, None),
    ([0], None, PAGE, PAGE + 1, 1),
    ([0], None, PAGE, MAX, 1),
    ([0], None, 1, MAX, 1),
    ([0, 1], None, None, MAX, 1),
    ([1, 0], None, None, MAX, 2),
    ([0, 1, 2], None, None, MAX, 1),
    ([0, 1, 2], [3, 4, 5], None, MAX, 1),
    ([0, 1, 2], [4, 5, 6], None, MAX, 2),
    ([0, 2, 1], None, None, MAX, 3),
    ([0, 1, 3], None, None, MAX, 2),
    ([1, 2, 4], None, None, MAX, 2),
    ([1, 3, 4], None, None, MAX, 2),
    ([0, 1, 3, 4], None, None, MAX, 2),
    ([0, 1, 3, 4, 5], None, None, MAX, 2),
    ([0, 1, 3, 4, 6], None, None, MAX, 3),
    ([0, 1, 2, 3, 4], None, None, MAX, 1),
    ([0, 1, 2, 3, 4], None, None, 2 * PAGE, 3),
    ([0, 1, 2, 3, 4, 5], None, None, 2 * PAGE, 3),
    ([0, 2, 3, 4, 5, 6], None, None, 2 * PAGE, 4),
    ([0, 1, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], None, 12 * PAGE, 2),
]


@pytest.mark.parametrize(("frames", "appended", "size", "max_segment", "entries"), ROWS, ids=str)
def test_tools_testing_row(frames, appended, size, max_segment, entries) -> None:
    table = SgTable()
    if appended is None:
        if entries is None:
            with pytest.raises(OSError) as caught:
                sg.sg_alloc_table_from_pages_segment(table, frames, 0, size, max_segment, pfns=True)
            assert caught.value.errno == errno.EINVAL
            return
        sg.sg_alloc_table_from_pages_segment(table, frames, 0, size, max_segment, pfns=True)
    else:
        for pages, left in ((frames, len(frames)), (appended, 0)):
            sg.sg_alloc_append_table_from_pages(table, pages, 0, size, max_segment, left, pfns=True)
    assert (table.nents, table.orig_nents, sg.sg_nents(table)) == (entries, entries, entries)


@pytest.mark.parametrize(
    ("max_ents", "nents", "arrays"),
    [(170, 170, [170]), (170, 171, [170, 2]), (170, 339, [170, 170]), (170, 340, [170, 170, 2]), (128, 128, [128]),
     (128, 129, [128, 2]), (128, 255, [128, 128]), (128, 256, [128, 128, 2]), (256, 257, [256, 2]), (204, 1, [1])],
)
def test_chaining(max_ents, nents, arrays) -> None:
    table = SgTable(max_ents=max_ents)
    sg.sg_alloc_table(table, nents)
    assert table.arrays() == arrays
    assert sg.sg_nents(table) == nents == len(table.entries())
    sizes = []
    ALLOC_TABLE(table, nents, max_ents, alloc_fn=lambda n: sizes.append(n) or True)
    assert sizes == table.arrays() == FREE_TABLE(table, max_ents)


def test_no_chaining_is_einval() -> None:
    for options in ({"max_ents": 256}, {"max_ents": 204}):
        table = SgTable(chaining=False, **options)
        sg.sg_alloc_table(table, options["max_ents"])
        with pytest.raises(OSError) as caught:
            sg.sg_alloc_table(table, options["max_ents"] + 1)
        assert caught.value.errno == errno.EINVAL


def test_appending_without_chaining_is_eopnotsupp() -> None:
    table = SgTable(chaining=False)
    sg.sg_alloc_append_table_from_pages(table, [1], left_pages=1, pfns=True)
    with pytest.raises(OSError) as caught:
        sg.sg_alloc_append_table_from_pages(table, [2], pfns=True)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_failed_array_counts_the_slot_of_the_link() -> None:
    table = SgTable()
    calls = iter([True, True, False])
    with pytest.raises(OSError) as caught:
        ALLOC_TABLE(table, 30, 8, alloc_fn=lambda n: next(calls))
    assert caught.value.errno == errno.ENOMEM
    assert (table.nents, table.orig_nents) == (15, 15)         # 7 + 7, and the slot of the third array's link
    assert FREE_TABLE(table, 8) == [8, 8]


@pytest.mark.parametrize(
    ("frames", "offset", "size", "max_segment", "expected"),
    [
        ([10, 20], 0, 100, MAX, [(10, 0, 100), (20, 0, PAGE)]),                     # the remainder wraps
        ([1, 2, 3], 100, 3 * PAGE - 100, 2 * PAGE, [(1, 100, 8092), (3, 0, PAGE)]),    # offset counts as pages
        ([10, 11], 5000, 100, MAX, [(10, 5000, 100)]),
    ],
)
def test_from_pages_trap(frames, offset, size, max_segment, expected) -> None:
    table = SgTable.from_pages(frames, offset=offset, size=size, max_segment=max_segment, pfns=True)
    assert shapes(table) == expected


def test_append_traps() -> None:
    table = SgTable()
    sg.sg_alloc_append_table_from_pages(table, [1, 2], left_pages=2, pfns=True)
    sg.sg_alloc_append_table_from_pages(table, [3, 4, 9], size=8292, pfns=True)
    assert shapes(table) == [(1, 0, 16384), (9, 0, PAGE)]      # merged pages do not reduce the size
    with pytest.raises(ValueError, match="left_pages 0"):
        sg.sg_alloc_append_table_from_pages(table, [20], pfns=True)
    table = SgTable()
    sg.sg_alloc_append_table_from_pages(table, [1], size=100, left_pages=1, pfns=True)
    sg.sg_alloc_append_table_from_pages(table, [1], pfns=True)
    assert shapes(table) == [(1, 0, 4196)]                     # the end is divided by PAGE_SIZE
    table = SgTable()
    sg.sg_alloc_append_table_from_pages(table, [1, 3, 5], left_pages=1000, pfns=True)
    assert (table.total_entries, table.nents) == (128, 3)


def test_pgmaps_are_not_merged_since_6_12() -> None:
    frames = [1, 2, 3, 4]
    assert len(SgTable.from_pages(frames, pfns=True)) == 1
    table = SgTable()
    sg.sg_alloc_table_from_pages(table, frames, pfns=True, pgmaps=[(3 * PAGE, PAGE), (4 * PAGE, PAGE)])
    assert shapes(table) == [(1, 0, 2 * PAGE), (3, 0, PAGE), (4, 0, PAGE)]
    assert len(SgTable.from_pages([2, 1], pfns=True)) == 2     # the first upstream form had the arguments swapped


def oracle(frames, offset, size, max_segment):
    """Linux's rule, entry by entry."""
    runs = [[frames[0]]]
    for before, frame in pairwise(frames):
        if frame == before + 1 and len(runs[-1]) < max_segment // PAGE:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    rows = []
    for run in runs:
        chunk = (len(run) * PAGE - offset) % 2**32
        rows.append((run[0], offset, min(size, chunk) % 2**32))
        size = (size - chunk) % 2**64
        offset = 0
    return rows


frame_lists = st.lists(st.integers(0, 40), min_size=1, max_size=400).flatmap(
    lambda steps: st.just([n // 2 + i if n < 30 else 1000 + n * 10 for i, n in enumerate(steps)]))


@given(frames=frame_lists, offset=st.integers(0, 9000), size=st.none() | st.integers(0, 2**21),
       max_segment=st.sampled_from([PAGE, 2 * PAGE, 3 * PAGE + 5, MAX]), max_ents=st.sampled_from([0, 2, 3, 8]),
       pfns=st.booleans())
def test_from_pages_against_an_oracle(frames, offset, size, max_segment, max_ents, pfns) -> None:
    pages = array("Q", frames if pfns else [frame * PAGE for frame in frames])
    table = SgTable.from_pages(pages, offset=offset, size=size, max_segment=max_segment, pfns=pfns, max_ents=max_ents)
    total = (len(frames) * PAGE - offset) % 2**64 if size is None else size
    expected = oracle(frames, offset, total, max_segment)
    assert shapes(table) == expected
    plain = SgTable(max_ents=max_ents)
    sg.sg_alloc_table(plain, len(expected))
    assert table.arrays() == plain.arrays()
    assert table.length == sum(row[2] for row in expected)


@given(parts=st.lists(st.tuples(frame_lists, st.integers(0, 300)), min_size=1, max_size=5),
       max_ents=st.sampled_from([2, 3, 8, 128]))
def test_appending_equals_one_call(parts, max_ents) -> None:
    """With a last call that says 0, the data are those of one call over all pages, whatever was said before."""
    table = SgTable(max_ents=max_ents)
    for i, (frames, left) in enumerate(parts):
        sg.sg_alloc_append_table_from_pages(table, frames, left_pages=left + 1 if i + 1 < len(parts) else 0, pfns=True)
    whole = SgTable.from_pages([frame for frames, _ in parts for frame in frames], pfns=True)
    assert shapes(table) == shapes(whole)
    assert sg.sg_is_last(list(table)[-1])


def test_rows_from_buffers() -> None:
    rows = [(4096 * i, i, 100 + i) for i in range(1, 300)]
    table = SgTable.from_rows(array("Q", [x for row in rows for x in row]))
    assert [row[:3] for row in table.entries()] == rows
    with pytest.raises(ValueError, match="32 bits"):
        SgTable.from_rows(array("Q", [4096, 0, 2**32]))
    with pytest.raises(ValueError, match="whole number"):
        SgTable.from_rows(array("Q", [4096, 0]))


def test_a_view_blocks_free_and_growth() -> None:
    table = SgTable([(4096, 0, 100), (8192, 5, 7)])
    view = memoryview(table)
    assert view.itemsize == 32 and view.shape == (2,) and view.readonly
    for change in (table.free, lambda: sg.sg_alloc_table(table, 3), lambda: sg.sg_mark_end(table.sgl)):
        with pytest.raises(BufferError):
            change()
    assert view.cast("B").cast("I")[2] == 0 and view.cast("B").cast("Q")[4] == 8192 | sg.SG_END
    view.release()
    entry = table.sgl
    table.free()
    assert table.nents == 0 and table.sgl is None
    with pytest.raises(ValueError, match="freed"):
        _ = entry.length


def test_chain_to_another_table() -> None:
    first = SgTable([(4096, 0, 1), (8192, 0, 2), (12288, 0, 3)])
    second = SgTable([(16384, 0, 4), (20480, 0, 5)])
    sg.sg_chain(first, 3, second)
    assert [x.length for x in sg.for_each_sg(first, 4)] == [1, 2, 4, 5]
    with pytest.raises(BufferError):
        second.free()
    with pytest.raises(ValueError, match="circular"):
        sg.sg_chain(second, 2, first)
    first.free()
    second.free()


def test_the_third_bit_is_a_switch() -> None:
    with pytest.raises(ValueError, match="third flag bit"):
        sg.sg_mark_pci_p2pdma(SgTable([(4096, 0, 1)]))
    table = SgTable([(4096, 0, 1)], p2pdma_bit=True)
    sg.sg_mark_pci_p2pdma(table)
    assert sg.sg_is_pci_p2pdma(table) and sg.sg_page(table) == 4096 and table.sgl.page_link == 4096 | 6
    sg.sg_assign_page(table, 8192)
    assert not sg.sg_is_pci_p2pdma(table)


def test_an_unmarked_end_is_an_error_and_not_a_crash() -> None:
    table = SgTable([(4096, 0, 1)])
    sg.sg_unmark_end(table)
    with pytest.raises(ValueError, match="run off"):
        sg.sg_nents(table)
    sg.sg_mark_end(table)
    assert sg.sg_nents(table) == 1


def test_pools() -> None:
    assert [sg.sg_pool_index(n) for n in (1, 8, 9, 16, 17, 64, 65, 128)] == [0, 0, 1, 1, 2, 3, 4, 4]
    with pytest.raises(ValueError, match="BUG"):
        sg.sg_pool_index(129)
    before = sg.sg_pool_usage()
    inline, table = SgTable([(0, 0, 0)] * 4), SgTable()
    sg.sg_alloc_table_chained(table, 140, inline, 4)
    assert table.arrays() == [4, 128, 10] and table.orig_nents == 140
    sg.sg_free_table_chained(table, 4)
    assert sg.sg_pool_usage() == before


def test_extract_iter_to_sg() -> None:
    table = SgTable([(0, 0, 0)] * 8)
    table.nents = 0
    it = sg.IovIter(sg.BioVecs([(4096, 100, 0), (8192, 9000, 50)]), iov_offset=10)
    assert sg.extract_iter_to_sg(it, 5000, table, 8) == 5000
    assert shapes(table)[:2] == [(1, 10, 90), (2, 50, 4910)] and table.nents == 2 and it.count == 4090
    it = sg.IovIter([(0x5010, 8192)])
    assert sg.extract_iter_to_sg(it, 2**40, table, 2) == 4080 + 4096
    assert shapes(table)[2:4] == [(5, 16, 4080), (6, 0, 4096)] and it.count == 16
