# SPDX-License-Identifier: MIT
"""A backend that keeps every rule, and copies of it that break one each. Loaded as py:ideal_backend:NAME."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import time
from dataclasses import replace

from arch import BackendRecord, Known, MachineConfig
from dma_ops import (
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    Machine,
    PyDmaMapOps,
    dma_get_max_seg_size,
    dma_get_seg_boundary,
)
from dma_ops.p2pdma import p2pdma_map_type

BASE = 0x10000000
PAGE = 4096


class Ideal(PyDmaMapOps):
    """A window of 8 MiB behind a table with permissions; merges page-aligned neighbours, never across a boundary."""

    p2pdma = True

    def __init__(self, pages=2048):
        self.taken = bytearray(pages)
        self.ptes = {}                          # page of the window -> (physical page, readable, writable)

    # -- the window

    def _take(self, dev, pages, align=1):
        per = (min(dma_get_seg_boundary(dev), (1 << 40) - 1) + 1) // PAGE
        limit = (min(dev.dma_mask, dev.bus_dma_limit or dev.dma_mask) + 1) // PAGE - BASE // PAGE
        start = 0
        while start + pages <= min(len(self.taken), limit):
            at = BASE // PAGE + start
            if at % align:
                start += 1
            elif pages <= per and at % per + pages > per:
                start += per - at % per
            elif any(self.taken[start:start + pages]):
                start += 1
            else:
                self.taken[start:start + pages] = b"\1" * pages
                return start
        raise DmaError(errno.ENOMEM)

    def _map(self, dev, pieces, dir, align=1):
        """One address for pieces that follow one another in whole pages."""
        offset = pieces[0][0] % PAGE
        pages = [phys // PAGE + i for phys, length in pieces for i in range((phys % PAGE + length + PAGE - 1) // PAGE)]
        start = self._take(dev, len(pages), align)
        for i, page in enumerate(pages):
            self.ptes[start + i] = (page, dir != DMA_FROM_DEVICE, dir != DMA_TO_DEVICE)
        return BASE + start * PAGE + offset

    def _unmap(self, addr, size):
        start = (addr - BASE) // PAGE
        pages = (addr % PAGE + size + PAGE - 1) // PAGE
        for i in range(start, start + pages):
            del self.ptes[i]
        self.taken[start:start + pages] = bytes(pages)

    # -- dma_map_ops

    def map_page(self, dev, page, offset, size, dir, attrs):
        if dev.machine.is_p2p_page(page):
            raise DmaError(errno.EREMOTEIO)     # it has to come through map_sg, which looks at the route
        return self._map(dev, [(page + offset, size)], dir)

    def unmap_page(self, dev, addr, size, dir, attrs):
        self._unmap(addr, size)

    def _chunks(self, dev, sg):
        """[("ram", pieces)] or [("bus", address, length)] in order."""
        chunks = []
        for entry in sg:
            if not entry.length:
                raise DmaError(errno.EINVAL)
            kind = p2pdma_map_type(dev, entry.page) if dev.machine.is_p2p_page(entry.page) else "THRU_HOST_BRIDGE"
            if kind == "BUS_ADDR":
                if bus_address(dev, entry.phys) + entry.length - 1 > dev.dma_mask:
                    raise DmaError(errno.EREMOTEIO)
                chunks.append(("bus", bus_address(dev, entry.phys), entry.length))
            elif kind != "THRU_HOST_BRIDGE":
                raise DmaError(errno.EREMOTEIO)
            elif chunks and chunks[-1][0] == "ram" and self._joins(dev, chunks[-1][1], entry):
                chunks[-1][1].append((entry.phys, entry.length))
            else:
                chunks.append(("ram", [(entry.phys, entry.length)]))
        return chunks

    def _joins(self, dev, pieces, entry):
        total = sum(length for _, length in pieces) + entry.length
        inside = pieces[0][0] % PAGE + total - 1 <= dma_get_seg_boundary(dev)
        return not (sum(pieces[-1]) | entry.phys) % PAGE and total <= dma_get_max_seg_size(dev) and inside

    def map_sg(self, dev, sg, dir, attrs):
        outputs = []
        try:
            for chunk in self._chunks(dev, sg):
                if chunk[0] == "bus":
                    outputs.append((chunk[1], chunk[2], True))
                else:
                    length = sum(length for _, length in chunk[1])
                    outputs.append((self._map(dev, chunk[1], dir), length, False))
        except DmaError as error:
            self._undo(outputs)
            return -error.errno
        for entry in sg:
            entry.dma_address, entry.dma_length, entry.bus_address = 0, 0, False
        for slot, (address, length, bus) in enumerate(outputs):
            sg[slot].dma_address, sg[slot].dma_length, sg[slot].bus_address = address, length, bus
        return len(outputs)

    def _undo(self, outputs):
        for address, length, bus in outputs:
            if not bus:
                self._unmap(address, length)

    def unmap_sg(self, dev, sg, dir, attrs):
        for entry in sg:
            if not entry.bus_address and entry.dma_length:
                self._unmap(entry.dma_address, entry.dma_length)
            entry.dma_length, entry.bus_address = 0, False

    def alloc(self, dev, size, attrs):
        pages = 1 << ((size - 1) // PAGE).bit_length()
        try:
            phys = dev.machine.alloc_ram(pages.bit_length() - 1)
        except MemoryError:
            raise DmaError(errno.ENOMEM) from None
        try:
            return phys, self._map(dev, [(phys, pages * PAGE)], 0, pages)
        except DmaError:
            dev.machine.free_ram(phys)
            raise

    def free(self, dev, size, cpu_addr, addr, attrs):
        self._unmap(addr, PAGE << ((size - 1) // PAGE).bit_length())
        dev.machine.free_ram(cpu_addr)

    def dma_supported(self, dev, mask):
        return mask >= BASE + len(self.taken) * PAGE

    def get_merge_boundary(self, dev):
        return PAGE - 1

    # -- the hardware, and what the suite may count

    def translate(self, dev, addr, write):
        page = self.ptes.get((addr - BASE) // PAGE)
        if page is None:
            raise DmaFault(addr, "not-present", write)
        if not page[2 if write else 1]:
            raise DmaFault(addr, "permission", write)
        return page[0] * PAGE + addr % PAGE, PAGE - addr % PAGE

    def resources(self):
        return {"pages": sum(self.taken)}

    def table(self):
        return {i: phys for i, (phys, _, _) in self.ptes.items()}


def bus_address(dev, phys):
    for provider in dev.machine.providers:
        for bar in provider.bars.values():
            if bar.start <= phys < bar.start + bar.size:
                return bar.bus + phys - bar.start
    raise AssertionError(f"{phys:#x} is in no BAR")


class MergesAcrossTheBoundary(Ideal):
    """Joins whatever fits max_seg, and places it wherever there is room."""

    def _take(self, dev, pages, align=1):
        start = 0
        while any(self.taken[start:start + pages]) or (BASE // PAGE + start) % align:
            start += 1
        if start + pages > len(self.taken):
            raise DmaError(errno.ENOMEM)
        self.taken[start:start + pages] = b"\1" * pages
        return start


class ForgetsToUnwind(Ideal):
    def _undo(self, outputs):
        pass


class MarksTheWrongSlot(Ideal):
    """The mark stays on the input entry, as if nothing had been merged before it."""

    def map_sg(self, dev, sg, dir, attrs):
        count = super().map_sg(dev, sg, dir, attrs)
        if count > 0 and any(entry.bus_address for entry in sg):
            for entry in sg:
                entry.bus_address = bool(
                    dev.machine.is_p2p_page(entry.page) and p2pdma_map_type(dev, entry.page) == "BUS_ADDR"
                )
        return count


class KeepsTheEntry(Ideal):
    """Gives the range back and leaves the table as it is."""

    def _unmap(self, addr, size):
        ptes = dict(self.ptes)
        super()._unmap(addr, size)
        self.ptes = ptes


class IgnoresTheDirection(Ideal):
    def _map(self, dev, pieces, dir, align=1):
        return super()._map(dev, pieces, 0, align)


class MergesTooFar(Ideal):
    """One page more than max_seg_size."""

    def _joins(self, dev, pieces, entry):
        total = sum(length for _, length in pieces) + entry.length
        return not (sum(pieces[-1]) | entry.phys) % PAGE and total <= dma_get_max_seg_size(dev) + PAGE


class WrongErrno(Ideal):
    def map_sg(self, dev, sg, dir, attrs):
        count = super().map_sg(dev, sg, dir, attrs)
        return -errno.EAGAIN if count < 0 else count


class LosesTheOffset(Ideal):
    def map_page(self, dev, page, offset, size, dir, attrs):
        return super().map_page(dev, page, offset, size, dir, attrs) & ~(PAGE - 1)


class UnmapsOnePageLess(Ideal):
    def unmap_page(self, dev, addr, size, dir, attrs):
        if addr % PAGE + size > PAGE:
            size = PAGE - addr % PAGE
        self._unmap(addr, size)


class Crashes(Ideal):
    """The interpreter dies on the first zero-length entry."""

    def _chunks(self, dev, sg):
        if any(not entry.length for entry in sg):
            os.abort()
        return super()._chunks(dev, sg)


class Hangs(Ideal):
    def _chunks(self, dev, sg):
        if any(not entry.length for entry in sg):
            time.sleep(600)
        return super()._chunks(dev, sg)


class Sabotage(Ideal):
    """Does something to the process on the first zero-length entry, which only DMA-41 maps."""

    def do(self):
        raise NotImplementedError

    def _chunks(self, dev, sg):
        if any(not entry.length for entry in sg):
            self.do()
        return super()._chunks(dev, sg)


class Segfaults(Sabotage):
    def do(self):
        ctypes.string_at(0)


class LoopsInC(Sabotage):
    """Neither a signal handler nor another thread of Python gets a turn."""

    def do(self):
        ctypes.PyDLL(None).sleep(600)


class Exits(Sabotage):
    """As if all were well."""

    def do(self):
        os._exit(0)


class EatsMemory(Sabotage):
    hoard = ()

    def do(self):
        EatsMemory.hoard = []
        while True:
            EatsMemory.hoard.append(bytes(256 << 20))


class Babbles(Sabotage):
    """Writes into every file it finds open."""

    def do(self):
        for fd in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(fd, b"{}\n")


def record(ops, **facts):
    def build():
        machine = Machine("ideal", arch="arm64", ram=((0x100000, 64 << 20),), pci_p2pdma=True, kernel=612)
        return Device("0000:00:01.0", machine, dma_ops=ops())

    return BackendRecord(
        id=ops.__name__.lower(), ops=ops, source=("tests",), machines=(MachineConfig("plain", "64 MiB", build),),
        p2pdma=True, walker="a dictionary", proof="read", **facts,
    )


IDEAL = record(Ideal)
MERGES = record(MergesAcrossTheBoundary)
UNWINDS_NOT = record(ForgetsToUnwind)
MARKS_WRONG = record(MarksTheWrongSlot)
KEEPS = record(KeepsTheEntry)
NO_DIRECTION = record(IgnoresTheDirection)
TOO_FAR = record(MergesTooFar)
ERRNO = record(WrongErrno)
NO_OFFSET = record(LosesTheOffset)
LESS = record(UnmapsOnePageLess)
CRASHES = record(Crashes)
HANGS = record(Hangs)
SEGFAULTS = record(Segfaults)
LOOPS = record(LoopsInC)
EXITS = record(Exits)
EATS = record(EatsMemory)
BABBLES = record(Babbles)
KNOWN = record(ForgetsToUnwind, known=(Known("DMA-13", "here", "forgets to unwind"),))
STALE = record(Ideal, known=(Known("DMA-13", "nowhere", "does not forget to unwind"),))
BUILDS_NOT = replace(IDEAL, machines=(MachineConfig("plain", "RAM that ends before it starts",
                                                    lambda: Device("x", Machine("x", ram=((4096, 0),)))),))
EMPTY = "not a record"
