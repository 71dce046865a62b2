# SPDX-License-Identifier: MIT
"""The accessors and walks of include/linux/scatterlist.h, entry by entry."""

import errno
import re
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scatterlist as sg
from scatterlist import SgEntry, SgTable

ALLOC_TABLE = getattr(sg, "__sg_alloc_table")
FREE_TABLE = getattr(sg, "__sg_free_table")
FLAGS = getattr(sg, "__sg_flags")


def three(**options) -> SgTable:
    return SgTable([(0x1000, 0, 10), (0x2000, 5, 20), (0x3000, 0, 30)], **options)


def lengths(sgl) -> list[int]:
    out = []
    at = sgl.sgl if isinstance(sgl, SgTable) else sgl
    while at is not None:
        out.append(at.length)
        at = sg.sg_next(at)
    return out


# -- fields ----------------------------------------------------------------------------------------------------

def test_fields() -> None:
    table = three()
    entry = list(table)[1]
    entry.offset, entry.length = 6, 21
    entry.dma_address, entry.dma_length, entry.dma_flags = 0x9000, 22, 3
    assert table.entries()[1] == (0x2000, 6, 21, 0x9000, 22, 3)
    assert (entry.page_link, entry.offset, entry.length) == (0x2000, 6, 21)
    assert (sg.sg_page(entry), sg.sg_phys(entry), sg.sg_virt(entry)) == (0x2000, 0x2006, 0x2006)
    assert (sg.sg_dma_address(entry), sg.sg_dma_len(entry), entry.dma_flags) == (0x9000, 22, 3)
    with pytest.raises(AttributeError):
        entry.page_link = 0
    assert sg.sg_page(table) == 0x1000                      # a table stands for its first entry


def test_without_need_sg_dma_length_there_is_one_length() -> None:
    table = three(dma_length=False)
    table.sgl.dma_length = 7
    assert (table.sgl.length, table.sgl.dma_length, sg.sg_dma_len(table)) == (7, 7, 7)
    assert table.entries()[0][4] == 0                       # the field is not there for Linux


def test_identity() -> None:
    table, other = three(), three()
    first, again, second = table.sgl, next(iter(table)), list(table)[1]
    assert first == again and hash(first) == hash(again) and first != second
    assert first not in (other.sgl, 1) and len({first, again, second}) == 2
    table.free()
    sg.sg_alloc_table(table, 3)
    assert table.sgl != first                               # perhaps at the same address
    assert repr(first) == "<SgEntry, freed>"


def test_repr() -> None:
    table = SgTable([(0x1000, 5, 6), (0x2000, 0, 7)], p2pdma_bit=True)
    sg.sg_mark_pci_p2pdma(table)
    assert [repr(entry) for entry in table] == ["<SgEntry page 0x1000 offset 5 length 6 p2pdma>",
                                                "<SgEntry page 0x2000 offset 0 length 7 end>"]


def test_set_page_keeps_the_dma_side_and_the_end() -> None:
    table = SgTable([(0x1000, 1, 2)])
    table.set_dma(0, 0x9000, 4)
    sg.sg_dma_mark_bus_address(table)
    sg.sg_set_page(table, 0x5000, 0xFFFFFFFF, 8192)         # the offset may exceed a page
    assert table.entries() == [(0x5000, 8192, 0xFFFFFFFF, 0x9000, 4, sg.SG_DMA_BUS_ADDRESS)]
    assert FLAGS(table) == sg.SG_END
    sg.sg_assign_page(table, 0x6000)
    assert table.sgl.page_link == 0x6000 | sg.SG_END
    sg.sg_set_folio(table, 0x7000, 3, 0x12345)              # unlike a bio_vec, the page is the head's
    assert table.entries()[0][:3] == (0x7000, 0x12345, 3)
    with pytest.warns(RuntimeWarning, match="^WARNING: sg_set_folio: length or offset over 32 bits is cut off$"):
        sg.sg_set_folio(table, 0x8000, 2**32 + 1, 2**33 + 2)
    assert table.entries()[0][:3] == (0x8000, 2, 1)


@pytest.mark.parametrize(("page_shift", "expected"), [(12, (0x12345000, 0x678, 9)), (16, (0x12340000, 0x5678, 9))])
def test_set_buf_and_init_one(page_shift, expected) -> None:
    table = three(page_shift=page_shift)
    entry = list(table)[1]
    entry.dma_flags, entry.dma_address = 3, 1
    sg.sg_set_buf(entry, 0x12345678, 9)
    assert table.entries()[1] == (*expected, 1, 0, 3)
    sg.sg_init_one(entry, 0x12345678, 9)                    # clears all of it, and ends the list here
    assert table.entries() == [(0x1000, 0, 10, 0, 0, 0), (*expected, 0, 0, 0)]
    assert sg.sg_nents(table) == table.orig_nents == 2


