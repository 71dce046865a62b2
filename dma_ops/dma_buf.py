# SPDX-License-Identifier: MIT
"""Physical ranges to a table without pages (drivers/dma-buf/dma-buf-mapping.c, Linux 7.x): what VFIO exports.

The ranges are one provider's MMIO. Through the host bridge they get one IOVA range where there is iommu-dma, else one
mapping each; on the bus they are only added to the provider's offset. The importer gets DMA addresses and nothing else:
orig_nents is 0 and every page is NULL.

Linux's faults, kept:
- every range is linked at offset 0 of the IOVA, so only one range works (dma_buf_phys_vec_to_sgt);
- if the first link fails, the IOVA is never given back;
- a size that is not the ranges' sum is warned of and then used to unmap: entries stay behind for the next owner of the
  addresses;
- what was mapped is counted in 32 bits, and pieces of 2^32 - 1 bytes start unaligned (fill_sg_entry);
- if a range cannot be mapped, all entries are unmapped, those that never were, too.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence

from scatterlist.core import SgTable
from scatterlist.entry import for_each_sgtable_dma_sg

from .device import Device
from .dma_iova import DmaIovaState
from .errors import DmaError, KernelBug
from .p2pdma_state import P2pdmaProvider, P2pMapType, pci_p2pdma_bus_addr_map, pci_p2pdma_map_type
from .phys_api import (
    dma_iova_destroy,
    dma_iova_link,
    dma_iova_sync,
    dma_iova_try_alloc,
    dma_map_phys,
    dma_unmap_phys,
)

UINT_MAX = 0xFFFFFFFF
MAX_ENTRIES = 1 << 20


class DmaBufTable:
    """struct dma_buf_dma: what dma_buf_phys_vec_to_sgt() answers, and dma_buf_free_sgt() takes."""

    __slots__ = ("attrs", "sgt", "size", "state")

    def __init__(self) -> None:
        self.sgt: SgTable | None = None
        self.state: DmaIovaState | None = None      # None: the ranges' bus addresses
        self.size = 0
        self.attrs = 0

    @property
    def segments(self) -> list[tuple[int, int]]:
        """(bus address, length) of each entry."""
        return [(sg.dma_address, sg.dma_length) for sg in for_each_sgtable_dma_sg(self._table)]

    @property
    def _table(self) -> SgTable:
        if self.sgt is None:
            raise ValueError("the table is freed, or was never made")
        return self.sgt


def _pieces(addr: int, length: int) -> Iterator[tuple[int, int]]:
    """A range as entries of at most UINT_MAX bytes."""
    for i in range(-(-length // UINT_MAX)):
        yield addr + i * UINT_MAX & (1 << 64) - 1, min(length - i * UINT_MAX, UINT_MAX)


def dma_buf_phys_vec_to_sgt(dev: Device, provider: P2pdmaProvider, ranges: Iterable[tuple[int, int]], size: int,
                            dir: int) -> DmaBufTable:
    """Map ranges, (physical address, length) each, of a provider for dev; size should be their sum.

    Raises DmaError: EINVAL if dev cannot reach the provider, or there is nothing to map; ENOMEM; what dma_iova_link()
    and dma_iova_sync() raise.
    """
    ranges = list(ranges)
    made = DmaBufTable()
    made.size = size
    map_type = pci_p2pdma_map_type(provider, dev)
    if map_type == P2pMapType.THRU_HOST_BRIDGE:
        made.attrs = provider.dma_mapping_flags
        made.state = DmaIovaState()
        dma_iova_try_alloc(dev, made.state, 0, size)
    elif map_type != P2pMapType.BUS_ADDR:
        raise DmaError(errno.EINVAL, f"{dev.name} cannot reach {provider.owner.name}")
    if made.state:
        nents = -(-size // UINT_MAX)
    else:
        nents = sum(-(-length // UINT_MAX) for _, length in ranges)
    if not 0 < nents <= MAX_ENTRIES:                    # sg_alloc_table() fails, and the IOVA is lost
        raise DmaError(errno.ENOMEM if nents else errno.EINVAL, f"no table of {nents} entries")
    table = SgTable([(0, 0, 0)] * nents, page_shift=dev.machine.page_shift)
    made.sgt = table
    if made.state:
        rows = _link(dev, made, made.state, ranges, dir)
    else:
        rows = _map_each(dev, made, provider, ranges, dir)
    if len(rows) > nents:
        raise KernelBug("BUG: kernel NULL pointer dereference in fill_sg_entry")
    for i, (addr, length) in enumerate(rows):
        table.set_dma(i, addr, length)
    table.orig_nents = 0                                # nobody may look for pages
    if len(rows) < nents:
        _warn_once(dev, "WARNING: dma_buf_phys_vec_to_sgt: sgl")
    return made


def _link(dev: Device, made: DmaBufTable, state: DmaIovaState, ranges: Sequence[tuple[int, int]],
          dir: int) -> list[tuple[int, int]]:
    mapped = done = 0
    try:
        for paddr, length in ranges:
            dma_iova_link(dev, state, paddr, 0, length, dir, made.attrs)
            mapped = mapped + length & UINT_MAX
            done += 1
        if mapped != made.size:
            _warn_once(dev, "WARNING: dma_buf_phys_vec_to_sgt: mapped_len != size")
        dma_iova_sync(dev, state, 0, mapped)
    except DmaError:
        if done:                                        # else Linux does nothing
            dma_iova_destroy(dev, state, mapped, dir, made.attrs)
        raise
    return list(_pieces(state.addr, mapped))


def _map_each(dev: Device, made: DmaBufTable, provider: P2pdmaProvider, ranges: Sequence[tuple[int, int]],
              dir: int) -> list[tuple[int, int]]:
    rows: list[tuple[int, int]] = []
    for paddr, length in ranges:
        if made.state is None:
            addr = pci_p2pdma_bus_addr_map(provider, paddr)
        else:
            try:
                addr = dma_map_phys(dev, paddr, length, dir, made.attrs)
            except DmaError:
                if rows:                                # every entry of the table: behind rows they are zero
                    for piece in [*rows, *[(0, 0)] * (made._table.nents - len(rows))]:
                        dma_unmap_phys(dev, *piece, dir, made.attrs)
                raise
        rows += _pieces(addr, length)
    return rows


def dma_buf_free_sgt(dev: Device, made: DmaBufTable, dir: int) -> None:
    """Unmap and forget a table."""
    rows = made.segments
    if made.state:
        dma_iova_destroy(dev, made.state, made.size, dir, made.attrs)
    elif made.state is not None:
        for addr, length in rows:
            dma_unmap_phys(dev, addr, length, dir, made.attrs)
    made.sgt = None


def _warn_once(dev: Device, line: str) -> None:
    if line not in dev.machine.dmesg:
        dev.machine.dmesg.append(line)
