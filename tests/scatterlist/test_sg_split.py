# SPDX-License-Identifier: MIT
"""sg_split: the bytes of the outputs are the bytes of the input, and the faults of Linux with their numbers."""

import errno
import re
from itertools import accumulate, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import SgTable


def places(table: SgTable) -> list[int]:
    """The physical address of each byte."""
    return [sg.sg_phys(x) + i for x in table for i in range(x.length)]


def lengths(tables: list[SgTable]) -> list[list[int]]:
    return [[x.length for x in table] for table in tables]


def dma(tables: list[SgTable]) -> list[list[tuple[int, int]]]:
    return [[(x.dma_address, x.dma_length) for x in table] for table in tables]


def mapped(rows: list[tuple[int, int]], cpu: list[int], **options) -> SgTable:
    """A table of entries of the cpu lengths whose first entries are mapped to rows."""
    table = SgTable([(i << 16, 0, length) for i, length in enumerate(cpu)], **options)
    for i, row in enumerate(rows):
        table.set_dma(i, *row)
    return table


@st.composite
def splits(draw):
    """(rows, skip, sizes) without the faults: the last output ends the list, and skip ends no entry."""
    rows = [(i << 16, draw(st.integers(0, 5000)), draw(st.integers(1, 300))) for i in range(draw(st.integers(1, 6)))]
    ends = list(accumulate(length for _, _, length in rows))
    skip = draw(st.integers(0, ends[-1] - 1))
    assume(skip not in ends)
    cuts = sorted(draw(st.sets(st.integers(skip, ends[-1]), max_size=5)) - {skip, ends[-1]})
    cuts = [skip, *cuts, ends[-1]]
    return rows, skip, [after - before for before, after in pairwise(cuts)]


@given(splits())
def test_the_outputs_are_the_input(given_) -> None:
    rows, skip, sizes = given_
    table = SgTable(rows)
    before = table.entries()
    out, counts = sg.sg_split(table, 0, skip, sizes)
    wanted = places(table)[skip:]
    for part, size, count in zip(out, sizes, counts, strict=True):
        assert places(part) == wanted[:size]
        assert count == part.nents == part.orig_nents == sg.sg_nents(part)
        assert all(row[3:] == (0, 0, 0) for row in part.entries())
        del wanted[:size]
    assert wanted == [] and table.entries() == before


@given(splits(), st.randoms())
def test_the_mapped_side_is_cut_at_the_same_bytes(given_, random) -> None:
    """The device's segments are others than the CPU's: outputs whose segments outnumber their entries are refused."""
    rows, skip, sizes = given_
    table = SgTable(rows)
    total, segments = sum(row[2] for row in rows), []
    while total:
        size = total if len(segments) == len(rows) - 1 else random.randint(1, total)
        segments.append((random.randrange(1 << 20) << 12, size))
        total -= size
    for i, segment in enumerate(segments):
        table.set_dma(i, *segment)
    assume(skip not in accumulate(size for _, size in segments))
    bus = [address + i for address, size in segments for i in range(size)]
    ends = [0, *accumulate(size for _, size in segments)]
    cuts = [skip + cut for cut in accumulate(sizes, initial=0)]
    touched = [sum(first < end and start < last for start, end in pairwise(ends)) for first, last in pairwise(cuts)]
    plain, room = sg.sg_split(table, 0, skip, sizes)
    if any(n > there for n, there in zip(touched, room, strict=True)):
        with pytest.raises(ValueError, match="out of bounds"):
            sg.sg_split(table, len(segments), skip, sizes)
        return
    out, counts = sg.sg_split(table, len(segments), skip, sizes)
    assert counts == touched and [places(part) for part in out] == [places(part) for part in plain]
    for part, count, (first, last) in zip(out, counts, pairwise(cuts), strict=True):
        assert [x.dma_address + i for x in list(part)[:count] for i in range(x.dma_length)] == bus[first:last]


@pytest.mark.parametrize(
    ("cpu", "skip", "sizes", "expected"),
    [
        pytest.param([100, 100, 100], 0, [50, 100], [[50], [50, 100, 0]], id="the last ends inside an entry"),
        pytest.param([100, 100, 100], 0, [150], [[100, 100, 0]], id="one output"),
        pytest.param([100, 100, 100], 0, [50], [[100, 100, 0]], id="one output inside the first entry"),
        pytest.param([100], 0, [50], [[50]], id="one entry is right"),
        pytest.param([100, 100, 100], 0, [100, 100], [[100], [100]], id="the last ends an entry"),
        pytest.param([100, 100], 100, [100], [[0, 100]], id="skip ends an entry"),
        pytest.param([100, 100], 100, [30, 70], [[0, 30], [70]], id="skip ends an entry, two outputs"),
        pytest.param([100, 0, 100], 0, [100, 100], [[100], [0, 100]], id="an empty entry goes to the next output"),
        pytest.param([100, 100], 0, [0, 200], [[0], [100, 100]], id="size 0 inside an entry"),
        pytest.param([100, 100], 0, [100, 0, 100], [[100], [0], [100]], id="size 0 between entries"),
    ],
)
def test_rows(cpu, skip, sizes, expected) -> None:
    """The faults that double the last decrement show as entries with too many bytes."""
    out, counts = sg.sg_split(mapped([], cpu), 0, skip, sizes)
    assert lengths(out) == expected and counts == [len(part) for part in expected]


