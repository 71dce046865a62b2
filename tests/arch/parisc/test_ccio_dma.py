# SPDX-License-Identifier: MIT
"""ccio_ops: units, hints, panics, by number; and byte round trips through the adapter."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch.parisc import GB, MB, RECORDS, CcioOps, machine
from arch.record import MachineConfig
from dma_ops import (
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    dma_alloc_attrs,
    dma_can_mmap,
    dma_free_attrs,
    dma_map_page,
    dma_map_sgtable,
    dma_set_mask,
    dma_set_max_seg_size,
    dma_set_seg_boundary,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

PAGE = 4096
BASE = 0x10000000
OTHER = 0x20000000


def device(bits: int = 64, window: int = GB, **options: bool) -> Device:
    m = machine("test", GB, bits=bits)
    return Device("dut", m, dma_ops=CcioOps(m, window, **options))


def ops_of(dev: Device) -> CcioOps:
    assert isinstance(dev.dma_ops, CcioOps)
    return dev.dma_ops


def map_one(dev: Device, phys: int, size: int, direction: int = DMA_TO_DEVICE) -> int:
    return dma_map_page(dev, phys & -PAGE, phys % PAGE, size, direction)


def map_list(dev: Device, *pieces: tuple[int, int]) -> tuple[SgTable, list[tuple[int, int]]]:
    """Map (physical address, length) pieces; the table and its (address, length) segments."""
    table = SgTable([(phys & -PAGE, phys % PAGE, length) for phys, length in pieces])
    dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    return table, [(address, length) for address, length, _ in table.segments()]


# -- the allocator -------------------------------------------------------------------------------------------------


def test_requests_take_whole_units() -> None:
    dev = device()
    got = [map_one(dev, BASE, pages * PAGE) for pages in (1, 1, 9, 1, 1, 17)]
    assert got == [0x80000, 0x88000, 0x90000, 0xA0000, 0xA8000, 0xC0000]
    assert ops_of(dev).resources() == {"pages": 8 + 8 + 16 + 8 + 8 + 32}


def test_a_half_used_unit_is_passed_over() -> None:
    dev = device()
    assert [map_one(dev, BASE, PAGE), map_one(dev, BASE, 9 * PAGE)] == [0x80000, 0x90000]


def test_search_wraps_to_the_map_start() -> None:
    dev = device(window=4 * MB)
    live = [map_one(dev, BASE, PAGE) for _ in range(128)]
    assert live[:112] == [0x80000 + i * 0x8000 for i in range(112)]
    assert live[112:] == [i * 0x8000 for i in range(16)]
    with pytest.raises(KernelBug, match="out of mapping resources"):
        map_one(dev, BASE, PAGE)
    dma_unmap_page(dev, live[7], PAGE, DMA_TO_DEVICE)
    assert map_one(dev, BASE, PAGE) == live[7]


@pytest.mark.parametrize(("bits", "pages"), [(64, 64), (32, 32)])
def test_largest_unit(bits: int, pages: int) -> None:
    dev = device(bits, 256 * MB)
    address = map_one(dev, BASE, pages * PAGE)
    assert address == 0x80000
    dma_unmap_page(dev, address, pages * PAGE, DMA_TO_DEVICE)
    with pytest.raises(KernelBug, match="DMA_CHUNK_SIZE"):
        map_one(dev, BASE, pages * PAGE + 1)


def test_boundary_counts_the_requested_pages() -> None:
    dev = device()
    dma_set_seg_boundary(dev, 0x3FFF)
    assert map_one(dev, BASE, 4 * PAGE) == 0x80000       # a unit of 8 crosses, 4 pages of it do not
    with pytest.raises(KernelBug, match="out of mapping resources"):
        map_one(dev, BASE, 5 * PAGE)


def test_cujo20_loses_eight_pages_in_every_256M() -> None:
    dev = device()
    ops_of(dev).cujo20_fixup(0x80000)
    assert ops_of(dev).resources() == {"pages": 4 * 8}
    assert map_one(dev, BASE, PAGE) == 0x88000


@pytest.mark.parametrize(
    ("ram", "adapters", "bits", "window"),
    [(GB, 1, 64, GB), (8 * GB, 1, 64, GB), (768 * MB, 2, 64, 512 * MB), (2 * GB, 1, 32, 2 * GB), (MB, 2, 64, MB)],
)
def test_iova_space(ram: int, adapters: int, bits: int, window: int) -> None:
    assert CcioOps.iova_space(ram, adapters, bits) == window


# -- entries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phys", "size", "direction", "eisa", "hints"),
    [
        pytest.param(BASE, 100, DMA_FROM_DEVICE, False, 0x01, id="from"),
        pytest.param(BASE + 8, 100, DMA_FROM_DEVICE, False, 0x03, id="from-unaligned-is-safe-dma"),
        pytest.param(BASE, 9 * PAGE, DMA_TO_DEVICE, False, 0x11, id="to-prefetches"),
        pytest.param(BASE, PAGE, DMA_BIDIRECTIONAL, False, 0x03, id="bidi-is-safe-dma"),
        pytest.param(BASE, PAGE, DMA_TO_DEVICE, True, 0x15, id="eisa-stops-most"),
    ],
)
def test_hints(phys: int, size: int, direction: int, eisa: bool, hints: int) -> None:
    dev = device(eisa=eisa)
    map_one(dev, phys, size, direction)
    assert {entry & 0xFFF for entry in ops_of(dev).table().values()} == {hints}


def test_lists_never_get_safe_dma_for_alignment() -> None:
    dev = device()
    map_list(dev, (BASE + 8, 100), (OTHER + 8, 100))
    assert {entry & 0xFFF for entry in ops_of(dev).table().values()} == {0x11}


def test_entry_format_of_64_bits() -> None:
    dev = device()
    address = map_one(dev, 0xB123456781008, 16)
    entry = dev.machine.mem.peek(ops_of(dev).pdir + 8 * (address >> 12), 8)
    # word 0: bits 51..48, virtual index of 0xb123496781000, bits 47..32; word 1: bits 31..12 and hints
    assert entry.hex() == "b7811234" + "56781013"
    assert ops_of(dev).walker.lookup(dev, address) == (0xB123456781008, 0xFF8)


def test_entry_format_of_32_bits() -> None:
    dev = device(32, 256 * MB)
    map_one(dev, 0x12345000, 16)
    assert dev.machine.mem.peek(ops_of(dev).pdir + 8 * 128, 8).hex() == "03450000" + "12345011"


def test_unmap_clears_the_hints_and_purges_per_chain() -> None:
    dev = device()
    address = map_one(dev, BASE, 3 * PAGE)
    dma_unmap_page(dev, address, 3 * PAGE, DMA_TO_DEVICE)
    ops = ops_of(dev)
    assert (ops.table(), ops.resources(), ops.commands, ops.last_command) == ({}, {"pages": 0}, 1, 0x80021)
    assert dev.machine.mem.peek(ops.pdir + 8 * 128, 8).hex() == "0000000010000000"      # the frame stays
    with pytest.raises(DmaFault):
        dev.dma_read(address, 1)


def test_small_windows_purge_more_often() -> None:
    dev = device(window=MB)                             # a chain is one page
    address = map_one(dev, BASE, 3 * PAGE)
    dma_unmap_page(dev, address, 3 * PAGE, DMA_TO_DEVICE)
    assert (ops_of(dev).commands, ops_of(dev).last_command) == (3, address + 2 * PAGE | 33)


# -- lists ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "segments"),
    [
        pytest.param([(BASE, PAGE), (BASE + PAGE, PAGE), (OTHER, PAGE), (OTHER + PAGE, 0x800)],
                     [(0x80000, 0x2000), (0x88000, 0x1800)], id="contiguous-at-pages-merges"),
        pytest.param([(BASE + 0x101, 0x100), (BASE + 0x201, 0xDFF), (BASE + 0x1000, 0x1000)],
                     [(0x80101, 0x100), (0x88201, 0x1DFF)], id="contiguous-inside-a-page-does-not"),
        pytest.param([(BASE, PAGE), (OTHER, PAGE)], [(0x80000, PAGE), (0x88000, PAGE)],
                     id="page-aligned-but-apart-does-not"),
        pytest.param([(BASE, 0x100), (OTHER, PAGE)], [(0x80000, 0x100), (0x88000, PAGE)], id="unaligned-end"),
    ],
)
def test_lists(pieces: list[tuple[int, int]], segments: list[tuple[int, int]]) -> None:
    dev = device()
    table, got = map_list(dev, *pieces)
    assert got == segments
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    assert ops_of(dev).resources() == {"pages": 0}


def test_former_heads_keep_flag_and_index() -> None:
    dev = device()
    table, _ = map_list(dev, (BASE, PAGE), (BASE + PAGE, PAGE), (OTHER, PAGE), (OTHER + PAGE, 0x800))
    assert [row[3:5] for row in table.entries()] == [(0x80000, 0x2000), (0x88000, 0x1800), (0x80088000, 0), (0, 0)]


@pytest.mark.parametrize(
    ("bits", "max_seg", "boundary", "counts"),
    [
        pytest.param(64, 65536, 0xFFFFFFFF, [16, 16, 8], id="max-seg"),
        pytest.param(64, 1 << 30, 0xFFFFFFFF, [40], id="64-pages-hold-it-all"),
        pytest.param(32, 1 << 30, 0xFFFFFFFF, [32, 8], id="32-bit-chunk"),
        pytest.param(64, 1 << 30, 0x7FFF, [8] * 5, id="boundary"),
    ],
)
def test_stream_limits(bits: int, max_seg: int, boundary: int, counts: list[int]) -> None:
    dev = device(bits, 256 * MB)
    dma_set_max_seg_size(dev, max_seg)
    dma_set_seg_boundary(dev, boundary)
    _, segments = map_list(dev, *[(BASE + i * PAGE, PAGE) for i in range(40)])
    assert [length // PAGE for _, length in segments] == counts


def test_zero_length_entry_writes_one_entry() -> None:
    dev = device()
    table, segments = map_list(dev, (BASE, PAGE), (BASE + PAGE, 0), (BASE + PAGE, PAGE))
    assert segments == [(0x80000, 2 * PAGE)]
    assert list(ops_of(dev).table()) == [128, 129, 130]         # one more than was asked for
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    assert list(ops_of(dev).table()) == [130]


def test_head_offset_of_a_page_wastes_entries() -> None:
    dev = device()
    table = SgTable([(BASE, 0x1100, 0x100), (OTHER, 0, PAGE)])
    dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert [row[0] for row in table.segments()] == [0x81100, 0x88000]
    assert list(ops_of(dev).table()) == [129, 136]
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    assert ops_of(dev).resources() == {"pages": 0}


# -- what kills the kernel, and what does not ----------------------------------------------------------------------


def test_empty_mapping_is_a_bug() -> None:
    with pytest.raises(KernelBug, match="size <= 0"):
        map_one(device(), BASE, 0)


def test_empty_stream_is_a_bug() -> None:
    with pytest.raises(KernelBug, match="pages_needed == 0"):
        map_list(device(), (BASE, 0), (OTHER, PAGE))


@pytest.mark.parametrize("address", [0x80000, 0x40000], ids=["freed", "never-mapped"])
def test_unmapping_what_is_not_mapped_is_a_bug(address: int) -> None:
    dev = device()
    dma_unmap_page(dev, map_one(dev, BASE, PAGE), PAGE, DMA_TO_DEVICE)
    with pytest.raises(KernelBug, match="!= mask"):
        dma_unmap_page(dev, address, PAGE, DMA_TO_DEVICE)


def test_unmapping_beyond_the_table_is_a_bug() -> None:
    with pytest.raises(KernelBug, match="beyond the table"):
        dma_unmap_page(device(window=MB), 0x100000, PAGE, DMA_TO_DEVICE)


def test_device_without_an_adapter() -> None:
    dev = device()
    ops_of(dev).has_ioc = False
    with pytest.raises(DmaError) as error:
        map_list(dev, (BASE, PAGE), (OTHER, PAGE))
    assert error.value.errno == errno.EINVAL
    with pytest.raises(DmaError):
        map_one(dev, BASE, PAGE)
    dma_unmap_page(dev, 0x80000, PAGE, DMA_TO_DEVICE)
    assert dev.machine.dmesg[-1].startswith("WARNING")
    cpu, handle = dma_alloc_attrs(dev, PAGE)                    # the error is handed out as an address
    assert cpu and handle == (1 << 64) - 1


@pytest.mark.parametrize(("mask", "ok"), [(0xFFFFFFFF, True), (0x7FFFFFFF, False)])
def test_masks(mask: int, ok: bool) -> None:
    dev = device()
    if ok:
        dma_set_mask(dev, mask)
    else:
        with pytest.raises(DmaError):
            dma_set_mask(dev, mask)
    assert dev.dma_mask == 0xFFFFFFFF


def test_coherent_memory() -> None:
    dev = device()
    cpu, handle = dma_alloc_attrs(dev, 3 * PAGE)
    assert handle == 0x80000 and len(ops_of(dev).table()) == 3
    dma_free_attrs(dev, 3 * PAGE, cpu, handle)
    assert (dev.machine.pages_allocated, ops_of(dev).resources()) == (0, {"pages": 0})


def test_no_mmap() -> None:
    assert not dma_can_mmap(device())


# -- bytes ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(0, PAGE - 1), st.integers(1, 3 * PAGE), st.integers(0, 2)), min_size=1,
                    max_size=12),
    config=st.sampled_from([config for record in RECORDS for config in record.machines]),
    aligned=st.booleans(),
)
def test_the_device_reaches_the_bytes(pieces: list[tuple[int, int, int]], config: MachineConfig,
                                      aligned: bool) -> None:
    """Random lists of random gaps (none: adjacent) on every machine, sba's too; the device reads what was written."""
    dev = config.build()
    assert dev.dma_ops is not None
    at = dev.machine.ram_ranges[-1][1] - 4 * MB
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
    for address, _ in segments:
        with pytest.raises(DmaFault):
            dev.dma_read(address, 1)
    dev.dma_ops.flush()
    assert not any(dev.dma_ops.resources().values())
