# SPDX-License-Identifier: MIT
"""Real backends without a fault of Linux's own, so that a rule that no backend keeps can be seen to work.

A target is "py:conformance.saboteurs.mended:NAME/machine". Callers of the newer API are mended in the core.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from arch.record import BackendRecord, MachineConfig
from dma_ops import (
    Device,
    DmaError,
    DmaIovaState,
    dma_iova_destroy,
    dma_iova_link,
    dma_iova_sync,
    dma_iova_try_alloc,
    dma_map_phys,
    dma_unmap_phys,
)
from dma_ops.blk_dma import BlkDmaIter, Request
from dma_ops.dma_buf import DmaBufTable
from dma_ops.p2pdma_state import P2pdmaProvider, P2pMapType, pci_p2pdma_bus_addr_map, pci_p2pdma_map_type
from dma_ops.pyops import SgView
from scatterlist.core import SgTable

from ..selection import backend
from .base import Broken, Saboteur


class QuietOnPeers(Broken):
    """No cache maintenance on P2P memory: what P2P-45 asks for, and neither dma-direct nor iommu-dma does."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        n = len(dev.machine.events or ())
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        self.forget(dev, n)
        return count

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        n = len(dev.machine.events or ())
        self.inner_unmap_sg(dev, sg, dir, attrs)
        self.forget(dev, n)

    def sync_sg_for_cpu(self, dev: Device, sg: SgView, dir: int) -> None:
        n = len(dev.machine.events or ())
        self.inner_sync_sg_for_cpu(dev, sg, dir)
        self.forget(dev, n)

    def sync_sg_for_device(self, dev: Device, sg: SgView, dir: int) -> None:
        n = len(dev.machine.events or ())
        self.inner_sync_sg_for_device(dev, sg, dir)
        self.forget(dev, n)

    def forget(self, dev: Device, n: int) -> None:
        """Strike out what concerns P2P memory from the n-th event on."""
        events = dev.machine.events
        if events is not None:
            events[n:] = [event for event in events[n:] if not dev.machine.is_p2p_page(event[1])]


class MasksBusAddresses(Broken):
    """A list with a bus address beyond the device's mask is refused: what P2P-46 asks for, and Linux does not do."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        for entry in [sg[i] for i in range(max(count, 0))]:
            if entry.bus_address and entry.dma_address + entry.dma_length - 1 > dev.dma_mask:
                self.inner_unmap_sg(dev, sg, dir, attrs)
                return -errno.EREMOTEIO
        return count


def mended(name: str, ops: type[Broken]) -> BackendRecord:
    real = backend(name)
    saboteur = Saboteur("", "", (), (), ops)
    machines = tuple(
        MachineConfig(config.name, config.facts, partial(saboteur.build, config.build), config.sibling,
                      partial(saboteur.build, config.newer or config.build))
        for config in real.machines
    )
    return replace(real, machines=machines, known=())


IOMMU_DMA = mended("iommu_dma_ops", QuietOnPeers)
IOMMU_MASKED = mended("iommu_dma_ops", MasksBusAddresses)


# -- callers of the newer API ----------------------------------------------------------------------------------

def _start(real: Callable[..., bool], req: Request, dev: Device, state: DmaIovaState, it: BlkDmaIter) -> bool:
    """blk_rq_dma_map_iter_start, which leaves no range in the state where it fails."""
    started = real(req, dev, state, it)
    if not started:
        state.clear()
    return started


def _export(real: Callable[..., DmaBufTable], dev: Device, provider: P2pdmaProvider,
            ranges: Iterable[tuple[int, int]], size: int, dir: int) -> DmaBufTable:
    """dma_buf_phys_vec_to_sgt, with each range at its place, whole, and given back where it fails."""
    ranges = list(ranges)
    if sum(length for _, length in ranges) != size:
        raise DmaError(errno.EINVAL, "the size is not that of the ranges")
    made = DmaBufTable()
    made.size = size
    kind = pci_p2pdma_map_type(provider, dev)
    if kind == P2pMapType.BUS_ADDR:
        rows = [(pci_p2pdma_bus_addr_map(provider, start), length) for start, length in ranges]
    elif kind != P2pMapType.THRU_HOST_BRIDGE:
        raise DmaError(errno.EINVAL, f"{dev.name} cannot reach the provider")
    else:
        made.attrs, made.state = provider.dma_mapping_flags, DmaIovaState()
        ranged = dma_iova_try_alloc(dev, made.state, 0, size)
        rows = (_linked if ranged else _mapped)(dev, made, ranges, dir)
    most = 0xFFFFFFFF & -dev.machine.page_size
    pieces = [(start + at, min(most, length - at)) for start, length in rows for at in range(0, length, most)]
    made.sgt = SgTable([(0, 0, 0)] * len(pieces), page_shift=dev.machine.page_shift)
    for i, (start, length) in enumerate(pieces):
        made.sgt.set_dma(i, start, length)
    made.sgt.orig_nents = 0
    return made


def _linked(dev: Device, made: DmaBufTable, ranges: Iterable[tuple[int, int]], dir: int) -> list[tuple[int, int]]:
    linked, state = 0, made.state
    assert state is not None
    try:
        for start, length in ranges:
            dma_iova_link(dev, state, start, linked, length, dir, made.attrs)
            linked += length
        dma_iova_sync(dev, state, 0, linked)
    except DmaError:
        dma_iova_destroy(dev, state, linked, dir, made.attrs)
        raise
    return [(state.addr, linked)]


def _mapped(dev: Device, made: DmaBufTable, ranges: Iterable[tuple[int, int]], dir: int) -> list[tuple[int, int]]:
    rows: list[tuple[int, int]] = []
    try:
        for start, length in ranges:
            rows.append((dma_map_phys(dev, start, length, dir, made.attrs), length))
    except DmaError:
        for addr, length in rows:
            dma_unmap_phys(dev, addr, length, dir, made.attrs)
        raise
    return rows


START = (("dma_ops.blk_dma.blk_rq_dma_map_iter_start", _start),)
EXPORTER = (("dma_ops.dma_buf.dma_buf_phys_vec_to_sgt", _export),)
