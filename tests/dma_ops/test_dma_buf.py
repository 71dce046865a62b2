# SPDX-License-Identifier: MIT
"""Physical ranges of a peer to a table without pages, with the faults of Linux 7.x."""

import errno

import pytest

import dma_ops
from arch.generic.dma_iommu import IommuDmaOps
from dma_ops import Device, DmaError, DmaFault, Machine
from dma_ops.dma_buf import UINT_MAX, dma_buf_free_sgt, dma_buf_phys_vec_to_sgt
from dma_ops.iommu_flat import FlatDomain
from dma_ops.p2pdma import P2pdma
from dma_ops.p2pdma_state import pcim_p2pdma_provider
from dma_ops.pci import PciTree
from dma_ops.swiotlb import IoTlbMem

TO = 1
BAR = 0x900000000
NOT_SUPPORTED, BUS, HOST = 1, 2, 3
PAGE = 4096


def make(*, iommu=True, route=HOST, bus=None, mask=(1 << 64) - 1, granule=PAGE):
    machine = Machine("m", kernel=700, page_shift=granule.bit_length() - 1, ram=((0, 0x80000000),), pci_p2pdma=True)
    machine.events = []
    dev = Device("d", machine)
    dev.io_tlb_mem = IoTlbMem(machine, 0x78000000, 512)
    if iommu:
        IommuDmaOps(FlatDomain(machine, granule), dev)
    dma_ops.dma_set_mask_and_coherent(dev, mask)
    host = PciTree(machine).add_host()
    dev.pci = host.add("01.0", 0x1234, 1)
    peer = host.add("02.0", 0x1234, 2)
    peer.add_bar(2, BAR, 1 << 34)
    provider = pcim_p2pdma_provider(peer, 2)
    if bus is not None:
        provider.bus_offset = bus - BAR & (1 << 64) - 1
    peer.p2pdma.map_types[dev.pci.devfn] = route
    return dev, provider


def live(dev):
    return dev.dma_ops.resources()["iova"]


def test_a_provider_is_a_memory_bar():
    _, provider = make()
    peer = provider.owner
    assert isinstance(peer.p2pdma, P2pdma) and provider.bus_offset == 0
    assert pcim_p2pdma_provider(peer, 0) is None
    with pytest.raises(TypeError):
        pcim_p2pdma_provider("02.0", 2)
    other = PciTree(Machine("no p2pdma")).add_host().add("02.0", 0x1234, 2)
    other.add_bar(2, BAR, 1 << 34)
    with pytest.raises(DmaError) as error:
        pcim_p2pdma_provider(other, 2)
    assert error.value.errno == errno.EOPNOTSUPP


def test_one_range_through_the_host_bridge():
    dev, provider = make()
    table = dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, 2 * PAGE)], 2 * PAGE, TO)
    assert table.segments == [(0xFFFFE000, 2 * PAGE)]
    assert (table.sgt.nents, table.sgt.orig_nents) == (1, 0) and table.sgt.sgl.page_link & ~3 == 0
    assert dev.machine.events == [("map", 0xFFFFE000, BAR, 2, 2, 1 | 16, 0), ("sync_map", 0xFFFFE000, 2 * PAGE, 0)]
    dma_buf_free_sgt(dev, table, TO)
    assert dev.dma_ops.table() == {} and live(dev) == 0
    with pytest.raises(ValueError, match="freed"):
        dma_buf_free_sgt(dev, table, TO)


def test_every_range_is_linked_at_offset_0():
    """Linux's fault of 7.x: the second range hits the first."""
    dev, provider = make()
    with pytest.raises(DmaError) as error:
        dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, 2 * PAGE), (BAR + 8 * PAGE, PAGE)], 3 * PAGE, TO)
    assert error.value.errno == errno.EEXIST
    assert dev.dma_ops.table() == {} and live(dev) == 0


def test_the_iova_is_lost_if_the_first_link_fails():
    dev, provider = make()
    for lost in (2, 4):
        dev.dma_ops.domain.fail_map = 1
        with pytest.raises(DmaError):
            dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, 2 * PAGE)], 2 * PAGE, TO)
        assert live(dev) == lost


def test_nothing_is_lost_if_the_sync_fails():
    dev, provider = make()
    dev.dma_ops.domain.fail_sync = 1
    with pytest.raises(DmaError) as error:
        dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, PAGE)], PAGE, TO)
    assert error.value.errno == errno.EIO and live(dev) == 0 and dev.dma_ops.table() == {}


