# SPDX-License-Identifier: MIT
"""The list library: what goes over the bytes of a list, checked against the same bytes counted out one by one."""

from __future__ import annotations

from itertools import pairwise, product

from scatterlist import (
    SG_MITER_FROM_SG,
    SG_MITER_TO_SG,
    BioVecs,
    BvecIter,
    IovIter,
    SgTable,
    bvec_advance_all,
    bvec_iter_advance,
    extract_iter_to_sg,
    for_each_bvec,
    for_each_sg_dma_page,
    for_each_sg_page,
    sg_copy_from_buffer,
    sg_copy_to_buffer,
    sg_miter_next,
    sg_miter_skip,
    sg_miter_start,
    sg_miter_stop,
    sg_pcopy_from_buffer,
    sg_pcopy_to_buffer,
    sg_split,
    sg_zero_buffer,
)

from .bench import Bench, Row
from .sg_tables import bytes_of, cut, expect, of_the_library, ranges, walk


def rows_of(b: Bench, n: int) -> list[Row]:
    """Entries that begin anywhere in their page and cross up to two more."""
    frames = b.random.sample(range(16, 4096, 4), n)
    return [
        (frame * b.page, b.random.randrange(b.page), b.random.randrange(1, 2 * b.page)) for frame in frames
    ]


def list_of(b: Bench, rows: list[Row]) -> SgTable:
    return SgTable(rows, page_shift=b.machine.page_shift)


