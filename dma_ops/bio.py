# SPDX-License-Identifier: MIT
"""Which pages share a bio, and who lets P2P pages into one (block/bio.c, blk.h, bio-integrity.c, Linux 6.12).

Pages of different pgmaps are never merged into one bio_vec (since 6.2): its first page speaks for all of them. P2P
pages of different pgmaps, or P2P pages and RAM, are not even put into one bio (6.12.y), because the newer DMA iterator
classifies the first segment only.

Linux's fault, kept: direct I/O (bio_iov_iter_get_pages) looks at the merge only, so a user buffer that has P2P pages
beside RAM becomes one bio.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from .errors import DmaError
from .gup import FOLL_PCI_P2PDMA, AddressSpace, pin_user_pages_fast, unpin_user_pages
from .machine import Machine

BIO_MAX_VECS = 256
UINT_MAX = 0xFFFFFFFF
ITER_ALLOW_P2PDMA = 1

Vec = tuple[int, int, int]              # page, length, offset


@dataclass(slots=True)
class RequestQueue:
    """struct request_queue. pci_p2pdma: BLK_FEAT_PCI_P2PDMA, QUEUE_FLAG_PCI_P2PDMA before 6.11."""

    machine: Machine
    pci_p2pdma: bool = False
    seg_boundary_mask: int = UINT_MAX
    max_segment_size: int = 65536
    max_integrity_segments: int = 128
    virt_boundary_mask: int = 0


class Bio:
    """struct bio. vecs: (page, length, offset) each; pinned: to be unpinned when it is done; nomerge: REQ_NOMERGE."""

    def __init__(self, queue: RequestQueue, max_vecs: int = BIO_MAX_VECS) -> None:
        self.queue = queue
        self.machine = queue.machine
        self.max_vecs = max_vecs
        self.vecs: list[Vec] = []
        self.pinned: list[int] = []
        self.nomerge = False
        self.integrity: Bip | None = None

    @property
    def size(self) -> int:
        return sum(length for _, length, _ in self.vecs)


class Bip:
    """struct bio_integrity_payload."""

    def __init__(self, max_vecs: int) -> None:
        self.max_vecs = max_vecs
        self.vecs: list[Vec] = []
        self.pinned: list[int] = []


def zone_device_pages_have_same_pgmap(machine: Machine, a: int, b: int) -> bool:
    """Both RAM, or both of one pgmap (include/linux/mmzone.h). Before 6.2 nobody asks."""
    return machine.kernel < 602 or machine.pgmap_of(a) == machine.pgmap_of(b)


def zone_device_pages_compatible(machine: Machine, a: int, b: int) -> bool:
    """May two pages be in one bio? The only device pages here are P2P pages. Before 6.12 nobody asks."""
    if machine.kernel >= 612 and (machine.is_p2p_page(a) or machine.is_p2p_page(b)):
        return zone_device_pages_have_same_pgmap(machine, a, b)
    return True


def pgmaps_of_tables(machine: Machine) -> list[tuple[int, int]]:
    """(start, length) of the pgmaps that sg_alloc_table_from_pages() keeps apart (lib/scatterlist.c: since 6.2)."""
    return [(start, end - start) for start, end, _ in machine.pgmap_ranges] if machine.kernel >= 602 else []


def bvec_try_merge_page(machine: Machine, vec: Vec, page: int, length: int, offset: int) -> Vec | None:
    """The bio_vec with the piece behind it, if it continues there in one pgmap; else None."""
    first, size, start = vec
    if first + start + size != page + offset or not zone_device_pages_have_same_pgmap(machine, first, page):
        return None
    return first, size + length, start


def biovec_phys_mergeable(queue: RequestQueue, a: Vec, b: Vec) -> bool:
    """May the driver's list have two bio_vecs in one entry?"""
    start, end = a[0] + a[2], b[0] + b[2]
    mask = queue.seg_boundary_mask
    return (
        start + a[1] == end
        and zone_device_pages_have_same_pgmap(queue.machine, a[0], b[0])
        and start | mask == end + b[1] - 1 | mask
    )


def blk_rq_map_sg(*bios: Bio) -> list[Vec]:
    """The entries of the driver's list for a request of these bios (block/blk-merge.c): one for each bio_vec, but where
    a bio begins that continues the last one's end in one pgmap. Entries longer than max_segment_size are not split."""
    entries: list[Vec] = []
    previous: Vec | None = None
    for bio in bios:
        for i, vec in enumerate(bio.vecs):
            joins = i == 0 and previous is not None and biovec_phys_mergeable(bio.queue, previous, vec)
            if joins and entries[-1][1] + vec[1] <= bio.queue.max_segment_size:
                page, length, offset = entries[-1]
                entries[-1] = page, length + vec[1], offset
            else:
                entries.append(vec)
            previous = vec
    return entries