def test_a_size_below_the_sum_leaves_entries_to_the_next_owner():
    dev, provider = make()
    for _ in range(2):
        table = dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, 2 * PAGE)], PAGE, TO)
        dma_buf_free_sgt(dev, table, TO)
        dev.dma_ops.domain.walker.entries.popitem()                 # what stayed behind
        assert dev.dma_ops.table() == {}
    assert dev.machine.dmesg == ["WARNING: dma_buf_phys_vec_to_sgt: mapped_len != size"]


@pytest.mark.parametrize("iommu", [True, False], ids=["iommu", "direct"])
def test_bus_addresses(iommu):
    dev, provider = make(iommu=iommu, route=BUS, bus=0x100000000)
    table = dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, 2 * PAGE), (BAR + 9 * PAGE, PAGE)], 3 * PAGE, TO)
    assert table.segments == [(0x100000000, 2 * PAGE), (0x100009000, PAGE)] and table.state is None
    dma_buf_free_sgt(dev, table, TO)
    assert dev.machine.events == []


def test_pieces_of_a_large_range_are_not_page_aligned():
    dev, provider = make(route=BUS, bus=0x100000000)
    table = dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, 0x140000000)], 0x140000000, TO)
    assert table.segments == [(0x100000000, UINT_MAX), (0x1FFFFFFFF, 0x40000001)]


def test_what_was_mapped_is_counted_in_32_bits():
    """Linux's fault: 4 GiB and 64 KiB are linked, 64 KiB synced and told to the importer."""
    dev, provider = make(granule=65536)
    size = (1 << 32) + 65536
    table = dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, size)], size, TO)
    assert len(dev.dma_ops.table()) == size >> 16
    assert table.segments == [(table.state.addr, 65536), (0, 0)]
    assert dev.machine.events[-1] == ("sync_map", table.state.addr, 65536, 0)
    assert dev.machine.dmesg == ["WARNING: dma_buf_phys_vec_to_sgt: mapped_len != size",
                                 "WARNING: dma_buf_phys_vec_to_sgt: sgl"]


def test_an_unreachable_peer():
    dev, provider = make(route=NOT_SUPPORTED)
    with pytest.raises(DmaError) as error:
        dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, PAGE)], PAGE, TO)
    assert error.value.errno == errno.EINVAL


def test_no_ranges():
    dev, provider = make(iommu=False)
    with pytest.raises(DmaError) as error:
        dma_buf_phys_vec_to_sgt(dev, provider, [], 0, TO)
    assert error.value.errno == errno.EINVAL


def test_without_iommu_dma_each_range_is_mapped():
    dev, provider = make(iommu=False)
    table = dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, 2 * PAGE), (BAR + 8 * PAGE, PAGE)], 3 * PAGE, TO)
    assert table.segments == [(BAR, 2 * PAGE), (BAR + 8 * PAGE, PAGE)] and not table.state
    dma_buf_free_sgt(dev, table, TO)


def test_what_is_out_of_reach():
    dev, provider = make(iommu=False, mask=0xFFFFFFFF)
    with pytest.raises(DmaError) as error:
        dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, PAGE)], PAGE, TO)
    assert error.value.errno == errno.ENOMEM


def test_an_error_unmaps_entries_that_never_were_mapped():
    """Linux's fault: all entries of the table, and those behind the error are zero."""
    dev, provider = make()
    dev.machine.fail("iova", 1)                             # so each range is mapped by itself
    dev.dma_ops.domain.fail_map = 2
    with pytest.raises(DmaError):
        dma_buf_phys_vec_to_sgt(dev, provider, [(BAR, PAGE), (BAR + 8 * PAGE, PAGE), (BAR + 16 * PAGE, PAGE)],
                                3 * PAGE, TO)
    unmaps = [event for event in dev.machine.events if event[0] in ("unmap", "iotlb_sync")]
    assert unmaps == [("iotlb_sync", 0xFFFFE000, 0),         # of the failing map itself
                      ("unmap", 0xFFFFF000, 1, 1), ("iotlb_sync", 0xFFFFF000, PAGE),
                      ("iotlb_sync", 0, 0), ("iotlb_sync", 0, 0)]
    with pytest.raises(DmaFault):
        dev.dma_read(0xFFFFF000, 1)
