# SPDX-License-Identifier: MIT
"""alpha_pci_ops: the traps of Linux's allocator and classifier by number, and byte round trips through the windows."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch.alpha import RECORDS, AlphaPciOps, machine
from arch.alpha.chipsets import GB, IRONGATE, MARVEL, MB, POLARIS, TITAN, TSUNAMI, Chipset
from arch.record import MachineConfig
from dma_ops import (
    DMA_BIDIRECTIONAL,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    Machine,
    dma_alloc_attrs,
    dma_free_attrs,
    dma_map_page,
    dma_map_resource,
    dma_map_sgtable,
    dma_set_mask,
    dma_set_max_seg_size,
    dma_set_seg_boundary,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

PAGE = 8192
MASK64 = (1 << 64) - 1
FAR = 1 << 32                       # neither a 2 GiB direct window nor a 32-bit address reaches this far


def device(chipset: Chipset = TSUNAMI, ram: int = 6 * GB, *, mask: int = 0xFFFFFFFF, pci: bool = True) -> Device:
    m = machine("test", ram)
    return Device("dut", m, dma_ops=AlphaPciOps(m, chipset), mask=mask, pci=pci)


def ops_of(dev: Device) -> AlphaPciOps:
    assert isinstance(dev.dma_ops, AlphaPciOps)
    return dev.dma_ops


def sg(*pieces: tuple[int, int]) -> SgTable:
    """A list of (physical address, length)."""
    return SgTable([(phys & -PAGE, phys % PAGE, length) for phys, length in pieces], page_shift=13)


def map_list(dev: Device, *pieces: tuple[int, int]) -> tuple[SgTable, list[tuple[int, int]]]:
    table = sg(*pieces)
    dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    return table, [(address, length) for address, length, _ in table.segments()]


def map_one(dev: Device, phys: int, size: int) -> int:
    return dma_map_page(dev, phys & -PAGE, phys % PAGE, size, DMA_TO_DEVICE)


def marks(table: SgTable) -> list[tuple[int, int]]:
    return [(row[3], row[4]) for row in table.entries()]


def fill_but(dev: Device, free: int, arena: str = "sg_pci") -> None:
    """Take every PTE of an arena but its first ones."""
    ops = ops_of(dev)
    assert ops.reserve(ops.arenas[arena]["size"] // PAGE, arena) == 0
    dma_unmap_page(dev, ops.arenas[arena]["dma_base"], free * PAGE, DMA_TO_DEVICE)


# -- lists ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "segments", "table"),
    [
        pytest.param([(0x10000, 0x2000), (0x20000, 0x2000)], [(0x40000000, 0x4000)], {0: 0x11, 1: 0x21},
                     id="virtual-join-forces-the-arena"),
        pytest.param([(0x10000, 0x100), (0x10100, 0x200), (0x11000, 0x100)],
                     [(0x80010000, 0x300), (0x80011000, 0x100)], {}, id="adjacent-unaligned-stays-direct"),
        pytest.param([(0x10000 + i * PAGE, PAGE) for i in range(9)], [(0x80010000, 0x10000), (0x80020000, 0x2000)], {},
                     id="max-seg-64K-starts-a-new-leader"),
        pytest.param([(0x10100, 0x1F00), (0x20000, 0x100)], [(0x40000100, 0x2000)], {0: 0x11, 1: 0x21},
                     id="only-the-joint-must-be-page-aligned"),
        pytest.param([(0x10000, 0x2000), (0x12000, 0x2000), (0x20000, 0x1000)], [(0x40000000, 0x5000)],
                     {0: 0x11, 1: 0x13, 2: 0x21}, id="one-virtual-joint-moves-the-adjacent-part-too"),
        pytest.param([(0x10000, 0), (0x20000, 0x2000)], [(0x40000000, 0x2000)], {0: 0x21},
                     id="leading-zero-length-takes-no-pte"),
    ],
)
def test_lists(pieces: list[tuple[int, int]], segments: list[tuple[int, int]], table: dict[int, int]) -> None:
    dev = device()
    mapped, got = map_list(dev, *pieces)
    assert got == segments
    assert ops_of(dev).table() == table
    dma_unmap_sgtable(dev, mapped, DMA_TO_DEVICE)
    assert ops_of(dev).table() == {}


def test_marks_stay_behind_the_segments() -> None:
    dev = device()
    table, _ = map_list(dev, (0x10000, 0x100), (0x10100, 0x200), (0x11000, 0x100), (0x11100, 0x100))
    assert marks(table) == [(0x80010000, 0x300), (0x80011000, 0x200), (0, 0), (MASK64, 0)]


def test_max_seg_smaller_than_an_entry_stops_all_joins() -> None:
    dev = device()
    dma_set_max_seg_size(dev, 4096)
    _, segments = map_list(dev, (0x10000, PAGE), (0x12000, PAGE))
    assert segments == [(0x80010000, PAGE), (0x80012000, PAGE)]


def test_boundary_acts_in_the_arena_only() -> None:
    dev = device()
    dma_set_seg_boundary(dev, 0xFFFF)
    _, direct = map_list(dev, (0xE000, 0x2000), (0x10000, 0x2000))
    assert direct == [(0x8000E000, 0x4000)]             # crosses 0x10000: no one looks
    assert map_one(dev, FAR, 3 * PAGE) == 0x40000000
    assert map_one(dev, FAR, 5 * PAGE) == 0x40010000    # index 4 would cross
    dma_set_seg_boundary(dev, 0xFFFFFFFF)
    assert map_one(dev, FAR, 5 * PAGE) == 0x40020000


def test_larger_than_the_boundary_fails_and_does_not_hang() -> None:
    dev = device()
    dma_set_seg_boundary(dev, 0x3FFF)
    with pytest.raises(DmaError) as error:
        map_one(dev, FAR, 3 * PAGE)
    assert (error.value.errno, ops_of(dev).table()) == (errno.ENOMEM, {})


def test_a_boundary_that_is_no_power_of_two_is_a_bug() -> None:
    dev = device()
    dma_set_seg_boundary(dev, 0x5FFF)
    with pytest.raises(KernelBug, match="power of two"):
        map_one(dev, FAR, PAGE)


# -- single mappings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "phys", "size", "address"),
    [
        pytest.param(0xFFFFFFFF, 0x7FFFF000, 0x1000, 0xFFFFF000, id="last-direct-byte"),
        pytest.param(0xFFFFFFFF, 0x7FFFF000, 0x1001, 0x40001000, id="one-byte-more-takes-the-arena"),
        pytest.param(MASK64, 0x100000000, 0x1000, 0x10100000000, id="dac"),
        pytest.param(0xFFFFFFFF, 0x100000000, 0x1000, 0x40000000, id="32-bit-takes-the-arena"),
        pytest.param((1 << 40) - 1, 0x100000000, 0x1000, 0x40000000, id="40-bit-lacks-the-dac-bit"),
        pytest.param(0x7FFFFFFF, 0x10000, 0x1000, 0x40000000, id="31-bit-sg_pci"),
        pytest.param(0x3FFFFFFF, 0x10000, 0x1000, 0x00800000, id="30-bit-sg_isa"),
        pytest.param(0x00FFFFFF, 0x10004, 0x1000, 0x00800004, id="24-bit-sg_isa-keeps-the-offset"),
        pytest.param(0x800FFFFF, 0xFF000, 0x1000, 0x800FF000, id="mask-ends-inside-the-direct-window"),
        pytest.param(0x800FFFFF, 0xFF000, 0x1001, 0x40001000, id="the-last-byte-counts"),
    ],
)
def test_addresses(mask: int, phys: int, size: int, address: int) -> None:
    assert map_one(device(mask=mask), phys, size) == address


def test_next_fit_never_goes_back() -> None:
    dev = device()
    got = [map_one(dev, FAR, PAGE), map_one(dev, FAR, 3 * PAGE), map_one(dev, FAR, PAGE)]
    assert got == [0x40000000, 0x40008000, 0x40010000]
    dma_unmap_page(dev, got[0], PAGE, DMA_TO_DEVICE)
    assert map_one(dev, FAR, PAGE) == 0x40018000


def test_pte_format() -> None:
    dev = device()
    address = map_one(dev, 0x12345F800, 0x1000)
    ops = ops_of(dev)
    assert ops.table() == {0: 0x12345E000 >> 12 | 1, 1: 0x123460000 >> 12 | 1}
    assert dev.machine.mem.peek(ops.arenas["sg_pci"]["ptes"], 8) == 0x12345F.to_bytes(8, "little")
    assert ops.walker.lookup(dev, address) == (0x12345F800, 0x800)


@pytest.mark.parametrize("chipset", [TITAN, MARVEL], ids=lambda chip: chip.name)
def test_isa_arena_in_groups_of_eight(chipset: Chipset) -> None:
    dev = device(chipset, mask=0xFFFFFF)
    assert [map_one(dev, FAR, PAGE) for _ in range(2)] == [0x800000, 0x810000]


def test_zero_length_reserves_nothing_but_moves_on() -> None:
    dev = device()
    map_one(dev, FAR, PAGE)
    assert map_one(dev, FAR, 0) == 0x40008000
    assert ops_of(dev).table() == {0: FAR >> 12 | 1}
    assert ops_of(dev).arenas["sg_pci"]["next_entry"] == 4
    assert map_one(dev, FAR, PAGE) == 0x40008000


# -- exhaustion ----------------------------------------------------------------------------------------------------


def test_full_arena_breaks_virtual_joints() -> None:
    dev = device()
    fill_but(dev, 0)
    before = ops_of(dev).tlb_flushes
    _, segments = map_list(dev, (0x10000, 0x2000), (0x20000, 0x2000), (0x30000, 0x2000))
    assert segments == [(0x80010000, 0x2000), (0x80020000, 0x2000), (0x80030000, 0x2000)]
    ops = ops_of(dev)
    assert (ops.tlb_flushes - before, ops.tlb_start, ops.tlb_end) == (1, 0, MASK64)


def test_failed_list_is_unwound_and_keeps_its_marks() -> None:
    dev = device()
    fill_but(dev, 4)
    table = sg((FAR + 0x10, 0x100), (FAR + 0x10020, 0x100), (FAR + 0x20020, 0x100))
    with pytest.raises(DmaError) as error:
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert (error.value.errno, table.nents) == (errno.ENOMEM, 3)
    entries = ops_of(dev).table()
    assert 0 not in entries and 4 in entries
    assert marks(table) == [(0x40000010, 0x100), (0, 0x100), (0, 0x100)]


def test_failed_list_of_one_entry_is_eio() -> None:
    dev = device()
    fill_but(dev, 0)
    table = sg((FAR, 0x100))
    with pytest.raises(DmaError) as error:
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert error.value.errno == errno.EIO
    assert marks(table) == [(MASK64, 0x100)]


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_injected_failure_leaks_nothing(nth: int) -> None:
    dev = device()
    dev.machine.fail("entries", nth)
    with pytest.raises(DmaError):
        map_list(dev, *[(FAR + 0x10 + i * 4 * PAGE, 0x100) for i in range(3)])
    assert ops_of(dev).resources() == {"sg_isa": 0, "sg_pci": 0}


def test_exhaust_and_refill() -> None:
    dev = device(mask=0xFFFFFF)
    live = []
    with pytest.raises(DmaError):
        while True:
            live.append(map_one(dev, FAR, PAGE))
    assert len(live) == 1024 // 4                       # each takes a group of four PTEs
    for address in live[::2]:
        dma_unmap_page(dev, address, PAGE, DMA_TO_DEVICE)
    assert [map_one(dev, FAR, PAGE) for _ in range(128)] == live[::2]
    with pytest.raises(DmaError):
        map_one(dev, FAR, PAGE)
    assert ops_of(dev).resources()["sg_isa"] == 256


# -- unmapping -----------------------------------------------------------------------------------------------------


def test_direct_addresses_unmap_to_nothing() -> None:
    dev = device()
    fill_but(dev, 0)                                    # any PTE that went would show
    before = ops_of(dev).resources(), ops_of(dev).tlb_flushes
    dma_unmap_page(dev, map_one(dev, 0x10000, PAGE), PAGE, DMA_TO_DEVICE)
    assert (ops_of(dev).resources(), ops_of(dev).tlb_flushes) == before


def test_unmap_page_flushes_only_at_or_above_next_entry() -> None:
    dev = device()
    first, second = map_one(dev, FAR, PAGE), map_one(dev, FAR, PAGE)
    fill = [map_one(dev, FAR, PAGE) for _ in range(131072 // 4 - 2)]
    dma_unmap_page(dev, first, PAGE, DMA_TO_DEVICE)
    assert ops_of(dev).tlb_flushes == 0
    assert map_one(dev, FAR, PAGE) == first             # wraps: one flush, and next_entry is 1
    dma_unmap_page(dev, second, PAGE, DMA_TO_DEVICE)
    ops = ops_of(dev)
    assert (ops.tlb_flushes, ops.tlb_start, ops.tlb_end) == (2, second, second + PAGE - 1)
    assert len(fill) == 32766


def test_list_that_frees_nothing_flushes_backwards() -> None:
    dev = device()
    table, _ = map_list(dev, (0x10000, 0x100), (0x11000, 0x100))
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    ops = ops_of(dev)
    assert (ops.tlb_flushes, ops.tlb_start, ops.tlb_end) == (1, MASK64, 0)


def test_unmap_page_goes_by_address() -> None:
    dev = device(mask=0x7FFFFFFF)
    address = map_one(dev, FAR, PAGE)
    dma_set_mask(dev, 0xFFFFFF)
    dma_unmap_page(dev, address, PAGE, DMA_TO_DEVICE)
    assert ops_of(dev).resources() == {"sg_isa": 0, "sg_pci": 0}


def test_unmap_sg_under_a_lowered_mask_zeroes_foreign_memory() -> None:
    dev = device(mask=0x7FFFFFFF)
    table, _ = map_list(dev, (FAR, PAGE), (FAR + 3 * PAGE, PAGE))
    ops = ops_of(dev)
    behind = ops.arenas["sg_isa"]["ptes"] + 8 * ((0x40000000 - 0x800000) // PAGE)
    dev.machine.mem.poke(behind, b"\xaa" * 24)
    dma_set_mask(dev, 0xFFFFFF)
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    assert dev.machine.mem.peek(behind, 24) == bytes(16) + b"\xaa" * 8
    assert {0, 1} <= ops.table().keys()                 # leaked


def test_unmap_sg_under_a_raised_mask_oopses() -> None:
    dev = device(mask=0xFFFFFF)
    table, _ = map_list(dev, (FAR, PAGE), (FAR + 3 * PAGE, PAGE))
    dma_set_mask(dev, 0x7FFFFFFF)
    with pytest.raises(KernelBug, match="kernel paging request"):
        dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)


def test_unmap_of_an_address_in_no_window_is_a_message() -> None:
    dev = device(ram=256 * MB)
    dma_unmap_page(dev, 0x50000000, PAGE, DMA_TO_DEVICE)        # sg_pci ends there
    dma_unmap_page(dev, 0x1000, PAGE, DMA_TO_DEVICE)
    assert [line[:5] for line in dev.machine.dmesg] == ["Bogus", "Bogus"]


# -- masks and coherent memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chipset", "ram", "mask", "supported"),
    [
        pytest.param(TSUNAMI, 256 * MB, 0xFFFFFF, True, id="sg_isa-fits"),
        pytest.param(TSUNAMI, 256 * MB, 0x7FFFFF, False, id="sg_isa-does-not"),
        pytest.param(POLARIS, 1 * GB, 0xFFFFFF, False, id="nothing-below-2G"),
        pytest.param(POLARIS, 1 * GB, 0xBFFFFFFF, True, id="direct-image-of-ram"),
        pytest.param(POLARIS, 1 * GB, 0xBFFFFFFE, False, id="one-byte-less"),
        pytest.param(IRONGATE, 1 * GB, 0xFFFFFF, True, id="zone-dma"),
        pytest.param(IRONGATE, 1 * GB, 0x7FFFFF, False, id="less-than-zone-dma"),
    ],
)
def test_dma_supported(chipset: Chipset, ram: int, mask: int, supported: bool) -> None:
    dev = device(chipset, ram)
    if supported:
        dma_set_mask(dev, mask)
        assert dev.dma_mask == mask
        return
    with pytest.raises(DmaError) as error:
        dma_set_mask(dev, mask)
    assert (error.value.errno, dev.dma_mask) == (errno.EIO, 0xFFFFFFFF)


def test_coherent_memory_never_takes_dac() -> None:
    dev = device(mask=MASK64)
    cpu, handle = dma_alloc_attrs(dev, 3 * PAGE)
    assert cpu >= FAR and handle == 0x40000000
    dma_free_attrs(dev, 3 * PAGE, cpu, handle)
    assert (dev.machine.pages_allocated, ops_of(dev).resources()["sg_pci"]) == (0, 0)


def test_coherent_memory_falls_back_to_zone_dma() -> None:
    dev = device(IRONGATE, 1 * GB, mask=0xFFFFFF)
    cpu, handle = dma_alloc_attrs(dev, PAGE)
    assert cpu == handle < 1 << 24
    dma_free_attrs(dev, PAGE, cpu, handle)
    assert dev.machine.pages_allocated == 0


def test_coherent_failure_frees_the_pages() -> None:
    dev = device(mask=0xFFFFFF)
    fill_but(dev, 0, "sg_isa")
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, PAGE)
    assert dev.machine.pages_allocated == 0


def test_no_map_resource() -> None:
    with pytest.raises(DmaError):
        dma_map_resource(device(), 0xFEB00000, PAGE, DMA_BIDIRECTIONAL)


# -- machines without scatter-gather, and devices off the PCI bus --------------------------------------------------


def test_without_hardware_the_mask_of_lists_is_forgotten() -> None:
    dev = device(IRONGATE, 1 * GB, mask=0xFFFFFF)
    with pytest.raises(DmaError):
        map_one(dev, 0x2000000, PAGE)
    _, segments = map_list(dev, (0x2000000, PAGE), (0x3000000, PAGE))
    assert segments == [(0x2000000, PAGE), (0x3000000, PAGE)]


def test_without_hardware_a_list_outside_the_window_oopses() -> None:
    dev = device(POLARIS, 4 * GB)
    with pytest.raises(KernelBug, match="NULL arena"):
        map_list(dev, (3 * GB, PAGE), (3 * GB + 2 * PAGE, PAGE))


def test_isa_devices() -> None:
    dev = device(pci=False)
    with pytest.raises(KernelBug, match="!isa_bridge"):
        map_one(dev, FAR, PAGE)
    ops = ops_of(dev)
    ops.isa_bridge = Device("bridge", dev.machine, dma_ops=ops)
    assert [map_one(dev, FAR, PAGE) for _ in range(2)] == [0x40000000, 0x40010000]      # 64 KiB apart
    dev.dma_mask = 0x7FFFFFF                # below the bridge's: a bus master that is taken to have 24 bits
    assert map_one(dev, FAR, PAGE) == 0x800000
    with pytest.raises(KernelBug, match="NULL pointer"):
        map_list(dev, (FAR, PAGE), (FAR + 3 * PAGE, PAGE))


@pytest.mark.parametrize(
    ("chipset", "sizes"),
    [pytest.param(TSUNAMI, (0x7FF00000, 1 * GB), id="the-direct-window"),
     pytest.param(TITAN, (1 * GB, 0x3FF00000), id="sg_pci")],
)
def test_cypress_bridge_cuts(chipset: Chipset, sizes: tuple[int, int]) -> None:
    ops = AlphaPciOps(machine("cypress", 6 * GB), chipset, cypress=True)
    assert (ops.direct_size, ops.arenas["sg_pci"]["size"]) == sizes


# -- bytes ---------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(0, PAGE - 1), st.integers(1, 3 * PAGE), st.integers(0, 2)), min_size=1,
                    max_size=12),
    config=st.sampled_from(RECORDS[0].machines),
    aligned=st.booleans(),
    mask=st.sampled_from([0xFFFFFFFF, 0xFFFFFF, MASK64]),
)
def test_the_device_reaches_the_bytes(pieces: list[tuple[int, int, int]], config: MachineConfig, aligned: bool,
                                      mask: int) -> None:
    """Random lists of random gaps (none: adjacent) on every machine; the device reads what the CPU wrote."""
    dev = config.build()
    ops = ops_of(dev)
    if ops.tbi:
        dma_set_mask(dev, mask)
    at = dev.machine.ram_ranges[-1][1] - 8 * MB
    flat, content = [], b""
    for number, (offset, size, gap) in enumerate(pieces):
        phys, length = (at, size & -PAGE or PAGE) if aligned else (at + (offset if gap else 0), size)
        data = bytes([number + 1]) * length
        dev.machine.mem.poke(phys, data)
        flat.append((phys, length))
        content += data
        at = phys + length
        if gap:
            at = (at + gap * PAGE) & -PAGE
    table, segments = map_list(dev, *flat)
    assert b"".join(dev.dma_read(address, length) for address, length in segments) == content
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    assert not any(ops.resources().values())
    ops.flush()                                 # what was freed below next_entry may still be in the chip's TLB
    for address, length in segments:
        if address < 1 << 32 and not ops.direct_base <= address < ops.direct_base + ops.direct_size:
            with pytest.raises(DmaFault):
                dev.dma_read(address, length)


def test_pages_are_8K() -> None:
    with pytest.raises(ValueError, match="8 KiB"):
        AlphaPciOps(Machine("other", page_shift=12), TSUNAMI)