def bio_add_page(bio: Bio, page: int, length: int, offset: int = 0) -> int:
    """Add a piece to a bio: its length, or 0 if it has to go into another bio."""
    if bio.size > UINT_MAX - length:
        return 0
    if bio.vecs:
        if not zone_device_pages_compatible(bio.machine, bio.vecs[-1][0], page):
            return 0
        merged = bvec_try_merge_page(bio.machine, bio.vecs[-1], page, length, offset)
        if merged is not None:
            bio.vecs[-1] = merged
            return length
    if len(bio.vecs) >= bio.max_vecs:
        return 0
    bio.vecs.append((page, length, offset))
    return length


def blk_queue_extraction_flags(queue: RequestQueue) -> int:
    """ITER_ALLOW_P2PDMA for a queue that can do with P2P pages."""
    return ITER_ALLOW_P2PDMA if queue.pci_p2pdma else 0


def iov_iter_extract_pages(mm: AddressSpace, address: int, length: int, extraction_flags: int) -> list[int]:
    """Pin the pages of a user buffer (lib/iov_iter.c). Raises DmaError as pin_user_pages_fast() does."""
    flags = FOLL_PCI_P2PDMA if extraction_flags & ITER_ALLOW_P2PDMA else 0
    page = mm.machine.page_size
    return pin_user_pages_fast(mm, address, -(-(address % page + length) // page), flags)


def bio_iov_iter_get_pages(bio: Bio, mm: AddressSpace, address: int, length: int) -> int:
    """Direct I/O: the pages of a user buffer into a bio, pinned; how many bytes of it fit.

    Raises DmaError if the first page cannot be pinned, EREMOTEIO if that is because the queue takes no P2P pages.
    """
    pages = iov_iter_extract_pages(mm, address, length, blk_queue_extraction_flags(bio.queue))
    size = mm.machine.page_size
    offset, done = address % size, 0
    for i, page in enumerate(pages):
        n = min(size - offset, length - done)
        merged = bvec_try_merge_page(bio.machine, bio.vecs[-1], page, n, offset) if bio.vecs else None
        if merged is not None:
            bio.vecs[-1] = merged
        elif len(bio.vecs) >= bio.max_vecs:
            unpin_user_pages(mm, pages[i:])
            break
        else:
            bio.vecs.append((page, n, offset))
        bio.pinned.append(page)
        done += n
        offset = 0
    return done


def bio_release_pages(bio: Bio, mm: AddressSpace) -> None:
    """The I/O is done."""
    unpin_user_pages(mm, bio.pinned)
    bio.pinned = []
    if bio.integrity is not None:
        unpin_user_pages(mm, bio.integrity.pinned)
        bio.integrity = None


def bio_integrity_add_page(bio: Bio, page: int, length: int, offset: int = 0) -> int:
    """Add a piece to a bio's integrity payload: its length, or 0 if it does not fit in."""
    bip = bio.integrity
    if bip is None:
        raise ValueError("the bio has no integrity payload")
    if bip.vecs:
        last, queue = bip.vecs[-1], bio.queue
        if not zone_device_pages_compatible(bio.machine, last[0], page):
            return 0
        mask = queue.seg_boundary_mask
        inside = last[0] + last[2] | mask == page + offset + length - 1 | mask
        merged = bvec_try_merge_page(bio.machine, last, page, length, offset)
        if inside and length <= queue.max_segment_size - last[1] and merged is not None:
            bip.vecs[-1] = merged
            return length
        if len(bip.vecs) >= min(bip.max_vecs, queue.max_integrity_segments):
            return 0
        if queue.virt_boundary_mask and (offset | last[2] + last[1]) & queue.virt_boundary_mask:
            return 0
    bip.vecs.append((page, length, offset))
    return length


def bio_integrity_map_user(bio: Bio, mm: AddressSpace, address: int, length: int) -> None:
    """A user's buffer of integrity data into a bio, without a copy. A bio with P2P memory there is not merged with
    another (REQ_NOMERGE, 6.12.y). Raises DmaError: EINVAL if it has one; EREMOTEIO if the queue takes no P2P pages."""
    if bio.integrity is not None:
        raise DmaError(errno.EINVAL, "the bio has integrity data")
    page_size = mm.machine.page_size
    pages = iov_iter_extract_pages(mm, address, length, blk_queue_extraction_flags(bio.queue))
    if len(pages) * page_size - address % page_size < length:
        unpin_user_pages(mm, pages)
        raise DmaError(errno.EFAULT, "not all of the buffer can be pinned")
    bip = Bip(len(pages))
    offset, left = address % page_size, length
    for page in pages:
        n = min(page_size - offset, left)
        bip.vecs.append((page, n, offset))
        bip.pinned.append(page)
        offset, left = 0, left - n
        if mm.machine.kernel >= 612 and mm.machine.is_p2p_page(page):
            bio.nomerge = True
    bio.integrity = bip
