# SPDX-License-Identifier: MIT
"""Heron's dma_map_ops: what its kernel would do to the chip of chip.py."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from dma_ops import (
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    Machine,
    PyDmaMapOps,
    dma_get_max_seg_size,
    dma_get_seg_boundary,
)
from dma_ops.p2pdma import p2pdma_map_type
from dma_ops.pyops import SgView

from .chip import ENTRY, PAGE, PAGES, READ, VALID, WINDOW, WRITE, Translator

RIGHTS = {DMA_BIDIRECTIONAL: READ | WRITE, DMA_TO_DEVICE: READ, DMA_FROM_DEVICE: WRITE}
Piece = tuple[int, int]                 # (physical address, length)
Segment = tuple[int, int, bool]         # (DMA address, length, is it a bus address?)


def frames(pieces: Iterable[Piece]) -> list[int]:
    """The pages that the pieces lie in, in order."""
    return [page for phys, length in pieces for page in range(phys & -PAGE, phys + length, PAGE)]


def bus_address(dev: Device, phys: int) -> int:
    """Where a peer's memory is on the bus. Raises DmaError if that is beyond the device's mask."""
    for provider in dev.machine.providers:
        for bar in provider.bars.values():
            if bar.start <= phys < bar.start + bar.size:
                address = bar.bus + phys - bar.start
                if address > dev.dma_mask:
                    break
                return address
    raise DmaError(errno.EREMOTEIO)


class HeronDmaOps(PyDmaMapOps):
    """A window of 1024 pages of 4 KiB, first fit from its start, with rights per page.

    Entries whose joints are page-aligned become one segment, up to max_seg_size and never across seg_boundary.
    Errors: -EINVAL for an empty entry, -EREMOTEIO for P2P memory that is not reachable (do not retry), -ENOMEM for a
    full window (retry later). A map that fails leaves nothing behind. Peers behind the same switch get bus addresses.
    """

    p2pdma = True

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.order: Literal["big", "little"] = "big" if machine.big_endian else "little"
        self.taken = bytearray(PAGES)   # one byte per page of the window
        self.pages = machine.alloc_ram((PAGES * ENTRY // machine.page_size).bit_length() - 1)
        machine.mem.poke(self.pages, bytes(PAGES * ENTRY))
        self.chip = Translator(machine, self.pages)

    # -- the window and its table

    def take(self, dev: Device, pages: int, mask: int, align: int = 1) -> int:
        """The first free pages below the mask that do not cross the device's segment boundary. Raises DmaError."""
        if self.machine.fails("iova"):
            raise DmaError(errno.ENOMEM)
        limit = min(PAGES, (min(mask, dev.bus_dma_limit or mask) + 1 - WINDOW) // PAGE)
        line = (dma_get_seg_boundary(dev) + 1) // PAGE
        at = 0
        while (at := self.taken.find(bytes(pages), at, max(limit, 0))) >= 0:
            past = (WINDOW // PAGE + at) % line if line else 0
            step = -at % align or (line - past if pages <= line < past + pages else 0)
            if not step:
                self.taken[at:at + pages] = b"\1" * pages
                return at
            at += step
        raise DmaError(errno.ENOMEM)

    def write(self, at: int, entries: Iterable[int]) -> None:
        raw = b"".join(entry.to_bytes(ENTRY, self.order) for entry in entries)
        self.machine.mem.poke(self.pages + at * ENTRY, raw)

    def enter(self, dev: Device, pieces: list[Piece], dir: int, mask: int, align: int = 1) -> int:
        """One DMA address for pieces that follow one another in whole pages. Raises DmaError."""
        phys = pieces[0][0]
        count = sum((phys % PAGE + length + PAGE - 1) // PAGE for phys, length in pieces)
        at = self.take(dev, count, mask, align)
        self.write(at, (VALID | RIGHTS[dir] | page for page in frames(pieces)))
        return WINDOW + at * PAGE + phys % PAGE

    def leave(self, addr: int, size: int) -> None:
        at = (addr - WINDOW) // PAGE
        pages = (addr % PAGE + size + PAGE - 1) // PAGE
        self.write(at, [0] * pages)
        self.taken[at:at + pages] = bytes(pages)

    # -- dma_map_ops

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        if dev.machine.is_p2p_page(page):
            raise DmaError(errno.EREMOTEIO)         # the way for a peer's page is a list
        return self.enter(dev, [(page + offset, size)], dir, dev.dma_mask)

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.leave(addr, size)

    def runs(self, dev: Device, sg: SgView) -> Iterator[tuple[list[Piece], bool]]:
        """(pieces of one segment, is it a bus address?) in order. Raises DmaError before anything is mapped."""
        pieces: list[Piece] = []
        for entry in sg:
            if not entry.length:
                raise DmaError(errno.EINVAL)
            kind = p2pdma_map_type(dev, entry.page) if dev.machine.is_p2p_page(entry.page) else ""
            if kind not in ("", "BUS_ADDR", "THRU_HOST_BRIDGE"):
                raise DmaError(errno.EREMOTEIO)
            if pieces and (kind == "BUS_ADDR" or not self.joins(dev, pieces, entry.phys, entry.length)):
                yield pieces, False
                pieces = []
            if kind == "BUS_ADDR":
                yield [(entry.phys, entry.length)], True
            else:
                pieces.append((entry.phys, entry.length))
        if pieces:
            yield pieces, False

    def joins(self, dev: Device, pieces: list[Piece], phys: int, length: int) -> bool:
        total = sum(size for _, size in pieces) + length
        inside = pieces[0][0] % PAGE + total <= dma_get_seg_boundary(dev) + 1
        return not (sum(pieces[-1]) | phys) % PAGE and total <= dma_get_max_seg_size(dev) and inside

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        done: list[Segment] = []
        try:
            for pieces, bus in list(self.runs(dev, sg)):
                length = sum(size for _, size in pieces)
                address = bus_address(dev, pieces[0][0]) if bus else self.enter(dev, pieces, dir, dev.dma_mask)
                done.append((address, length, bus))
        except DmaError as error:
            self.undo(done)
            return -error.errno
        for i, entry in enumerate(sg):
            entry.dma_address, entry.dma_length, entry.bus_address = done[i] if i < len(done) else (0, 0, False)
        return len(done)

    def undo(self, segments: Iterable[Segment]) -> None:
        for address, length, bus in segments:
            if not bus:
                self.leave(address, length)

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        self.undo((entry.dma_address, entry.dma_length, entry.bus_address) for entry in sg if entry.dma_length)
        for entry in sg:
            entry.dma_length, entry.bus_address = 0, False

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        order = ((size - 1) // PAGE).bit_length()
        try:
            phys = dev.machine.alloc_ram(order)
        except MemoryError:
            raise DmaError(errno.ENOMEM) from None
        try:
            pieces = [(phys, PAGE << order)]
            return phys, self.enter(dev, pieces, DMA_BIDIRECTIONAL, dev.coherent_dma_mask, 1 << order)
        except DmaError:
            dev.machine.free_ram(phys)
            raise

    def free(self, dev: Device, size: int, cpu_addr: int, addr: int, attrs: int) -> None:
        self.leave(addr, PAGE << ((size - 1) // PAGE).bit_length())
        dev.machine.free_ram(cpu_addr)

    def dma_supported(self, dev: Device, mask: int) -> bool:
        return mask >= WINDOW + PAGES * PAGE - 1

    def get_merge_boundary(self, dev: Device) -> int:
        return PAGE - 1

    # -- the device's side, and what the suite may count

    def translate(self, dev: Device, addr: int, write: bool) -> tuple[int, int]:
        return self.chip.translate(addr, write)

    def resources(self) -> dict[str, int]:
        return {"pages of the window": sum(self.taken)}

    def table(self) -> dict[Any, Any]:
        raw = self.machine.mem.peek(self.pages, PAGES * ENTRY)
        entries = (int.from_bytes(raw[i:i + ENTRY], self.order) for i in range(0, len(raw), ENTRY))
        return {i: entry for i, entry in enumerate(entries) if entry}
