# SPDX-License-Identifier: MIT
"""Mapping page by page as page faults ask for them (mm/hmm.c, Linux 7.x): what RDMA's on-demand paging does.

With iommu-dma the whole map is one IOVA range, and a page is linked and synced at its own place; else each page is
mapped by itself. Pages stay mapped while the CPU uses them, so a device that needs syncs or bounce buffers is refused.

A page's entry in pfn_list is its frame number and HMM_PFN_ flags, as hmm_range_fault() would fill it.
"""

from __future__ import annotations

import errno

from .api import dma_addressing_limited
from .device import Device
from .dma_iova import DmaIovaState
from .errors import DmaError, KernelBug
from .p2pdma_state import P2pdmaMapState, P2pMapType, pci_p2pdma_state
from .phys_api import (
    dma_iova_free,
    dma_iova_link,
    dma_iova_sync,
    dma_iova_try_alloc,
    dma_iova_unlink,
    dma_map_phys,
    dma_need_unmap,
    dma_unmap_phys,
)

HMM_PFN_VALID = 1 << 63
HMM_PFN_WRITE = 1 << 62
HMM_PFN_ERROR = 1 << 61
HMM_PFN_DMA_MAPPED = 1 << 60        # the flags from here on stay over a new fault
HMM_PFN_P2PDMA = 1 << 59
HMM_PFN_P2PDMA_BUS = 1 << 58
HMM_PFN_FLAGS = -(1 << 53) & (1 << 64) - 1      # and the order of the CPU's page

_BIDIRECTIONAL = 0
_REQUIRE_COHERENT = 1 << 12
_VALID_DMA = HMM_PFN_VALID | HMM_PFN_DMA_MAPPED


class HmmDmaMap:
    """struct hmm_dma_map. pfn_list is the owner's to fill; entry_size is what one entry maps, in bytes."""

    __slots__ = ("dma_attrs", "dma_list", "entry_size", "pfn_list", "state")

    def __init__(self, nr_entries: int, entry_size: int) -> None:
        self.state = DmaIovaState()
        self.pfn_list = [0] * nr_entries
        self.dma_list: list[int] | None = None      # only where there is no range and unmapping needs addresses
        self.dma_attrs = [0] * nr_entries           # with which each entry was mapped
        self.entry_size = entry_size


def hmm_dma_map_alloc(dev: Device, nr_entries: int, entry_size: int) -> HmmDmaMap:
    """A map for nr_entries pages. Raises DmaError(EOPNOTSUPP) if mappings of dev may need syncs or bounce buffers.

    That needs a dma_set_mask() call of 6.10 or later: before, no device is known not to need syncs.
    """
    page_size = dev.machine.page_size
    if nr_entries <= 0 or entry_size <= 0:
        raise ValueError(f"{nr_entries} entries of {entry_size} bytes")
    if nr_entries * page_size // entry_size == 0 and (line := "WARNING: hmm_dma_map_alloc") not in dev.machine.dmesg:
        dev.machine.dmesg.append(line)
    if not dev.dma_skip_sync or dma_addressing_limited(dev):
        raise DmaError(errno.EOPNOTSUPP, f"{dev.name}: mappings may need syncs or bounce buffers")
    made = HmmDmaMap(nr_entries, entry_size)
    if not dma_iova_try_alloc(dev, made.state, 0, nr_entries * page_size) and dma_need_unmap(dev):
        made.dma_list = [0] * nr_entries
    return made


def hmm_dma_map_free(dev: Device, map: HmmDmaMap) -> None:
    """Give the range back; every entry must be unmapped."""
    if map.state:
        dma_iova_free(dev, map.state)


