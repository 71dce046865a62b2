# SPDX-License-Identifier: MIT
"""SgTable: what makes one, its counts, its views, and what it refuses."""

import errno
import re
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import SgTable

ALLOC_TABLE = getattr(sg, "__sg_alloc_table")
ROWS = [(0x1000 * i, i, 100 + i) for i in range(1, 9)]

rows_lists = st.lists(st.tuples(st.integers(0, 2**52 - 1).map(lambda frame: frame << 12), st.integers(0, 2**32 - 1),
                                st.integers(0, 2**32 - 1)), min_size=1, max_size=30)


def rows_of(table: SgTable) -> list[tuple[int, int, int]]:
    return [(row[0], row[1], row[2]) for row in table.entries()]


@given(rows=rows_lists, max_ents=st.sampled_from([0, 2, 3]), misalign=st.integers(0, 7))
def test_rows_are_the_same_from_anything(rows, max_ents, misalign) -> None:
    table = SgTable(rows, max_ents=max_ents)
    assert rows_of(table) == rows and table.length == sum(row[2] for row in rows)
    assert len(table) == table.nents == table.total_entries == sg.sg_nents(table)
    wide = array("Q", [number for row in rows for number in row])
    narrow = b"".join(struct.pack("QII", *row) for row in rows)
    shifted = memoryview(b"\0" * misalign + narrow)[misalign:]
    for buffer in (wide, memoryview(wide).cast("B").cast("Q", (len(rows), 3)), narrow, shifted):
        made = SgTable.from_rows(buffer, max_ents=max_ents)
        assert rows_of(made) == rows and made.arrays() == table.arrays()


@pytest.mark.parametrize(
    ("page_shift", "dma_length", "max_ents"),
    [(12, True, 128), (12, False, 170), (13, True, 256), (14, True, 512), (16, True, 2048), (16, False, 2730)],
)
def test_a_page_holds(page_shift, dma_length, max_ents) -> None:
    """SG_MAX_SINGLE_ALLOC: entries of 32 bytes, or of 24 without dma_length."""
    table = SgTable(page_shift=page_shift, dma_length=dma_length)
    assert table.max_single_alloc == max_ents
    sg.sg_alloc_table(table, max_ents + 1)
    assert table.arrays() == [max_ents, 2]


def test_counts() -> None:
    table = SgTable(ROWS)
    table.set_dma(0, 0x9000, 500)
    table.nents = 1
    assert table.segments() == [(0x9000, 500, 0)]
    assert repr(table) == "<SgTable of 8 entries, 1 mapped, arrays of 128>"
    table.orig_nents = 3
    assert rows_of(table) == ROWS[:3] and len(table) == 3
    table.nents = 8                                         # the list is as long as ever
    for name, value in (("nents", 9), ("orig_nents", 9), ("orig_nents", 2**32 - 1)):
        with pytest.raises(ValueError, match=f"^{name} {value} of a list of 8 entries$"):
            setattr(table, name, value)
    with pytest.raises(IndexError, match=r"^entry 8 of a list of 8$"):
        table.set_dma(8, 0, 0)
    empty = SgTable()
    empty.nents = empty.orig_nents = 0
    with pytest.raises(ValueError, match=r"^nents 1 of a list of 0 entries$"):
        empty.nents = 1


def test_set_dma_across_a_link() -> None:
    table = SgTable(ROWS, max_ents=3)
    for i in range(8):
        table.set_dma(i, 0x9000 + i, i)
    assert table.segments() == [(0x9000 + i, i, 0) for i in range(8)]


def test_init_once_more_replaces_the_list() -> None:
    table = SgTable(ROWS)
    table.__init__([(0x5000, 0, 1)], page_shift=16)         # type: ignore[misc]
    assert rows_of(table) == [(0x5000, 0, 1)] and table.page_shift == 16
    with memoryview(table), pytest.raises(BufferError, match=r"^1 view.s. of this table, or tables that chain to it, "):
        table.__init__()                                    # type: ignore[misc]
    assert rows_of(table) == [(0x5000, 0, 1)]


# -- views -----------------------------------------------------------------------------------------------------

