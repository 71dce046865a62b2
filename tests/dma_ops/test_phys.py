# SPDX-License-Identifier: MIT
"""dma_map_phys() and what 6.18 and later changed beside it: direct, iommu-dma, and the tables of 6.1."""

import pytest

import arch
import dma_ops
from arch.generic.dma_iommu import IommuDmaOps
from dma_ops import (
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    Machine,
    debug,
)
from dma_ops.iommu_flat import FlatDomain
from dma_ops.p2pdma import P2pdma
from dma_ops.pci import PciTree
from dma_ops.swiotlb import IoTlbMem
from scatterlist.core import SgTable

BIDI, TO, FROM = range(3)
MMIO = dma_ops.DMA_ATTR_MMIO
REQUIRE_COHERENT = dma_ops.DMA_ATTR_REQUIRE_COHERENT
SKIP_CPU_SYNC = dma_ops.DMA_ATTR_SKIP_CPU_SYNC
RAM, BAR, POOL = 0x1000000, 0x900000000, 0x78000000
NOT_SUPPORTED, BUS, HOST = 1, 2, 3
BUS_OFFSET = 0x100000
READ, WRITE, CACHE, IOMMU_MMIO = 1, 2, 4, 16
ALL = (1 << 64) - 1


def make(kernel=700, *, iommu=False, coherent=True, untrusted=False, mask=ALL, pool=True, force=False, route=HOST,
         dma_ranges=(), min_align=0, **facts):
    """A device, and a peer with memory at BAR that it reaches by route."""
    machine = Machine("m", kernel=kernel, ram=((0, 0x80000000),), pci_p2pdma=True)
    machine.events = []
    dev = Device("d", machine, coherent=coherent, dma_ranges=dma_ranges)
    if pool:
        dev.io_tlb_mem = IoTlbMem(machine, POOL, 512, force_bounce=force)
    dev.untrusted = untrusted
    dma_ops.dma_set_min_align_mask(dev, min_align)
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


def events(dev, *kinds):
    return [event for event in dev.machine.events if not kinds or event[0] in kinds]


# -- every backend ---------------------------------------------------------------------------------------------

def machines():
    for record in arch.backends().values():
        for config in record.machines:
            yield pytest.param(record, config, id=f"{record.id}-{config.name}")


@pytest.mark.parametrize(("record", "config"), list(machines()))
def test_bytes_of_memory_through_every_backend(record, config):
    dev = config.build()
    machine = dev.machine
    before = dev.resources()
    page = machine.alloc_ram(0, 0x3FFFFFFF if machine.ram_ranges[0][0] < 0x3FFFFFFF else None)
    phys = page + 100
    machine.cpu_write(phys, bytes(range(200)))
    try:
        addr = dma_ops.dma_map_phys(dev, phys, 200, BIDI)
    except DmaError:
        assert record.id == "dma_dummy_ops"
        return
    assert dev.dma_read(addr, 200) == bytes(range(200))
    dev.dma_write(addr + 50, b"device")
    dma_ops.dma_unmap_phys(dev, addr, 200, BIDI)
    assert machine.cpu_read(phys, 200) == bytes(range(50)) + b"device" + bytes(range(56, 200))
    (dev.dma_ops or dev.direct).flush()
    if (record.id, config.name) == ("iommu_ops", "default"):
        assert addr == 100                              # Linux's fault: IOVA 0 is never unmapped (arm_iommu_unmap_page)
    else:
        assert dev.resources() == before


HAS_MAP_RESOURCE = {"dma_direct", "iommu_dma_ops", "iommu_ops"}


@pytest.mark.parametrize("record", list(arch.backends().values()), ids=lambda record: record.id)
def test_mmio_goes_where_the_table_has_map_resource_and_nowhere_else(record):
    dev = record.machines[0].build()
    top = min(dev.dma_mask, 0xFFFFFFFF) & ~0xFFFFF
    if record.id in HAS_MAP_RESOURCE:
        addr = dma_ops.dma_map_phys(dev, top, dev.machine.page_size, TO, MMIO)
        assert (dev.dma_ops or dev.direct).walker.lookup(dev, addr)[0] == top
        dma_ops.dma_unmap_phys(dev, addr, dev.machine.page_size, TO, MMIO)
    else:
        with pytest.raises(DmaError):
            dma_ops.dma_map_phys(dev, top, dev.machine.page_size, TO, MMIO)


# -- the core --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("direction", [-1, 3])
def test_a_direction_that_is_none_is_bug(direction):
    with pytest.raises(KernelBug):
        dma_ops.dma_map_phys(make(), RAM, 100, direction)