# -- flags -----------------------------------------------------------------------------------------------------

def test_dma_flags() -> None:
    table = three()
    first, second = list(table)[:2]
    assert not sg.sg_is_dma_bus_address(second)
    sg.sg_dma_mark_bus_address(second)
    sg.sg_dma_mark_swiotlb(second)
    assert second.dma_flags == sg.SG_DMA_BUS_ADDRESS | sg.SG_DMA_SWIOTLB and first.dma_flags == 0
    assert sg.sg_is_dma_bus_address(second) is sg.sg_dma_is_bus_address(second) is True
    assert sg.sg_dma_is_swiotlb(second) is True and sg.sg_dma_is_swiotlb(table) is False
    sg.sg_dma_unmark_bus_address(second)
    assert second.dma_flags == sg.SG_DMA_SWIOTLB            # nothing takes this one away


def test_p2pdma_mark() -> None:
    table = three(p2pdma_bit=True)
    sg.sg_mark_pci_p2pdma(table)
    assert FLAGS(table) == 0 and table.sgl.page_link == 0x1000 | sg.SG_PCI_P2PDMA
    sg.sg_unmark_pci_p2pdma(table)
    assert table.sgl.page_link == 0x1000 and sg.sg_is_pci_p2pdma(table) is False


def test_end_marks() -> None:
    table = three()
    entries = list(table)
    assert [sg.sg_is_last(entry) for entry in entries] == [False, False, True]
    sg.sg_mark_end(entries[1])
    assert lengths(table) == [10, 20] and (table.orig_nents, table.nents) == (2, 2)
    sg.sg_unmark_end(entries[1])
    assert lengths(table) == [10, 20, 30] and table.orig_nents == 2     # the counts do not grow again
    sg.sg_init_marker(entries[0], 2)
    assert lengths(table) == [10, 20]
    sg.sg_init_table(entries[0], 1)
    assert table.entries() == [(0, 0, 0, 0, 0, 0)] and lengths(entries[1]) == [20]


# -- lists -----------------------------------------------------------------------------------------------------

def test_a_link_is_no_data() -> None:
    first, second = three(), SgTable([(0x9000, 0, 40)])
    link = list(first)[2]
    link.dma_flags = 1
    sg.sg_chain(first, 3, second)
    assert lengths(first) == [10, 20, 40] and (first.orig_nents, first.arrays()) == (3, [3, 1])
    assert (sg.sg_is_chain(link), sg.sg_is_last(link), FLAGS(link)) == (True, False, sg.SG_CHAIN)
    assert (link.offset, link.length, link.dma_flags) == (0, 0, 1) and repr(link).endswith(" chain>")
    sentence = "^" + re.escape("kernel BUG: sg_is_chain(sg): this entry became a link") + "$"
    for call in (lambda: setattr(link, "length", 1), lambda: setattr(link, "offset", 1),
                 lambda: setattr(link, "dma_address", 1), lambda: setattr(link, "dma_flags", 1),
                 lambda: setattr(link, "dma_length", 1), lambda: sg.sg_page(link),
                 lambda: sg.sg_set_page(link, 0x1000, 1, 0)):
        with pytest.raises(ValueError, match=sentence):
            call()
    with pytest.raises(ValueError, match=r"^the entry belongs to another table: change the list's structure through"):
        sg.sg_mark_end(list(first)[2])                      # the third entry is the second table's
    with pytest.raises(BufferError):
        sg.sg_mark_end(second)
    sg.sg_mark_end(link)                                    # data again, at the address of the second list
    assert lengths(first) == [10, 20, 0] and sg.sg_page(link) == link.page_link & ~3
    first.free()
    second.free()


@given(sizes=st.lists(st.integers(0, 100), min_size=1, max_size=20), asked=st.integers(0, 1500))
def test_nents_for_len(sizes, asked) -> None:
    table = SgTable([(0, 0, size) for size in sizes], max_ents=3)
    enough = [i for i, total in enumerate(accumulate(sizes, initial=0)) if total >= asked]
    if not enough:
        with pytest.raises(OSError, match=f"^.Errno 22. sg_nents_for_len of {asked} bytes: Invalid argument$"):
            sg.sg_nents_for_len(table, asked)
        return
    assert sg.sg_nents_for_len(table, asked) == enough[0]


def test_nents_for_len_counts_64_bits() -> None:
    table = SgTable([(0, 0, 0xFFFFFFFF)] * 3)
    assert sg.sg_nents_for_len(table, 2 * 0xFFFFFFFF + 1) == 3 and table.length == 3 * 0xFFFFFFFF


