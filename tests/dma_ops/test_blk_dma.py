# SPDX-License-Identifier: MIT
"""A block request mapped without a scatterlist: one IOVA range, or segment by segment."""

import pytest

import arch
import dma_ops
from arch.generic.dma_iommu import IommuDmaOps
from dma_ops import Device, DmaIovaState, Machine
from dma_ops.blk_dma import (
    BlkDmaIter,
    BlkStatus,
    Request,
    blk_rq_dma_map_coalesce,
    blk_rq_dma_map_iter_next,
    blk_rq_dma_map_iter_start,
    blk_rq_dma_unmap,
)
from dma_ops.iommu_flat import FlatDomain
from dma_ops.p2pdma import P2pdma
from dma_ops.p2pdma_state import P2pMapType
from dma_ops.pci import PciTree
from dma_ops.swiotlb import IoTlbMem
from scatterlist.bvec import BioVecs

BIDI, TO, FROM = range(3)
MMIO = dma_ops.DMA_ATTR_MMIO
RAM, BAR, POOL = 0x1000000, 0x900000000, 0x78000000
NOT_SUPPORTED, BUS, HOST = 1, 2, 3
BUS_OFFSET = 0x100000
IOMMU_MMIO = 16


def make(*, iommu=True, route=HOST, untrusted=False, mask=(1 << 64) - 1, **facts):
    machine = Machine("m", kernel=700, ram=((0, 0x80000000),), pci_p2pdma=True)
    machine.events = []
    dev = Device("d", machine)
    dev.io_tlb_mem = IoTlbMem(machine, POOL, 512)
    dev.untrusted = untrusted
    if untrusted:
        dma_ops.dma_set_min_align_mask(dev, 4095)
    if iommu:
        IommuDmaOps(FlatDomain(machine), dev, **facts)
    dma_ops.dma_set_mask_and_coherent(dev, mask)
    host = PciTree(machine).add_host()
    dev.pci = host.add("01.0", 0x1234, 1)
    peer = host.add("02.0", 0x1234, 2)
    peer.p2pdma = P2pdma(machine, peer)
    peer.p2pdma.map_types[dev.pci.devfn] = route
    machine.add_pgmap(BAR, BAR + (2 << 20), BUS_OFFSET, peer.p2pdma.index)
    return dev


def request(*bios, direction=TO, **limits):
    """bios of (address, length) pairs."""
    return Request([BioVecs([(addr & ~4095, length, addr & 4095) for addr, length in bio]) for bio in bios],
                   direction, **limits)


def map_all(req, dev):
    """(started, segments, state, iterator)."""
    state, it = DmaIovaState(), BlkDmaIter()
    started = more = blk_rq_dma_map_iter_start(req, dev, state, it)
    segments = []
    while more:
        segments.append((it.addr, it.len))
        more = not blk_rq_dma_map_coalesce(state) and blk_rq_dma_map_iter_next(req, dev, it)
    return started, segments, state, it


def unmap_all(req, dev, segments, state, it):
    """How many segments the driver had to unmap."""
    if blk_rq_dma_unmap(req, dev, state, req.payload, it.map, it.attrs):
        return 0
    for addr, length in segments:
        dma_ops.dma_unmap_phys(dev, addr, length, req.dir, it.attrs)
    return len(segments)


# -- gaps and segments -----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("bios", "gap"), [
    pytest.param([[(RAM, 4096)]], 0, id="one"),
    pytest.param([[(RAM, 4096), (RAM + 4096, 100)]], 0, id="adjacent"),
    pytest.param([[(RAM + 512, 3584), (RAM + 0x4000, 4096), (RAM + 0x9000, 100)]], 4096, id="page-gaps"),
    pytest.param([[(RAM, 512), (RAM + 0x4000, 4096)]], 512, id="end-inside"),
    pytest.param([[(RAM, 4096), (RAM + 0x4200, 512)]], 512, id="start-inside"),
    pytest.param([[(RAM, 4096)], [(RAM + 0x4800, 512)]], 2048, id="between-bios"),
])
def test_gap_mask(bios, gap):
    assert request(*bios).phys_gap_mask == gap


@pytest.mark.parametrize(("bios", "limits", "lengths"), [
    pytest.param([[(RAM, 4096), (RAM + 4096, 4096)], [(RAM + 8192, 100)]], {}, [8292], id="merged-across-bios"),
    pytest.param([[(RAM, 16384)]], {"max_segment_size": 4096}, [4096] * 4, id="cut-by-size"),
    pytest.param([[(RAM, 16384)]], {"max_segment_size": 6144}, [6144, 6144, 4096], id="cut-inside-a-page"),
    pytest.param([[(RAM + 4096, 20480)]], {"max_segment_size": 8192, "seg_boundary_mask": 0x1FFF},
                 [4096, 8192, 8192], id="cut-at-the-boundary"),
    pytest.param([[(RAM, 4096), (RAM + 8192, 4096)]], {}, [4096, 4096], id="not-adjacent"),
    pytest.param([[(RAM, 4096), (RAM + 4096, 4096)]], {"seg_boundary_mask": 0xFFF}, [4096, 4096],
                 id="adjacent-over-a-boundary"),
    pytest.param([[]], {}, [], id="nothing"),
])
def test_segments_one_by_one(bios, limits, lengths):
    dev = make(iommu=False)
    _, segments, _, it = map_all(request(*bios, **limits), dev)
    assert [length for _, length in segments] == lengths
    assert it.status == BlkStatus.OK


