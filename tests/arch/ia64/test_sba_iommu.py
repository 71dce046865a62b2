# SPDX-License-Identifier: MIT
"""ia64's sba_dma_ops: bypass, powers of two, batches of 64, leaks, by number; and byte round trips."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch.ia64 import GB, RECORDS, Ioc, SbaOps, machine
from arch.record import MachineConfig
from dma_ops import (
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    dma_alloc_attrs,
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

MB = 1 << 20
PAGE = 4096
FAR = 4 * GB                        # out of reach of 32 bits
MASK64 = (1 << 64) - 1


def device(window: int = GB, *, page_shift: int = 12, mask: int = 0xFFFFFFFF, pci: bool = True,
           **options: int) -> Device:
    m = machine("test", page_shift=page_shift)
    return Device("dut", m, dma_ops=SbaOps(m, window, **options), mask=mask, pci=pci)


def ops_of(dev: Device) -> SbaOps:
    assert isinstance(dev.dma_ops, SbaOps)
    return dev.dma_ops


def map_one(dev: Device, phys: int, size: int) -> int:
    page = dev.machine.page_size
    return dma_map_page(dev, phys & -page, phys % page, size, DMA_TO_DEVICE)


def unmap_one(dev: Device, address: int, size: int) -> None:
    dma_unmap_page(dev, address, size, DMA_TO_DEVICE)


def map_list(dev: Device, *pieces: tuple[int, int]) -> tuple[SgTable, list[tuple[int, int]]]:
    page = dev.machine.page_size
    table = SgTable([(phys & -page, phys % page, length) for phys, length in pieces],
                    page_shift=dev.machine.page_shift)
    dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    return table, [(address, length) for address, length, _ in table.segments()]


# -- bypass --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "phys", "size", "address"),
    [
        pytest.param(0xFFFFFFFF, 0xFFFFF000, 0x2000, 0xFFFFF000, id="only-the-first-byte-counts"),
        pytest.param(0xFFFFFFFF, FAR + 0x123, 0x100, 0x40000123, id="out-of-reach"),
        pytest.param(MASK64, FAR, PAGE, FAR, id="64-bit"),
    ],
)
def test_single_mappings_bypass(mask: int, phys: int, size: int, address: int) -> None:
    dev = device(mask=mask)
    assert map_one(dev, phys, size) == address
    table, segments = map_list(dev, (phys, size))       # a list of one as well
    assert segments[0][0] == (address if address == phys else address + PAGE)
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    assert ops_of(dev).saved_cnt == (0 if address == phys else 1)


def test_lists_never_bypass() -> None:
    dev = device(mask=MASK64)
    _, segments = map_list(dev, (FAR, PAGE), (FAR + 0x5000, PAGE))
    assert segments == [(0x40000000, 2 * PAGE)]


def test_coherent_memory_bypasses_by_its_own_mask() -> None:
    dev = device(mask=MASK64)
    cpu, handle = dma_alloc_attrs(dev, PAGE)
    assert handle == cpu >= FAR
    dma_free_attrs(dev, PAGE, cpu, handle)
    dev.coherent_dma_mask = 0xFFFFFFFF
    cpu, handle = dma_alloc_attrs(dev, PAGE)
    assert handle == 0x40000000
    dma_free_attrs(dev, PAGE, cpu, handle)
    ops_of(dev).flush()
    assert (dev.machine.pages_allocated, ops_of(dev).resources()["pages"]) == (0, 0)


# -- the allocator -------------------------------------------------------------------------------------------------


def test_powers_of_two() -> None:
    dev = device()
    got = [map_one(dev, FAR, pages * PAGE) for pages in (1, 3, 1, 1, 1, 2, 33, 1)]
    assert got == [0x40000000, 0x40004000, 0x40001000, 0x40002000, 0x40003000, 0x40008000, 0x40040000, 0x40080000]
    assert ops_of(dev).resources()["pages"] == 5 * 1 + 4 + 2 + 64


def test_the_last_place_for_whole_words_is_never_tried() -> None:
    with pytest.raises(DmaError):
        map_one(device(entries=64), FAR, 40 * PAGE)     # empty, and yet
    dev = device(entries=128)
    assert map_one(dev, FAR, 40 * PAGE) == 0x40000000
    with pytest.raises(DmaError):
        map_one(dev, FAR, 40 * PAGE)


def test_larger_than_the_boundary_fails() -> None:
    dev = device()
    dma_set_seg_boundary(dev, 0x3FFF)
    assert map_one(dev, FAR, 4 * PAGE) == 0x40000000
    with pytest.raises(DmaError):
        map_one(dev, FAR, 8 * PAGE)


def test_full_map_empties_the_queue_newest_first() -> None:
    dev = device(entries=64)
    live = [map_one(dev, FAR, PAGE) for _ in range(64)]
    unmap_one(dev, live[5], PAGE)
    unmap_one(dev, live[9], PAGE)
    ops = ops_of(dev)
    assert (ops.resources(), ops.commands) == ({"pages": 64, "delayed": 2}, 0)
    assert map_one(dev, FAR, PAGE) == live[5]
    assert (ops.commands, ops.last_command) == (2, 0x4000500C)
    assert ops.resources() == {"pages": 63, "delayed": 0}


def test_unmapped_ranges_stay_mapped_until_the_64th() -> None:
    dev = device()
    live = [map_one(dev, FAR, PAGE) for _ in range(64)]
    for address in live[:63]:
        unmap_one(dev, address, PAGE)
    assert ops_of(dev).resources() == {"pages": 64, "delayed": 63}
    assert dev.dma_read(live[0], 1) == b"\0"            # the device still reaches it
    unmap_one(dev, live[63], PAGE)
    assert (ops_of(dev).resources(), ops_of(dev).table()) == ({"pages": 0, "delayed": 0}, {})
    with pytest.raises(DmaFault):
        dev.dma_read(live[0], 1)


@pytest.mark.parametrize(("wraps", "left"), [(False, 0), (True, 64)], ids=["itanium", "x86"])
def test_whole_words_come_free_where_shifts_give_zero(wraps: bool, left: int) -> None:
    dev = device(shift_wraps=wraps)
    unmap_one(dev, map_one(dev, FAR, 64 * PAGE), 64 * PAGE)
    ops_of(dev).flush()
    assert ops_of(dev).resources()["pages"] == left


@pytest.mark.parametrize(("wraps", "second"), [(False, 0x40042000), (True, 0x40040000)], ids=["itanium", "x86"])
def test_shifts_that_wrap_hand_out_an_address_twice(wraps: bool, second: int) -> None:
    """At res_bitshift 64 the mask should be empty; if it wraps, bits of word 0 are set for an address of word 1."""
    dev = device(shift_wraps=wraps)
    live = [map_one(dev, FAR, PAGE) for _ in range(64)]
    unmap_one(dev, live[0], PAGE)
    unmap_one(dev, live[1], PAGE)
    ops_of(dev).flush()
    assert [map_one(dev, FAR, 2 * PAGE) for _ in range(2)] == [0x40040000, second]


def test_agp_takes_the_upper_half() -> None:
    dev = device(64 * MB, agp=True)
    ops = ops_of(dev)
    assert ops.entries == 8192
    assert dev.machine.mem.peek(ops.pdir + 8 * 8192, 8) == 0x0000BADBADC0FFEE.to_bytes(8, "little")
    with pytest.raises(DmaFault):
        dev.dma_read(0x40000000 + 32 * MB, 1)


# -- entries -------------------------------------------------------------------------------------------------------


def test_entries_keep_bits_below_a_large_page() -> None:
    dev = device(page_shift=14)
    address = map_one(dev, FAR + 0x2123, 0x100)
    assert address == 0x40002123
    assert ops_of(dev).table() == {0: 0x8000000100002000}
    assert ops_of(dev).walker.lookup(dev, address) == (FAR + 0x2123, 0x1EDD)


def test_invalid_entries_keep_their_frame() -> None:
    dev = device()
    unmap_one(dev, map_one(dev, FAR, PAGE), PAGE)
    ops_of(dev).flush()
    assert dev.machine.mem.peek(ops_of(dev).pdir, 8) == FAR.to_bytes(8, "little")


@pytest.mark.parametrize(
    ("tcnfg", "address", "phys", "run"),
    [
        pytest.param(0, 0x40001010, 0x7010, 0xFF0, id="4K"),
        pytest.param(3, 0x40011010, 0x1010, 0xEFF0, id="64K-cuts-the-frame"),
        pytest.param(0, 0x3FFFF000, 0x3FFFF000, 0x1000, id="below-the-window"),
        pytest.param(0, 0x80000000, 0x80000000, MASK64 - 0x80000000, id="above-it"),
    ],
)
def test_walker(tcnfg: int, address: int, phys: int, run: int) -> None:
    m = machine("test", page_shift=12)
    m.mem.poke(0x8008, 0x8000000000007000.to_bytes(8, "little"))
    ioc = Ioc(m, GB | 1, ~(GB - 1) & MASK64, tcnfg, 0x8000)
    assert ioc.lookup(Device("d", m), address) == (phys, run)


def test_translation_that_is_off_lets_all_through() -> None:
    m = machine("test", page_shift=12)
    assert Ioc(m, GB, ~(GB - 1) & MASK64, 0, 0x8000).lookup(Device("d", m), GB)[0] == GB


# -- lists ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "segments"),
    [
        pytest.param([(FAR + 0x101, 0xEFF), (FAR + 0x8000, 0x1000), (FAR + 0x10010, 0x20)],
                     [(0x40000100, 0x1EFF), (0x40002010, 0x20)], id="odd-offset-loses-its-lowest-bit"),
        pytest.param([(FAR + 0x10, 0x20), (FAR + 0x30, 0x40)], [(0x40000010, 0x60)], id="adjacent-anywhere"),
        pytest.param([(FAR, 0x100), (FAR + 0x2000, 0x1000)], [(0x40000000, 0x100), (0x40001000, 0x1000)],
                     id="neither"),
    ],
)
def test_lists(pieces: list[tuple[int, int]], segments: list[tuple[int, int]]) -> None:
    dev = device()
    table, got = map_list(dev, *pieces)
    assert got == segments
    assert [row[3:5] for row in table.entries()][len(got):] == [(0, 0)] * (len(pieces) - len(got))
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    ops_of(dev).flush()
    assert (ops_of(dev).resources()["pages"], ops_of(dev).table()) == (0, {})


@pytest.mark.parametrize(("max_seg", "counts"), [(65536, [16, 16, 16, 16, 6]), (1 << 20, [64, 6])])
def test_stream_limits(max_seg: int, counts: list[int]) -> None:
    dev = device()
    dma_set_max_seg_size(dev, max_seg)
    _, segments = map_list(dev, *[(FAR + i * 0x8000, PAGE) for i in range(70)])
    assert [length // PAGE for _, length in segments] == counts


@pytest.mark.parametrize(("ibase", "lost", "queued"), [(GB, 8 + 16, 0), (0, 0, 2)])
def test_failed_list(ibase: int, lost: int, queued: int) -> None:
    """Of a window at 0 the unwound addresses look right, else they look bypassed: what the list had got is lost."""
    dev = device(entries=128, ibase=ibase)
    for _ in range(100):
        map_one(dev, FAR, PAGE)
    table = SgTable([(FAR, 1, 5 * PAGE - 1), (FAR + 9 * PAGE, 3, 9 * PAGE - 3), (FAR + 20 * PAGE, 5, 9 * PAGE - 5)])
    with pytest.raises(DmaError) as error:
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert (error.value.errno, table.nents) == (errno.ENOMEM, 3)
    assert [row[3] for row in table.entries()] == [0x68001, 0x70003, 0]
    assert ops_of(dev).resources() == {"pages": 100 + 8 + 16, "delayed": queued}
    ops_of(dev).flush()
    assert ops_of(dev).resources()["pages"] == 100 + lost


def test_failed_list_of_one_is_eio() -> None:
    dev = device()
    dev.machine.fail("entries")
    table = SgTable([(FAR, 0, PAGE)])
    with pytest.raises(DmaError) as error:
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert (error.value.errno, table.entries()[0][3:5]) == (errno.EIO, (MASK64, PAGE))


def test_coherent_memory_that_cannot_be_mapped_leaks() -> None:
    dev = device()
    dev.machine.fail("entries")
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, PAGE)
    assert dev.machine.pages_allocated == 1


def test_no_bytes_get_an_address_that_no_one_reserved() -> None:
    dev = device()
    assert map_one(dev, FAR, 0) == 0x40000000
    assert ops_of(dev).resources()["pages"] == 0
    live = map_one(dev, FAR, PAGE)
    assert live == 0x40000000
    unmap_one(dev, 0x40000000, 0)
    ops_of(dev).flush()
    assert ops_of(dev).resources()["pages"] == 1        # still taken
    with pytest.raises(DmaFault):
        dev.dma_read(live, 1)                           # but no longer mapped


# -- masks and constructors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mask", "ok"), [(0xFFFFFFFF, True), (0x1FFFFFFFF, True), (0x7FFFFFFF, False)])
def test_masks(mask: int, ok: bool) -> None:
    dev = device()
    if ok:
        dma_set_mask(dev, mask)
        assert dev.dma_mask == mask
        return
    with pytest.raises(DmaError):
        dma_set_mask(dev, mask)


def test_devices_off_pci_have_no_controller() -> None:
    with pytest.raises(KernelBug, match="GET_IOC"):
        map_one(device(pci=False), FAR, PAGE)


@pytest.mark.parametrize(("window", "ibase"), [(3 * MB, 0), (GB, MB), (0, 0), (4 * GB, 0)])
def test_window_is_a_power_of_two(window: int, ibase: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        device(window, ibase=ibase)


def test_page_size_must_be_one_of_four() -> None:
    with pytest.raises(ValueError, match="IOTLB page size"):
        device(iovp_shift=15)
    with pytest.raises(ValueError, match="TCNFG"):
        Ioc(machine("test"), GB | 1, 0, 4, 0)


# -- bytes ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(0, PAGE // 2 - 1), st.integers(1, 3 * PAGE), st.integers(0, 2)), min_size=1,
                    max_size=12),
    config=st.sampled_from(RECORDS[0].machines),
    aligned=st.booleans(),
)
def test_the_device_reaches_the_bytes(pieces: list[tuple[int, int, int]], config: MachineConfig,
                                      aligned: bool) -> None:
    """Random lists of random gaps (none: adjacent) on every machine; the device reads what the CPU wrote.

    Offsets are even: of an odd one Linux loses the lowest bit, and the device reads what lies before.
    """
    dev = config.build()
    ops = ops_of(dev)
    at = dev.machine.ram_ranges[-1][1] - 4 * MB
    flat, content = [], b""
    for number, (offset, size, gap) in enumerate(pieces):
        phys, length = (at, size & -PAGE or PAGE) if aligned else (at + (2 * offset if gap else 0), 2 * size)
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
    ops.flush()
    assert not any(ops.resources().values())
    for address, _ in segments:
        if address & ops.imask == ops.ibase:
            with pytest.raises(DmaFault):
                dev.dma_read(address, 1)


def test_running_off_the_table_kills_the_kernel() -> None:
    dev = device()
    with pytest.raises(DmaError):
        map_one(dev, FAR, GB + PAGE)
    with pytest.raises(KernelBug, match="behind the I/O page table"):
        unmap_one(dev, 0x40000000, GB + PAGE)


def test_table_must_fit_the_window() -> None:
    with pytest.raises(ValueError, match="table entries"):
        device(entries=1 << 18 | 1)
