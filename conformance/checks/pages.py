# SPDX-License-Identifier: MIT
"""P2P pages above the DMA API: who may pin them, and what shares a list entry, a bio_vec or a bio with them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from dma_ops import DmaError
from dma_ops.bio import (
    Bio,
    RequestQueue,
    Vec,
    bio_add_page,
    bio_integrity_add_page,
    bio_integrity_map_user,
    bio_iov_iter_get_pages,
    bio_release_pages,
    blk_rq_map_sg,
    pgmaps_of_tables,
)
from dma_ops.gup import (
    FOLL_LONGTERM,
    FOLL_PCI_P2PDMA,
    AddressSpace,
    pin_user_pages,
    pin_user_pages_fast,
    unpin_user_pages,
)
from scatterlist.core import SgTable
from scatterlist.pages import sg_alloc_append_table_from_pages_, sg_alloc_table_from_pages_segment_

from ..drivers.nvmet import nvme_queue
from . import check
from .bench import Bench, Row, Violation
from .topology import BAR_SIZE, Peers, peers

GUPS = (("pin_user_pages", pin_user_pages), ("pin_user_pages_fast", pin_user_pages_fast))


def _memory(b: Bench, p: Peers) -> tuple[AddressSpace, list[int], int]:
    """A process with RAM, memory of near and RAM at adjoining addresses: (its memory, the pages, where they begin)."""
    mm = AddressSpace(b.machine)
    ram = b.frames(2)
    pages = [ram[0], p.row("near")[0], p.row("near")[0], ram[1]]
    return mm, pages, mm.mmap(pages)


def _pinned(mm: AddressSpace) -> int:
    return sum(mm.pins.values())


@check
def pinning_keeps_p2p_back(b: Bench) -> None:
    """Without FOLL_PCI_P2PDMA no P2P page is pinned by either path, -EREMOTEIO if it is the first; with it, all are."""
    p = peers(b)
    mm, pages, start = _memory(b, p)
    for name, pin in GUPS:
        got = pin(mm, start, len(pages), 0)
        if got != pages[:1]:
            raise Violation(f"{name} without FOLL_PCI_P2PDMA does not end at the first P2P page", pinned=got)
        unpin_user_pages(mm, got)
        try:
            got = pin(mm, start + b.page, 2, 0)
        except DmaError as error:
            if error.errno != errno.EREMOTEIO:
                raise Violation(f"{name} of P2P pages fails otherwise than with EREMOTEIO", errno=error.errno) from None
        else:
            raise Violation(f"{name} without FOLL_PCI_P2PDMA pins P2P pages", pinned=got)
        if _pinned(mm):
            raise Violation(f"{name} fails and leaves pages pinned", pins=_pinned(mm))
        got = pin(mm, start, len(pages), FOLL_PCI_P2PDMA)
        if got != pages:
            raise Violation(f"{name} with FOLL_PCI_P2PDMA does not pin all pages", pinned=got)
        unpin_user_pages(mm, got)


@check
def long_term_pins_are_refused(b: Bench) -> None:
    """FOLL_LONGTERM with FOLL_PCI_P2PDMA: a WARN and -EINVAL, whatever the pages; each alone is taken."""
    p = peers(b)
    mm, pages, start = _memory(b, p)
    for name, pin in GUPS:
        for at in (0, 1):
            b.machine.dmesg.clear()
            try:
                pin(mm, start + at * b.page, 1, FOLL_LONGTERM | FOLL_PCI_P2PDMA)
            except DmaError as error:
                if error.errno != errno.EINVAL:
                    raise Violation(f"{name} refuses it otherwise than with EINVAL", errno=error.errno) from None
            else:
                raise Violation(f"{name} pins for long what must be removable at all times", page=pages[at])
            if not any("WARNING" in line for line in b.machine.dmesg):
                raise Violation(f"{name} refuses it without a WARN")
        unpin_user_pages(mm, pin(mm, start, 1, FOLL_LONGTERM))
    if _pinned(mm):
        raise Violation("pages stay pinned", pins=_pinned(mm))


@check
def queues_let_p2p_in(b: Bench) -> None:
    """Direct I/O on a queue that does not advertise P2P ends at the first P2P page; on one that does it takes them."""
    p = peers(b)
    mm, pages, start = _memory(b, p)
    for allowed in (False, True):
        bio = Bio(RequestQueue(b.machine, pci_p2pdma=allowed))
        done = bio_iov_iter_get_pages(bio, mm, start, len(pages) * b.page)
        if done != (len(pages) if allowed else 1) * b.page:
            raise Violation("direct I/O got other pages than the queue lets in", bytes=done, allowed=allowed)
        bio_release_pages(bio, mm)
        bio = Bio(RequestQueue(b.machine, pci_p2pdma=allowed))
        try:
            bio_iov_iter_get_pages(bio, mm, start + b.page, b.page)
        except DmaError as error:
            if allowed or error.errno != errno.EREMOTEIO or bio.vecs:
                raise Violation("a P2P buffer is refused otherwise", errno=error.errno, allowed=allowed) from None
        else:
            if not allowed:
                raise Violation("a queue that does not advertise P2P gets a P2P page")
        bio_release_pages(bio, mm)
        if _pinned(mm):
            raise Violation("pages stay pinned", pins=_pinned(mm))
    if nvme_queue(b.device).pci_p2pdma != b.record.p2pdma:
        raise Violation("NVMe's queue advertises what the backend does not do", record=b.record.p2pdma)


def _seam(b: Bench, p: Peers) -> list[int]:
    """Pages of near's end and near2's beginning, which follow one another, filled with bytes."""
    bar = p.providers["near"].bars[0]
    first = bar.start + BAR_SIZE - 2 * b.page
    pages = [first + i * b.page for i in range(4)]
    if p.kind((pages[1], 0, 1)) == p.kind((pages[2], 0, 1)):
        raise Violation("the two providers' memory does not adjoin")
    return pages


def _one_owner(b: Bench, what: str, rows: Iterable[Row]) -> None:
    for page, offset, length in rows:
        pgmaps = {b.machine.pgmap_of(at) for at in range(page + offset, page + offset + length, b.page)}
        pgmaps.add(b.machine.pgmap_of(page + offset + length - 1))
        if len(pgmaps) > 1:
            raise Violation(f"{what} has memory of different owners", page=page, length=length)


@check
def tables_keep_providers_apart(b: Bench) -> None:
    """A table made from pages has no entry over the seam between two providers, and its bytes are the pages'."""
    p = peers(b)
    pages = _seam(b, p)
    pgmaps = pgmaps_of_tables(b.machine)
    shift = b.machine.page_shift
    whole = SgTable(page_shift=shift)
    sg_alloc_table_from_pages_segment_(whole, pages, 64, 4 * b.page - 200, pgmaps=pgmaps)
    grown = SgTable(page_shift=shift)
    sg_alloc_append_table_from_pages_(grown, pages[:2], left_pages=2, pgmaps=pgmaps)
    sg_alloc_append_table_from_pages_(grown, pages[2:], pgmaps=pgmaps)
    for what, sgt in (("an entry of a table from pages", whole), ("an entry of an appended table", grown)):
        rows = [row[:3] for row in sgt.entries()]
        _one_owner(b, what, rows)
        lot = p.lot(rows)
        p.expect_list(lot, b.map(sgt))
        b.unmap(sgt)
    if sum(row[2] for row in whole.entries()) != 4 * b.page - 200:
        raise Violation("the table is shorter or longer than the pages")


