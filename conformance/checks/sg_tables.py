# SPDX-License-Identifier: MIT
"""The list library: what a list is made of. The oracle is the bytes that a list stands for, in order, as ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import wraps
from itertools import pairwise, product

from scatterlist import (
    SG_CHAIN,
    SG_END,
    SgEntry,
    SgTable,
    __sg_flags,
    for_each_sg,
    sg_alloc_append_table_from_pages,
    sg_alloc_table,
    sg_alloc_table_from_pages_segment,
    sg_chain,
    sg_is_last,
    sg_last,
    sg_mark_end,
    sg_nents,
    sg_nents_for_len,
    sg_next,
    sg_phys,
    sg_set_page,
)

from . import Check, check
from .bench import Bench, Row, Violation

Range = tuple[int, int]                 # (physical address, length)
CHUNK = 128                             # entries that fit one page: struct scatterlist of 64 bits


def of_the_library(function: Check) -> Check:
    """Decorator of a check: an error of the library where the check expects none is a violation."""

    @wraps(function)
    def run(b: Bench) -> None:
        try:
            function(b)
        except (OSError, ValueError, MemoryError) as error:
            raise Violation(f"the list library gives up: {type(error).__name__}: {error}") from error

    return check(run)


def ranges(parts: Iterable[Range]) -> list[Range]:
    """The same bytes in the same order, neighbours joined and the empty ones left out."""
    out: list[Range] = []
    for start, length in parts:
        if out and sum(out[-1]) == start:
            out[-1] = out[-1][0], out[-1][1] + length
        elif length:
            out.append((start, length))
    return out


def cut(parts: Sequence[Range], skip: int, size: int) -> list[Range]:
    """The bytes from skip on, size of them or as many as there are."""
    out = []
    for start, length in parts:
        before = min(skip, length)
        taken = min(length - before, size)
        if taken:
            out.append((start + before, taken))
        skip -= before
        size -= taken
    return ranges(out)


def walk(first: SgTable | SgEntry) -> list[SgEntry]:
    """The entries that sg_next() leads to."""
    entries = []
    entry = first.sgl if isinstance(first, SgTable) else first
    while entry is not None:
        entries.append(entry)
        entry = sg_next(entry)
    return entries


def bytes_of(first: SgTable | SgEntry) -> list[Range]:
    return ranges((sg_phys(entry), entry.length) for entry in walk(first))


def expect(seen: object, meant: object, text: str, **evidence: object) -> None:
    if seen != meant:
        raise Violation(text, seen=seen, meant=meant, **evidence)


def scattered(b: Bench, n: int) -> list[int]:
    """n frames' addresses, some next to one another, some apart, some in the wrong order."""
    pages: list[int] = []
    at = b.random.randrange(1, 1 << 20)
    while len(pages) < n:
        run = b.random.randrange(1, 6)
        pages += [(at + i) * b.page for i in range(run)]
        at += b.random.choice((run + 1, run + 7, -9)) if at > 32 else 64
    return pages[:n]


def joined(pages: Sequence[int], offset: int, size: int, limit: int, page: int) -> list[Row]:
    """The entries that a list of pages has: pages that follow one another make one, up to limit bytes of pages."""
    rows: list[Row] = []
    room, held = limit // page * page, 0
    for at, address in enumerate(pages):
        if at and address == pages[at - 1] + page and held < room:
            held += page
        else:
            held = page
            rows.append((address, offset if at == 0 else 0, 0))
        first, start, _ = rows[-1]
        rows[-1] = first, start, held - start
    short = sum(row[2] for row in rows) - size
    return [*rows[:-1], (*rows[-1][:2], rows[-1][2] - short)]


