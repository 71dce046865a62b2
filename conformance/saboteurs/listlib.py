# SPDX-License-Identifier: MIT
"""The list library broken: its functions, as the checks call them, do a little less or a little more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scatterlist import SG_CHAIN, SG_END, SgEntry, SgTable, for_each_sg

from .base import in_the_core

Real = Callable[..., Any]
PAGE = 4096                             # of the machines that stand for the library


# -- made of pages ---------------------------------------------------------------------------------------------

@in_the_core("scatterlist.sg_alloc_table_from_pages_segment", breaks=("SG-01",))
def list_offset_lost(real: Real, sgt: SgTable, pages: list[int], offset: int, size: int, limit: int) -> None:
    """The first entry begins at its page."""
    real(sgt, pages, offset, size, limit)
    if sgt.sgl is not None:
        sgt.sgl.offset = 0


@in_the_core("scatterlist.sg_alloc_table_from_pages_segment", breaks=("SG-01",))
def list_segment_too_long(real: Real, sgt: SgTable, pages: list[int], offset: int, size: int, limit: int) -> None:
    """A segment may have one page more than max_segment."""
    real(sgt, pages, offset, size, min(limit + PAGE, 0xFFFFFFFF) if limit >= PAGE else limit)


@in_the_core("scatterlist.sg_alloc_table_from_pages_segment", breaks=("SG-01",))
def list_joins_strangers(real: Real, sgt: SgTable, pages: list[int], offset: int, size: int, limit: int) -> None:
    """Pages are joined that do not follow one another."""
    real(sgt, [pages[0] + i * PAGE for i in range(len(pages))], offset, size, limit)


@in_the_core("scatterlist.sg_alloc_table_from_pages_segment", breaks=("SG-01",))
def list_ends_with_its_page(real: Real, sgt: SgTable, pages: list[int], offset: int, size: int, limit: int) -> None:
    """The last entry reaches to the end of its page, whatever the size."""
    real(sgt, pages, offset, len(pages) * PAGE - offset, limit)


@in_the_core("scatterlist.sg_alloc_append_table_from_pages", breaks=("SG-02",), bug="HB-05", commit="3e302dbc6774")
def hb_05_empty_entries_counted(real: Real, sgt: SgTable, pages: list[int], *rest: int) -> None:
    """orig_nents counts the slots that wait for pages, too."""
    real(sgt, pages, *rest)
    sgt.orig_nents += rest[-1]


@in_the_core("scatterlist.sg_alloc_append_table_from_pages", breaks=("SG-02",), bug="HB-06", commit="0f097f08c9b3")
def hb_06_follows_its_first_page(real: Real, sgt: SgTable, pages: list[int], *rest: int) -> None:
    """New pages are compared with the first page of the last entry, not with its end."""
    last = sgt.entries()[-1] if sgt.orig_nents else None
    if last is not None and pages[0] == last[0] + PAGE:
        pages = [page + last[1] + last[2] - PAGE for page in pages]
    real(sgt, pages, *rest)


@in_the_core("scatterlist.extract_iter_to_sg", "dma_direct/x86_64-6.12", breaks=("SG-10",), bug="HB-08",
             commit="07b7d66e65d9")
def hb_08_kvec_crosses_pages(real: Real, source: Any, size: int, sgt: SgTable, most: int) -> int:
    """An entry has what is asked for, though its page ends before."""
    done: int = real(source, size, sgt, most)
    rows = sgt.entries()[: sgt.nents]
    if source.kvec is not None and len(rows) > 1 and rows[0][0] + PAGE == rows[1][0]:
        first, second = list(sgt)[:2]
        first.length += second.length
        second.length = 0
    return done


@in_the_core("scatterlist.extract_iter_to_sg", "dma_direct/x86_64-6.12", breaks=("SG-10",), bug="HB-08",
             commit="07b7d66e65d9")
def hb_08_says_what_was_asked(real: Real, source: Any, size: int, sgt: SgTable, most: int) -> int:
    """The answer is the size asked for, also where the entries ran out."""
    asked = min(size, source.count)
    done: int = real(source, size, sgt, most)
    return asked if done else done


# -- made of arrays --------------------------------------------------------------------------------------------

@in_the_core("scatterlist.sg_next", breaks=("SG-05",))
def walk_stops_at_the_link(real: Real, entry: SgEntry) -> SgEntry | None:
    """A walk ends where the first array does."""
    following: SgEntry | None = real(entry)
    arrays = entry.table.arrays()
    ends = len(arrays) > 1 and entry == for_each_sg(entry.table, max(arrays) - 1)[-1]
    return None if ends else following


@in_the_core("scatterlist.sg_alloc_table", breaks=("SG-05",))
def end_mark_missing(real: Real, sgt: SgTable, nents: int) -> None:
    """The last entry of a table of several arrays is one too early."""
    real(sgt, nents - 1 if len(sgt.arrays()) or nents > 2 else nents)


@in_the_core("scatterlist.__sg_flags", breaks=("SG-06",), bug="HB-01", commit="73fd546aa75e")
def hb_01_end_mark_stays(real: Real, entry: SgEntry) -> int:
    """A slot that was the last one and became a link keeps its end mark."""
    flags: int = real(entry)
    return flags | SG_END if flags & SG_CHAIN else flags


# -- taken apart -----------------------------------------------------------------------------------------------

@in_the_core("scatterlist.sg_split", breaks=("SG-03",), bug="HB-07", commit="8b46fdaea819")
def hb_07_split_drops_offsets(real: Real, sgl: SgTable, mapped: int, skip: int, sizes: list[int]) -> Any:
    """All entries of a part but its first begin at their pages."""
    parts, counts = real(sgl, mapped, skip, sizes)
    for part in parts:
        for entry in list(part)[1:]:
            entry.offset = 0
    return parts, counts


@in_the_core("scatterlist.sg_split", breaks=("SG-03",))
def split_skips_too_little(real: Real, sgl: SgTable, mapped: int, skip: int, sizes: list[int]) -> Any:
    """The first part begins a byte too early."""
    return real(sgl, mapped, max(skip - 1, 0), sizes)


@in_the_core("scatterlist.sg_split", breaks=("SG-03",))
def split_forgets_the_bus(real: Real, sgl: SgTable, mapped: int, skip: int, sizes: list[int]) -> Any:
    """The parts of a mapped list begin at the addresses of whole segments."""
    parts, counts = real(sgl, mapped, skip, sizes)
    if mapped and skip:
        row = parts[0].entries()[0]
        parts[0].set_dma(0, row[3] & ~0xFFFFF, row[4])
    return parts, counts


@in_the_core("scatterlist.sg_split", breaks=("SG-03",))
def split_takes_more(real: Real, sgl: SgTable, mapped: int, skip: int, sizes: list[int]) -> Any:
    """The end of a part within an entry is the end of that entry."""
    parts, counts = real(sgl, mapped, skip, sizes)
    for part in parts[:-1]:
        list(part)[-1].length += 1
    return parts, counts


# -- walked over -----------------------------------------------------------------------------------------------

@in_the_core("scatterlist.sg_pcopy_from_buffer", breaks=("SG-04",))
def copy_forgets_the_skip(real: Real, mem: Any, sgl: SgTable, nents: int, raw: bytes, size: int, skip: int) -> int:
    """A copy into a list begins a byte too early."""
    return int(real(mem, sgl, nents, raw, size, skip - 1))


@in_the_core("scatterlist.sg_copy_to_buffer", breaks=("SG-04",))
def copy_says_what_was_asked(real: Real, mem: Any, sgl: SgTable, nents: int, raw: bytearray, size: int) -> int:
    """A copy that ends with the list answers the size asked for."""
    real(mem, sgl, nents, raw, size)
    return size


@in_the_core("scatterlist.sg_zero_buffer", breaks=("SG-04",))
def zero_goes_on(real: Real, mem: Any, sgl: SgTable, nents: int, size: int, skip: int) -> int:
    """A byte too many becomes zero."""
    return min(int(real(mem, sgl, nents, size + 1, skip)), size)


@in_the_core("scatterlist.sg_pcopy_to_buffer", breaks=("SG-04",))
def copy_past_the_count(real: Real, mem: Any, sgl: SgTable, nents: int, raw: bytearray, size: int, skip: int) -> int:
    """A copy goes on in the entries behind nents."""
    return int(real(mem, sgl, sgl.orig_nents, raw, size, skip))


@in_the_core("scatterlist.sg_nents_for_len", breaks=("SG-07",))
def one_entry_too_many(real: Real, sgl: SgTable, length: int) -> int:
    """Bytes that end with an entry need the next one as well."""
    count: int = real(sgl, length)
    full = sum(row[2] for row in sgl.entries()[:count]) == length and 0 < count < sgl.orig_nents
    return count + 1 if full else count


@in_the_core("scatterlist.sg_nents_for_len", breaks=("SG-07",))
def length_wraps(real: Real, sgl: SgTable, length: int) -> int:
    """Lengths are added in 32 bits."""
    return int(real(sgl, length & 0xFFFFFFFF))


@in_the_core("scatterlist.sg_miter_next", breaks=("SG-08",), bug="HB-03", commit="23c560a99d78")
def hb_03_empty_pieces(real: Real, miter: Any) -> bool:
    """The end of a list is a piece of no bytes."""
    real(miter)
    return True


@in_the_core("scatterlist.sg_miter_next", breaks=("SG-08",))
def consumed_ignored(real: Real, miter: Any) -> bool:
    """The next piece begins behind the last one, whatever was used of it."""
    miter.consumed = miter.length
    return bool(real(miter))


@in_the_core("scatterlist.sg_miter_skip", breaks=("SG-08",))
def skip_by_a_page(real: Real, miter: Any, offset: int) -> bool:
    """Skips go to the beginning of a page."""
    return bool(real(miter, offset & -PAGE))


@in_the_core("scatterlist.for_each_sg_page", breaks=("SG-09",))
def last_page_missed(real: Real, sgl: SgTable, nents: int, skip: int = 0) -> list[int]:
    """An entry that begins late in its page ends on a page that is not seen."""
    return list(real(sgl, nents, skip))[:-1]


@in_the_core("scatterlist.bvec_iter_advance", breaks=("SG-11",))
def vector_position_lost(real: Real, vectors: Any, it: Any, size: int) -> bool:
    """Within a bio_vec the iterator does not move."""
    within = 0 < size < vectors.rows()[0][1]
    return True if within else bool(real(vectors, it, size))

