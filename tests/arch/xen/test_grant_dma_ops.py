# SPDX-License-Identifier: MIT
"""xen_grant_dma_ops: references, entries and the broken device, with the numbers that Linux's own code gave."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import backends
from arch.xen.grant_dma_ops import XenGrantDmaOps
from arch.xen.grant_table import GrantTable
from dma_ops import (
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    Machine,
    dma_alloc_attrs,
    dma_alloc_pages,
    dma_free_attrs,
    dma_free_pages,
    dma_map_page,
    dma_map_sgtable,
    dma_set_mask_and_coherent,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

MACHINES = backends()["xen_grant_dma_ops"].machines
OFF = 1 << 63
A = 0x10000000
FRAME = 512 * 4096              # the bytes that one frame of entries can grant


def device(frames: int = 4, version: int = 1, domid: int = 0, page_shift: int = 12) -> Device:
    machine = Machine("xen", ram=[(0x1000, 1 << 35)], page_shift=page_shift)
    grants = GrantTable(machine, version=version, max_frames=frames)
    return Device("virtio0", machine, mask=(1 << 64) - 1, dma_ops=XenGrantDmaOps(grants, domid))


def single(dev: Device, size: int, phys: int = A, direction: int = DMA_TO_DEVICE) -> int:
    page = dev.machine.page_size
    return dma_map_page(dev, phys & ~(page - 1), phys & (page - 1), size, direction)


def refs(addr: int) -> int:
    return (addr & ~OFF) >> 12


@pytest.mark.parametrize("version", [1, 2])
def test_references(version: int) -> None:
    dev = device(8, version)
    addrs = [single(dev, pages * 4096) for pages in (1, 3, 1)]
    assert addrs == [OFF | 0x8000, OFF | 0x9000, OFF | 0xC000]
    dma_unmap_page(dev, addrs[1], 3 * 4096, DMA_TO_DEVICE)
    assert [refs(single(dev, pages * 4096)) for pages in (1, 2, 1)] == [9, 13, 10]  # head, tail run, head
    dma_unmap_page(dev, addrs[0], 4096, DMA_TO_DEVICE)
    dma_unmap_page(dev, addrs[2], 4096, DMA_TO_DEVICE)
    dma_unmap_page(dev, OFF | 13 << 12, 8192, DMA_TO_DEVICE)
    assert [refs(single(dev, pages * 4096)) for pages in (2, 3)] == [15, 17]
    assert dev.dma_ops.grants.free_list()[:6] == [13, 14, 12, 8, 11, 20]


@pytest.mark.parametrize(("offset", "size", "frames", "low"), [
    pytest.param(0x1FF0, 0x20, [0x10001, 0x10002], 0xFF0, id="the offset is beyond the page"),
    pytest.param(0xFFF, 1, [0x10000], 0xFFF, id="the last byte"),
    pytest.param(0xFFF, 2, [0x10000, 0x10001], 0xFFF, id="across frames"),
])
def test_frames(offset: int, size: int, frames: list[int], low: int) -> None:
    dev = device()
    addr = dma_map_page(dev, A, offset, size, DMA_TO_DEVICE)
    assert addr & 0xFFF == low
    assert [row[2] for row in dev.dma_ops.table().values()] == frames


def test_a_large_page_is_sixteen_references() -> None:
    dev = device(32, page_shift=16)
    assert [refs(single(dev, 65536)), refs(single(dev, 2, A + 0x1FFF)), refs(single(dev, 1))] == [8, 24, 26]
    assert dev.dma_ops.resources() == {"grant references": 19}


@pytest.mark.parametrize(("version", "domid"), [(1, 0), (2, 7)])
def test_entries_in_memory(version: int, domid: int) -> None:
    dev = device(4, version, domid)
    for direction in (DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL):
        single(dev, 4096, 0x123450000, direction)
    assert dev.dma_ops.table() == {8: (5, domid, 0x123450, 0), 9: (1, domid, 0x123450, 0), 10: (1, domid, 0x123450, 0)}
    entry = dev.machine.mem.peek(dev.dma_ops.grants.shared + 8 * (8 * version), 8 * version)
    assert entry == (bytes([5, 0, domid, 0, 0x50, 0x34, 0x12, 0]) if version == 1 else
                     bytes([5, 0, domid, 0, 0, 0, 0, 0, 0x50, 0x34, 0x12, 0, 0, 0, 0, 0]))


@pytest.mark.parametrize(("mask", "good"), [((1 << 64) - 1, True), ((1 << 63) - 1, False), (0xFFFFFFFF, False)])
def test_only_all_64_bits_are_a_mask(mask: int, good: bool) -> None:
    dev = device()
    if good:
        dma_set_mask_and_coherent(dev, mask)
    else:
        with pytest.raises(DmaError) as failure:
            dma_set_mask_and_coherent(dev, mask)
        assert failure.value.errno == errno.EIO


@pytest.mark.parametrize("version", [1, 2])
def test_a_frame_still_mapped_breaks_the_device(version: int) -> None:
    dev = device(8, version)
    first = single(dev, 8192)
    second = single(dev, 4096)
    dev.dma_ops.grants.map_by_backend(9)
    dma_unmap_page(dev, first, 8192, DMA_TO_DEVICE)
    assert dev.machine.dmesg == ["Grant still in use by backend domain, disabled for further use"]
    assert dev.dma_ops.broken
    assert sorted(dev.dma_ops.table()) == ([9, 10] if version == 1 else [10])   # version 2 has cleared the flags
    with pytest.raises(DmaError):
        single(dev, 4096)
    table = SgTable([(A, 0, 4096), (A, 0, 16)])
    with pytest.raises(DmaError) as failure:
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert failure.value.errno == errno.EIO
    assert [row[3:5] for row in table.entries()] == [((1 << 64) - 1, 0), (0, 0)]
    dma_unmap_page(dev, second, 4096, DMA_TO_DEVICE)            # returns at once
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, 4096)
    assert dev.dma_ops.resources() == {"grant references": 3}


def test_a_device_without_data_maps_nothing_and_leaks() -> None:
    dev = device()
    dev.dma_ops.has_data = False
    with pytest.raises(DmaError):
        single(dev, 4096)
    dev.dma_ops.has_data = True
    addr = single(dev, 4096)
    dev.dma_ops.has_data = False
    dma_unmap_page(dev, addr, 4096, DMA_TO_DEVICE)
    assert dev.dma_ops.resources() == {"grant references": 1}


def test_growth_and_exhaustion() -> None:
    dev = device()
    assert refs(single(dev, 2 * FRAME)) == 8
    assert dev.dma_ops.grants.nr_frames == 3
    with pytest.raises(DmaError):
        single(dev, 4 * FRAME)
    table = SgTable([(A, 0, FRAME), (A, 0, 4096), (A, 0, 2 * FRAME), (A, 0, 16)])
    with pytest.raises(DmaError):
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert [row[4] for row in table.entries()] == [0, 4096, 0, 0]
    assert dev.machine.dmesg[-1] == "xen/grant-table: max_grant_frames reached"
    assert dev.dma_ops.resources() == {"grant references": 1024}
    dma_unmap_page(dev, OFF | 0x8000, 2 * FRAME, DMA_TO_DEVICE)
    assert dev.dma_ops.grants.free_count == dev.dma_ops.grants.size - 8
    addrs = [single(dev, 4096, A + 4096 * i) for i in range(dev.dma_ops.grants.size - 8)]
    assert len(set(addrs)) == dev.dma_ops.grants.size - 8
    for addr in addrs:
        dma_unmap_page(dev, addr, 4096, DMA_TO_DEVICE)
    assert dev.dma_ops.resources() == {"grant references": 0}


def test_no_bytes_cut_the_free_list() -> None:
    dev = device()
    single(dev, 4096)
    assert single(dev, 0) == OFF | 0x9000
    assert dev.dma_ops.grants.free_list() == []
    with pytest.raises(KernelBug, match="gnttab_entry"):
        single(dev, 4096)


def scattered(frames: int, held: int) -> Device:
    """All references of so many frames given out, and every second one given back: no two that are free adjoin."""
    dev = device(frames)
    addrs = [single(dev, 4096) for _ in range(held * 512 - 8)]
    for addr in addrs[::2]:
        dma_unmap_page(dev, addr, 4096, DMA_TO_DEVICE)
    return dev


def test_a_growing_table_forgets_the_first_new_reference() -> None:
    """grow_gnttab_list sets the tail to the link of the first new reference: its run begins with the second."""
    assert refs(single(scattered(4, 1), 8192)) == 513


def test_a_run_that_fills_the_new_frames_reaches_beyond_them() -> None:
    with pytest.raises(KernelBug, match="beyond the mapped frames"):
        single(scattered(5, 3), FRAME)


@pytest.mark.parametrize(("kind", "size"), [("entries", 4096), ("table", 3 * FRAME)])
def test_a_failed_allocation_leaves_nothing(kind: str, size: int) -> None:
    dev = device(8)
    dev.machine.fail(kind)
    with pytest.raises(DmaError):
        single(dev, size)
    assert dev.dma_ops.resources() == {"grant references": 0}


def test_what_the_backend_may() -> None:
    dev = device(version=2, domid=7)
    addr = single(dev, 100)
    assert dev.dma_read(addr, 100) == bytes(100)
    for access, reason in ((lambda: dev.dma_write(addr, b"x"), "permission"),
                           (lambda: dev.dma_read(addr + 4096, 1), "not-present"),
                           (lambda: dev.dma_read(A, 1), "malformed"),
                           (lambda: dev.dma_read(OFF | 1 << 30, 1), "out-of-range")):
        with pytest.raises(DmaFault, match=reason):
            access()
    other = Device("virtio1", dev.machine, mask=(1 << 64) - 1, dma_ops=XenGrantDmaOps(dev.dma_ops.grants, 8))
    with pytest.raises(DmaFault, match="permission"):
        other.dma_read(addr, 1)
    dma_unmap_page(dev, addr, 100, DMA_TO_DEVICE)
    with pytest.raises(DmaFault, match="not-present"):
        dev.dma_read(addr, 1)


def test_coherent_memory_is_returned() -> None:
    dev = device()
    pages = dev.machine.pages_allocated
    cpu, handle = dma_alloc_attrs(dev, 10000)
    assert handle == OFF | 0x8000
    dev.dma_write(handle + 9999, b"x")
    assert dev.machine.cpu_read(cpu + 9999, 1) == b"x"
    page, second = dma_alloc_pages(dev, 4096, DMA_BIDIRECTIONAL)
    assert refs(second) == 11
    dma_free_pages(dev, 4096, page, second, DMA_BIDIRECTIONAL)
    dma_free_attrs(dev, 10000, cpu, handle)
    assert dev.machine.pages_allocated == pages
    assert dev.dma_ops.resources() == {"grant references": 0}


ENTRIES = st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 9000)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(entries=ENTRIES, machine=st.sampled_from(MACHINES),
       direction=st.sampled_from([DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL]))
def test_round_trip(entries: list[tuple[int, int]], machine, direction: int) -> None:
    """What the other domain reads and writes through its grants is what the CPU meant, byte for byte."""
    dev = machine.build()
    rows = [(0x2000000 + 0x10000 * i, offset, length) for i, (offset, length) in enumerate(entries)]
    table = SgTable(rows, page_shift=dev.machine.page_shift)
    data = [bytes((i + k) & 0xFF for k in range(length)) for i, (_, _, length) in enumerate(rows)]
    for (page, offset, _), raw in zip(rows, data, strict=True):
        dev.machine.cpu_write(page + offset, raw)
    dma_map_sgtable(dev, table, direction)
    for (address, length, _), raw in zip(table.segments(), data, strict=True):
        assert dev.dma_read(address, length) == raw
        if direction != DMA_TO_DEVICE:
            dev.dma_write(address, raw[::-1])
    dma_unmap_sgtable(dev, table, direction)
    for (page, offset, length), raw in zip(rows, data, strict=True):
        want = raw if direction == DMA_TO_DEVICE else raw[::-1]
        assert dev.machine.cpu_read(page + offset, length) == want
    assert dev.dma_ops.resources() == {"grant references": 0}
    assert dev.dma_ops.table() == {}