def test_no_list_has_no_entries() -> None:
    assert sg.sg_nents(None) == 0 and sg.sg_nents_for_len(None, 0) == 0
    with pytest.raises(OSError) as caught:
        sg.sg_nents_for_len(None, 1)
    assert caught.value.errno == errno.EINVAL
    table = SgTable()
    assert table.sgl is None and sg.for_each_sgtable_sg(table) == sg.for_each_sgtable_dma_sg(table) == []


def test_walks() -> None:
    table = three()
    table.nents = 1
    assert [x.length for x in sg.for_each_sgtable_sg(table)] == [10, 20, 30]
    assert [x.length for x in sg.for_each_sgtable_dma_sg(table)] == [10]
    assert sg.for_each_sg(table, 0) == [] and sg.sg_last(table, 3) == list(table)[2]
    assert sg.sg_last(list(table)[1], 2).length == 30 and sg.sg_nents(list(table)[1]) == 2


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: sg.for_each_sg(three(), 4), ValueError, "for_each_sg of 4 entries: the list ends after 3"),
        (lambda: sg.sg_last(three(), 2), ValueError,
         "kernel BUG at lib/scatterlist.c: entry 2 is not the last of the list"),
        (lambda: sg.sg_last(three(), 4), ValueError,
         "kernel BUG at lib/scatterlist.c: entry 4 is not the last of the list"),
        (lambda: sg.sg_last(three(), 0), ValueError,
         "kernel BUG at lib/scatterlist.c: entry 0 is not the last of the list"),
        (lambda: sg.sg_init_table(three(), 4), ValueError, "sg_init_table of 4 entries is out of bounds"),
        (lambda: sg.sg_init_table(three(), 0), ValueError, "sg_init_table of 0 entries is out of bounds"),
        (lambda: sg.sg_init_marker(list(three())[1], 3), ValueError, "sg_init_marker of 3 entries is out of bounds"),
        (lambda: sg.sg_init_marker(three(), 0), ValueError, "sg_init_marker of 0 entries is out of bounds"),
        (lambda: sg.sg_chain(three(), 0, three()), ValueError, "entry 0 is out of bounds"),
        (lambda: sg.sg_chain(three(), 4, three()), ValueError, "entry 4 is out of bounds"),
        (lambda: sg.sg_chain(three(), 1, three()), ValueError, "the first entry of a list cannot be a link"),
        (lambda: sg.sg_chain(three(), 3, SgTable()), ValueError, "this table has no list (never allocated, or freed)"),
        (lambda: sg.sg_chain(table := three(), 3, table), ValueError, "a circular list: Linux would walk it for ever"),
        (lambda: sg.sg_set_page(three(), 0x1004, 1, 0), ValueError,
         "page 0x1004 is not a frame's address: its low bits are the flags of page_link"),
        (lambda: sg.sg_page(SgTable()), ValueError, "this table has no list (never allocated, or freed)"),
        (lambda: sg.sg_page("sg"), TypeError, "an SgTable or SgEntry is needed, not str"),
        (lambda: sg.sg_next(None), TypeError, "an SgTable or SgEntry is needed, not NoneType"),
        (lambda: sg.sg_next(SgEntry.__new__(SgEntry)), TypeError, "an SgTable or SgEntry is needed, not SgEntry"),
        (lambda: sg.sg_page(SgEntry.__new__(SgEntry)), ValueError, "the table of this entry was freed"),
        (SgEntry, TypeError, "entries come from a table: sgt.sgl, sg_next(sg), for_each_sg(...)"),
    ],
)
def test_refused(call, error, sentence) -> None:
    with pytest.raises(error, match="^" + re.escape(sentence) + "$"):
        call()


def test_walks_that_run_off_are_refused_from_every_entry() -> None:
    table = three()
    entry = list(table)[1]
    sg.sg_unmark_end(list(table)[2])
    for call in (sg.sg_nents, sg.sg_next, lambda x: sg.sg_nents_for_len(x, 1)):
        with pytest.raises(ValueError, match=r"^the list has no end mark: Linux would run off the end of the array$"):
            call(entry)
    assert sg.sg_phys(entry) == 0x2005                      # one entry is no walk
    sg.sg_init_marker(entry, 2)
    assert sg.sg_nents(entry) == 2


# -- __sg_alloc_table ------------------------------------------------------------------------------------------

