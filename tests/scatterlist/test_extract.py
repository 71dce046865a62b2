# SPDX-License-Identifier: MIT
"""extract_iter_to_sg of kernel memory: an entry for each bio_vec, or for each page of a kvec."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import BioVecs, IovIter, SgTable

PAGE = 4096


def room(n: int, **options) -> SgTable:
    table = SgTable([(0, 0, 0)] * n, **options)
    table.nents = 0
    return table


def places(table: SgTable, start: int = 0) -> list[int]:
    return [sg.sg_phys(x) + i for x in sg.for_each_sg(table, table.nents)[start:] for i in range(x.length)]


segments = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9000), st.integers(0, 9000)), min_size=1, max_size=5)


@given(segments=segments, data=st.data(), kind=st.sampled_from(["bvec", "kvec"]), page_shift=st.sampled_from([12, 16]))
def test_each_call_goes_on_where_the_last_ended(segments, data, kind, page_shift) -> None:
    rows = [((page << 16), length, offset) for page, length, offset in segments]
    left = [page + offset + i for page, length, offset in rows for i in range(length)]
    skip = data.draw(st.integers(0, len(left)))
    del left[:skip]
    it = IovIter(BioVecs(rows, page_shift=page_shift) if kind == "bvec" else [(p + o, n) for p, n, o in rows],
                 iov_offset=skip)
    table = room(80, page_shift=page_shift)
    for _ in range(3):
        maxsize, sg_max = data.draw(st.integers(0, 20000)), data.draw(st.integers(0, 4))
        used = table.nents
        done = sg.extract_iter_to_sg(it, maxsize, table, sg_max)
        entries = sg.for_each_sg(table, table.nents)[used:]
        assert places(table, used) == left[:done] and len(entries) <= sg_max and done <= maxsize
        del left[:done]
        assert it.count == len(left)
        if left and done < maxsize:
            assert len(entries) == sg_max                   # only a full list ends it early
        if kind == "kvec":
            assert all(x.offset + x.length <= 1 << page_shift for x in entries)
        else:
            assert {sg.sg_page(x) for x in entries} <= {page for page, _, _ in rows}
    assert table.orig_nents == 80                           # Linux does not count here


def test_the_position() -> None:
    it = IovIter([(0x1000, 100), (0x3000, 0), (0x5000, 50)], iov_offset=20)
    assert (it.nr_segs, it.iov_offset, it.count, it.kvec) == (3, 20, 130, [(0x1000, 100), (0x3000, 0), (0x5000, 50)])
    table = room(4)
    assert sg.extract_iter_to_sg(it, 80, table, 4) == 80
    assert (it.nr_segs, it.iov_offset, it.count) == (1, 0, 50)         # past the empty segment too
    assert sg.extract_iter_to_sg(it, 100, table, 1) == 50 and (it.nr_segs, it.count, table.nents) == (0, 0, 2)
    assert sg.extract_iter_to_sg(it, 100, table, 4) == 0 and table.nents == 2
    assert [x.length for x in table] == [80, 50, 0, 0] and sg.sg_nents(table) == 4      # no end mark is set


@pytest.mark.parametrize("maxsize", [2**63, 2**64 - 1])
def test_a_maxsize_that_is_negative_as_ssize_t_ends_after_one_segment(maxsize) -> None:
    for source in ([(0x1000, 10), (0x2000, 10)], BioVecs([(0x1000, 10, 0), (0x2000, 10, 0)])):
        it = IovIter(source)
        assert sg.extract_iter_to_sg(it, 2**63 - 1, room(4), 4) == 20
        it = IovIter(source)
        expected = 20 if maxsize == 2**63 else 10           # 2^63 less 10 bytes is positive again
        assert sg.extract_iter_to_sg(it, maxsize, room(4), 4) == expected and it.count == 20 - expected


def test_an_offset_of_a_bio_vec_may_exceed_its_page() -> None:
    it, table = IovIter(BioVecs([(0x1000, 9000, 50)]), iov_offset=8192), room(1)
    assert sg.extract_iter_to_sg(it, 9000, table, 1) == 808
    assert table.entries() == [(0x1000, 8242, 808, 0, 0, 0)]


def chained() -> SgTable:
    return room(5, max_ents=3)                              # an array of 2 and its link, then 3


ROWS = [(0x1000, 1), (0x2000, 1), (0x3000, 1)]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: sg.extract_iter_to_sg(IovIter(ROWS), 3, chained(), 3),
         "3 entries behind 0 of an array of 2: out of bounds"),
        (lambda: sg.extract_iter_to_sg(IovIter(ROWS), 3, room(2), 9),
         "3 entries behind 0 of an array of 2: out of bounds"),
        (lambda: sg.extract_iter_to_sg(IovIter(ROWS[:1]), 1, SgTable([(0, 0, 0)]), 1),
         "1 entries behind 1 of an array of 1: out of bounds"),
        (lambda: sg.extract_iter_to_sg(IovIter(BioVecs([(0x1004, 1, 0)])), 1, room(1), 1),
         "page 0x1004 is not a frame's address"),
        (lambda: sg.extract_iter_to_sg(IovIter(ROWS), 1, SgTable(), 1),
         "this table has no list (never allocated, or freed)"),
        (lambda: IovIter(ROWS, iov_offset=4), "iov_offset 4 of 3 bytes"),
        (lambda: IovIter([(0, 2**62), (0, 2**62)]), "more bytes than a signed 64-bit count holds"),
    ],
)
def test_refused(call, sentence) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        call()
