# SPDX-License-Identifier: MIT
"""Pinning user pages for DMA, as far as P2P memory has a say in it (mm/gup.c, Linux 6.12).

A process can map P2P memory since Linux 6.2. Whoever pins its pages must say with FOLL_PCI_P2PDMA that he can do with
them; otherwise the fast path pins none and the slow path answers -EREMOTEIO.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable

from .errors import DmaError
from .machine import Machine

FOLL_WRITE = 1 << 0
FOLL_GET = 1 << 1
FOLL_LONGTERM = 1 << 8
FOLL_PCI_P2PDMA = 1 << 10
FOLL_TOUCH = 1 << 16
FOLL_PIN = 1 << 19
FOLL_FAST_ONLY = 1 << 20
INTERNAL_GUP_FLAGS = FOLL_TOUCH | FOLL_PIN | FOLL_FAST_ONLY | 1 << 17 | 1 << 18 | 3 << 21

MMAP_BASE = 0x7F0000000000


class AddressSpace:
    """A process's memory (struct mm_struct): which page is at which user address, and how often each is pinned."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.pages: dict[int, int] = {}                 # user address of a page -> page
        self.pins: Counter[int] = Counter()
        self._next = MMAP_BASE

    def mmap(self, pages: Iterable[int]) -> int:
        """Map pages, one behind the other; the user address of the first. Areas mapped one after the other adjoin.

        Raises DmaError(ENODEV) for P2P pages before 6.2, which has no p2pmem/allocate.
        """
        pages = list(pages)
        if self.machine.kernel < 602 and any(self.machine.is_p2p_page(page) for page in pages):
            raise DmaError(errno.ENODEV, "Linux maps P2P memory into processes since 6.2")
        start = self._next
        for page in pages:
            self.pages[self._next] = page
            self._next += self.machine.page_size
        return start


def is_valid_gup_args(mm: AddressSpace, flags: int, to_set: int) -> int:
    """The flags with those that the interface sets, 0 with a WARN for what is not allowed.

    FOLL_LONGTERM pins for as long as a process likes, and a provider must be removable at all times.
    """
    wrong = flags & INTERNAL_GUP_FLAGS
    flags |= to_set
    if flags & FOLL_PIN and flags & FOLL_GET:
        wrong = 1
    if flags & FOLL_LONGTERM and not flags & FOLL_PIN:
        wrong = 1
    if flags & FOLL_LONGTERM and flags & FOLL_PCI_P2PDMA and mm.machine.kernel >= 602:
        wrong = 1
    if wrong:
        mm.machine.dmesg.append("WARNING: is_valid_gup_args")
        return 0
    return flags


def try_grab_folio(mm: AddressSpace, page: int, flags: int) -> int:
    """The slow path's: 0, or -EREMOTEIO for P2P memory that was not asked for."""
    if not flags & FOLL_PCI_P2PDMA and mm.machine.is_p2p_page(page):
        return -errno.EREMOTEIO
    mm.pins[page] += 1
    return 0


def try_grab_folio_fast(mm: AddressSpace, page: int, flags: int) -> bool:
    """The fast path's: False for P2P memory that was not asked for."""
    if not flags & FOLL_PCI_P2PDMA and mm.machine.is_p2p_page(page):
        return False
    mm.pins[page] += 1
    return True


def pin_user_pages(mm: AddressSpace, start: int, count: int, flags: int = 0) -> list[int]:
    """Pin count pages from a user address on, by the slow path; fewer if a later one cannot be pinned.

    Raises DmaError if the first cannot be: EINVAL for flags that are not allowed; EFAULT where nothing is mapped;
    EREMOTEIO for P2P memory without FOLL_PCI_P2PDMA. No retry helps.
    """
    flags = _checked(mm, flags)
    return _slow(mm, start, count, flags)


def pin_user_pages_fast(mm: AddressSpace, start: int, count: int, flags: int = 0) -> list[int]:
    """pin_user_pages(), the page tables being walked without a lock as far as that goes."""
    flags = _checked(mm, flags)
    size = mm.machine.page_size
    start &= ~(size - 1)
    pinned: list[int] = []
    for at in range(start, start + count * size, size):
        page = mm.pages.get(at)
        if page is None or not try_grab_folio_fast(mm, page, flags):
            break
        pinned.append(page)
    if len(pinned) < count:
        try:
            pinned += _slow(mm, start + len(pinned) * size, count - len(pinned), flags)
        except DmaError:
            if not pinned:
                raise
    return pinned


def unpin_user_pages(mm: AddressSpace, pages: Iterable[int]) -> None:
    """Give pins back. Raises ValueError for a page that is not pinned."""
    for page in pages:
        if not mm.pins[page]:
            raise ValueError(f"page {page:#x} is not pinned")
        mm.pins[page] -= 1


def _checked(mm: AddressSpace, flags: int) -> int:
    flags = is_valid_gup_args(mm, flags, FOLL_PIN)
    if not flags:
        raise DmaError(errno.EINVAL, "these flags are not for callers, or not for one another")
    return flags


def _slow(mm: AddressSpace, start: int, count: int, flags: int) -> list[int]:
    size = mm.machine.page_size
    start &= ~(size - 1)
    pinned: list[int] = []
    for at in range(start, start + count * size, size):
        page = mm.pages.get(at)
        code = -errno.EFAULT if page is None else try_grab_folio(mm, page, flags)
        if code and not pinned:
            raise DmaError(-code, f"user address {at:#x}")
        if code or page is None:
            break
        pinned.append(page)
    return pinned
