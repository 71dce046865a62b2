# SPDX-License-Identifier: MIT
"""A driver that makes no mistake, in Python: what goes wrong with it as well is no fault of the driver under test."""

from __future__ import annotations

import errno
from collections.abc import Callable

import dma_ops
from dma_ops import Device, DmaError, DmaIovaState
from dma_ops.blk_dma import (
    BlkDmaIter,
    BlkStatus,
    Request,
    blk_rq_dma_map_coalesce,
    blk_rq_dma_map_iter_next,
    blk_rq_dma_map_iter_start,
    blk_rq_dma_unmap,
)
from dma_ops.phys_api import dma_unmap_phys
from scatterlist.bvec import BioVecs
from scatterlist.core import SgTable

from .table import Row

Extent = tuple[int, int]


class Mapped:
    """A request that is mapped, with a page of descriptors beside it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.extents: list[Extent] = []
        self.pages: list[tuple[int, int]] = []
        self.add_page()
        self.undo: Callable[[], object] = bool
        self.sync: Callable[[bool], bool] = bool

    def add_page(self) -> None:
        """A page of descriptors."""
        self.pages.append(dma_ops.dma_alloc_coherent(self.device, 4096))

    def free(self) -> None:
        while self.pages:
            dma_ops.dma_free_coherent(self.device, 4096, *self.pages.pop())


class Control:
    """The members of struct dma_conformance_driver, for a Rig."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.mapped: dict[int, Mapped] = {}

    def probe(self) -> int:
        for bits in (64, 32):
            try:
                dma_ops.dma_set_mask_and_coherent(self.device, (1 << bits) - 1)
            except DmaError as error:
                failed = error
                continue
            if self.device.has_dma_parms:
                dma_ops.dma_set_max_seg_size(self.device, 0xFFFFFFFF)
            return 0
        return -(failed.errno or errno.EIO)

    def remove(self) -> int:
        return 0

    def map(self, command: int, rows: list[Row], direction: int, api: str) -> int:
        try:
            mapped = Mapped(self.device)
        except DmaError as error:
            return -(error.errno or errno.ENOMEM)
        try:
            (self._list if api == "legacy" else self._request)(mapped, rows, direction)
        except DmaError as error:
            mapped.free()
            return -(error.errno or errno.EIO)
        try:
            mapped.add_page()
        except DmaError as error:
            mapped.undo()
            mapped.free()
            return -(error.errno or errno.ENOMEM)
        self.mapped[command] = mapped
        return 0

    def _list(self, mapped: Mapped, rows: list[Row], direction: int) -> None:
        dev, sgt = self.device, SgTable(rows, page_shift=self.device.machine.page_shift)
        dma_ops.dma_map_sgtable(dev, sgt, direction, 0)
        short = not dev.machine.need_sg_dma_length
        mapped.extents = [(row[3], row[2] if short else row[4]) for row in sgt.entries()[: sgt.nents]]

        def sync(for_cpu: bool) -> bool:
            (dma_ops.dma_sync_sgtable_for_cpu if for_cpu else dma_ops.dma_sync_sgtable_for_device)(dev, sgt, direction)
            return True

        mapped.sync = sync
        mapped.undo = lambda: dma_ops.dma_unmap_sgtable(dev, sgt, direction, 0)

    def _request(self, mapped: Mapped, rows: list[Row], direction: int) -> None:
        dev, half = self.device, (len(rows) + 1) // 2
        parts = [part for part in (rows[:half], rows[half:]) if part]
        pieces = [[(page, length, offset) for page, offset, length in part] for part in parts]
        shift = dev.machine.page_shift
        req = Request([BioVecs(piece, page_shift=shift) for piece in pieces], direction)
        state, it = DmaIovaState(), BlkDmaIter()
        more = blk_rq_dma_map_iter_start(req, dev, state, it)
        if not more:
            raise DmaError(errno.ENOMEM if it.status == BlkStatus.RESOURCE else errno.EIO)
        while more:
            mapped.extents.append((it.addr, it.len))
            more = not blk_rq_dma_map_coalesce(state) and blk_rq_dma_map_iter_next(req, dev, it)

        def undo() -> None:
            if not blk_rq_dma_unmap(req, dev, state, sum(n for _, n in mapped.extents), it.map):
                for address, length in mapped.extents:
                    dma_unmap_phys(dev, address, length, direction, 0)

        def sync(for_cpu: bool) -> bool:
            if blk_rq_dma_map_coalesce(state):
                return False
            for address, length in mapped.extents:
                call = dma_ops.dma_sync_single_for_cpu if for_cpu else dma_ops.dma_sync_single_for_device
                call(dev, address, length, direction)
            return True

        mapped.undo, mapped.sync = undo, sync
        if it.status != BlkStatus.OK:
            undo()
            raise DmaError(errno.ENOMEM)

    def unmap(self, command: int) -> int:
        mapped = self.mapped.pop(command)
        mapped.undo()
        mapped.free()
        return 0

    def sync(self, command: int, for_cpu: int) -> int:
        return 0 if self.mapped[command].sync(bool(for_cpu)) else -errno.EOPNOTSUPP
