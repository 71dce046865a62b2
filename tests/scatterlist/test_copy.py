# SPDX-License-Identifier: MIT
"""sg_copy, sg_pcopy and sg_zero: the bytes of a list are the bytes of its entries, one behind the other."""

import mmap
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import PhysMem, SgTable

PAGE = 4096
MEMORY = bytes(i * 7 % 251 for i in range(40 * PAGE))


@st.composite
def lists(draw):
    """Rows whose memory does not overlap, within MEMORY; a few are empty."""
    rows = []
    at = 0
    for _ in range(draw(st.integers(1, 6))):
        offset = draw(st.sampled_from([0, 1, 100, PAGE - 1, PAGE, PAGE + 5]))
        length = draw(st.integers(1, 9000) if offset >= PAGE else st.integers(0, 9000))
        rows.append((at, offset, length))
        at += -(-(offset + length) // PAGE) * PAGE + draw(st.sampled_from([0, PAGE]))
    return rows


def places(rows, nents: int, skip: int) -> list[int]:
    return [page + offset + i for page, offset, length in rows[:nents] for i in range(length)][skip:]


def memory() -> PhysMem:
    mem = PhysMem()
    mem.poke(0, MEMORY)
    return mem


arguments = {"rows": lists(), "nents": st.integers(0, 7), "skip": st.integers(0, 20000),
             "size": st.integers(0, 30000), "page_shift": st.sampled_from([12, 13, 16])}


@given(**arguments)
def test_out_of_a_list(rows, nents, skip, size, page_shift) -> None:
    table, mem = SgTable(rows, page_shift=page_shift), memory()
    expected = bytes(MEMORY[at] for at in places(rows, nents, skip))[:size]
    for call in (lambda buf: sg.sg_pcopy_to_buffer(mem, table, nents, buf, None, skip),
                 lambda buf: sg.sg_copy_buffer(mem, table, nents, buf, skip=skip, to_buffer=True)):
        buffer = bytearray(b"\xff" * size)
        assert call(buffer) == len(expected)
        assert buffer == expected + b"\xff" * (size - len(expected))
    buffer = bytearray(size + 3)
    assert sg.sg_copy_to_buffer(mem, table, nents, buffer, size) == len(places(rows, nents, 0)[:size])
    assert buffer == bytes(MEMORY[at] for at in places(rows, nents, 0))[:size].ljust(size + 3, b"\0")
    assert mem.peek(0, len(MEMORY)) == MEMORY


@given(**arguments)
def test_into_a_list(rows, nents, skip, size, page_shift) -> None:
    table = SgTable(rows, page_shift=page_shift)
    source = bytes(255 - i % 7 for i in range(size))
    for data, skipped, call in (
        (source, skip, lambda mem: sg.sg_pcopy_from_buffer(mem, table, nents, source, size, skip)),
        (source, skip, lambda mem: sg.sg_copy_buffer(mem, table, nents, source, size, skip)),
        (source, 0, lambda mem: sg.sg_copy_from_buffer(mem, table, nents, source + b"beyond", size)),
        (bytes(size), skip, lambda mem: sg.sg_zero_buffer(mem, table, nents, size, skip)),
    ):
        mem, expected = memory(), bytearray(MEMORY)
        where = places(rows, nents, skipped)[:size]
        assert call(mem) == len(where)
        for at, byte in zip(where, data, strict=False):
            expected[at] = byte
        assert mem.peek(0, len(MEMORY)) == expected


def test_from_an_entry_on() -> None:
    mem = memory()
    entry = list(SgTable([(0, 0, 10), (PAGE, 0, 10), (2 * PAGE, 0, 10)]))[1]
    buffer = bytearray(15)
    assert sg.sg_copy_to_buffer(mem, entry, 9, buffer) == 15
    assert buffer == MEMORY[PAGE:PAGE + 10] + MEMORY[2 * PAGE:2 * PAGE + 5]


def test_an_empty_entry_behind_its_page_loses_data() -> None:
    """The mapping iterator passes over the 100 bytes of the second entry."""
    table, buffer = SgTable([(0, PAGE, 0), (2 * PAGE, 0, 100), (3 * PAGE, 0, 7)]), bytearray(107)
    assert sg.sg_copy_to_buffer(memory(), table, 3, buffer) == 7
    assert buffer[:7] == MEMORY[3 * PAGE:3 * PAGE + 7]


def test_buffers_of_wider_items() -> None:
    mem, wide = memory(), memoryview(bytearray(24)).cast("Q")
    assert sg.sg_copy_to_buffer(mem, SgTable([(0, 1, 20)]), 1, wide) == 20
    assert bytes(wide) == MEMORY[1:21] + bytes(4)


def four_gib_buffer() -> None:
    with mmap.mmap(-1, 2**32, prot=mmap.PROT_READ) as huge:
        sg.sg_copy_from_buffer(PhysMem(), SgTable([(0, 0, 1)]), 1, huge)


TABLE = SgTable([(0, 0, 10)])
NEGATIVE = "a negative skip: Linux would leave the list"
WRAPS = "4 GiB and more: Linux's 32-bit count would wrap"
REFUSED = [
    (lambda: sg.sg_pcopy_to_buffer(PhysMem(), TABLE, 1, bytearray(1), None, -1), ValueError, NEGATIVE),
    (lambda: sg.sg_pcopy_from_buffer(PhysMem(), TABLE, 1, b"1", None, -1), ValueError, NEGATIVE),
    (lambda: sg.sg_zero_buffer(PhysMem(), TABLE, 1, 1, -1), ValueError, NEGATIVE),
    (lambda: sg.sg_zero_buffer(PhysMem(), TABLE, 1, 2**32), ValueError, WRAPS),
    (four_gib_buffer, ValueError, WRAPS),
    (lambda: sg.sg_copy_to_buffer(PhysMem(), TABLE, 1, bytearray(5), 6), ValueError, "buflen 6 of a buffer of 5 bytes"),
    (lambda: sg.sg_copy_from_buffer(PhysMem(), TABLE, 1, b"", -1), ValueError, "buflen -1 of a buffer of 0 bytes"),
    (lambda: sg.sg_copy_to_buffer(PhysMem(), TABLE, 1, b"read-only"), (ValueError, BufferError, TypeError), None),
    (lambda: sg.sg_copy_to_buffer(PhysMem(), SgTable(), 1, bytearray(1)), ValueError,
     "this table has no list (never allocated, or freed)"),
]


@pytest.mark.parametrize(("call", "error", "sentence"), REFUSED)
def test_refused(call, error, sentence) -> None:
    with pytest.raises(error, match=sentence and "^" + re.escape(sentence) + "$"):
        call()


def test_zero_of_4_gib_less_one_ends_with_the_list() -> None:
    mem = memory()
    assert sg.sg_zero_buffer(mem, TABLE, 1, 2**32 - 1) == 10
    assert mem.peek(0, 11) == bytes(10) + MEMORY[10:11]
