# SPDX-License-Identifier: MIT
"""The DVMA range: kernel addresses for coherent memory of SBus devices (arch/sparc/kernel/ioport.c, Linux 6.1)."""

from __future__ import annotations

DVMA_VADDR = 0xFFF00000
DVMA_END = 0xFFFC0000
PAGE_SIZE = 4096


class Dvma:
    """First-fit over 192 pages of kernel address space. One range per machine: all its SBus devices share it."""

    def __init__(self) -> None:
        self.busy: dict[int, int] = {}      # address -> size

    def alloc(self, size: int) -> int:
        """The lowest free address for size bytes (a multiple of a page), or 0."""
        at = DVMA_VADDR
        for start, length in sorted(self.busy.items()):
            if start - at >= size:
                break
            at = start + length
        if at + size > DVMA_END:
            return 0
        self.busy[at] = size
        return at

    def free(self, address: int, size: int) -> bool:
        """Release what alloc answered; False where it holds no range of this size, rounded up to a page."""
        if self.busy.get(address) != (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1):
            return False
        del self.busy[address]
        return True
