# SPDX-License-Identifier: MIT
"""Entries of translation tables: wrong bits in the memory that the hardware reads, whatever the format."""

from __future__ import annotations

from dma_ops import Device
from dma_ops.pyops import SgView

from .base import Broken, changes, is_error, planted_in, table_memory
from .targets import STRICT, TABLES, without


class Entries(Broken):
    """Base: spoil() gets every word of table memory that a map has changed, and answers what is there instead."""

    def width(self, dev: Device) -> int:
        return 8 if dev.machine.bits == 64 else 4

    def spoil(self, n: int, last: int, old: bytes, new: bytes) -> bytes:
        raise NotImplementedError

    def spoiled(self, dev: Device, before: tuple[int, bytes]) -> None:
        found = changes(before, table_memory(dev.machine), self.width(dev))
        for n, (at, old, new) in enumerate(found):
            dev.machine.mem.poke(at, self.spoil(n, len(found) - 1, old, new))

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        before = table_memory(dev.machine)
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        if not is_error(dev, addr):
            self.spoiled(dev, before)
        return addr

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        before = table_memory(dev.machine)
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count > 0:
            self.spoiled(dev, before)
        return count


@planted_in(*TABLES, breaks=("DMA-02", "DMA-06"))
class WrongEndianness(Entries):
    """Entries are written in the other byte order."""

    def spoil(self, n: int, last: int, old: bytes, new: bytes) -> bytes:
        return new[::-1]


@planted_in(*without(TABLES, "ps3_sb_dma_ops"), breaks=("DMA-02", "DMA-06"))
class LastEntryForgotten(Entries):
    """The last of a mapping's entries is not written."""

    def spoil(self, n: int, last: int, old: bytes, new: bytes) -> bytes:
        return old if n == last and last else new


class Lingering(Broken):
    """Base: what unmap clears in the table comes back."""

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        before = table_memory(dev.machine)
        self.inner_unmap_page(dev, addr, size, dir, attrs)
        self.restore(dev, before)

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        before = table_memory(dev.machine)
        self.inner_unmap_sg(dev, sg, dir, attrs)
        self.restore(dev, before)

    def restore(self, dev: Device, before: tuple[int, bytes]) -> None:
        raise NotImplementedError


@planted_in(*STRICT, breaks=("DMA-02", "DMA-03", "DMA-21"))
class StaleEntryAfterUnmap(Lingering):
    """Unmap gives the range back and leaves the entries."""

    def restore(self, dev: Device, before: tuple[int, bytes]) -> None:
        for at, old, _ in changes(before, table_memory(dev.machine), 4):
            dev.machine.mem.poke(at, old)


@planted_in(*STRICT, breaks=("DMA-02", "DMA-03"))
class LastEntryStaysAfterUnmap(Lingering):
    """Unmap leaves the last entry of more than one."""

    def restore(self, dev: Device, before: tuple[int, bytes]) -> None:
        found = changes(before, table_memory(dev.machine), 8 if dev.machine.bits == 64 else 4)
        for at, old, _ in found[1:][-1:]:
            dev.machine.mem.poke(at, old)