def hmm_dma_map_pfn(dev: Device, map: HmmDmaMap, idx: int, p2pdma: P2pdmaMapState) -> int:
    """Map entry idx, or find it mapped; the bus address.

    Raises DmaError(ENOMEM) for every error, as Linux answers DMA_MAPPING_ERROR; what it raises from tells more.
    """
    state, pfns = map.state, map.pfn_list
    phys = (pfns[idx] & ~HMM_PFN_FLAGS) << dev.machine.page_shift
    offset = idx * map.entry_size
    attrs = _REQUIRE_COHERENT
    if pfns[idx] & HMM_PFN_DMA_MAPPED and not pfns[idx] & HMM_PFN_P2PDMA_BUS:
        # only the flags changed: the hardware has the address already
        if state:
            return state.addr + offset
        if dma_need_unmap(dev):
            return _kept(map)[idx]
        # the address was not kept, since mapping once more costs nothing
    map_type = pci_p2pdma_state(p2pdma, dev, phys)
    if map_type == P2pMapType.BUS_ADDR:
        pfns[idx] |= HMM_PFN_P2PDMA_BUS | HMM_PFN_DMA_MAPPED
        map.dma_attrs[idx] = 0
        return p2pdma.bus_addr(phys)
    if map_type == P2pMapType.THRU_HOST_BRIDGE:
        attrs |= p2pdma.dma_mapping_flags
        pfns[idx] |= HMM_PFN_P2PDMA
    elif map_type != P2pMapType.NONE:
        raise DmaError(errno.ENOMEM, f"{dev.name} cannot reach {phys:#x}")
    try:
        addr = _link(dev, map, idx, phys, attrs) if state else _map(dev, map, idx, phys, attrs)
    except DmaError as error:
        pfns[idx] &= ~HMM_PFN_P2PDMA
        map.dma_attrs[idx] = 0
        raise DmaError(errno.ENOMEM, f"{dev.name}: {phys:#x} cannot be mapped") from error
    map.dma_attrs[idx] = attrs
    pfns[idx] |= HMM_PFN_DMA_MAPPED
    return addr


def _kept(map: HmmDmaMap) -> list[int]:
    if map.dma_list is None:            # a bounce buffer was used since the map was made: somebody else's
        raise KernelBug("BUG: kernel NULL pointer dereference: hmm_dma_map.dma_list")
    return map.dma_list


def _link(dev: Device, map: HmmDmaMap, idx: int, phys: int, attrs: int) -> int:
    offset = idx * map.entry_size
    dma_iova_link(dev, map.state, phys, offset, map.entry_size, _BIDIRECTIONAL, attrs)
    try:
        dma_iova_sync(dev, map.state, offset, map.entry_size)
    except DmaError:
        dma_iova_unlink(dev, map.state, offset, map.entry_size, _BIDIRECTIONAL, attrs)
        raise
    return map.state.addr + offset


def _map(dev: Device, map: HmmDmaMap, idx: int, phys: int, attrs: int) -> int:
    if dma_need_unmap(dev) and map.dma_list is None:
        raise DmaError(errno.ENOMEM, f"{dev.name} needs unmap calls since a bounce buffer was used")
    addr = dma_map_phys(dev, phys, map.entry_size, _BIDIRECTIONAL, attrs)
    if dma_need_unmap(dev) and map.dma_list is not None:
        map.dma_list[idx] = addr
    return addr


def hmm_dma_unmap_pfn(dev: Device, map: HmmDmaMap, idx: int) -> bool:
    """Unmap entry idx: was it mapped?"""
    pfns = map.pfn_list
    attrs = _REQUIRE_COHERENT | map.dma_attrs[idx]
    if pfns[idx] & _VALID_DMA != _VALID_DMA:
        return False
    if not pfns[idx] & HMM_PFN_P2PDMA_BUS:
        if map.state:
            dma_iova_unlink(dev, map.state, idx * map.entry_size, map.entry_size, _BIDIRECTIONAL, attrs)
        elif dma_need_unmap(dev):
            dma_unmap_phys(dev, _kept(map)[idx], map.entry_size, _BIDIRECTIONAL, attrs)
    pfns[idx] &= ~(HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | HMM_PFN_P2PDMA_BUS)
    map.dma_attrs[idx] = 0
    return True