def test_no_dma_mask():
    dev = make()
    dev.has_dma_mask = False
    for _ in range(2):
        with pytest.raises(DmaError):
            dma_ops.dma_map_phys(dev, RAM, 100, TO)
    assert dev.machine.dmesg == ["WARNING: dma_map_phys: dev->dma_mask is NULL"]     # once


@pytest.mark.parametrize("iommu", [False, True], ids=["direct", "iommu"])
@pytest.mark.parametrize("coherent", [False, True])
def test_require_coherent(iommu, coherent):
    dev = make(iommu=iommu, coherent=coherent)
    sgt = SgTable([(RAM, 0, 4096)])
    if coherent:
        addr = dma_ops.dma_map_phys(dev, RAM, 4096, TO, REQUIRE_COHERENT)
        dma_ops.dma_unmap_phys(dev, addr, 4096, TO, REQUIRE_COHERENT)
        dma_ops.dma_map_sgtable(dev, sgt, TO, REQUIRE_COHERENT)
        return
    with pytest.raises(DmaError):
        dma_ops.dma_map_phys(dev, RAM, 4096, TO, REQUIRE_COHERENT)
    with pytest.raises(DmaError):
        dma_ops.dma_map_page(dev, RAM, 0, 4096, TO, REQUIRE_COHERENT)
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_sgtable(dev, sgt, TO, REQUIRE_COHERENT)
    assert error.value.errno == 95                      # EOPNOTSUPP passes the filter: it is answered before
    dma_ops.dma_map_page(make(601, iommu=iommu, coherent=False), RAM, 0, 4096, TO, REQUIRE_COHERENT)


@pytest.mark.parametrize("iommu", [False, True], ids=["direct", "iommu"])
@pytest.mark.parametrize(("kernel", "taken"), [(601, True), (612, True), (617, False), (700, False)])
def test_map_page_refuses_mmio_from_6_17_on(kernel, taken, iommu):
    dev = make(kernel, iommu=iommu)
    if not taken:
        with pytest.raises(DmaError):
            dma_ops.dma_map_page(dev, RAM, 0, 4096, TO, MMIO)
        return
    addr = dma_ops.dma_map_page(dev, RAM, 0, 4096, TO, MMIO)
    if iommu:
        assert events(dev, "map")[-1][5] == READ | CACHE            # an attribute that 6.1 does not know
    dma_ops.dma_unmap_page(dev, addr, 4096, TO, MMIO)


@pytest.mark.parametrize(("kernel", "watched", "taken"), [(601, True, True), (700, False, True), (700, True, False)])
def test_map_page_of_a_peers_page_is_refused_where_dma_debug_looks(kernel, watched, taken):
    dev = make(kernel)
    if watched:
        debug.enable(dev)
    if taken:
        assert dma_ops.dma_map_page(dev, BAR, 0, 4096, TO) == BAR
        return
    with pytest.raises(DmaError):
        dma_ops.dma_map_page(dev, BAR, 0, 4096, TO)
    assert "WARNING: dma_map_page_attrs: is_zone_device_page(page)" in dev.machine.dmesg


def test_unmap_page_with_mmio_does_nothing():
    dev = make(iommu=True)
    addr = dma_ops.dma_map_page(dev, RAM, 0, 4096, TO)
    dma_ops.dma_unmap_page(dev, addr, 4096, TO, MMIO)
    assert dev.dma_read(addr, 1) == b"\0"
    dma_ops.dma_unmap_page(dev, addr, 4096, TO)
    with pytest.raises(DmaFault):
        dev.dma_read(addr, 1)


@pytest.mark.parametrize(("facts", "expected"), [
    pytest.param({}, False, id="direct"),
    pytest.param({"coherent": False}, True, id="not-coherent"),
    pytest.param({"iommu": True}, True, id="iommu"),
    pytest.param({"kernel": 601}, True, id="before-6.12-nobody-counts"),
])
def test_need_unmap(facts, expected):
    assert dma_ops.dma_need_unmap(make(**facts)) is expected


def test_need_unmap_once_something_bounced():
    dev = make(mask=0xFFFFFFFF)
    dma_ops.dma_map_phys(dev, RAM, 100, TO)
    assert not dma_ops.dma_need_unmap(dev)
    addr = dma_ops.dma_map_phys(dev, 0x240000000, 100, TO)
    assert dma_ops.dma_need_unmap(dev)
    dma_ops.dma_unmap_phys(dev, addr, 100, TO)
    assert dma_ops.dma_need_unmap(dev)