@of_the_library
def pages_become_entries(b: Bench) -> None:
    """Lists of pages, with an offset into the first and an end within the last, of segments of every limit."""
    page = b.page
    limits = page, page + 100, 2 * page, 3 * page - 1, 4 * page, 0xFFFFFFFF
    for n, limit in product((1, 2, 3, 7, 40, 500), limits):
        pages = scattered(b, n)
        offset = b.random.choice((0, 4, page // 2, page - 8))
        size = (n - 1) * page + b.random.randrange(1, page - (offset if n == 1 else 0) + 1) - (offset if n > 1 else 0)
        size = max(size, 1 if n == 1 else (n - 1) * page - offset + 1)
        sgt = SgTable(page_shift=b.machine.page_shift)
        sg_alloc_table_from_pages_segment(sgt, pages, offset, size, limit)
        rows = [row[:3] for row in sgt.entries()]
        expect(rows, joined(pages, offset, size, limit, page), "pages became other entries", pages=n, max_segment=limit)
        expect((sgt.orig_nents, sgt.nents), (len(rows), len(rows)), "the counts are not those of the entries")
        expect(len(walk(sgt)), len(rows), "sg_next() sees another number of entries")
        if not sg_is_last(walk(sgt)[-1]):
            raise Violation("the last entry has no end mark", pages=n)
    for wrong in (0, 1, page - 1):
        try:
            sg_alloc_table_from_pages_segment(SgTable(page_shift=b.machine.page_shift), [page], 0, page, wrong)
        except OSError:
            continue
        raise Violation("a segment of less than a page was accepted", max_segment=wrong)


@of_the_library
def pages_are_appended(b: Bench) -> None:
    """Pages added in batches: the last entry grows while they follow it, and only entries with pages are counted."""
    page = b.page
    for turn in range(12):
        limit = (0xFFFFFFFF, 4 * page, 6 * page)[turn % 3]
        batches = [scattered(b, b.random.randrange(2, 9)) for _ in range(b.random.choice((2, 3, 60)))]
        for before, after in pairwise(batches[: 1 + turn % 4]):
            gap = after[0] - before[-1] - page          # let some go on where the last batch ended
            after[:] = [address - gap for address in after]
        pages = [address for batch in batches for address in batch]
        if min(pages) < page:
            continue
        sgt = SgTable(page_shift=b.machine.page_shift)
        left = len(pages)
        done: list[int] = []
        first = (0, 24)[turn % 2]
        for batch in batches:
            left -= len(batch)
            offset = 0 if done else first
            done += batch
            sg_alloc_append_table_from_pages(sgt, batch, offset, len(batch) * page - offset, limit, left)
            rows = [row[:3] for row in sgt.entries()]
            expect(rows, joined(done, first, len(done) * page - first, limit, page),
                   "appended pages became other entries", max_segment=limit, left=left)
            expect(sgt.orig_nents, len(rows), "entries without pages are counted")
        expect(len(walk(sgt)), len(rows), "sg_next() sees another number of entries")
    within = SgTable(page_shift=b.machine.page_shift)
    sg_alloc_append_table_from_pages(within, [8 * page, 9 * page], 0, 2 * page, 0xFFFFFFFF, 4)
    sg_alloc_append_table_from_pages(within, [9 * page], 0, page, 0xFFFFFFFF, 0)
    expect([row[:3] for row in within.entries()], [(8 * page, 0, 2 * page), (9 * page, 0, page)],
           "a page that an entry has already was taken for the next one")


@of_the_library
def tables_are_chained(b: Bench) -> None:
    """Tables around the size at which another array is needed: sg_next() visits each entry once, and links never."""
    for n in (1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 3 * CHUNK - 2, 3 * CHUNK - 1, 1000):
        sgt = SgTable(page_shift=b.machine.page_shift)
        sg_alloc_table(sgt, n)
        entries = walk(sgt)
        expect((len(entries), sg_nents(sgt), sgt.orig_nents, sgt.nents), (n, n, n, n), "the counts differ")
        expect(sum(sgt.arrays()), n + len(sgt.arrays()) - 1, "the arrays have another number of slots", entries=n)
        expect(max(sgt.arrays()) <= CHUNK, True, "an array is longer than a page", entries=n)
        for i, entry in enumerate(entries):
            sg_set_page(entry, (i + 1) * 2 * b.page, i + 1, i)
            expect(__sg_flags(entry), SG_END if i == n - 1 else 0, "an entry has other marks", entry=i, of=n)
        meant = [((i + 1) * 2 * b.page, i, i + 1) for i in range(n)]
        expect([row[:3] for row in sgt.entries()], meant, "what was put into the entries is not there", entries=n)
        expect(sg_last(sgt, n), entries[-1], "sg_last() is not the last entry", entries=n)
        expect(for_each_sg(sgt, n), entries, "for_each_sg() visits others", entries=n)


@of_the_library
def lists_are_joined(b: Bench) -> None:
    """sg_chain() gives up the last slot of the first list, whatever marks it had, and goes on in the second."""
    for first, second in ((2, 1), (4, 3), (7, 5)):
        head = SgTable([(i * b.page, 0, 100 + i) for i in range(1, first + 1)], page_shift=b.machine.page_shift)
        tail = SgTable([(i * b.page, 8, 200 + i) for i in range(1, second + 1)], page_shift=b.machine.page_shift)
        slots = walk(head)
        sg_mark_end(slots[-1])
        sg_chain(head, first, tail)
        expect([entry.length for entry in walk(slots[0])],
               [*(100 + i for i in range(1, first)), *(200 + i for i in range(1, second + 1))],
               "a walk over joined lists visits other entries")
        flags = [__sg_flags(entry) for entry in (*slots[:-1], slots[-1])]
        expect(flags, [0] * (first - 1) + [SG_CHAIN], "the link has other marks than SG_CHAIN")


@of_the_library
def entries_for_a_length(b: Bench) -> None:
    """sg_nents_for_len() is the least number of entries with that many bytes, or an error if there are none."""
    lengths = [b.random.randrange(1, 9000) for _ in range(150)]
    lengths[3:7] = [0xFFFFFFFF] * 4                     # together beyond 32 bits
    sgt = SgTable([((i + 1) * b.page, 0, length) for i, length in enumerate(lengths)], page_shift=b.machine.page_shift)
    total = 0
    for n, length in enumerate(lengths, 1):
        for wanted in {total + 1, total + (length + 1) // 2, total + length}:
            expect(sg_nents_for_len(sgt, wanted), n, "sg_nents_for_len() counts others", length=wanted)
        total += length
    expect(sg_nents_for_len(sgt, 0), 0, "no bytes need entries")
    try:
        count = sg_nents_for_len(sgt, total + 1)
    except OSError:
        return
    raise Violation("sg_nents_for_len() finds bytes that are not there", length=total + 1, entries=count)
