# SPDX-License-Identifier: MIT
"""sg_alloc_append_table_from_pages against get_next_sg's rule slot by slot, and what it refuses."""

import errno
import re
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import SgTable

PAGE = 4096
MAX = 0xFFFFFFFF


class Appending:
    """Linux's struct sg_append_table of 4 KiB pages, one slot of one array at a time."""

    def __init__(self, max_ents: int) -> None:
        self.max_ents = max_ents
        self.arrays: list[list[list[int] | str | None]] = []    # an entry [frame, offset, length], "link" or not used
        self.end = (0, 0)                                       # array and slot of the end mark
        self.at: tuple[int, int] | None = None
        self.total = self.nents = 0

    def next_slot(self, needed: int) -> None:
        if self.at is not None:
            following = self.at[0], self.at[1] + 1
            if following != self.end or needed == 1:
                self.at = following
                return
            self.arrays[following[0]][following[1]] = "link"
            self.total -= 1                                     # it was counted as data
        size = min(needed, self.max_ents)
        self.arrays.append([None] * size)
        self.total += size
        self.end = len(self.arrays) - 1, size - 1
        self.at = len(self.arrays) - 1, 0

    def entry(self) -> list[int]:
        assert self.at is not None
        found = self.arrays[self.at[0]][self.at[1]]
        assert isinstance(found, list)
        return found

    def append(self, frames: list[int], offset: int, size: int, max_segment: int, left: int) -> None:
        frames, limit = list(frames), max_segment // PAGE
        if self.at is not None:
            last = self.entry()
            while frames and frames[0] == last[0] + (last[1] + last[2]) // PAGE and last[2] + PAGE <= limit * PAGE:
                last[2] += PAGE
                del frames[0]
        runs: list[list[int]] = []
        for frame in frames:
            if runs and frame == runs[-1][-1] + 1 and len(runs[-1]) < limit:
                runs[-1].append(frame)
            else:
                runs.append([frame])
        for i, run in enumerate(runs):
            self.next_slot(len(runs) - i + left)
            chunk = (len(run) * PAGE - offset) % 2**32
            assert self.at is not None
            self.arrays[self.at[0]][self.at[1]] = [run[0], offset, min(size, chunk) % 2**32]
            size = (size - chunk) % 2**64
            offset = 0
        self.nents += len(runs)
        if not left:
            assert self.at is not None
            self.end = self.at

    def sizes(self) -> list[int]:
        """The arrays as a walk to the end mark sees them."""
        return [len(array) for array in self.arrays[:self.end[0]]] + [self.end[1] + 1]


def shapes(table: SgTable) -> list[list[int]]:
    return [[sg.sg_page(x) // PAGE, x.offset, x.length] for x in sg.for_each_sg(table, table.nents)]


runs = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), min_size=1, max_size=12)
calls = st.lists(st.tuples(runs, st.sampled_from([PAGE, 2 * PAGE + 7, 5 * PAGE, MAX]), st.integers(1, 30)),
                 min_size=1, max_size=5)


@given(calls=calls, offset=st.integers(0, 9000), short=st.integers(0, 5000), max_ents=st.sampled_from([2, 3, 5, 128]),
       pfns=st.booleans(), ended=st.booleans())
def test_against_the_slots_of_linux(calls, offset, short, max_ents, pfns, ended) -> None:
    table, linux, frame = SgTable(max_ents=max_ents), Appending(max_ents), 1
    for i, (steps, max_segment, more) in enumerate(calls):
        frames = []
        for gap, n in steps:
            frame += gap
            frames += range(frame, frame + n)
            frame += n
        offset, left = 0 if i else offset, 0 if ended and i + 1 == len(calls) else more
        size = max(len(frames) * PAGE - offset - short, 0)
        pages = array("Q", frames if pfns else [frame * PAGE for frame in frames])
        sg.sg_alloc_append_table_from_pages(table, pages, offset, size, max_segment, left, pfns=pfns)
        linux.append(frames, offset, size, max_segment, left)
        assert (table.nents, table.orig_nents, table.total_entries) == (linux.nents, linux.nents, linux.total)
        assert table.arrays() == linux.sizes()
    data = [slot for array_ in linux.arrays for slot in array_ if isinstance(slot, list)]
    assert shapes(table) == data
    assert sg.sg_nents(table) == (len(data) if ended else linux.total)