# -- the native path -------------------------------------------------------------------------------------------

def test_one_range_one_sync_one_segment():
    dev = make()
    req = request([(RAM + 512, 3584), (RAM + 0x4000, 4096)], [(RAM + 0x9000, 100)])
    started, segments, state, it = map_all(req, dev)
    assert started and segments == [(0xFFFFC200, 7780)] and blk_rq_dma_map_coalesce(state)
    assert [event[0] for event in dev.machine.events] == ["map", "map", "map", "sync_map"]
    assert unmap_all(req, dev, segments, state, it) == 0
    assert dev.dma_ops.resources()["iova"] == 0 and dev.dma_ops.table() == {}


@pytest.mark.parametrize(("mask", "coalesced"), [(0, True), (4096, True), (2048, False), (1, False)])
def test_the_merge_boundary_decides(mask, coalesced):
    dev = make()
    _, segments, state, it = map_all(request([(RAM, 4096), (RAM + 0x4000, 4096)], phys_gap_mask=mask), dev)
    assert bool(state) == coalesced and len(segments) == (1 if coalesced else 2)
    assert it.status == BlkStatus.OK


def test_without_iova_space_each_segment_is_mapped():
    dev = make()
    dev.machine.fail("iova", 1)
    req = request([(RAM, 4096), (RAM + 0x4000, 4096)])
    started, segments, state, it = map_all(req, dev)
    assert started and len(segments) == 2 and bytes(state) == bytes(16)
    assert unmap_all(req, dev, segments, state, it) == 2
    assert dev.dma_ops.resources()["iova"] == 0


@pytest.mark.parametrize(("fault", "status"), [
    pytest.param("map", BlkStatus.RESOURCE, id="link-fails"),
    pytest.param("sync", BlkStatus.IOERR, id="sync-fails"),
])
def test_a_failing_start_unmaps_and_says_so(fault, status):
    """6.17 to 6.19 forgot the link's error and reported the request as mapped, with a hole."""
    dev = make()
    if fault == "map":
        dev.dma_ops.domain.fail_map = 2
    else:
        dev.dma_ops.domain.fail_sync = 1
    started, segments, _, it = map_all(request([(RAM, 4096), (RAM + 0x4000, 4096)]), dev)
    assert not started and segments == [] and it.status == status
    assert dev.dma_ops.table() == {} and dev.dma_ops.resources()["iova"] == 0 and dev.machine.dmesg == []


def test_a_failed_start_leaves_a_state_that_frees_twice():
    """Linux's fault of 7.x: state is not cleared, and an unmap call gives the addresses to two owners."""
    dev = make()
    dev.dma_ops.domain.fail_map = 1
    req = request([(RAM, 4096)])
    started, _, state, it = map_all(req, dev)
    assert not started and dma_ops.dma_use_iova(state)
    assert blk_rq_dma_unmap(req, dev, state, 0, it.map)
    assert dma_ops.dma_map_phys(dev, RAM, 4096, TO) == state.addr
    other = DmaIovaState()
    assert dma_ops.dma_iova_try_alloc(dev, other, 0, 4096) and other.addr == state.addr


@pytest.mark.parametrize("untrusted", [False, True])
def test_a_segment_size_that_is_no_granule_fails_without_any_fault(untrusted):
    """The gap mask is 0, so everything is linked: the second segment begins inside a granule."""
    dev = make(untrusted=untrusted)
    started, _, _, it = map_all(request([(RAM, 16384)], max_segment_size=6144), dev)
    assert not started and it.status == BlkStatus.IOERR
    assert dev.dma_ops.table() == {} and dev.io_tlb_mem.used == 0


def test_an_untrusted_devices_request():
    dev = make(untrusted=True)
    req = request([(RAM + 512, 3584), (RAM + 0x4000, 4096), (RAM + 0x9000, 100)])
    _, segments, state, it = map_all(req, dev)
    assert len(segments) == 1 and state.swiotlb and dev.io_tlb_mem.used == 4
    unmap_all(req, dev, segments, state, it)
    assert dev.io_tlb_mem.used == 0


# -- peers -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("iommu", [True, False], ids=["iommu", "direct"])
def test_bus_addresses_are_neither_mapped_nor_unmapped(iommu):
    dev = make(iommu=iommu, route=BUS)
    req = request([(BAR, 8192)], [(BAR + 0x9200, 512)])
    started, segments, state, it = map_all(req, dev)
    assert started and it.map == P2pMapType.BUS_ADDR and it.attrs == 0
    assert segments == [(BAR + BUS_OFFSET, 8192), (BAR + 0x9200 + BUS_OFFSET, 512)]
    assert unmap_all(req, dev, segments, state, it) == 0
    assert dev.machine.events == []