def _split(b: Bench, queue: RequestQueue, pieces: Iterable[Row], add: Callable[[Bio, int, int, int], int]) -> list[Bio]:
    """The bios that the pieces go into, a new one whenever a piece is refused."""
    bios = [_bio(queue)]
    for page, offset, length in pieces:
        if add(bios[-1], page, length, offset):
            continue
        bios.append(_bio(queue))
        if add(bios[-1], page, length, offset) != length:
            raise Violation("a piece fits into no bio at all", page=page, length=length)
    return bios


def _bio(queue: RequestQueue) -> Bio:
    bio = Bio(queue)
    mm = AddressSpace(queue.machine)
    bio_integrity_map_user(bio, mm, mm.mmap([]), 0)
    assert bio.integrity is not None
    bio.integrity.max_vecs = bio.max_vecs
    return bio


@check
def bios_keep_providers_apart(b: Bench) -> None:
    """Pieces of RAM and of several providers, in any order: no bio has P2P memory beside anything else, no bio_vec and
    no entry of the driver's list crosses from one owner to another, and nothing is lost."""
    p = peers(b)
    near = b.machine.pgmap_of(_seam(b, p)[0])
    for turn in range(2 * b.rounds):
        queue = RequestQueue(b.machine, pci_p2pdma=True)
        ram = b.frames(3, contiguous=True)
        pieces: list[Row] = [(page, 0, b.page) for page in _seam(b, p)]
        pieces[2:2] = [(ram[0], 0, b.page), (ram[1], 0, b.page)] if turn % 2 else []
        pieces += [(ram[2], 512, 512), p.row("near"), p.row("far"), (ram[0], 0, 100)]
        for add, vecs in ((bio_add_page, _data), (bio_integrity_add_page, _integrity)):
            bios = _split(b, queue, pieces, add)
            seen = [vec for bio in bios for vec in vecs(bio)]
            _one_owner(b, "a bio_vec", [(page, offset, length) for page, length, offset in seen])
            for bio in bios:
                owners = {b.machine.pgmap_of(page + offset) for page, _, offset in vecs(bio)}
                if len(owners) > 1:
                    raise Violation("a bio has P2P memory beside other memory", owners=sorted(owners), near=near)
            if _bytes(b, seen) != _bytes(b, [(page, length, offset) for page, offset, length in pieces]):
                raise Violation("the bios have other memory than was added")
        entries = blk_rq_map_sg(*_split(b, queue, pieces, bio_add_page))
        _one_owner(b, "an entry of a request's list", [(page, offset, length) for page, length, offset in entries])