def test_a_mapped_list_with_the_faults() -> None:
    table = mapped([(0x10000, 100), (0x20000, 100), (0x30000, 100)], [100, 100, 100])
    out, counts = sg.sg_split(table, 3, 0, [50, 100])
    assert counts == [1, 3]
    assert dma(out) == [[(0x10000, 50)], [(0x10032, 50), (0x20000, 100), (0x30000, 0)]]
    out, _ = sg.sg_split(table, 3, 100, [100, 100])
    assert dma(out) == [[(0x10064, 0), (0x20000, 100)], [(0x30000, 100)]]


def test_without_a_dma_length_the_cpu_lengths_are_cleared() -> None:
    """sg_dma_len(out_sg) = 0 is the CPU's length there; only the last entry gets its own again."""
    table = mapped([], [100, 100, 100], dma_length=False)
    out, _ = sg.sg_split(table, 0, 0, [250, 50])
    assert lengths(out) == [[0, 0, 50], [50]]
    for i, address in enumerate([0x10000, 0x20000, 0x30000]):
        list(table)[i].dma_address = address
    out, counts = sg.sg_split(table, 3, 0, [250, 50])       # the mapped side's lengths are the CPU's again
    assert lengths(out) == [[100, 100, 50], [50]] and counts == [3, 1]
    assert dma(out) == [[(0x10000, 100), (0x20000, 100), (0x30000, 50)], [(0x30032, 50)]]


def test_dma_flags_stay_with_the_cpu_entry() -> None:
    """Two CPU entries on one bus segment, the mark of which is on the first entry: the second output has none."""
    table = mapped([(0x10000, 100)], [50, 50])
    sg.sg_dma_mark_bus_address(table)
    out, _ = sg.sg_split(table, 1, 0, [50, 50])
    assert dma(out) == [[(0x10000, 50)], [(0x10032, 50)]]
    assert [sg.sg_dma_is_bus_address(part) for part in out] == [True, False]


def test_the_new_tables_are_of_the_same_machine() -> None:
    table = SgTable([(0, 0, 65536)], page_shift=16, dma_length=False, chaining=False, p2pdma_bit=True, max_ents=5)
    (part,), _ = sg.sg_split(table, 0, 0, [65536])
    assert (part.page_shift, part.dma_length, part.chaining, part.p2pdma_bit, part.max_single_alloc) == (
        16, False, False, True, 5)


def test_from_an_entry_on() -> None:
    table = mapped([], [10, 20, 30])
    out, _ = sg.sg_split(list(table)[1], 0, 5, [45])
    assert lengths(out) == [[15, 30]]


OUT_OF_BOUNDS = ("sg_split: Linux would access memory out of bounds (an output without entries, or more mapped entries "
                 "than there are)")
ARGUMENTS = "skip and in_mapped_nents must not be negative, and there must be a size"


@pytest.mark.parametrize(
    ("table", "arguments", "sentence"),
    [
        pytest.param(mapped([], [100, 100]), (0, 0, [100, 100, 0]), OUT_OF_BOUNDS, id="size 0 behind the end"),
        pytest.param(mapped([(0, 50), (0, 150)], [100, 100]), (2, 0, [100, 100]), OUT_OF_BOUNDS,
                     id="two segments for one entry"),
        pytest.param(mapped([(0, 50)], [100]), (2, 0, [100]), OUT_OF_BOUNDS, id="more mapped entries than entries"),
        pytest.param(mapped([], [100]), (0, -1, [1]), ARGUMENTS, id="skip"),
        pytest.param(mapped([], [100]), (-1, 0, [1]), ARGUMENTS, id="mapped"),
        pytest.param(mapped([], [100]), (0, 0, []), ARGUMENTS, id="no size"),
        pytest.param(SgTable(), (0, 0, [1]), "this table has no list (never allocated, or freed)", id="no list"),
    ],
)
def test_refused(table, arguments, sentence) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        sg.sg_split(table, *arguments)


@pytest.mark.parametrize(
    ("cpu", "rows", "nents", "skip", "sizes"),
    [
        pytest.param([100, 100], [], 0, 0, [100, 101], id="too short"),
        pytest.param([100, 100], [], 0, 101, [100], id="too short behind skip"),
        pytest.param([100, 100], [], 0, 201, [1], id="skip behind the end"),
        pytest.param([100, 100], [(0, 100), (0, 99)], 2, 0, [200], id="the mapped side is too short"),
        pytest.param([100, 100], [], 0, 0, [100, 100, 1], id="an output without bytes"),
    ],
)
def test_too_short_is_einval(cpu, rows, nents, skip, sizes) -> None:
    with pytest.raises(OSError, match=f"sg_split into {len(sizes)}: Invalid argument") as caught:
        sg.sg_split(mapped(rows, cpu), nents, skip, sizes)
    assert caught.value.errno == errno.EINVAL
