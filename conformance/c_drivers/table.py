# SPDX-License-Identifier: MIT
"""The C structs of dma_conformance/driver.h and linux/blk-mq.h, as Python reads and makes them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_char_p, c_int, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

VERSION = 1                             # DMA_CONFORMANCE_DRIVER_VERSION
SYMBOL = "dma_conformance_driver"
OPERATIONS = ("extents", "probe", "remove", "map_sg", "map_rq", "unmap", "sync")
Row = tuple[int, int, int]


class DriverTable(Structure):
    """struct dma_conformance_driver."""

    _fields_ = (
        ("version", c_uint32), ("align", c_uint32), ("max_bytes", c_uint32), ("max_segments", c_uint32),
        ("name", c_char_p), ("hardware", c_char_p), *((name, c_void_p) for name in OPERATIONS),
    )


class Command(Structure):
    """struct dma_conformance_command."""

    _fields_ = (("descriptor", c_uint64), ("data", c_void_p))


class Extent(Structure):
    """struct dma_conformance_extent."""

    _fields_ = (("addr", c_uint64), ("len", c_uint64))


class BioVec(Structure):
    _fields_ = (("page", c_uint64), ("len", c_uint32), ("offset", c_uint32))


class BvecIter(Structure):
    _pack_ = 4
    _layout_ = "ms"
    _fields_ = (("sector", c_uint64), ("size", c_uint32), ("idx", c_uint32), ("done", c_uint32))


class Bio(Structure):
    _fields_ = (("next", c_void_p), ("io_vec", POINTER(BioVec)), ("iter", BvecIter))


class Queue(Structure):
    _fields_ = (("seg_boundary_mask", c_uint64), ("virt_boundary_mask", c_uint64), ("max_segment_size", c_uint32))


class BlockRequest(Structure):
    """struct request."""

    _fields_ = (
        ("q", POINTER(Queue)), ("bio", POINTER(Bio)), ("data_len", c_uint32), ("cmd_flags", c_uint32),
        ("nr_phys_segments", c_uint16), ("phys_gap_bit", c_uint8),
    )


def request(rows: Sequence[Row], *, write: bool) -> BlockRequest:
    """A request of two bios (one, if there is one entry) over rows of (page, offset, length). The object keeps what it
    points at."""
    gaps, end = 0, None
    for page, offset, length in rows:
        if end is not None and end != page + offset:
            gaps |= end | (page + offset)
        end = page + offset + length
    vecs = (BioVec * len(rows))(*(BioVec(page, length, offset) for page, offset, length in rows))
    half = (len(rows) + 1) // 2
    bios = [_bio(vecs, first, last, rows) for first, last in ((0, half), (half, len(rows))) if last > first]
    if len(bios) == 2:
        bios[0].next = ctypes.addressof(bios[1])
    queue = Queue((1 << 64) - 1, 0, 0xFFFFFFFF)
    made = BlockRequest(
        ctypes.pointer(queue), ctypes.pointer(bios[0]), sum(length for _, _, length in rows), int(write), len(rows),
        (gaps & -gaps).bit_length(),
    )
    made.kept = (vecs, bios, queue)
    return made


def _bio(vecs: ctypes.Array[BioVec], first: int, last: int, rows: Sequence[Row]) -> Bio:
    size = sum(length for _, _, length in rows[first:last])
    at = ctypes.cast(ctypes.addressof(vecs) + first * ctypes.sizeof(BioVec), POINTER(BioVec))
    return Bio(None, at, BvecIter(0, size, 0, 0))


def text(raw: bytes | None) -> str:
    return raw.decode(errors="replace") if raw else ""


assert ctypes.sizeof(c_int) == 4
