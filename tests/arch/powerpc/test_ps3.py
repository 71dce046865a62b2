# SPDX-License-Identifier: MIT
"""ps3_sb_dma_ops and ps3_ioc0_dma_ops: regions, chunks, and the hypervisor's refusals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arch
import dma_ops
from arch.powerpc import Ioc0Region, LogicalMemory, Ps3Ioc0DmaOps, Ps3SbDmaOps, SbRegion
from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, Device, DmaError, DmaFault, KernelBug, Machine
from scatterlist.core import SgTable

MB = 1 << 20
BUS = 0x80000000
SOUND = 0x50000000


def make(*, memory=None, page_shift=12, **region):
    lpar = LogicalMemory(**(memory or {}))
    machine = Machine("ps3", arch="powerpc", big_endian=True, page_shift=page_shift, ram=((0, lpar.total),))
    return Device("sb", machine, pci=False, dma_parms=False, dma_ops=Ps3SbDmaOps(SbRegion(machine, lpar, **region)))


def sound(**region):
    lpar = LogicalMemory()
    machine = Machine("ps3", arch="powerpc", big_endian=True, ram=((0, lpar.total),))
    facts = {"page_size": 12, "bus_addr": SOUND, "len": 0x11000, **region}
    return Device("snd", machine, pci=False, dma_parms=False, dma_ops=Ps3Ioc0DmaOps(Ioc0Region(machine, lpar, **facts)))


def map_at(dev, phys, size, direction=DMA_BIDIRECTIONAL):
    mask = dev.machine.page_size - 1
    return dma_ops.dma_map_page(dev, phys & ~mask, phys & mask, size, direction)


def unmap(dev, addr, size):
    dma_ops.dma_unmap_page(dev, addr, size, DMA_BIDIRECTIONAL)


class TestRegions:
    @pytest.mark.parametrize(
        ("region", "phys", "bus"),
        [
            pytest.param({}, 0x9001234, 0x89001234, id="the hole in memory cancels out"),
            pytest.param({"addr": 0x1000000}, 0x9001234, 0x88001234, id="offset"),
            pytest.param({"memory": {"rm_size": 0x4000000}}, 0x9001234, 0x89001234, id="a smaller real region"),
            pytest.param({"addr": 0x9010000, "len": 0x20000}, 0x9010000, BUS, id="storage"),
        ],
    )
    def test_bus_addresses(self, region, phys, bus):
        dev = make(**region)
        assert map_at(dev, phys, 16) == bus
        dev.machine.cpu_write(phys, b"cell")
        assert dev.dma_read(bus, 4) == b"cell"

    @pytest.mark.parametrize(
        ("region", "phys"),
        [
            pytest.param({"addr": 0x1000000}, 0xfff000, id="below"),
            pytest.param({}, 0x10000000, id="the first byte behind"),
            pytest.param({"addr": 0x9010000, "len": 0x20000}, 0x9030000, id="behind storage's buffer"),
        ],
    )
    def test_outside_is_a_bug(self, region, phys):
        with pytest.raises(KernelBug, match="outside the region"):
            map_at(make(**region), phys, 16)

    @pytest.mark.parametrize(
        ("len", "page_size"),
        [pytest.param(16 * MB, 16, id="16 MiB"), pytest.param(16 * MB + 0x10000, 24, id="more: 16 MiB pages")],
    )
    def test_page_size_of_the_linear_build(self, len, page_size):
        region = make(len=len).dma_ops.region
        assert (region.page_size, region.len) == (page_size, len if page_size == 16 else 32 * MB)

    def test_memory_is_mapped_once_for_all(self):
        dev = make()
        chunks = [(0x88000000, 0x700000000000, 0x8000000, 1), (BUS, 0, 0x8000000, 1)]
        assert dev.dma_ops.region.chunks == chunks
        assert dev.dma_ops.table()[8] == 0xf800700000000000
        addr = map_at(dev, 0x1000, 16, DMA_TO_DEVICE)
        unmap(dev, addr, 16)
        dev.dma_write(addr, b"still")
        assert dev.dma_ops.region.chunks == chunks

    def test_entries_that_map_no_memory_fault(self):
        dev = make(addr=0x1000000)      # the region is as long as memory, but begins later
        with pytest.raises(DmaFault) as fault:
            dev.dma_read(BUS + 255 * MB, 1)
        assert fault.value.reason == "out-of-range"

    def test_lists_are_not_joined(self):
        dev = make()
        table = SgTable([(0x1000, 0, 4096), (0x2000, 0, 4096), (0x9000000, 100, 0)], page_shift=12)
        dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        assert table.segments() == [(0x80001000, 4096, 0), (0x80002000, 4096, 0), (0x89000064, 0, 0)]

    @pytest.mark.parametrize(
        ("mask", "accepted"),
        [pytest.param(0x7fffffff, False, id="31 bits"), pytest.param(0xffffffff, True, id="32 bits")],
    )
    @pytest.mark.parametrize("device", [make, sound], ids=["sb", "ioc0"])
    def test_masks(self, device, mask, accepted):
        if accepted:
            dma_ops.dma_set_mask_and_coherent(device(), mask)
        else:
            with pytest.raises(DmaError):
                dma_ops.dma_set_mask_and_coherent(device(), mask)


class TestChunks:
    """CONFIG_PS3_DYNAMIC_DMA."""

    def test_shared_by_count(self):
        dev = make(dynamic=True)
        region = dev.dma_ops.region
        assert map_at(dev, 0x11000, 0x1000) == 0x80011000
        assert region.chunks == [(0x80010000, 0x10000, 0x10000, 1)]
        assert map_at(dev, 0x18000, 0x1000) == 0x80018000
        assert region.chunks == [(0x80010000, 0x10000, 0x10000, 2)]
        assert dev.dma_ops.table() == {1: 0xf800000000010000}
        with pytest.raises(KernelBug, match="several chunks"):
            map_at(dev, 0x1f000, 0x2000)
        unmap(dev, 0x80011000, 0x1000)
        dev.dma_read(0x80011000, 1)
        unmap(dev, 0x80018000, 0x1000)
        assert (region.chunks, dev.dma_ops.table()) == ([], {})
        with pytest.raises(DmaFault):
            dev.dma_read(0x80011000, 1)

    @pytest.mark.parametrize("kind", ["lv1", "chunk"])
    def test_refusal_is_address_0_and_no_error(self, kind):
        dev = make(dynamic=True)
        dev.machine.fail(kind)
        assert map_at(dev, 0x11000, 0x1000) == 0
        assert dma_ops.dma_mapping_error(dev, 0) == 0
        assert dev.dma_ops.resources() == {"chunks": 0, "uses": 0}

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param(lambda dev: dma_ops.dma_alloc_attrs(dev, 4096), id="alloc"),
            pytest.param(lambda dev: unmap(dev, 0x80011000, 0x1000), id="unmap"),
        ],
    )
    def test_other_refusals_are_bugs(self, call):
        dev = make(dynamic=True)
        map_at(dev, 0x11000, 0x1000)
        dev.machine.fail("lv1")
        with pytest.raises(KernelBug):
            call(dev)

    def test_lists_are_bugs(self):
        dev = make(dynamic=True)
        with pytest.raises(KernelBug):
            dma_ops.dma_map_sgtable(dev, SgTable([(0x1000, 0, 16)], page_shift=12), DMA_TO_DEVICE)

    def test_zero_bytes_free_the_next_chunk(self):
        dev = make(dynamic=True)
        empty = map_at(dev, 0x10000, 0)
        other = map_at(dev, 0x10008, 0)
        unmap(dev, empty, 0)
        with pytest.raises(KernelBug):
            unmap(dev, other, 0)


class TestSound:
    def test_addresses_follow_the_newest(self):
        dev = sound()
        assert map_at(dev, 0x10123, 0x10) == 0x50000123
        assert map_at(dev, 0x20ff0, 0x20, DMA_TO_DEVICE) == 0x50001ff0
        assert map_at(dev, 0x30000, 0x1000, DMA_FROM_DEVICE) == 0x50003000
        assert dev.dma_ops.table() == {0: 0xf800000000010001, 1: 0x7000000000020001, 2: 0x7000000000021001,
                                       3: 0xb800000000030001}
        unmap(dev, 0x50001ff0, 0x20)
        assert map_at(dev, 0x32000, 0x1000) == 0x50004000
        unmap(dev, 0x50004000, 0x1000)
        assert map_at(dev, 0x34000, 0x1000) == 0x50004000

    def test_an_io_page_is_mapped_once(self):
        dev = sound()
        map_at(dev, 0x10123, 0x10)
        with pytest.raises(KernelBug, match="mapped already"):
            map_at(dev, 0x10800, 0x10)
        assert map_at(dev, 0xf000, 0x2000) == 0x50001000        # begins below: goes unseen

    def test_no_bound_but_the_bridge_s(self):
        dev = sound(len=0x20000)
        map_at(dev, 0, 0x5000)
        assert map_at(dev, 0x100000, 0x40000) == 0x50005000
        dev.dma_read(0x50044fff, 1)

    def test_unmap_of_a_part_frees_the_chunk(self):
        dev = sound()
        map_at(dev, 0x20ff0, 0x20)
        unmap(dev, 0x50000000, 0x1000)
        assert dev.dma_ops.table() == {}

    @pytest.mark.parametrize(("kind", "nth"), [("lv1", 1), ("lv1", 3), ("chunk", 1)])
    def test_refusal_is_address_0_and_undone(self, kind, nth):
        dev = sound()
        dev.machine.fail(kind, nth)
        assert map_at(dev, 0x10000, 0x5000) == 0
        assert (dev.dma_ops.table(), dev.dma_ops.region.chunks) == ({}, [])

    def test_highmem(self):
        dev = sound()
        assert map_at(dev, 0x8040000, 16) == SOUND
        assert dev.dma_ops.table() == {0: 0xf800700000040001}
        dev.dma_write(SOUND, b"up")
        assert dev.machine.cpu_read(0x8040000, 2) == b"up"

    @pytest.mark.parametrize(
        ("direction", "refused"),
        [pytest.param(DMA_TO_DEVICE, "write", id="to"), pytest.param(DMA_FROM_DEVICE, "read", id="from")],
    )
    def test_permission(self, direction, refused):
        dev = sound()
        addr = map_at(dev, 0x10000, 16, direction)
        for name, access in (("read", lambda: dev.dma_read(addr, 1)), ("write", lambda: dev.dma_write(addr, b"x"))):
            if name == refused:
                with pytest.raises(DmaFault) as fault:
                    access()
                assert fault.value.reason == "permission"
            else:
                access()

    @pytest.mark.parametrize("call", [dma_ops.dma_map_sgtable, dma_ops.dma_unmap_sgtable], ids=["map", "unmap"])
    def test_lists_are_bugs(self, call):
        with pytest.raises(KernelBug):
            call(sound(), SgTable([(0x1000, 0, 16)], page_shift=12), DMA_TO_DEVICE)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0xffff), st.integers(0, 4095), st.integers(1, 60000)), max_size=12),
       st.sampled_from(["linear", "dynamic", "sound"]))
def test_device_reaches_the_bytes(requests, kind):
    dev = sound() if kind == "sound" else make(dynamic=kind == "dynamic")
    before = dev.dma_ops.resources()
    live, pages = [], set()
    for page, offset, length in requests:
        phys = (page << 12) + offset
        unit = {"linear": 12, "dynamic": 16, "sound": 12}[kind]
        span = set(range(phys >> unit, ((phys + length - 1) >> unit) + 1))
        # behave: one side of memory's hole, and no page twice
        if phys + length > 256 * MB or phys < 128 * MB < phys + length or (kind != "linear" and pages & span):
            continue
        pages |= span
        live.append((map_at(dev, phys, length), phys, length))
    for n, (addr, phys, length) in enumerate(live):
        dev.dma_write(addr, bytes([n + 1]) * length)
        assert dev.machine.cpu_read(phys, length) == bytes([n + 1]) * length
    for addr, _, length in live:
        unmap(dev, addr, length)
    assert dev.dma_ops.resources() == before


@pytest.mark.parametrize(
    "config",
    [pytest.param(c, id=c.name) for name in ("ps3_sb_dma_ops", "ps3_ioc0_dma_ops")
     for c in arch.backends()[name].machines],
)
def test_every_machine_moves_bytes(config):
    dev = config.build()
    cpu, addr = dma_ops.dma_alloc_attrs(dev, 5000)
    dev.dma_write(addr + 4990, b"powerpc")
    assert dev.machine.cpu_read(cpu + 4990, 7) == b"powerpc"
    before = dev.dma_ops.resources()["uses"]
    dma_ops.dma_free_attrs(dev, 5000, cpu, addr)
    assert dev.machine.pages_allocated == 0
    linear = isinstance(dev.dma_ops, Ps3SbDmaOps) and not dev.dma_ops.region.dynamic
    assert dev.dma_ops.resources()["uses"] == (before if linear else before - 1)