@pytest.mark.parametrize("attrs", [0, MMIO])
def test_dma_debug_pairs_map_with_unmap(attrs):
    dev = make()
    state = debug.enable(dev)
    addr = dma_ops.dma_map_phys(dev, 0x60000000, 4096, TO, attrs)
    assert dma_ops.dma_need_unmap(dev)
    assert len(list(state.entries(dev))) == 1
    dma_ops.dma_mapping_error(dev, addr)
    dma_ops.dma_unmap_phys(dev, addr, 4096, TO, attrs)
    assert not list(state.entries(dev)) and not state.reports


# -- direct ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("kernel", "call", "moved"), [
    pytest.param(700, "phys", True, id="map_phys-7.x"),
    pytest.param(700, "resource", True, id="map_resource-7.x"),
    pytest.param(601, "resource", False, id="map_resource-6.1"),
])
def test_a_dma_range_map_moves_mmio_in_7_x_only(kernel, call, moved):
    dev = make(kernel, dma_ranges=[(0x40000000, 0, 0x40000000)])
    if call == "phys":
        addr = dma_ops.dma_map_phys(dev, 0x60000000, 4096, TO, MMIO)
    else:
        addr = dma_ops.dma_map_resource(dev, 0x60000000, 4096, TO)
    assert addr == (0x20000000 if moved else 0x60000000)


@pytest.mark.parametrize(("attrs", "phys", "got"), [
    pytest.param(0, RAM, POOL, id="ram"),
    pytest.param(0, BAR, POOL, id="p2p-memory"),
    pytest.param(MMIO, BAR, None, id="mmio"),
    pytest.param(REQUIRE_COHERENT, RAM, None, id="require-coherent"),
])
def test_force_bounce(attrs, phys, got):
    dev = make(force=True)
    if got is None:
        with pytest.raises(DmaError):
            dma_ops.dma_map_phys(dev, phys, 4096, TO, attrs)
        assert dev.machine.dmesg == []                  # silently
    else:
        assert dma_ops.dma_map_phys(dev, phys, 4096, TO, attrs) == got


@pytest.mark.parametrize(("kernel", "route"), [(601, HOST), (612, HOST), (700, HOST), (700, BUS)])
def test_p2p_lists_under_force_bounce(kernel, route):
    """6.1 and 6.12 refuse host-bridge memory; 7.x bounces it. Bus addresses never bounce."""
    dev = make(kernel, force=True, route=route)
    sgt = SgTable([(BAR, 0, 4096)])
    if kernel < 617:
        with pytest.raises(DmaError):
            dma_ops.dma_map_sgtable(dev, sgt, TO)
        return
    dma_ops.dma_map_sgtable(dev, sgt, TO)
    assert sgt.segments() == [(POOL, 4096, 0) if route == HOST else (BAR + BUS_OFFSET, 4096, 1)]


@pytest.mark.parametrize("attrs", [0, MMIO, REQUIRE_COHERENT])
def test_out_of_reach(attrs):
    dev = make(mask=0xFFFFFFFF)
    far = 0x240000000
    if attrs == 0:
        assert dma_ops.dma_map_phys(dev, far, 4096, TO) == POOL
        return
    for _ in range(2):
        with pytest.raises(DmaError):
            dma_ops.dma_map_phys(dev, far, 4096, TO, attrs)
    assert dev.machine.dmesg == ["WARNING: dma_direct_map_phys: DMA addr overflow"]


def test_the_first_list_after_6_17_leaves_no_stale_field():
    """6.17 answered success with dma_address unset (host bridge) or dma_length 0 (bus); both are mended in 7.x."""
    for route, addr in ((HOST, BAR), (BUS, BAR + BUS_OFFSET)):
        sgt = SgTable([(BAR, 0, 4096), (RAM, 0, 512)])
        dma_ops.dma_map_sgtable(make(route=route), sgt, TO)
        assert [row[:2] for row in sgt.segments()] == [(addr, 4096), (RAM, 512)]


def test_unreachable_p2p_memory():
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_sgtable(make(route=NOT_SUPPORTED), SgTable([(RAM, 0, 512), (BAR, 0, 512)]), TO)
    assert error.value.errno == 121                     # EREMOTEIO


@pytest.mark.parametrize(("attrs", "synced"), [(0, True), (SKIP_CPU_SYNC, False), (MMIO, False)])
@pytest.mark.parametrize("iommu", [False, True], ids=["direct", "iommu"])
def test_cache_maintenance(attrs, synced, iommu):
    dev = make(iommu=iommu, coherent=False)
    addr = dma_ops.dma_map_phys(dev, RAM + 64, 100, TO, attrs)
    dma_ops.dma_unmap_phys(dev, addr, 100, TO, attrs)
    expected = [("sync_dev", RAM + 64, 100, TO), ("sync_cpu", RAM + 64, 100, TO)] if synced else []
    assert events(dev, "sync_dev", "sync_cpu") == expected


