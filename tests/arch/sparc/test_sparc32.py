# SPDX-License-Identifier: MIT
"""The SBus IOMMU and the IO-UNIT: traps with the numbers that Linux's own code gave."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import backends
from dma_ops import (
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    dma_alloc_attrs,
    dma_free_attrs,
    dma_map_page,
    dma_map_sgtable,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

RECORDS = backends()
SBUS = ["sbus_iommu_dma_gflush_ops", "sbus_iommu_dma_pflush_ops"]
PFN = 0x1000 << 12


def build(backend: str, machine: str = "") -> Device:
    configs = RECORDS[backend].machines
    return next(config for config in configs if machine in ("", config.name)).build()


def single(dev: Device, phys: int, size: int) -> int:
    return dma_map_page(dev, phys & ~0xFFF, phys & 0xFFF, size, DMA_TO_DEVICE)


@pytest.fixture(params=SBUS)
def sbus(request: pytest.FixtureRequest) -> Device:
    return build(request.param)


@pytest.fixture
def iounit() -> Device:
    return build("iounit_dma_ops")


class TestSbus:
    def test_iopte(self, sbus: Device) -> None:
        assert single(sbus, PFN + 0x10, 20) == 0xF0000010
        assert sbus.dma_ops.table() == {0: 0x00100086}

    def test_next_fit_and_the_return_for_a_shorter_request(self, sbus: Device) -> None:
        first = single(sbus, PFN, 0x4000)
        assert single(sbus, PFN, 0x4000) == 0xF0004000
        dma_unmap_page(sbus, first, 0x4000, DMA_TO_DEVICE)
        assert [single(sbus, PFN, n << 12) for n in (4, 2, 2, 3)] == [0xF0008000, 0xF0000000, 0xF0002000, 0xF000C000]

    def test_a_failed_list_leaks_what_it_mapped(self, sbus: Device) -> None:
        table = SgTable([(PFN, 0, 0x1000), (PFN + 0x2000, 0, 0), (PFN + 0x4000, 0, 0x1000)])
        with pytest.raises(DmaError) as failure:
            dma_map_sgtable(sbus, table, DMA_TO_DEVICE)
        assert failure.value.errno == errno.EIO
        assert [row[3:5] for row in table.entries()] == [(0xF0000000, 0x1000), (0xFFFFFFFF, 0), (0, 0)]
        assert sbus.dma_ops.resources()["iopte slots"] == 1

    def test_unmap_poisons_the_addresses(self, sbus: Device) -> None:
        table = SgTable([(PFN + (i << 13), 0, 0x1000) for i in range(3)])
        dma_map_sgtable(sbus, table, DMA_TO_DEVICE)
        dma_unmap_sgtable(sbus, table, DMA_TO_DEVICE)
        assert [row[3:5] for row in table.entries()] == [(0x21212121, 0x1000)] * 3
        with pytest.raises(KernelBug):
            dma_unmap_sgtable(sbus, table, DMA_TO_DEVICE)

    def test_double_unmap_is_a_bug(self, sbus: Device) -> None:
        address = single(sbus, PFN, 0x1000)
        dma_unmap_page(sbus, address, 0x1000, DMA_TO_DEVICE)
        with pytest.raises(KernelBug, match="bit_map_clear"):
            dma_unmap_page(sbus, address, 0x1000, DMA_TO_DEVICE)

    def test_the_last_byte_of_the_window_looks_like_an_error(self, sbus: Device) -> None:
        sbus.dma_ops.preset(last_off=65535)
        with pytest.raises(DmaError):
            single(sbus, PFN + 0xFFF, 1)
        assert sbus.dma_ops.table() == {65535: 0x00100086}
        assert sbus.dma_ops.resources()["iopte slots"] == 1

    @pytest.mark.parametrize("size", [0, 0x40001])
    def test_lengths_that_are_refused(self, sbus: Device, size: int) -> None:
        sbus.machine.events = []
        with pytest.raises(DmaError):
            single(sbus, PFN, size)
        assert sbus.machine.events == []
        assert sbus.dma_ops.resources()["iopte slots"] == 0

    def test_exhaustion_is_a_panic_and_refill_finds_the_same(self, sbus: Device) -> None:
        addresses = [single(sbus, PFN, 0x40000) for _ in range(1024)]
        assert addresses == [0xF0000000 + (i << 18) for i in range(1024)]
        with pytest.raises(KernelBug, match="iommu out"):
            single(sbus, PFN, 1)
        for address in reversed(addresses):
            dma_unmap_page(sbus, address, 0x40000, DMA_TO_DEVICE)
        assert sbus.dma_ops.resources()["iopte slots"] == 0
        assert [single(sbus, PFN, 0x40000) for _ in range(1024)] == addresses

    def test_freeing_coherent_memory_leaks_its_pages(self, sbus: Device) -> None:
        cpu, handle = dma_alloc_attrs(sbus, 8192)
        sbus.machine.mem.poke(cpu + 8191, b"x")
        assert sbus.dma_read(handle + 8191, 1) == b"x"
        dma_free_attrs(sbus, 8192, cpu, handle)
        assert sbus.dma_ops.resources() == {"iopte slots": 0, "dvma": 0}
        assert sbus.machine.pages_allocated == 2
        assert "Bad page state" in sbus.machine.dmesg[-1]

    def test_freeing_coherent_memory_of_no_whole_pages_is_a_bug(self, sbus: Device) -> None:
        cpu, handle = dma_alloc_attrs(sbus, 5000)
        with pytest.raises(KernelBug, match="PAGE_MASK"):
            dma_free_attrs(sbus, 5000, cpu, handle)


def test_pages_are_flushed_one_by_one_or_not_at_all() -> None:
    for backend, flushes in zip(SBUS, (0, 3), strict=True):
        dev = build(backend)
        dev.machine.events = []
        assert single(dev, (0x1003 << 12) + 0xFF0, 0x1020) == 0xF0000FF0
        assert len(dev.machine.events) == flushes


def colored(colors: int) -> Device:
    from arch.sparc.iommu_32 import SbusIommuDmaGflushOps
    from dma_ops import Machine

    machine = Machine("hypersparc", bits=32, big_endian=True, ram=[(0, 1 << 28)], table_base=0x70000000)
    ops = SbusIommuDmaGflushOps(machine, hypersparc=True, vac_cache_size=colors << 12)
    return Device("le", machine, pci=False, dma_parms=False, coherent=False, dma_ops=ops)


def test_colors_skip_the_group_of_an_unaligned_start() -> None:
    dev = colored(4)
    assert [single(dev, pfn << 12, 0x1000) for pfn in (0x1000, 0x1003, 0x1006, 0x1007)] == [
        0xF0000000, 0xF0007000, 0xF000A000, 0xF000B000]


class TestIounit:
    def test_a_region_for_each_size(self, iounit: Device) -> None:
        assert single(iounit, PFN + 0x10, 1) == 0xFC000010
        assert single(iounit, PFN + 0xFF0, 20) == 0xFE000FF0
        assert single(iounit, PFN, 0x3000) == 0xFF000000
        assert iounit.dma_ops.table() == {0: 0x100086, 8192: 0x100086, 8193: 0x100186,
                                          12288: 0x100086, 12289: 0x100186, 12290: 0x100286}

    def test_unmapped_slots_stay_valid_and_the_rotor_goes_on(self, iounit: Device) -> None:
        first, _ = single(iounit, PFN, 1), single(iounit, PFN, 1)
        dma_unmap_page(iounit, first, 1, DMA_TO_DEVICE)
        assert single(iounit, PFN, 1) == 0xFC002000
        iounit.machine.mem.poke(PFN, b"z")
        assert iounit.dma_read(first, 1) == b"z"

    def test_full_regions_overflow_into_the_others(self, iounit: Device) -> None:
        assert [single(iounit, PFN, 1) for _ in range(8192)][-1] == 0xFC000000 + (8191 << 12)
        assert single(iounit, PFN, 1) == 0xFF000000
        for _ in range(16128 - 12288 - 1):
            single(iounit, PFN, 1)
        assert single(iounit, PFN, 1) == 0xFE000000

    def test_lengths(self, iounit: Device) -> None:
        with pytest.raises(DmaError):
            single(iounit, PFN, 0x40001)
        assert single(iounit, PFN + 0x800, 0x40000) == 0xFF000800
        table = SgTable([(PFN, 0, 0x80000)])
        dma_map_sgtable(iounit, table, DMA_TO_DEVICE)
        assert table.segments() == [(0xFF041000, 0x80000, 0)]

    def test_an_empty_entry_shares_its_address_with_the_next(self, iounit: Device) -> None:
        table = SgTable([(PFN, 0, 0), (PFN, 0, 0x1000), (PFN, 0, 0x80000)])
        dma_map_sgtable(iounit, table, DMA_TO_DEVICE)
        assert [row[:2] for row in table.segments()] == [(0xFF001000, 0), (0xFC000000, 0x1000), (0xFF001000, 0x80000)]

    def test_a_hole_that_straddles_the_rotor_is_not_found(self, iounit: Device) -> None:
        iounit.dma_ops.preset(fill=[(12292, 16128 - 12292)], rotor=[(2, 12290)])
        assert single(iounit, PFN, 0x3000) == 0xFC000000

    def test_exhaustion_is_a_panic(self, iounit: Device) -> None:
        iounit.dma_ops.preset(fill=[(0, 16128)])
        with pytest.raises(KernelBug, match="Couldn't find free iopte slots"):
            single(iounit, PFN, 1)

    def test_coherent_memory_is_never_freed(self, iounit: Device) -> None:
        cpu, handle = dma_alloc_attrs(iounit, 5000)
        assert handle == 0xFFF00000
        iounit.machine.mem.poke(cpu + 4999, b"x")
        assert iounit.dma_read(handle + 4999, 1) == b"x"
        dma_free_attrs(iounit, 5000, cpu, handle)
        assert iounit.machine.pages_allocated == 2
        assert dma_alloc_attrs(iounit, 1)[1] == 0xFFF02000


ENTRIES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4095), st.integers(1, 9000)), min_size=1, max_size=60)


@pytest.mark.parametrize(("backend", "machine"), [
    (record.id, config.name) for record in RECORDS.values() if record.id in (*SBUS, "iounit_dma_ops")
    for config in record.machines])
@settings(max_examples=25, deadline=None)
@given(entries=ENTRIES, direction=st.sampled_from([DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL]))
def test_round_trip(backend: str, machine: str, entries: list[tuple[int, int, int]], direction: int) -> None:
    dev = build(backend, machine)
    rows = [((2 << 20) + 0x4000 * page, offset, length) for page, offset, length in entries]
    for i, (page, offset, length) in enumerate(rows):
        dev.machine.cpu_write(page + offset, bytes((i + k) & 0xFF for k in range(length)))
    before = [dev.machine.cpu_read(page + offset, length) for page, offset, length in rows]
    table = SgTable(rows)
    dma_map_sgtable(dev, table, direction)
    assert [dev.dma_read(address, length) for address, length, _ in table.segments()] == before
    for i, (address, length, _) in enumerate(table.segments()):
        dev.dma_write(address, bytes([i & 0xFF]) * length)
    written = [row[:2] for row in table.segments()]
    dma_unmap_sgtable(dev, table, direction)
    last = {}
    for i, (page, offset, length) in enumerate(rows):
        last.update(dict.fromkeys(range(page + offset, page + offset + length), i & 0xFF))
    assert all(dev.machine.cpu_read(address, 1)[0] == value for address, value in last.items())
    if not RECORDS[backend].stale:
        for address, _ in written:
            with pytest.raises(DmaFault):
                dev.dma_read(address, 1)
    assert dev.dma_ops.resources()["iopte slots"] == 0
