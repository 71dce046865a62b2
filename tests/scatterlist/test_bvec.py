# SPDX-License-Identifier: MIT
"""struct bio_vec and its iterators, against an oracle that counts bytes one by one."""

import re
import struct
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import BioVecs, BvecIter, PhysMem

PAGE = 4096
MAX = 0xFFFFFFFF

Row = tuple[int, int, int]
page_shifts = st.sampled_from([12, 13, 16])
row_lists = st.lists(
    st.tuples(st.integers(0, 63).map(lambda frame: frame << 16), st.integers(0, 9000), st.integers(0, 70000)),
    min_size=1, max_size=6)


def pieces(rows: list[Row], page_shift: int, skip: int = 0, size: int | None = None) -> list[Row]:
    """(page, length, offset) of each page that bytes skip to skip + size are on; an empty row is a piece of its own."""
    size = sum(length for _, length, _ in rows) - skip if size is None else size
    mask = (1 << page_shift) - 1
    out: list[Row] = []
    for page, length, offset in rows:
        if skip and skip >= length:
            skip -= length
            continue
        if size == 0:
            break
        taken = range(page + offset + skip, page + offset + min(length, skip + size))
        size -= len(taken)
        skip = 0
        out += [((run := list(same))[0] & ~mask, len(run), run[0] & mask)
                for _, same in groupby(taken, lambda at: at >> page_shift)]
        if not taken:
            out.append(((page + offset) & ~mask, 0, offset & mask))
    return out


def state(it: BvecIter) -> tuple[int, int, int]:
    return it.bi_size, it.bi_idx, it.bi_bvec_done


@given(rows=row_lists, page_shift=page_shifts, data=st.data())
def test_each_piece_is_within_a_page(rows, page_shift, data) -> None:
    total = sum(length for _, length, _ in rows)
    skip = data.draw(st.integers(0, total))
    size = data.draw(st.integers(0, total - skip))
    bvecs, start = BioVecs(rows, page_shift=page_shift), BvecIter(total)
    assert sg.bvec_iter_advance(bvecs, start, skip) is True
    start = BvecIter(size, start.bi_idx, start.bi_bvec_done)
    before = state(start)
    assert list(sg.for_each_bvec(bvecs, start)) == pieces(rows, page_shift, skip, size)
    assert state(start) == before


@given(rows=row_lists, page_shift=page_shifts)
def test_all_pages_of_all_entries(rows, page_shift) -> None:
    expected = [piece for row in rows for piece in pieces([row], page_shift, 0, max(row[1], 1))]
    assert list(sg.bvec_advance_all(BioVecs(rows, page_shift=page_shift))) == expected


@given(rows=row_lists, steps=st.lists(st.integers(0, 30000), max_size=8))
def test_advancing_in_steps_is_advancing_at_once(rows, steps) -> None:
    """Bytes are counted, empty entries are passed while bytes remain, and the rest shrinks by what was passed."""
    total = sum(length for _, length, _ in rows)
    bvecs, it, at = BioVecs(rows), BvecIter(total, bi_sector=7), 0
    for step in steps:
        if at + step > total:
            break
        at += step
        assert sg.bvec_iter_advance(bvecs, it, step)
        once = BvecIter(total)
        sg.bvec_iter_advance(bvecs, once, at)
        assert state(it)[0] == total - at and it.bi_sector == 7
        assert sum(rows[i][1] for i in range(it.bi_idx)) + it.bi_bvec_done == at
        assert pieces(rows, 12, at) == list(sg.for_each_bvec(bvecs, once))


def test_one_position() -> None:
    bvecs = BioVecs([(0x1000, 10, 0), (0x10000, 9000, 5000)])
    it = BvecIter(8000, 1, 100)
    assert sg.mp_bvec_iter_bvec(bvecs, it) == (0x10000, 8000, 5100)
    assert (sg.mp_bvec_iter_page(bvecs, it), sg.mp_bvec_iter_len(bvecs, it), sg.mp_bvec_iter_offset(bvecs, it),
            sg.mp_bvec_iter_page_idx(bvecs, it)) == (0x10000, 8000, 5100, 1)
    assert sg.bvec_iter_bvec(bvecs, it) == (0x11000, 3092, 1004)
    assert (sg.bvec_iter_page(bvecs, it), sg.bvec_iter_len(bvecs, it), sg.bvec_iter_offset(bvecs, it)) == (
        0x11000, 3092, 1004)
    assert repr(it) == "<BvecIter at 1, 100 done, 8000 left>"
    assert state(BvecIter()) == (MAX, 0, 0)                 # BVEC_ITER_ALL_INIT
    assert sg.mp_bvec_iter_len(bvecs, BvecIter()) == 10     # bi_size does not bound it