@of_the_library
def splits_have_their_bytes(b: Bench) -> None:
    """A list split at and within entries, from some byte on: each part has the bytes it was asked for, in order, on the
    CPU's side and the device's."""
    for n in (1, 2, 3, 5, 140):
        rows = rows_of(b, n)
        source = [(page + offset, length) for page, offset, length in rows]
        total = sum(length for _, length in source)
        for turn in range(8):
            skip = b.random.choice((0, 1, b.random.randrange(total)))
            if any(skip == sum(length for _, length in source[: i + 1]) for i in range(n)):
                skip += 1                               # there Linux puts an empty entry first, which harms nobody
            marks = sorted(b.random.randrange(skip, total) for _ in range(turn % 4))
            if turn == 4:
                marks = [skip + (total - skip) // 3 or skip + 1]
            edges = [skip, *dict.fromkeys(mark for mark in marks if mark > skip), total]
            sizes = [end - start for start, end in pairwise(edges) if end > start]
            if not sizes:
                continue
            mapped = turn % 2
            sgt = list_of(b, rows)
            if mapped:
                for i, (_, _, length) in enumerate(rows):
                    sgt.set_dma(i, 0x100000 * (i + 1), length)
            parts, counts = sg_split(sgt, n if mapped else 0, skip, sizes)
            at = skip
            for part, count, size in zip(parts, counts, sizes, strict=True):
                expect(bytes_of(part), cut(source, at, size), "a part of a list has other bytes", skip=at, size=size)
                if mapped:
                    segments = [row[3:5] for row in part.entries()[:count]]
                    bus = [(0x100000 * (i + 1), length) for i, (_, _, length) in enumerate(rows)]
                    expect(ranges(segments), cut(bus, at, size), "a part has other bytes of the device's", skip=at)
                at += size
        try:
            sg_split(list_of(b, rows), 0, 0, [total + 1])
        except OSError:
            continue
        expect("a list", "an error", "a list was split into more bytes than it has", size=total + 1)


@of_the_library
def a_split_ends_within_an_entry(b: Bench) -> None:
    """The last part may end in the middle of an entry that others follow: it has its bytes, and no more entries."""
    rows = [((i + 1) * 4 * b.page, 0, 100) for i in range(3)]
    parts, _ = sg_split(list_of(b, rows), 0, 0, [50, 100])
    lengths = [[entry.length for entry in walk(part)] for part in parts]
    expect(lengths, [[50], [50, 50]], "a part of a list is longer than it was asked for")


@of_the_library
def copies_have_their_bytes(b: Bench) -> None:
    """Bytes copied out of a list, into it and zeroed, from any byte on: those, no others, and as many as were said."""
    for shape in ("one", "crossing", "odd", "touching", "tiny", "mixed"):
        lot = b.lot(shape)
        sgt, mem = b.table(lot), b.machine.mem
        n, total, content = len(lot.rows), lot.size, bytearray(lot.content)
        skips = 0, 1, total - 1, total, total + 1, b.random.randrange(total)
        sizes = total, 1, total + 64, b.random.randrange(1, total + 1)
        for way, skip, size, count in product(range(3), skips, sizes, {n, max(n - 1, 1)}):
            end = sum(length for _, _, length in lot.rows[:count])
            moved = max(min(size, end - skip), 0)
            raw, buffer = b.random.randbytes(size), bytearray(b"\xee" * (size + 8))
            given = bytes(bytearray(raw))                   # another object: what goes the wrong way writes into raw
            if way == 0:
                done = (sg_pcopy_from_buffer(mem, sgt, count, raw, size, skip) if skip
                        else sg_copy_from_buffer(mem, sgt, count, raw, size))
                content[skip : skip + moved] = given[:moved]
                b.same(raw, given, f"the buffer changed that was copied into a list ({shape})")
            elif way == 1:
                done = (sg_pcopy_to_buffer(mem, sgt, count, buffer, size, skip) if skip
                        else sg_copy_to_buffer(mem, sgt, count, buffer, size))
                b.same(bytes(buffer), bytes(content[skip : skip + moved]) + b"\xee" * (size + 8 - moved),
                       f"other bytes were copied out of a list ({shape})")
            else:
                b.refill(lot)                           # or what was zeroed before would hide it
                content[:] = lot.content
                done = sg_zero_buffer(mem, sgt, count, size, skip)
                content[skip : skip + moved] = bytes(moved)
            expect(done, moved, "another number of bytes was copied", skip=skip, size=size)
            b.same(b.cpu(lot), bytes(content), f"a list has other bytes after a copy ({shape})")
        b.expect_guards(lot)


@of_the_library
def pieces_cover_the_list(b: Bench) -> None:
    """sg_miter_*: pieces within one page each, none of them empty, in order; also after a skip and a part used."""
    for n in (1, 3, 140):
        rows = rows_of(b, n)
        rows[n // 2 : n // 2] = [((5000 + n) * b.page, 0, 0)]
        sgt = list_of(b, rows)
        source = [(page + offset, length) for page, offset, length in rows]
        total = sum(length for _, length in source)
        for skip in (0, 1, source[0][1], b.random.randrange(total), total - 1):
            miter = sg_miter_start(sgt, n + 1, SG_MITER_FROM_SG if skip % 2 else SG_MITER_TO_SG)
            if skip:
                expect(sg_miter_skip(miter, skip), True, "a skip within the list failed", skip=skip)
            pieces = []
            while sg_miter_next(miter):
                used = miter.length if b.random.random() < 0.8 else max(miter.length // 2, 1)
                expect(0 < miter.length <= b.page - miter.addr % b.page, True, "a piece is empty or crosses a page",
                       length=miter.length)
                expect(miter.addr // b.page, miter.page // b.page, "a piece is in another page than it says")
                miter.consumed = used
                pieces.append((miter.addr, used))
            sg_miter_stop(miter)
            expect(ranges(pieces), cut(source, skip, total), "the pieces are not the list's bytes", skip=skip)
        expect(sg_miter_skip(sg_miter_start(sgt, n + 1, SG_MITER_TO_SG), total + 1), False, "a skip beyond the list")


@of_the_library
def pages_of_a_list(b: Bench) -> None:
    """for_each_sg_page() and its sister for addresses: each page of each entry, the ones before its offset too."""
    rows = [*rows_of(b, 4), (7000 * b.page, 2 * b.page + 5, 10), (7100 * b.page, 0, 0), (7200 * b.page, 0, b.page)]
    pages = [
        page + i * b.page for page, offset, length in rows for i in range(-(-(offset + length) // b.page))
    ]
    sgt = list_of(b, rows)
    for skip in (0, 1, 2, len(pages) - 1):
        expect(list(for_each_sg_page(sgt, len(rows), skip)), pages[skip:], "other pages than the list's", skip=skip)
    bus = []
    for i, (_, offset, length) in enumerate(rows):
        sgt.set_dma(i, 0x1000000 * (i + 1) + offset % b.page, length)
        bus += [0x1000000 * (i + 1) + offset % b.page + k * b.page for k in range(-(-(offset + length) // b.page))]
    expect(list(for_each_sg_dma_page(sgt, len(rows), 1)), bus[1:], "other addresses than the segments'")
    for n in (1, 2, 3, 4):
        few = sum(-(-(offset + length) // b.page) for _, offset, length in rows[:n])
        expect(list(for_each_sg_page(sgt, n)), pages[:few], "pages of entries behind the count", nents=n)
        expect(list(for_each_sg_dma_page(sgt, n)), bus[:few], "addresses of entries behind the count", nents=n)


@of_the_library
def iterators_become_entries(b: Bench) -> None:
    """extract_iter_to_sg() of kernel memory: no entry crosses a page, the iterator moves on by what was taken."""
    page = b.page
    for turn in range(16):
        parts = [(0x10000000 * (i + 1) + b.random.randrange(page), b.random.randrange(1, 3 * page)) for i in range(3)]
        total = sum(length for _, length in parts)
        vectors = turn % 2
        source = IovIter(
            BioVecs([(at // page * page, length, at % page) for at, length in parts], page_shift=b.machine.page_shift)
            if vectors else parts, iov_offset=(0, parts[0][1] // 2, parts[0][1])[turn % 3],
        )
        skip = total - source.count
        size = (total, page // 2, b.random.randrange(1, total))[turn // 2 % 3]
        most = (64, 1, 2)[turn // 4 % 3]
        sgt = SgTable([(page, 0, 1)] * 64, page_shift=b.machine.page_shift)
        sgt.nents = 0
        done = extract_iter_to_sg(source, size, sgt, most)
        rows = [row[:3] for row in sgt.entries()[: sgt.nents]]
        expect(sum(row[2] for row in rows), done, "extract_iter_to_sg() says another number than it took")
        expect(ranges((at + offset, length) for at, offset, length in rows), cut(parts, skip, done),
               "the entries are other bytes than the iterator's", size=size)
        expect(source.count, total - skip - done, "the iterator did not move on by what was taken")
        expect(done <= size and len(rows) <= most, True, "more was taken than asked for", size=size, entries=len(rows))
        if len(rows) < most:
            expect(done, min(size, total - skip), "less was taken than there is", entries=len(rows))
        if not vectors and any(offset + length > page for _, offset, length in rows):
            expect(rows, "within their pages", "an entry of kernel memory crosses a page")


@of_the_library
def vectors_cover_their_bytes(b: Bench) -> None:
    """The iterators of bio_vecs: pieces within one page, in order, from any byte to any other."""
    page = b.page
    parts = [(0x1000000 * (i + 1) + b.random.randrange(page), b.random.randrange(1, 3 * page)) for i in range(6)]
    vectors = BioVecs([(at // page * page, length, at % page) for at, length in parts], page_shift=b.machine.page_shift)
    total = sum(length for _, length in parts)
    for turn in range(8):
        size = total if turn % 2 else b.random.randrange(1, total + 1)
        skip = (0, 1, parts[0][1], b.random.randrange(size))[turn // 2] % size
        it = BvecIter(size)
        expect(bvec_iter_advance(vectors, it, skip), True, "an iterator of bio_vecs does not go on", skip=skip)
        pieces = list(for_each_bvec(vectors, it))
        expect(max(offset + length for _, length, offset in pieces) <= page, True, "a piece crosses a page")
        expect(ranges((at + offset, length) for at, length, offset in pieces), cut(parts, skip, size - skip),
               "the pieces are not the bio_vecs' bytes", skip=skip)
    everything = list(bvec_advance_all(vectors))
    expect(ranges((at + offset, length) for at, length, offset in everything), ranges(parts),
           "a walk over all bio_vecs sees other bytes")
    expect(max(offset + length for _, length, offset in everything) <= page, True, "a piece of all crosses a page")