def test_pages_of_64_kib() -> None:
    table = SgTable(page_shift=16)
    sg.sg_alloc_append_table_from_pages(table, [0x10000, 0x20000], 5, None, 3 << 16, 1)
    sg.sg_alloc_append_table_from_pages(table, [0x30000, 0x40000, 0x60000])
    assert [row[:3] for row in table.entries()] == [(0x10000, 5, 4 * 65536 - 5), (0x60000, 0, 65536)]


@pytest.mark.parametrize(
    ("offset", "length", "merged"),
    [(0, 2 * PAGE, [(1, 0, 3 * PAGE), (4, 0, PAGE)]), (5, 2 * PAGE - 5, [(1, 5, 3 * PAGE - 5), (4, 0, PAGE)])],
)
def test_merging_into_the_last_entry_stops_at_max_segment(offset, length, merged) -> None:
    """The bytes are bounded, not the pages: with an offset the third page still fits, the fourth does not."""
    table = SgTable()
    sg.sg_alloc_append_table_from_pages(table, [1, 2], offset, length, MAX, 2, pfns=True)
    sg.sg_alloc_append_table_from_pages(table, [3, 4], 0, None, 3 * PAGE, 0, pfns=True)
    assert [tuple(row) for row in shapes(table)] == merged


def test_pages_of_another_pgmap_are_not_merged_when_appending() -> None:
    table, other = SgTable(), SgTable()
    for made, pgmaps in ((table, [(3 * PAGE, PAGE)]), (other, [(2 * PAGE, 9 * PAGE)])):
        sg.sg_alloc_append_table_from_pages(made, [2], left_pages=1, pfns=True, pgmaps=pgmaps)
        sg.sg_alloc_append_table_from_pages(made, [3], pfns=True, pgmaps=pgmaps)
    assert shapes(table) == [[2, 0, PAGE], [3, 0, PAGE]] and shapes(other) == [[2, 0, 2 * PAGE]]


def test_the_first_call_chains_even_without_chaining() -> None:
    """get_next_sg does not ask for CONFIG_ARCH_NO_SG_CHAIN, unlike __sg_alloc_table."""
    table = SgTable(chaining=False, max_ents=2)
    sg.sg_alloc_table_from_pages(table, [1, 3, 5], pfns=True)
    assert table.arrays() == [2, 2]


def test_no_pages_end_a_list() -> None:
    table = SgTable()
    sg.sg_alloc_append_table_from_pages(table, [1], left_pages=5, pfns=True)
    assert sg.sg_nents(table) == 6 and table.nents == 1
    sg.sg_alloc_append_table_from_pages(table, [], pfns=True)
    assert sg.sg_nents(table) == 1


def appending(**options) -> SgTable:
    table = SgTable(**options)
    sg.sg_alloc_append_table_from_pages(table, [1], left_pages=5, pfns=True)
    return table


def by_hand() -> SgTable:
    table = appending()
    sg.sg_unmark_end(table)
    return table


append = sg.sg_alloc_append_table_from_pages
WHAT = "sg_alloc_append_table_from_pages"
NO_FRAME = "a page that is not a frame's address (or a frame number too large)"


@pytest.mark.parametrize(
    ("table", "pages", "options", "error", "sentence"),
    [
        (appending(), [2], {"max_segment": PAGE - 1}, errno.EINVAL, f"{WHAT}: Invalid argument"),
        (appending(), [2], {"offset": 1}, errno.EINVAL, f"{WHAT}: Invalid argument"),
        (SgTable(), [], {}, errno.EINVAL, f"{WHAT}: Invalid argument"),
        (appending(chaining=False), [2], {}, errno.EOPNOTSUPP, f"{WHAT}: Operation not supported"),
        (SgTable(), [PAGE + 8], {"pfns": False}, ValueError, NO_FRAME),
        (SgTable(), [PAGE, PAGE + 1], {"pfns": False, "max_segment": PAGE}, ValueError, NO_FRAME),
        (SgTable(), [1 << 52], {}, ValueError, NO_FRAME),
        (SgTable([(0, 0, 1)]), [1], {}, ValueError,
         "a list that sg_alloc_table made cannot be appended to: Linux would leak it"),
        (by_hand(), [5], {}, ValueError, "a list whose structure was changed by hand cannot grow"),
        (SgTable(), "pages", {}, TypeError, "a bytes-like object is required, not 'str'"),
    ],
)
def test_refused(table, pages, options, error, sentence) -> None:
    before = table.entries()
    options = {"pfns": True, **options}
    with pytest.raises(error if isinstance(error, type) else OSError, match=re.escape(sentence) + "$") as caught:
        append(table, pages, **options)
    assert isinstance(error, type) or caught.value.errno == error
    assert table.entries() == before
