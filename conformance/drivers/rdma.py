# SPDX-License-Identifier: MIT
"""An RDMA adapter's memory regions: a virtual range over a list of pages of one size, as ib_map_mr_sg() builds it.

The page size is the largest that the list allows (ib_umem_find_best_pgsz()), so it follows from what was merged: a
list of scattered pages has 4 KiB, one contiguous range may have 2 MiB. A hole ends a region and begins the next one.
The page table's entries are big-endian with two permission bits, as mlx5's MTT.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

from dma_ops import Device

from ..paths import Extent
from .base import Driver, HardwareError, without_gaps

MIN_PAGE, MAX_PAGE = 4096, 2 << 20
CONTEXT = struct.Struct(">QQQII")       # start of the virtual range, its bytes, the table's bus address, shift, pages
MTT_READ, MTT_WRITE = 1, 2
TABLE = 64                              # where the page table begins, behind the context
MOST = (4 * 4096 - TABLE) // 8


class Adapter:
    """The hardware: it is given a region's context and a virtual range."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def access(self, context: int, start: int, n: int, raw: bytes | None) -> bytes:
        base, size, table, shift, pages = CONTEXT.unpack(self.device.dma_read(context, CONTEXT.size))
        if not base <= start <= start + n <= base + size:
            raise HardwareError(f"{start:#x}+{n} is outside the region")
        mtt = struct.unpack(f">{pages}Q", self.device.dma_read(table, 8 * pages))
        need = MTT_READ if raw is None else MTT_WRITE
        out, done, offset = b"", 0, start - (base & ~((1 << shift) - 1))
        while done < n:
            page, inside = divmod(offset + done, 1 << shift)
            step = min(n - done, (1 << shift) - inside)
            if not mtt[page] & need:
                raise HardwareError(f"page {page} does not permit this access")
            address = (mtt[page] & ~(MTT_READ | MTT_WRITE)) + inside
            if raw is None:
                out += self.device.dma_read(address, step)
            else:
                self.device.dma_write(address, raw[done : done + step])
            done += step
        return out


def best_page_size(extents: Sequence[Extent]) -> int:
    """The largest page size at whose multiples all inner edges lie."""
    edges = 0
    for (address, length), (after, _) in pairwise(extents):
        edges |= (address + length) | after
    first, last = extents[0], extents[-1]
    if len(extents) == 1:               # one range: its pages need no edge, but begin on one
        size = MIN_PAGE
        while size < MAX_PAGE and (first[0] % size) + first[1] > size:
            size *= 2
        return size
    lowest = edges & -edges if edges else MAX_PAGE
    size = min(lowest, MAX_PAGE)
    if size < MIN_PAGE:
        raise HardwareError(f"the list has a hole before {last[0]:#x}")
    return size


class MemoryRegions(Driver):
    name = "rdma-mr"
    memory = 4 * 4096

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.adapter = Adapter(device)
        self.page_sizes: list[int] = []         # of the regions that were registered, for those who count

    def parts(self, extents: Sequence[Extent]) -> Iterator[Sequence[Extent]]:
        yield from without_gaps(extents, MIN_PAGE)

    def run(self, extents: Sequence[Extent], raw: bytes | None) -> bytes:
        size = best_page_size(extents)
        self.page_sizes.append(size)
        pages: list[int] = []
        for address, length in extents:
            pages += range(address - address % size, address + length, size)
        if len(pages) > MOST:
            raise HardwareError(f"{len(pages)} pages are more than a region has")
        rights = MTT_READ if raw is None else MTT_WRITE
        base = 0x7F0000000000 + extents[0][0] % size            # the offset is that of the first byte
        n = sum(length for _, length in extents)
        self.descriptors.write(TABLE, struct.pack(f">{len(pages)}Q", *(page | rights for page in pages)))
        context, shift = self.descriptors.bus, size.bit_length() - 1
        self.descriptors.write(0, CONTEXT.pack(base, n, context + TABLE, shift, len(pages)))
        out = b""
        for at, end in ((0, n // 2), (n // 2, n)):              # two requests over one region
            out += self.adapter.access(context, base + at, end - at, None if raw is None else raw[at:end])
        return out