def test_done_beyond_an_entry_wraps() -> None:
    """bv_len - bi_bvec_done is 32 bits wide: an iterator that is off by one sees 4 GiB."""
    bvecs = BioVecs([(0x1000, 10, 0)])
    assert sg.mp_bvec_iter_bvec(bvecs, BvecIter(MAX, 0, 11)) == (0x1000, MAX, 11)
    assert sg.bvec_iter_bvec(bvecs, BvecIter(MAX, 0, 11)) == (0x1000, PAGE - 11, 11)


@pytest.mark.parametrize(
    ("rows", "start", "nbytes", "expected"),
    [
        pytest.param([(0, 100, 0), (0, 50, 0)], (150, 0, 0), 100, (50, 1, 0), id="to the next entry"),
        pytest.param([(0, 100, 0), (0, 50, 0)], (150, 0, 0), 150, (0, 2, 0), id="to the end"),
        pytest.param([(0, 0, 0), (0, 50, 0)], (50, 0, 0), 1, (49, 1, 1), id="over an empty entry"),
        pytest.param([(0, 0, 0), (0, 50, 0)], (50, 0, 0), 0, (50, 0, 0), id="0 bytes stay on an empty entry"),
        pytest.param([(0, 100, 0), (0, 0, 0)], (100, 0, 0), 100, (0, 1, 0), id="not over an empty entry at the end"),
        pytest.param([(0, 100, 0), (0, 50, 0)], (150, 0, 100), 0, (150, 1, 0), id="0 bytes tidy an entry used up"),
    ],
)
def test_advance(rows, start, nbytes, expected) -> None:
    it = BvecIter(*start)
    assert sg.bvec_iter_advance(BioVecs(rows), it, nbytes) is True
    assert state(it) == expected


def test_advance_past_bi_size_warns_and_ends() -> None:
    bvecs, it = BioVecs([(0, 100, 0)]), BvecIter(50, 0, 10)
    with pytest.warns(RuntimeWarning, match="^Attempted to advance past end of bvec iter$"):
        assert sg.bvec_iter_advance(bvecs, it, 51) is False
    assert state(it) == (0, 0, 10)                          # the place stays
    assert list(sg.for_each_bvec(bvecs, it)) == []


@pytest.mark.parametrize(
    ("rows", "start", "expected"),
    [
        pytest.param([(0, 100, 0)], (100, 0, 40, 60), (40, 1, 0), id="to the end"),
        pytest.param([(0, 100, 0)], (100, 0, 40, 59), (41, 0, 99), id="within"),
        pytest.param([(0, 0, 0), (0, 9, 0)], (9, 0, 0, 0), (9, 1, 0), id="0 bytes leave an empty entry"),
        pytest.param([(0, 9, 0)], (9, 0, 0, 0), (9, 0, 0), id="0 bytes stay on another"),
    ],
)
def test_advance_single(rows, start, expected) -> None:
    it = BvecIter(*start[:3])
    sg.bvec_iter_advance_single(BioVecs(rows), it, start[3])
    assert state(it) == expected


BEHIND = "the iterator is at entry 1 of 1: Linux would read behind the array"
OUT_OF_BOUNDS = [
    ("the iterator is behind the array", sg.bvec_iter_bvec, BEHIND),
    ("of several pages", sg.mp_bvec_iter_bvec, BEHIND),
    ("page index", sg.mp_bvec_iter_page_idx, BEHIND),
    ("advance from behind", lambda bvecs, end: sg.bvec_iter_advance(bvecs, end, 1), BEHIND),
    ("advance_single from behind", lambda bvecs, end: sg.bvec_iter_advance_single(bvecs, end, 0), BEHIND),
    ("iterate from behind", lambda bvecs, end: list(sg.for_each_bvec(bvecs, end)), BEHIND),
    ("bi_size is more than there is", lambda bvecs, end: list(sg.for_each_bvec(bvecs, BvecIter(101))), BEHIND),
    ("advance behind the array", lambda bvecs, end: sg.bvec_iter_advance(bvecs, BvecIter(), 101),
     "101 bytes lie behind the array: Linux would read there"),
    ("advance_single over the end", lambda bvecs, end: sg.bvec_iter_advance_single(bvecs, BvecIter(), 101),
     "101 bytes cross the end of the bio_vec"),
    ("advance_single over bi_size", lambda bvecs, end: sg.bvec_iter_advance_single(bvecs, BvecIter(5), 6),
     "6 bytes cross the end of the bio_vec"),
    ("memcpy_from_bvec over a page", lambda bvecs, end: sg.memcpy_from_bvec(PhysMem(), bvecs, 0),
     "kernel BUG at include/linux/highmem.h: the bio_vec is not within one page"),
    ("memcpy_to_bvec over a page", lambda bvecs, end: sg.memcpy_to_bvec(PhysMem(), bvecs, 0, bytes(100)),
     "kernel BUG at include/linux/highmem.h: the bio_vec is not within one page"),
]


