# SPDX-License-Identifier: MIT
"""NVMe: PRP lists and SGLs (NVM Express Base Specification 2.0, 4.1), by the Vendor Specific command of figure 88.

PRP: pages of the controller's 4 KiB, whatever the kernel's are. Only the first entry has an offset; a second page goes
into the command, more into a list, whose last slot leads to the next list page if entries are left. Entries are
aligned to dwords. What has a hole becomes several commands, as the block layer's virt_boundary makes several requests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from dma_ops import Device

from ..paths import Extent
from .base import Driver, HardwareError, pages_of, without_gaps

PAGE = 4096
SLOTS = PAGE // 8
LISTS = 8                               # list pages behind the queue's page
TO_DEVICE, FROM_DEVICE = 0xC1, 0xC2     # vendor specific; the low two bits are the direction of the data
COMMAND = struct.Struct("<BBHI16x16sI20x")       # opcode, flags, command id, namespace, data pointer, dwords
SGL = struct.Struct("<QI3xB")           # address, length, type in the high nibble
DATA_BLOCK, SEGMENT, LAST_SEGMENT = 0x00, 0x20, 0x30


class Controller:
    """The hardware: it knows the bus address of a command."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def execute(self, command: int, raw: bytes | None) -> bytes:
        opcode, flags, _, _, pointer, dwords = COMMAND.unpack(self.device.dma_read(command, COMMAND.size))
        if (opcode & 3) != (1 if raw is None else 2):
            raise HardwareError(f"opcode {opcode:#x} moves data the other way")
        size = 4 * dwords
        blocks = list(self._prps(pointer, size) if flags >> 6 == 0 else self._sgl(pointer))
        if sum(length for _, length in blocks) != size:
            raise HardwareError(f"the data pointer describes other than {size} bytes")
        out, at = b"", 0
        for address, length in blocks:
            if raw is None:
                out += self.device.dma_read(address, length)
            else:
                self.device.dma_write(address, raw[at : at + length])
            at += length
        return out

    def _prps(self, pointer: bytes, size: int) -> Iterator[Extent]:
        first, second = struct.unpack("<QQ", pointer)
        if first % 4:
            raise HardwareError(f"PRP1 {first:#x} is not on a dword")
        length = min(size, PAGE - first % PAGE)
        yield first, length
        size -= length
        if 0 < size <= PAGE:
            yield self._aligned(second), size
        elif size:
            yield from self._list(second, size)

    def _list(self, at: int, size: int) -> Iterator[Extent]:
        if at % 8:
            raise HardwareError(f"the PRP list {at:#x} is not on a qword")
        while size:
            slots = struct.unpack(f"<{(PAGE - at % PAGE) // 8}Q", self.device.dma_read(at, PAGE - at % PAGE))
            entries = slots if size <= len(slots) * PAGE else slots[:-1]
            for entry in entries:
                if not size:
                    return
                length = min(size, PAGE)
                yield self._aligned(entry), length
                size -= length
            if size:
                at = self._aligned(slots[-1])

    def _aligned(self, entry: int) -> int:
        if entry % PAGE:
            raise HardwareError(f"PRP entry {entry:#x} has an offset")
        return entry

    def _sgl(self, pointer: bytes) -> Iterator[Extent]:
        address, length, kind = SGL.unpack(pointer)
        while kind in (SEGMENT, LAST_SEGMENT):
            if length % SGL.size:
                raise HardwareError(f"an SGL segment of {length} bytes")
            last, raw = kind == LAST_SEGMENT, self.device.dma_read(address, length)
            rows = list(SGL.iter_unpack(raw))
            if not last:
                address, length, kind = rows.pop()
                if kind not in (SEGMENT, LAST_SEGMENT):
                    raise HardwareError("a segment that is not the last leads nowhere")
            for start, n, what in rows:
                if what != DATA_BLOCK:
                    raise HardwareError(f"SGL descriptor type {what:#x} amid data blocks")
                yield start, n
            if last:
                return
        if kind != DATA_BLOCK:
            raise HardwareError(f"SGL descriptor type {kind:#x}")
        yield address, length