# -- iommu-dma -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("attrs", "coherent", "prot"), [
    pytest.param(0, True, READ | CACHE, id="memory"),
    pytest.param(0, False, READ, id="memory-not-coherent"),
    pytest.param(MMIO, True, READ | IOMMU_MMIO, id="mmio"),
    pytest.param(MMIO, False, READ | IOMMU_MMIO, id="mmio-not-coherent"),
])
def test_iommu_prot(attrs, coherent, prot):
    dev = make(iommu=True, coherent=coherent)
    dma_ops.dma_map_phys(dev, RAM, 4096, TO, attrs)
    assert events(dev, "map") == [("map", 0xFFFFF000, RAM, 1, 1, prot, 0)]


def test_host_bridge_memory_in_a_list_is_not_mmio():
    """map_sg never sets DMA_ATTR_MMIO: CACHE instead of MMIO, and cache maintenance on a peer's registers."""
    dev = make(iommu=True)
    dma_ops.dma_map_sgtable(dev, SgTable([(BAR, 0, 4096)]), TO)
    assert events(dev, "map")[0][5] == READ | CACHE
    dev = make(iommu=True, coherent=False)
    dma_ops.dma_map_sgtable(dev, SgTable([(BAR, 0, 4096)]), TO)
    assert events(dev, "sync_dev") == [("sync_dev", BAR, 4096, TO)]


def test_bus_entries_have_their_own_length():
    """V1 and 6.17 stored the first entry's (sg->length)."""
    sgt = SgTable([(RAM, 0, 8192), (BAR, 0, 4096), (BAR, 4096, 100)])
    dma_ops.dma_map_sgtable(make(iommu=True, route=BUS), sgt, TO)
    assert sgt.segments()[1:] == [(BAR + BUS_OFFSET, 4096, 1), (BAR + BUS_OFFSET + 4096, 100, 1)]


@pytest.mark.parametrize("route", [NOT_SUPPORTED, BUS, HOST])
def test_an_untrusted_devices_list_is_mapped_whatever_the_route(route):
    dev = make(iommu=True, untrusted=True, route=route, min_align=4095)
    sgt = SgTable([(BAR, 0, 4096)])
    dma_ops.dma_map_sgtable(dev, sgt, TO)
    assert sgt.segments() == [(0xFFFFF000, 4096, 2)]    # SG_DMA_SWIOTLB
    assert events(dev, "map")[0][2] == BAR


@pytest.mark.parametrize(("kernel", "code"), [(612, 22), (700, 12)], ids=["6.12-EINVAL-at-once", "7.x-asks-for-iova"])
def test_the_overflow_check_of_6_12_is_gone(kernel, code):
    dev = make(kernel, iommu=True)
    dev.machine.fail("iova", 1)
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_sgtable(dev, SgTable([(RAM, 0, 4096), (RAM, 0, 0xFFFFF001)]), TO)
    assert error.value.errno == code


@pytest.mark.parametrize(("attrs", "used"), [
    pytest.param(0, 2, id="bounced"),
    pytest.param(MMIO, None, id="mmio-may-not"),
    pytest.param(REQUIRE_COHERENT, None, id="require-coherent-may-not"),
])
def test_untrusted_and_unaligned(attrs, used):
    dev = make(iommu=True, untrusted=True, min_align=4095)
    if used is None:
        with pytest.raises(DmaError):
            dma_ops.dma_map_phys(dev, RAM + 8, 100, TO, attrs)
        return
    addr = dma_ops.dma_map_phys(dev, RAM + 8, 100, TO, attrs)
    assert addr & 4095 == 8 and dev.io_tlb_mem.used == used
    dma_ops.dma_unmap_phys(dev, addr, 100, TO, attrs)
    assert dev.io_tlb_mem.used == 0


def test_without_min_align_mask_the_address_loses_its_offset():
    dev = make(iommu=True, untrusted=True)
    assert dma_ops.dma_map_phys(dev, RAM + 8, 100, TO) & 4095 == 0


def test_the_wrong_attribute_at_unmap_loses_the_bounce_buffer():
    dev = make(iommu=True, untrusted=True, min_align=4095)
    addr = dma_ops.dma_map_phys(dev, RAM + 10, 20, TO)
    dma_ops.dma_unmap_phys(dev, addr, 20, TO, MMIO)
    assert dev.io_tlb_mem.used == 2
    with pytest.raises(DmaFault):
        dev.dma_read(addr, 1)


def test_unmapping_what_is_not_mapped():
    dev = make(iommu=True)
    dma_ops.dma_unmap_phys(dev, 0xFFFFF000, 4096, TO)
    assert dev.machine.dmesg == ["WARNING: iommu_dma_unmap_phys: !phys"]