@pytest.mark.parametrize(("what", "call", "sentence"), OUT_OF_BOUNDS, ids=[row[0] for row in OUT_OF_BOUNDS])
def test_out_of_bounds(what, call, sentence) -> None:
    bvecs, end = BioVecs([(0x1000, 100, PAGE - 99)]), BvecIter(10, 1, 0)
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        call(bvecs, end)
    assert state(end) == (10, 1, 0)


def test_setters() -> None:
    bvecs = BioVecs([(0, 0, 0)] * 3)
    sg.bvec_set_page(bvecs, 0, 0x5000, 8192, 4097)
    sg.bvec_set_folio(bvecs, 1, 0x10000, 100, 0x3005)       # the folio's page that holds the offset
    sg.bvec_set_virt(bvecs, 2, 0x20123, 7)
    assert bvecs.rows() == [(0x5000, 8192, 4097), (0x13000, 100, 5), (0x20000, 7, 0x123)]
    assert len(bvecs) == 3 and [sg.bvec_phys(bvecs, i) for i in range(3)] == [0x6001, 0x13005, 0x20123]
    assert sg.bvec_virt(bvecs, 2) == 0x20123
    assert sg.bvec_to_phys_vec(bvecs) == [(0x6001, 8192), (0x13005, 100), (0x20123, 7)]
    with pytest.warns(RuntimeWarning, match="^WARNING: bvec_set_folio: a length over 32 bits is cut off$"):
        sg.bvec_set_folio(bvecs, 1, 0x10000, 2**32 + 3, 0)
    assert bvecs[1] == (0x10000, 3, 0)
    wide = BioVecs([(0, 0, 0)] * 2, page_shift=16)
    sg.bvec_set_folio(wide, 0, 0x100000, 1, 0x23456)
    sg.bvec_set_virt(wide, 1, 0x23456, 1)
    assert wide.rows() == [(0x120000, 1, 0x3456), (0x20000, 1, 0x3456)]


def test_memory() -> None:
    mem, bvecs = PhysMem(), BioVecs([(0x1000, 5, 10), (0x2000, 0, 0)])
    sg.memcpy_to_bvec(mem, bvecs, 0, b"hello world")        # as many as it holds
    assert mem.peek(0x1008, 9) == b"\0\0hello\0\0" and sg.memcpy_from_bvec(mem, bvecs, 0) == b"hello"
    with pytest.raises(ValueError, match=r"^4 bytes for a bio_vec of 5$"):
        sg.memcpy_to_bvec(mem, bvecs, 0, b"hell")
    mem.poke(0x1009, b"xhellox")
    sg.memzero_bvec(mem, bvecs, 0)
    assert mem.peek(0x1009, 7) == b"x\0\0\0\0\0x"
    sg.memcpy_to_bvec(mem, bvecs, 1, b"")
    assert sg.memcpy_from_bvec(mem, bvecs, 1) == b""


def test_the_buffer_is_linux_struct() -> None:
    bvecs = BioVecs([(0x1000, 5, 10), (2**64 - PAGE, MAX, MAX)])
    view = memoryview(bvecs)
    assert (view.itemsize, view.shape, view.readonly) == (16, (2,), True)
    assert view.format == "T{L:bv_page:I:bv_len:I:bv_offset:}"
    assert list(struct.iter_unpack("QII", view.cast("B"))) == bvecs.rows()


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: BioVecs([], page_shift=11), ValueError, "page_shift 11 is not between 12 and 30"),
        (lambda: BioVecs([], page_shift=31), ValueError, "page_shift 31 is not between 12 and 30"),
        (lambda: BioVecs([(0, 0, 0)])[1], IndexError, "bio_vec 1 of 1"),
        (lambda: BioVecs([(0, 0, 0)])[-1], IndexError, "bio_vec -1 of 1"),
        (lambda: sg.bvec_phys(BioVecs([]), 0), IndexError, "bio_vec 0 of 0"),
        (lambda: BioVecs([]).__init__([]), TypeError, "an array of bio_vec is made once"),
        (lambda: memoryview(BioVecs.__new__(BioVecs)), BufferError, "no entries"),
        (lambda: struct.pack_into("Q", BioVecs([(0, 0, 0)]), 0, 1), (BufferError, TypeError), "read-write|read-only"),
    ],
)
def test_refused(call, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        call()
