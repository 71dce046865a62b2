# SPDX-License-Identifier: MIT
"""PA-RISC's sba_ops: bits from the left, batches of 16, panics and what C leaves undefined, by number."""

from __future__ import annotations

import pytest

from arch.parisc import GB, MB, SbaIoc, SbaOps, machine
from dma_ops import (
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    KernelHang,
    dma_alloc_attrs,
    dma_free_attrs,
    dma_map_page,
    dma_map_sgtable,
    dma_set_mask,
    dma_set_seg_boundary,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

PAGE = 4096
BASE = 0x10000000
OTHER = 0x20000000


def device(bits: int = 64, window: int = GB, **options: int) -> Device:
    m = machine("test", GB, bits=bits)
    return Device("dut", m, dma_ops=SbaOps(m, window, **options))


def pluto(**options: int) -> Device:
    return device(ibase=GB, pluto=True, **options)


def ops_of(dev: Device) -> SbaOps:
    assert isinstance(dev.dma_ops, SbaOps)
    return dev.dma_ops


def map_one(dev: Device, phys: int, size: int) -> int:
    return dma_map_page(dev, phys & -PAGE, phys % PAGE, size, DMA_TO_DEVICE)


def map_list(dev: Device, *pieces: tuple[int, int]) -> tuple[SgTable, list[tuple[int, int]]]:
    table = SgTable([(phys & -PAGE, phys % PAGE, length) for phys, length in pieces])
    dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    return table, [(address, length) for address, length, _ in table.segments()]


@pytest.mark.parametrize(
    ("dev", "got"),
    [
        pytest.param(device(), [0x80000, 0x81000, 0x84000, 0x87000, 0x90000, 0xC0000, 0x100000], id="64-bit"),
        pytest.param(pluto(), [0x40080000, 0x40081000, 0x40084000, 0x40087000, 0x40090000, 0x400C0000, 0x40100000],
                     id="pluto"),
        pytest.param(device(32, 256 * MB), [0x80000, 0x81000, 0x84000, 0x87000, 0x90000, 0xA0000, 0xC0000],
                     id="32-bit"),
    ],
)
def test_steps_of_powers_of_two_but_only_own_bits(dev: Device, got: list[int]) -> None:
    sizes = [1, 1, 3, 1, 9, 17, 1] if dev.machine.bits == 32 else [1, 1, 3, 1, 9, 33, 1]
    assert [map_one(dev, BASE, pages * PAGE) for pages in sizes] == got
    assert ops_of(dev).resources() == {"pages": sum(sizes), "delayed": 0}


def test_frees_wait_for_the_sixteenth() -> None:
    dev = device(entries=128)
    live = [map_one(dev, BASE, PAGE) for _ in range(128)]
    assert live[0] == 0
    for address in live[:15]:
        dma_unmap_page(dev, address, PAGE, DMA_TO_DEVICE)
    assert ops_of(dev).resources() == {"pages": 128, "delayed": 15}
    with pytest.raises(DmaFault):
        dev.dma_read(live[0], 1)                        # the entry itself goes at once
    with pytest.raises(KernelBug, match="out of mapping resources"):
        map_one(dev, BASE, PAGE)                        # the 15 do not help
    dma_unmap_page(dev, live[15], PAGE, DMA_TO_DEVICE)
    assert ops_of(dev).resources() == {"pages": 112, "delayed": 0}
    assert map_one(dev, BASE, PAGE) == live[0]


def test_flush_frees_what_waits() -> None:
    dev = device()
    dma_unmap_page(dev, map_one(dev, BASE, 3 * PAGE), 3 * PAGE, DMA_TO_DEVICE)
    assert ops_of(dev).resources() == {"pages": 3, "delayed": 1}
    ops_of(dev).flush()
    assert ops_of(dev).resources() == {"pages": 0, "delayed": 0}


def test_entries_are_little_endian_with_a_virtual_index() -> None:
    dev = device()
    address = map_one(dev, 0x12345671010, 16)
    entry = dev.machine.mem.peek(ops_of(dev).pdir + 8 * 128, 8)
    assert entry.hex() == "7110674523010080"            # index 0x71: virtual address 0x12385671000
    assert ops_of(dev).walker.lookup(dev, address) == (0x12345671010, 0xFF0)
    dma_unmap_page(dev, address, 16, DMA_TO_DEVICE)
    assert dev.machine.mem.peek(ops_of(dev).pdir + 8 * 128, 8).hex() == "7110674523010000"


@pytest.mark.parametrize(("is_pluto", "phys"), [(False, 0x23456789000), (True, 0x3456789000)])
def test_frames_beyond_the_chip_are_cut(is_pluto: bool, phys: int) -> None:
    dev = pluto() if is_pluto else device()
    address = map_one(dev, 0x123456789000, 16)
    assert ops_of(dev).walker.lookup(dev, address)[0] == phys


@pytest.mark.parametrize(("pages", "command"), [(1, 0x8000C), (3, 0x8000E), (9, 0x80010)])
def test_purge_names_a_power_of_two(pages: int, command: int) -> None:
    dev = device()
    dma_unmap_page(dev, map_one(dev, BASE, pages * PAGE), pages * PAGE, DMA_TO_DEVICE)
    assert (ops_of(dev).commands, ops_of(dev).last_command) == (1, command)


def test_lists_carry_ibase() -> None:
    dev = pluto()
    table, segments = map_list(dev, (BASE, PAGE), (BASE + PAGE, PAGE), (OTHER, PAGE), (OTHER + PAGE, 0x800))
    assert segments == [(0x40080000, 0x2000), (0x40082000, 0x1800)]
    assert [row[3:5] for row in table.entries()][2:] == [(0x80082000, 0), (0, 0)]
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    assert ops_of(dev).table() == {}


def test_zero_length_entry_writes_into_the_neighbour() -> None:
    dev = device()
    map_list(dev, (BASE, PAGE), (BASE + PAGE, 0), (BASE + PAGE, PAGE))
    assert list(ops_of(dev).table()) == [128, 129, 130]
    assert ops_of(dev).resources()["pages"] == 2
    assert map_one(dev, OTHER, PAGE) == 0x82000         # and the next mapping overwrites it


def test_zero_length_stream_takes_a_word_for_ever() -> None:
    dev = device(32, 256 * MB)
    table, segments = map_list(dev, (BASE, PAGE), (OTHER, 0), (OTHER + PAGE, PAGE))
    assert segments == [(0x80000, PAGE), (0xA0000, 0), (0xC0000, PAGE)]
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    ops_of(dev).flush()
    assert ops_of(dev).resources()["pages"] == 32 + 1   # the word, and the segment that the empty one hid


def test_zero_length_request_on_a_used_word_never_ends() -> None:
    dev = device(32, 256 * MB, entries=256)
    live = [map_one(dev, BASE, 32 * PAGE) for _ in range(8)]
    dma_unmap_page(dev, live[1], 32 * PAGE, DMA_TO_DEVICE)
    ops_of(dev).flush()
    assert map_one(dev, BASE, PAGE) == live[1]          # the next word is taken
    with pytest.raises(KernelHang):
        map_one(dev, BASE, 0)


def test_larger_than_a_word_marks_too_little() -> None:
    dev = device(32, 256 * MB)
    assert map_one(dev, BASE, 33 * PAGE) == 0x80000
    assert ops_of(dev).resources()["pages"] == 1        # the shift by -1 leaves one bit of the word
    assert len(ops_of(dev).table()) == 33


def test_request_beyond_the_boundary_panics() -> None:
    dev = device(entries=128)
    dma_set_seg_boundary(dev, 0x3FFF)
    assert map_one(dev, BASE, 4 * PAGE) == 0
    with pytest.raises(KernelBug, match="out of mapping resources"):
        map_one(dev, BASE, 5 * PAGE)


def test_head_offset_of_a_page_leaks() -> None:
    dev = device()
    table = SgTable([(BASE, 0x1100, 0x100), (OTHER, 0, PAGE)])
    dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert [row[0] for row in table.segments()] == [0x81100, 0x82000]
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    ops_of(dev).flush()
    assert ops_of(dev).resources() == {"pages": 1, "delayed": 0}


def test_piranha_cannot_use_128K_of_a_2M_table() -> None:
    dev = device(piranha=True)
    ops = ops_of(dev)
    assert ops.entries == (1 << 18) - (1 << 14)
    assert ops.resources()["pages"] == 1 << 14
    assert ops_of(device(window=512 * MB, piranha=True)).resources()["pages"] == 0


@pytest.mark.parametrize(("ram", "iocs", "window"),
                         [(512 * MB, 1, 256 * MB), (8 * GB, 1, GB), (2 * GB, 2, 512 * MB), (MB, 1, MB)])
def test_iova_space_counts_each_ioc_twice(ram: int, iocs: int, window: int) -> None:
    assert SbaOps.iova_space(ram, iocs) == window


@pytest.mark.parametrize(
    ("dev", "mask", "ok"),
    [
        pytest.param(device(), 0x3FFFFFFF, True, id="window-of-1G"),
        pytest.param(device(), 0x1FFFFFFF, False, id="smaller"),
        pytest.param(pluto(), 0x7FFFFFFF, True, id="pluto"),
        pytest.param(pluto(), 0x3FFFFFFF, False, id="below-ibase"),
        pytest.param(device(32, 8 * MB), 0x7FFFFF, True, id="32-bit"),
    ],
)
def test_masks(dev: Device, mask: int, ok: bool) -> None:
    if ok:
        dma_set_mask(dev, mask)
        return
    with pytest.raises(DmaError):
        dma_set_mask(dev, mask)


def test_device_without_an_ioc() -> None:
    dev = device()
    ops_of(dev).has_ioc = False
    for call in (lambda: map_one(dev, BASE, PAGE), lambda: map_list(dev, (BASE, PAGE), (OTHER, PAGE)),
                 lambda: dma_set_mask(dev, 0xFFFFFFFF)):
        with pytest.raises(DmaError):
            call()
    dma_unmap_page(dev, 0x80000, PAGE, DMA_TO_DEVICE)
    dma_unmap_sgtable(dev, SgTable([(BASE, 0, PAGE)]), DMA_TO_DEVICE)
    assert len(dev.machine.dmesg) == 2


def test_coherent_memory() -> None:
    dev = device()
    cpu, handle = dma_alloc_attrs(dev, 3 * PAGE)
    assert handle == 0x80000
    dma_free_attrs(dev, 3 * PAGE, cpu, handle)
    ops_of(dev).flush()
    assert (dev.machine.pages_allocated, ops_of(dev).resources()["pages"]) == (0, 0)


@pytest.mark.parametrize(
    ("ibase", "address", "reason"),
    [
        pytest.param(GB | 1, GB, "not-present", id="empty"),
        pytest.param(GB | 1, 2 * GB, "out-of-range", id="beyond-the-window"),
        pytest.param(GB, GB, "out-of-range", id="translation-is-off"),
    ],
)
def test_walker_faults(ibase: int, address: int, reason: str) -> None:
    m = machine("test", GB, bits=64)
    with pytest.raises(DmaFault) as fault:
        SbaIoc(m, ibase, ~(GB - 1) & (1 << 64) - 1, 0xE0000000, 44).lookup(Device("d", m), address)
    assert fault.value.reason == reason


@pytest.mark.parametrize("window", [MB - 1, 3 * MB, 0])
def test_window_must_be_a_power_of_two(window: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        device(window=window)


def test_running_off_the_table_kills_the_kernel() -> None:
    dev = device()
    with pytest.raises(KernelBug, match="behind the I/O page table"):
        map_one(dev, BASE, GB + PAGE)
    with pytest.raises(KernelBug, match="behind the I/O page table"):
        dma_unmap_page(dev, 0, GB + PAGE, DMA_TO_DEVICE)


@pytest.mark.parametrize("entries", [0, 1 << 18 | 1])
def test_table_must_fit_the_window(entries: int) -> None:
    with pytest.raises(ValueError, match="table entries"):
        device(entries=entries)