@pytest.mark.parametrize("gap", [0, 512], ids=["one-range", "one-by-one"])
def test_host_bridge_memory_is_mapped_and_unmapped_as_mmio(gap):
    """6.17 and 6.18 did not mark it, and lost the type at unmap."""
    dev = make()
    req = request([(BAR, 8192), (BAR + 0x9000, 4096)], phys_gap_mask=gap)
    started, segments, state, it = map_all(req, dev)
    assert started and it.map == P2pMapType.THRU_HOST_BRIDGE and it.attrs == MMIO
    assert {event[5] for event in dev.machine.events if event[0] == "map"} == {1 | IOMMU_MMIO}
    unmap_all(req, dev, segments, state, it)
    assert dev.dma_ops.table() == {}


def test_an_unreachable_peer():
    started, _, state, it = map_all(request([(BAR, 8192)]), make(route=NOT_SUPPORTED))
    assert not started and it.status == BlkStatus.INVAL and it.map == P2pMapType.NOT_SUPPORTED
    assert not state


def test_the_first_segment_decides_for_all():
    """Linux's fault: RAM behind a peer's page gets the peer's offset."""
    _, segments, _, it = map_all(request([(BAR, 4096), (RAM, 4096)]), make(route=BUS))
    assert segments == [(BAR + BUS_OFFSET, 4096), (RAM + BUS_OFFSET, 4096)]
    assert it.status == BlkStatus.OK


def test_pages_of_two_pgmaps_are_not_one_segment():
    dev = make(iommu=False, route=BUS)
    dev.machine.add_pgmap(BAR + (2 << 20), BAR + (4 << 20), 0, 0)
    _, segments, _, _ = map_all(request([(BAR + (2 << 20) - 4096, 4096), (BAR + (2 << 20), 4096)]), dev)
    assert len(segments) == 2


# -- the fallback ----------------------------------------------------------------------------------------------

def test_an_error_in_segment_k_leaves_the_earlier_ones_to_the_driver():
    dev = make()
    dev.dma_ops.domain.fail_map = 2
    req = request([(RAM, 4096), (RAM + 0x4000, 4096), (RAM + 0x8000, 4096)], phys_gap_mask=512)
    started, segments, state, it = map_all(req, dev)
    assert started and len(segments) == 1 and it.status == BlkStatus.RESOURCE
    assert unmap_all(req, dev, segments, state, it) == 1
    assert dev.dma_ops.resources()["iova"] == 0


def test_direct_needs_no_unmap_until_something_bounces():
    dev = make(iommu=False, mask=0xFFFFFFFF)
    req = request([(RAM, 4096), (RAM + 0x4000, 4096)])
    _, segments, state, it = map_all(req, dev)
    assert segments == [(RAM, 4096), (RAM + 0x4000, 4096)] and unmap_all(req, dev, segments, state, it) == 0
    req = request([(0x240000000, 100), (RAM + 0x4000, 4096)])
    _, segments, state, it = map_all(req, dev)
    assert segments[0] == (POOL, 100) and unmap_all(req, dev, segments, state, it) == 2
    assert dev.io_tlb_mem.used == 0


def test_an_iterator_belongs_to_its_request():
    dev, it = make(iommu=False), BlkDmaIter()
    blk_rq_dma_map_iter_start(request([(RAM, 4096)]), dev, DmaIovaState(), it)
    for other in (it, BlkDmaIter()):
        with pytest.raises(ValueError, match="not started on this request"):
            blk_rq_dma_map_iter_next(request([(RAM, 4096)]), dev, other)


@pytest.mark.parametrize("record", list(arch.backends().values()), ids=lambda record: record.id)
def test_bytes_of_a_request_through_every_backend(record):
    dev = record.machines[0].build()
    machine = dev.machine
    before = dev.resources()
    limit = 0x3FFFFFFF if machine.ram_ranges[0][0] < 0x3FFFFFFF else None
    pages = [machine.alloc_ram(0, limit) for _ in range(3)]
    chunks = [(pages[2] + 512, 1000), (pages[0], 2048), (pages[1], 100)]
    sent = b""
    for i, (phys, length) in enumerate(chunks):
        machine.cpu_write(phys, bytes([i + 1]) * length)
        sent += bytes([i + 1]) * length
    req = Request([BioVecs([(phys & -machine.page_size, length, phys % machine.page_size)])
                   for phys, length in chunks], TO)
    started, segments, state, it = map_all(req, dev)
    if record.id == "dma_dummy_ops":
        assert not started and it.status == BlkStatus.RESOURCE
        return
    assert started and it.status == BlkStatus.OK and len(segments) == 3
    assert b"".join(dev.dma_read(addr, length) for addr, length in segments) == sent
    unmap_all(req, dev, segments, state, it)
    (dev.dma_ops or dev.direct).flush()
    assert dev.resources() == before
