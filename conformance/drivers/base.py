# SPDX-License-Identifier: MIT
"""What the drivers share: coherent memory for descriptors, and the outline of a transfer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import dma_ops
from dma_ops import Device

from ..paths import Extent


class HardwareError(Exception):
    """The hardware cannot make sense of what it was given."""


class DescriptorMemory:
    """Coherent memory of size bytes: the CPU writes at offsets, the hardware is told bus addresses."""

    def __init__(self, device: Device, size: int) -> None:
        self.device = device
        self.size = size
        self.cpu, self.bus = dma_ops.dma_alloc_coherent(device, size)

    def write(self, offset: int, raw: bytes) -> None:
        if not 0 <= offset <= self.size - len(raw):
            raise ValueError(f"{len(raw)} bytes at {offset} are not within {self.size}")
        self.device.machine.cpu_write(self.cpu + offset, raw)

    def read(self, offset: int, n: int) -> bytes:
        return self.device.machine.cpu_read(self.cpu + offset, n)

    def free(self) -> None:
        dma_ops.dma_free_coherent(self.device, self.size, self.cpu, self.bus)


class Driver:
    """A driver with its hardware. align: extents begin and end on multiples of it; total: so does their sum."""

    name: ClassVar[str]
    align: ClassVar[int] = 1
    total: ClassVar[int] = 1
    memory: ClassVar[int] = 4096            # bytes of coherent memory

    def __init__(self, device: Device) -> None:
        """Raises DmaError where there is no coherent memory."""
        self.device = device
        self.descriptors = DescriptorMemory(device, self.memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.descriptors.free()

    def fetch(self, extents: Sequence[Extent]) -> bytes:
        """Let the hardware read all of the extents. Raises DmaFault, HardwareError."""
        return b"".join(self.run(part, None) for part in self.parts(extents))

    def store(self, extents: Sequence[Extent], raw: bytes) -> None:
        """Let the hardware write raw over the extents."""
        at = 0
        for part in self.parts(extents):
            n = sum(length for _, length in part)
            self.run(part, raw[at : at + n])
            at += n

    def parts(self, extents: Sequence[Extent]) -> Iterator[Sequence[Extent]]:
        """The extents of one command each."""
        yield extents

    def run(self, extents: Sequence[Extent], raw: bytes | None) -> bytes:
        """One command: write raw, or read; the bytes that the hardware read."""
        raise NotImplementedError


def without_gaps(extents: Sequence[Extent], page: int) -> Iterator[list[Extent]]:
    """Cut where a page list has a hole: behind an end, or before a start, that is not on a page's edge."""
    part: list[Extent] = []
    for address, length in extents:
        if part and ((part[-1][0] + part[-1][1]) % page or address % page):
            yield part
            part = []
        part.append((address, length))
    if part:
        yield part


def pages_of(extents: Sequence[Extent], page: int) -> list[int]:
    """The addresses of a gapless part, page by page; the first keeps its offset."""
    pages = []
    for address, length in extents:
        pages.append(address)
        pages += range(address - address % page + page, address + length, page)
    return pages
