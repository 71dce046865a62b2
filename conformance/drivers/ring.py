# SPDX-License-Identifier: MIT
"""A plain ring of descriptors: an address, a length of 16 bits, and a bit that says who owns it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from dma_ops import Device

from ..paths import Extent
from .base import Driver, HardwareError

DESCRIPTOR = struct.Struct("<QHHI")     # address, length, flags, bytes done (written back by the hardware)
OWN, WRITE, END = 1, 2, 4               # of the hardware; it is to write memory; the last of a transfer
MOST = 16 << 10                         # bytes of a descriptor


class Engine:
    """The hardware: it goes on where it stopped, as long as descriptors are its own."""

    def __init__(self, device: Device, ring: int, slots: int) -> None:
        self.device = device
        self.ring = ring
        self.slots = slots
        self.head = 0

    def run(self, raw: bytes | None) -> bytes:
        out, at = b"", 0
        for _ in range(self.slots):
            where = self.ring + self.head * DESCRIPTOR.size
            address, length, flags, _done = DESCRIPTOR.unpack(self.device.dma_read(where, DESCRIPTOR.size))
            if not flags & OWN:
                break
            if bool(flags & WRITE) != (raw is not None):
                raise HardwareError(f"descriptor {self.head} moves data the other way")
            if raw is None:
                out += self.device.dma_read(address, length)
            else:
                self.device.dma_write(address, raw[at : at + length])
            at += length
            self.device.dma_write(where, DESCRIPTOR.pack(address, length, flags & ~OWN, length))
            self.head = (self.head + 1) % self.slots
            if flags & END:
                break
        return out


class Ring(Driver):
    name = "ring"

    def __init__(self, device: Device, slots: int = 16) -> None:
        super().__init__(device)
        self.slots = slots
        self.tail = 0
        self.engine = Engine(device, self.descriptors.bus, slots)

    def run(self, extents: Sequence[Extent], raw: bytes | None) -> bytes:
        pieces = [
            (at, min(MOST, address + length - at))
            for address, length in extents
            for at in range(address, address + length, MOST)
        ]
        out, done = b"", 0
        for first in range(0, len(pieces), self.slots - 1):     # a full ring looks like an empty one
            part = pieces[first : first + self.slots - 1]
            n = sum(length for _, length in part)
            out += self._batch(part, None if raw is None else raw[done : done + n])
            done += n
        return out

    def _batch(self, pieces: Sequence[Extent], raw: bytes | None) -> bytes:
        first = self.tail
        for i, (address, length) in enumerate(pieces):
            flags = OWN | (0 if raw is None else WRITE) | (END if i == len(pieces) - 1 else 0)
            self.descriptors.write(self.tail * DESCRIPTOR.size, DESCRIPTOR.pack(address, length, flags, 0))
            self.tail = (self.tail + 1) % self.slots
        out = self.engine.run(raw)
        for i, (_, length) in enumerate(pieces):
            slot = (first + i) % self.slots
            _, _, flags, n = DESCRIPTOR.unpack(self.descriptors.read(slot * DESCRIPTOR.size, DESCRIPTOR.size))
            if flags & OWN or n != length:
                raise HardwareError(f"descriptor {slot} was not completed")
        return out
