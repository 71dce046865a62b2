# SPDX-License-Identifier: MIT
"""Mapping page by page, as page faults ask for them."""

import errno

import pytest

import dma_ops
from arch.generic.dma_iommu import IommuDmaOps
from dma_ops import Device, DmaError, DmaFault, KernelBug, Machine
from dma_ops.hmm_dma import (
    HMM_PFN_DMA_MAPPED,
    HMM_PFN_P2PDMA,
    HMM_PFN_P2PDMA_BUS,
    HMM_PFN_VALID,
    hmm_dma_map_alloc,
    hmm_dma_map_free,
    hmm_dma_map_pfn,
    hmm_dma_unmap_pfn,
)
from dma_ops.iommu_flat import FlatDomain
from dma_ops.p2pdma import P2pdma
from dma_ops.p2pdma_state import P2pdmaMapState
from dma_ops.pci import PciTree
from dma_ops.swiotlb import IoTlbMem

RAM, BAR = 0x1000000, 0x900000000
NOT_SUPPORTED, BUS, HOST = 1, 2, 3
BUS_OFFSET = 0x100000
PAGE = 4096


def make(*, iommu=True, kernel=700, coherent=True, route=HOST, mask=(1 << 64) - 1, force=False, untrusted=False):
    machine = Machine("m", kernel=kernel, ram=((0, 0x80000000),), pci_p2pdma=True)
    machine.events = []
    dev = Device("d", machine, coherent=coherent)
    dev.io_tlb_mem = IoTlbMem(machine, 0x78000000, 512, force_bounce=force)
    dev.untrusted = untrusted
    if iommu:
        IommuDmaOps(FlatDomain(machine), dev)
    dma_ops.dma_set_mask_and_coherent(dev, mask)
    host = PciTree(machine).add_host()
    dev.pci = host.add("01.0", 0x1234, 1)
    peer = host.add("02.0", 0x1234, 2)
    peer.p2pdma = P2pdma(machine, peer)
    peer.p2pdma.map_types[dev.pci.devfn] = route
    machine.add_pgmap(BAR, BAR + (2 << 20), BUS_OFFSET, peer.p2pdma.index)
    return dev


def fault(map, idx, phys):
    """What hmm_range_fault() writes."""
    map.pfn_list[idx] = HMM_PFN_VALID | phys >> 12


@pytest.mark.parametrize("facts", [
    pytest.param({"coherent": False}, id="needs-syncs"),
    pytest.param({"iommu": False, "mask": 0xFFFFFF}, id="cannot-reach-all-memory"),
    pytest.param({"kernel": 601}, id="before-6.10-nobody-knows"),
])
def test_refused_up_front(facts):
    with pytest.raises(DmaError) as error:
        hmm_dma_map_alloc(make(**facts), 4, PAGE)
    assert error.value.errno == errno.EOPNOTSUPP


def test_one_range_and_a_place_for_each_page():
    dev = make()
    map, p2pdma = hmm_dma_map_alloc(dev, 4, PAGE), P2pdmaMapState()
    assert map.dma_list is None and dev.dma_ops.resources() == {"iova": 4}
    dev.machine.mem.poke(RAM + 0x5000, b"five")
    fault(map, 2, RAM + 0x5000)
    addr = hmm_dma_map_pfn(dev, map, 2, p2pdma)
    assert addr == map.state.addr + 2 * PAGE and map.pfn_list[2] & HMM_PFN_DMA_MAPPED
    assert dev.dma_read(addr, 4) == b"five"
    assert [event[0] for event in dev.machine.events] == ["map", "sync_map"]
    assert hmm_dma_map_pfn(dev, map, 2, p2pdma) == addr         # only the flags changed
    assert len(dev.machine.events) == 2
    assert hmm_dma_unmap_pfn(dev, map, 2) and not hmm_dma_unmap_pfn(dev, map, 2)
    with pytest.raises(DmaFault):
        dev.dma_read(addr, 1)
    hmm_dma_map_free(dev, map)
    assert dev.dma_ops.resources() == {"iova": 0}


def test_a_failing_sync_unlinks():
    dev = make()
    map = hmm_dma_map_alloc(dev, 4, PAGE)
    fault(map, 0, RAM)
    dev.dma_ops.domain.fail_sync = 1
    with pytest.raises(DmaError) as error:
        hmm_dma_map_pfn(dev, map, 0, P2pdmaMapState())
    assert error.value.errno == errno.ENOMEM and error.value.__cause__.errno == errno.EIO
    assert dev.dma_ops.table() == {} and map.pfn_list[0] == HMM_PFN_VALID | RAM >> 12


