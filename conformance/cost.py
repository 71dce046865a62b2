# SPDX-License-Identifier: MIT
"""What a way of mapping costs: segments and IOTLB flushes of a fixed set of lists, mapped and unmapped once."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import dma_ops
from dma_ops import DMA_FROM_DEVICE, Device, DmaError, KernelBug
from dma_ops.iommu import IommuDomain

from .facts import Subject
from .paths import Path, Row

LIST_BYTES = 256 << 10
FLUSHES = ("rpcit", "strbuf_flush")     # events of backends without an IommuDomain that counts


@dataclass(frozen=True, slots=True)
class Cost:
    """flushes: of the IOTLB; None where the backend counts none."""

    bytes: int
    segments: int
    flushes: int | None

    def as_json(self) -> dict[str, int]:
        counted = {} if self.flushes is None else {"flushes": self.flushes}
        return {"bytes": self.bytes, "segments": self.segments, **counted}


def fixed_lists(device: Device, limit: int | None) -> list[list[Row]]:
    """Scattered pages; runs of one to four pages; buffers that begin and end within pages. No two entries are
    adjacent: callers join what is, whichever design they are written for."""
    machine = device.machine
    page = machine.page_size
    n = max(LIST_BYTES // page, 4)
    start = machine.alloc_ram((2 * n - 1).bit_length(), limit)
    scattered = [(start + i * page, 0, page) for i in range(2 * n - 2, -1, -2)]
    runs: list[Row] = []
    at = 0
    while at < 2 * n - 4:
        pages = len(runs) % 4 + 1
        runs.append((start + at * page, 0, pages * page))
        at += pages + 1
    within = [(start + i * page, 16, page - 64) for i in range(n)]
    return [scattered, runs, within]


def measure(subject: Subject, path: Path) -> Cost | None:
    """None where a list cannot be mapped."""
    if not subject.reach:
        return None
    device = subject.config.build()
    with suppress(DmaError):
        dma_ops.dma_set_max_seg_size(device, 1 << 20)
    machine = device.machine
    try:
        lists = fixed_lists(device, subject.reach[-1])
    except MemoryError:
        return None
    domain = getattr(device.dma_ops, "domain", None)
    domain = domain if isinstance(domain, IommuDomain) else None
    machine.events = []
    total = segments = 0
    before = getattr(domain, "syncs", 0)
    for rows in lists:
        try:
            mapping = path.map(device, rows, DMA_FROM_DEVICE)
        except (DmaError, KernelBug):
            return None
        segments += len(mapping.extents())
        total += sum(length for _, _, length in rows)
        mapping.undo()
    kinds = Counter(event[0] for event in machine.events)
    if domain is not None:
        flushes: int | None = domain.syncs - before
    else:
        flushes = sum(kinds[kind] for kind in FLUSHES) or None
    return Cost(total, segments, flushes)
