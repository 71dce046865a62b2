# SPDX-License-Identifier: MIT
"""Heron's hardware: a window of 4 MiB on the bus, and the table in memory that says where each of its pages leads.

An entry has 64 bits in the CPU's byte order:

    63      valid
    62      the device may read
    61      the device may write
    51:12   address of the page
    others  zero; the chip refuses an entry in which one is set
"""

from __future__ import annotations

from typing import Literal

from dma_ops import DmaFault, Machine

PAGE_SHIFT = 12
PAGE = 1 << PAGE_SHIFT
WINDOW = 0x40000000                     # where on the bus
PAGES = 1024
ENTRY = 8                               # bytes

VALID = 1 << 63
READ = 1 << 62
WRITE = 1 << 61
FRAME = (1 << 52) - PAGE
RESERVED = (1 << 64) - 1 & ~(VALID | READ | WRITE | FRAME)


class Translator:
    """Answers the device's accesses from the table's bytes; nobody tells it what was mapped."""

    def __init__(self, machine: Machine, table: int) -> None:
        self.mem = machine.mem
        self.table = table              # the chip's only register
        self.order: Literal["big", "little"] = "big" if machine.big_endian else "little"

    def translate(self, addr: int, write: bool) -> tuple[int, int]:
        """(physical address, bytes that follow it in the page). Raises DmaFault."""
        index, offset = divmod(addr - WINDOW, PAGE)
        if not 0 <= index < PAGES:
            raise DmaFault(addr, "not-present", write)
        entry = int.from_bytes(self.mem.peek(self.table + index * ENTRY, ENTRY), self.order)
        if not entry & VALID or entry & RESERVED:
            raise DmaFault(addr, "not-present", write)
        if not entry & (WRITE if write else READ):
            raise DmaFault(addr, "permission", write)
        return (entry & FRAME) + offset, PAGE - offset