@pytest.mark.parametrize("iommu", [True, False], ids=["iommu", "direct"])
@pytest.mark.parametrize(("route", "flags"), [
    pytest.param(BUS, HMM_PFN_P2PDMA_BUS, id="bus"),
    pytest.param(HOST, HMM_PFN_P2PDMA, id="host-bridge"),
    pytest.param(NOT_SUPPORTED, None, id="not-supported"),
])
def test_peers(iommu, route, flags):
    dev = make(iommu=iommu, route=route)
    map = hmm_dma_map_alloc(dev, 4, PAGE)
    fault(map, 1, BAR)
    if flags is None:
        with pytest.raises(DmaError):
            hmm_dma_map_pfn(dev, map, 1, P2pdmaMapState())
        assert map.pfn_list[1] == HMM_PFN_VALID | BAR >> 12
        return
    addr = hmm_dma_map_pfn(dev, map, 1, P2pdmaMapState())
    if route == BUS:
        assert addr == BAR + BUS_OFFSET and dev.machine.events == []
    elif iommu:
        assert addr == map.state.addr + PAGE and dev.machine.events[0][5] == 1 | 2 | 16       # MMIO
    else:
        assert addr == BAR
    assert map.pfn_list[1] == HMM_PFN_VALID | BAR >> 12 | flags | HMM_PFN_DMA_MAPPED
    assert hmm_dma_unmap_pfn(dev, map, 1) and map.pfn_list[1] == HMM_PFN_VALID | BAR >> 12


def test_direct_keeps_no_addresses():
    dev = make(iommu=False)
    map = hmm_dma_map_alloc(dev, 4, PAGE)
    assert map.dma_list is None and not map.state
    fault(map, 0, RAM)
    for _ in range(2):
        assert hmm_dma_map_pfn(dev, map, 0, P2pdmaMapState()) == RAM
    assert hmm_dma_unmap_pfn(dev, map, 0)


def test_without_iova_space_addresses_are_kept():
    dev = make()
    dev.machine.fail("iova", 1)
    map = hmm_dma_map_alloc(dev, 4, PAGE)
    fault(map, 3, RAM)
    addr = hmm_dma_map_pfn(dev, map, 3, P2pdmaMapState())
    assert map.dma_list == [0, 0, 0, addr] and hmm_dma_map_pfn(dev, map, 3, P2pdmaMapState()) == addr
    assert hmm_dma_unmap_pfn(dev, map, 3) and dev.dma_ops.table() == {}


def test_the_fallback_takes_the_attributes_too():
    """The first version mapped pages without any: they were bounced."""
    dev = make(iommu=False, force=True)
    map = hmm_dma_map_alloc(dev, 4, PAGE)
    fault(map, 0, RAM)
    with pytest.raises(DmaError):
        hmm_dma_map_pfn(dev, map, 0, P2pdmaMapState())
    assert dev.io_tlb_mem.used == 0


def test_a_bounce_buffer_in_between_is_an_oops_at_unmap():
    """Linux's fault: dma_need_unmap() becomes true after the map was made without room for addresses."""
    dev = make(iommu=False, mask=0xFFFFFFFF)
    map = hmm_dma_map_alloc(dev, 4, PAGE)
    fault(map, 0, RAM)
    hmm_dma_map_pfn(dev, map, 0, P2pdmaMapState())
    dma_ops.dma_map_phys(dev, 0x240000000, 100, 1)
    with pytest.raises(KernelBug, match="dma_list"):
        hmm_dma_unmap_pfn(dev, map, 0)
    fault(map, 1, RAM)
    with pytest.raises(DmaError):
        hmm_dma_map_pfn(dev, map, 1, P2pdmaMapState())


def test_entries_of_more_than_a_page():
    dev = make()
    map = hmm_dma_map_alloc(dev, 2, 2 * PAGE)
    fault(map, 0, RAM)
    hmm_dma_map_pfn(dev, map, 0, P2pdmaMapState())
    assert [size for kind, _, size, *_ in dev.machine.events if kind == "sync_map"] == [2 * PAGE]
    with pytest.raises(ValueError, match="0 entries"):
        hmm_dma_map_alloc(dev, 0, PAGE)