class _Nvme(Driver):
    total = 4
    memory = (1 + LISTS) * PAGE

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.controller = Controller(device)
        if self.descriptors.bus % PAGE:
            raise HardwareError("coherent memory is not on a page")

    def submit(self, pointer: bytes, size: int, flags: int, raw: bytes | None) -> bytes:
        opcode = TO_DEVICE if raw is None else FROM_DEVICE
        self.descriptors.write(0, COMMAND.pack(opcode, flags, 1, 1, pointer, size // 4))
        return self.controller.execute(self.descriptors.bus, raw)


class NvmePrp(_Nvme):
    """room: slots of the first list page. It ends its page, as a small list of the driver's pool may."""

    name = "nvme-prp"
    align = 4

    def __init__(self, device: Device, room: int = 3) -> None:
        super().__init__(device)
        self.room = room

    def parts(self, extents: Sequence[Extent]) -> Iterator[Sequence[Extent]]:
        most = (self.room + (LISTS - 1) * SLOTS - LISTS) * PAGE
        for part in without_gaps(extents, PAGE):
            if sum(length for _, length in part) > most:
                raise HardwareError(f"a command moves no more than {most} bytes")
            yield part

    def run(self, extents: Sequence[Extent], raw: bytes | None) -> bytes:
        pages = pages_of(extents, PAGE)
        second = 0 if len(pages) == 1 else pages[1] if len(pages) == 2 else self._lists(pages[1:])
        size = sum(length for _, length in extents)
        return self.submit(struct.pack("<QQ", pages[0], second), size, 0, raw)

    def _lists(self, entries: list[int]) -> int:
        """Lay the entries out; the bus address of the first list."""
        at = PAGE + PAGE - 8 * self.room
        first = self.descriptors.bus + at
        while entries:
            slots = (PAGE - at % PAGE) // 8
            if len(entries) <= slots:
                here, entries, link = entries, [], []
            else:
                here, entries = entries[: slots - 1], entries[slots - 1 :]
                link = [self.descriptors.bus + at - at % PAGE + PAGE]
            self.descriptors.write(at, struct.pack(f"<{len(here + link)}Q", *here, *link))
            at += PAGE - at % PAGE
        return first


class NvmeSgl(_Nvme):
    """One block goes into the command; more become segments of up to `segment` descriptors, chained."""

    name = "nvme-sgl"

    def __init__(self, device: Device, segment: int = 4) -> None:
        super().__init__(device)
        self.segment = segment

    def parts(self, extents: Sequence[Extent]) -> Iterator[Sequence[Extent]]:
        if len(extents) > LISTS * PAGE // SGL.size // 2:
            raise HardwareError(f"{len(extents)} extents are more than the segments hold")
        yield extents

    def run(self, extents: Sequence[Extent], raw: bytes | None) -> bytes:
        blocks = [SGL.pack(address, length, DATA_BLOCK) for address, length in extents]
        size = sum(length for _, length in extents)
        pointer = blocks[0] if len(blocks) == 1 else self._segments(blocks)
        return self.submit(pointer, size, 0x40, raw)

    def _segments(self, blocks: list[bytes]) -> bytes:
        """Lay the blocks out; the descriptor of the first segment."""
        pieces: list[list[bytes]] = []
        while len(blocks) > self.segment:
            pieces.append(blocks[: self.segment - 1])
            blocks = blocks[self.segment - 1 :]
        pieces.append(blocks)
        leads, at = [], PAGE
        for piece in pieces:
            last = piece is pieces[-1]
            n = (len(piece) + (not last)) * SGL.size
            leads.append(SGL.pack(self.descriptors.bus + at, n, LAST_SEGMENT if last else SEGMENT))
            at += n
        at = PAGE
        for piece, lead in zip(pieces, [*leads[1:], b""], strict=True):
            raw = b"".join(piece) + lead
            self.descriptors.write(at, raw)
            at += len(raw)
        return leads[0]