def test_a_view_for_each_block() -> None:
    table = SgTable()
    ALLOC_TABLE(table, 7, 4)
    with pytest.raises(BufferError, match=r"^the entries are not one block of memory: use views..$"):
        memoryview(table)
    views = table.views()
    assert [(view.shape, view.itemsize, view.readonly) for view in views] == [((4,), 32, True)] * 2
    assert views[0].format == ("T{L:page_link:I:offset:I:length:L:dma_address:I:dma_length:I:dma_flags:}")
    links = [[row[0] & 3 for row in struct.iter_unpack("QIIQII", view.cast("B"))] for view in views]
    assert links == [[0, 0, 0, sg.SG_CHAIN], [0, 0, 0, sg.SG_END]]
    with pytest.raises(BufferError, match=r"^2 view"):
        table.free()
    exporter = views[0].obj
    for view in views:
        view.release()
    table.free()
    with pytest.raises(BufferError, match=r"^the table of this view was freed$"):
        memoryview(exporter)
    assert table.views() == []


def test_a_view_is_read_only() -> None:
    table = SgTable(ROWS)
    for exporter in (table, table.views()[0].obj):
        with pytest.raises((BufferError, TypeError)):
            struct.pack_into("Q", exporter, 0, 1)
    assert rows_of(table) == ROWS
    view_type = type(table.views()[0].obj)
    with pytest.raises(TypeError, match=r"^views come from SgTable.views\(\)$"):
        view_type()
    with pytest.raises(BufferError, match=r"^this view has no table$"):
        memoryview(view_type.__new__(view_type))


# -- refused ---------------------------------------------------------------------------------------------------

LOW_BITS = "page 0x1002 is not a frame's address: its low bits are the flags of page_link"
BAD_ROWS = "a page that is not a frame's address, or an offset or length over 32 bits"


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: SgTable(page_shift=11), ValueError, "page_shift 11 is not between 12 and 30"),
        (lambda: SgTable(page_shift=31), ValueError, "page_shift 31 is not between 12 and 30"),
        (lambda: SgTable(max_ents=1), ValueError, "an array of one entry cannot be chained"),
        (lambda: SgTable([(0x1002, 0, 1)]), ValueError, LOW_BITS),
        (lambda: SgTable([]), errno.EINVAL, "[Errno 22] sg_alloc_table of 0 entries: Invalid argument"),
        (lambda: SgTable(ROWS, chaining=False, max_ents=7), errno.EINVAL,
         "[Errno 22] sg_alloc_table of 8 entries without chaining: Invalid argument"),
        (lambda: SgTable.from_rows(array("Q", range(0, 24 * 4096, 4096)), chaining=False, max_ents=7), errno.EINVAL,
         "[Errno 22] sg_alloc_table of 8 entries without chaining: Invalid argument"),
        (lambda: SgTable.from_rows(array("Q", [0x1004, 0, 1])), ValueError, BAD_ROWS),
        (lambda: SgTable.from_rows(array("Q", [0x1000, 2**32, 1])), ValueError, BAD_ROWS),
        (lambda: SgTable.from_rows(struct.pack("QII", 0x1001, 0, 1)), ValueError, BAD_ROWS),
        (lambda: SgTable.from_rows(memoryview(array("Q", range(12)))[::2]), ValueError, "the rows are not contiguous"),
        (lambda: SgTable.from_rows(array("I", [1, 2, 3])), ValueError,
         "rows of format 'I' are neither three 64-bit integers nor struct 'QII'"),
        (lambda: SgTable.from_rows(array("d", [1, 2, 3])), ValueError,
         "rows of format 'd' are neither three 64-bit integers nor struct 'QII'"),
        (lambda: SgTable.from_rows(bytes(17)), ValueError, "17 bytes are not a whole number of 16-byte rows, or none"),
        (lambda: SgTable.from_rows(b""), ValueError, "0 bytes are not a whole number of 16-byte rows, or none"),
    ],
)
def test_refused(call, error, sentence) -> None:
    with pytest.raises(OSError if isinstance(error, int) else error, match=r"^" + re.escape(sentence) + "$") as caught:
        call()
    assert not isinstance(error, int) or caught.value.errno == error