@given(nents=st.integers(1, 60), max_ents=st.integers(2, 9), data=st.data())
def test_a_failed_allocation_leaves_what_can_be_freed(nents, max_ents, data) -> None:
    """Linux counts the slot of the link that it could not make, so that the free side sees the sizes it allocated."""
    table, whole = SgTable(), []
    ALLOC_TABLE(table, nents, max_ents, alloc_fn=lambda n: whole.append(n) or True)
    assert whole == table.arrays() and sg.sg_nents(table) == nents
    fail_at = data.draw(st.integers(0, len(whole) - 1))
    made: list[int] = []
    with pytest.raises(OSError, match=r"__sg_alloc_table of .* entries: no memory for the entries") as caught:
        ALLOC_TABLE(table, nents, max_ents, alloc_fn=lambda n: len(made) < fail_at and (made.append(n) or True))
    assert caught.value.errno == errno.ENOMEM
    assert table.orig_nents == table.nents == (sum(n - 1 for n in made) + 1 if made else 0)
    given_back: list[int] = []
    assert FREE_TABLE(table, max_ents, free_fn=given_back.append) == given_back == made == whole[:fail_at]
    assert table.sgl is None and FREE_TABLE(table, max_ents) == []


def test_what_the_allocator_raises_passes() -> None:
    table = SgTable()

    def alloc(n: int) -> bool:
        if n < 4:
            raise KeyError(n)
        return True

    with pytest.raises(KeyError, match="3"):
        ALLOC_TABLE(table, 6, 4, alloc_fn=alloc)
    assert table.orig_nents == 4 and FREE_TABLE(table, 4) == [4]


def test_the_memory_of_a_first_chunk_passes_to_the_table() -> None:
    chunk, table = SgTable(), SgTable()
    ALLOC_TABLE(chunk, 9, 4)                                # three blocks, of which the first is used
    entry = chunk.sgl
    ALLOC_TABLE(table, 7, 4, chunk, 4)
    assert table.arrays() == [4, 4] and chunk.sgl is None and chunk.orig_nents == 0
    assert len(table.views()) == 4 and sg.sg_nents(table) == 7
    with pytest.raises(ValueError, match=r"^the table of this entry was freed$"):
        sg.sg_page(entry)
    assert FREE_TABLE(table, 4, 4) == [4]                   # the first is not the allocator's


@pytest.mark.parametrize(
    ("nents", "max_ents", "first", "num_ents", "sizes"),
    [
        (10, 4, 0, None, [4, 4, 4]),                # 3 + 3 + 4
        (10, 4, 0, 7, [4, 4]),                      # 3 + 4: the count was lowered, Linux leaks the rest
        (10, 4, 0, 3, [3]),
        (10, 4, 0, 0, []),
        (10, 4, 2, None, [4, 4, 3]),                # the chunk has 1, then 3 + 3 + 3
    ],
)
def test_sizes_that_are_freed(nents, max_ents, first, num_ents, sizes) -> None:
    table = SgTable()
    ALLOC_TABLE(table, nents, max_ents, SgTable([(0, 0, 0)] * 2) if first else None, first)
    assert FREE_TABLE(table, max_ents, first, None, num_ents) == sizes and table.sgl is None


def chained() -> SgTable:
    table = three()
    sg.sg_chain(table, 3, three())
    return table


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: ALLOC_TABLE(table := three(), 5, 4, table, 3), ValueError, "a table cannot be its own first chunk"),
        (lambda: ALLOC_TABLE(SgTable(), 5, 4, three(), 4), ValueError,
         "nents_first_chunk 4 does not fit the first chunk's memory"),
        (lambda: ALLOC_TABLE(SgTable(), 5, 4, three(), 1), ValueError,
         "nents_first_chunk 1 does not fit the first chunk's memory"),
        (lambda: ALLOC_TABLE(SgTable(), 5, 4, chained(), 3), ValueError,
         "a list that chains to another table cannot be a first chunk"),
        (lambda: ALLOC_TABLE(SgTable(), 0, 4), OSError, "[Errno 22] __sg_alloc_table of 0 entries: Invalid argument"),
        (lambda: ALLOC_TABLE(SgTable(chaining=False), 5, 4), OSError,
         "[Errno 22] __sg_alloc_table of 5 entries: Invalid argument"),
        (lambda: FREE_TABLE(three(), 1), ValueError, "arrays of one entry cannot be chained"),
        (lambda: FREE_TABLE(three(), 4, 1), ValueError, "arrays of one entry cannot be chained"),
        (lambda: FREE_TABLE(three(), 2, 0, None, 2**32 - 1), ValueError, "num_ents makes more than 2^20 arrays"),
        (lambda: sg.sg_alloc_table(SgTable(), 0), OSError, "[Errno 22] sg_alloc_table of 0 entries: Invalid argument"),
    ],
)
def test_tables_refused(call, error, sentence) -> None:
    with pytest.raises(error, match="^" + re.escape(sentence) + "$"):
        call()


@pytest.mark.parametrize("free", [sg.sg_free_table, sg.sg_free_append_table, SgTable.free])
def test_a_freed_table_is_empty(free) -> None:
    table = three()
    free(table)
    assert (table.nents, table.orig_nents, table.sgl, table.arrays(), table.length) == (0, 0, None, [], 0)
    free(table)                                             # once more changes nothing
    assert repr(table) == "<SgTable, empty>"