def _data(bio: Bio) -> list[Vec]:
    return bio.vecs


def _integrity(bio: Bio) -> list[Vec]:
    return [] if bio.integrity is None else bio.integrity.vecs


def _bytes(b: Bench, vecs: Iterable[Vec]) -> list[int]:
    """The first byte of every 4-byte word of the vecs, in order."""
    return [at for page, length, offset in vecs for at in range(page + offset, page + offset + length, 4)]


@check
def integrity_keeps_the_property(b: Bench) -> None:
    """A user's integrity buffer of P2P memory keeps its bio from being merged with others; one of RAM does not; a
    queue that does not advertise P2P refuses it."""
    p = peers(b)
    mm, pages, start = _memory(b, p)
    for first, count, p2p in ((0, 1, False), (0, 2, True), (1, 1, True), (3, 1, False)):
        bio = Bio(RequestQueue(b.machine, pci_p2pdma=True))
        bio_integrity_map_user(bio, mm, start + first * b.page + 64, count * b.page - 64)
        if bio.integrity is None or [vec[0] for vec in bio.integrity.vecs] != pages[first : first + count]:
            raise Violation("the integrity data are elsewhere")
        if bio.nomerge != p2p:
            raise Violation("REQ_NOMERGE does not tell of P2P memory", nomerge=bio.nomerge, p2p=p2p)
        bio_release_pages(bio, mm)
        bio = Bio(RequestQueue(b.machine))
        try:
            bio_integrity_map_user(bio, mm, start + first * b.page, count * b.page)
        except DmaError as error:
            if not p2p or error.errno not in (errno.EREMOTEIO, errno.EFAULT):
                raise Violation("integrity data are refused otherwise", errno=error.errno) from None
        else:
            if p2p:
                raise Violation("a queue that does not advertise P2P gets P2P integrity data")
        bio_release_pages(bio, mm)
        if _pinned(mm):
            raise Violation("pages stay pinned", pins=_pinned(mm))
