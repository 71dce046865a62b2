# SPDX-License-Identifier: MIT
"""gart_dma_ops: the traps of the GART, with the numbers that Linux's own code gave."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import backends
from arch.x86.amd_gart_64 import GartDmaOps
from dma_ops import (
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    KernelHang,
    Machine,
    dma_alloc_attrs,
    dma_free_attrs,
    dma_map_page,
    dma_map_resource,
    dma_map_sg,
    dma_map_sgtable,
    dma_set_seg_boundary,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

G = 1 << 30
BASE = 0xF4000000


def gart(**options):
    """A device with a 32-bit mask; the IOMMU's part of the aperture begins at BASE."""
    machine = Machine("m", arch="x86_64", ram=[(0x1000, 0xE0000000), (4 * G, 20 * G)], pci_p2pdma=True,
                      table_base=0xE0000000)
    return Device("dev", machine, dma_ops=GartDmaOps(machine, BASE, **options))


def single(dev, phys, size):
    return dma_map_page(dev, phys & ~0xFFF, phys & 0xFFF, size, DMA_TO_DEVICE)


def table(*rows):
    return SgTable([(phys & ~0xFFF, offset, length) for phys, offset, length in rows], page_shift=12)


def segments(sgt):
    return [(row[3], row[4]) for row in sgt.entries()[:sgt.nents]]


@pytest.mark.parametrize(("phys", "size", "address", "entries"), [
    pytest.param(0x123456789, 0x100, 0xF4000789, {0: 0x23456013}, id="beyond the mask"),
    pytest.param(0x12345678, 0x100, 0x12345678, {}, id="within the mask"),
    pytest.param(0xFFFFF800, 0x1000, 0xF4000800, {0: 0xFFFFF003, 1: 0x13}, id="across 4 GiB"),
    pytest.param(4 * G, 0, 4 * G, {}, id="length 0 at 4 GiB ends below it"),
    pytest.param(4 * G + 16, 0, 0xF4000010, {0: 0x13}, id="length 0 with an offset takes a page"),
    pytest.param((1 << 40) - 0x1000, 0x1000, 0xF4000000, {0: 0xFFFFFFF3}, id="the last page of 1 TiB"),
])
def test_needed(phys, size, address, entries):
    dev = gart()
    assert single(dev, phys, size) == address
    assert dev.dma_ops.table() == entries
    if size and phys < 1 << 39:
        assert dev.dma_ops.walker.lookup(dev, address)[0] == phys


def test_map_page_stops_at_1_tib_and_map_sg_does_not():
    """Where GPTE_ENCODE's high bits run into the low ones: the device reaches another page."""
    dev = gart()
    with pytest.raises(DmaError):
        single(dev, 1 << 40, 0x1000)
    sgt = table((1 << 40, 0, 0x1000))
    dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert dev.dma_ops.table() == {0: 0x1003}
    assert dev.dma_ops.walker.lookup(dev, segments(sgt)[0][0])[0] == 0x1000


@pytest.mark.parametrize(("force", "fourth"), [(False, None), (True, 0x4000)])
def test_full_aperture_never_gives_its_last_page(force, fourth):
    """A buffer that was only forced falls back to its physical address."""
    dev = gart(pages=4, force=force)
    for k in range(3):
        assert single(dev, (0x1000 if force else 4 * G) * (k + 1), 0x1000) == BASE + k * 0x1000
    if fourth:
        assert single(dev, 0x4000, 0x1000) == fourth
    with pytest.raises(DmaError):
        single(dev, 4 * G, 0x1000)
    assert "Out of IOMMU space" in dev.machine.dmesg[-1]


FIVE = ((4 * G, 0x800, 0x800), (8 * G, 0, 0x1000), (256 << 20, 0, 0x1000), (12 * G, 0, 0x1000), (16 * G, 0, 0x10))


@pytest.mark.parametrize(("merge", "out"), [
    (False, [(0xF4000800, 0x800), (0xF4001000, 0x1000), (0x10000000, 0x1000), (0xF4002000, 0x1000),
             (0xF4003000, 0x10)]),
    (True, [(0xF4000800, 0x1800), (0x10000000, 0x1000), (0xF4002000, 0x1010)]),
], ids=["alone", "merged"])
def test_merging(merge, out):
    dev = gart(merge=merge)
    sgt = table(*FIVE)
    dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert segments(sgt) == out
    rows = sgt.entries()
    if merge:                       # the entry behind the last segment is zeroed, the one after it is stale
        assert [rows[3][4], rows[4][4]] == [0, 0] and rows[4][3] == 16 * G
    dma_unmap_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert dev.dma_ops.resources() == {"entries": 0} and dev.dma_ops.table() == {}


@pytest.mark.parametrize(("second", "n"), [(0xF000, 1), (0xF001, 2)])
def test_merging_stops_at_max_seg_size(second, n):
    dev = gart(merge=True)
    sgt = table((4 * G, 0, 0x1000), (8 * G, 0, second))
    dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert sgt.nents == n


def test_list_without_room_is_tried_entry_by_entry():
    dev = gart(pages=16, merge=True)
    held = [single(dev, 4 * G, 0x1000) for _ in range(15)]
    for k, address in enumerate(held):
        if k not in (3, 7, 11):
            dma_unmap_page(dev, address, 0x1000, DMA_TO_DEVICE)
    sgt = table((8 * G, 0, 0x3000), (12 * G, 0, 0x2000))
    dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert sorted(segments(sgt)) == [(BASE, 0x3000), (BASE + 0x4000, 0x2000)]


def test_list_without_room_and_without_merging_unmaps_what_it_has():
    dev = gart(pages=4)
    sgt = table((4 * G, 0, 0x2000), (8 * G, 0, 0x2000))
    with pytest.raises(DmaError) as failure:
        dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert failure.value.errno == errno.ENOMEM
    assert dev.dma_ops.resources() == {"entries": 0}
    assert dma_map_sg(dev, table((4 * G, 0, 0x3000)), DMA_TO_DEVICE) == 1


def test_dumb_retry_without_room():
    dev = gart(pages=4, merge=True)
    sgt = table((4 * G, 0, 0x1000), (8 * G, 0, 0x3000))
    with pytest.raises(DmaError):
        dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert sgt.entries()[0][4] == 0 and dev.dma_ops.resources() == {"entries": 0}


def test_next_fit_and_lazy_flush():
    dev = gart(pages=8, fullflush=False)
    addresses = [single(dev, 4 * G, 0x1000) for _ in range(3)]
    assert dev.dma_ops.flushes == 0
    dma_unmap_page(dev, addresses[0], 0x1000, DMA_TO_DEVICE)
    assert single(dev, 4 * G, 0x1000) == 0xF4003000
    assert single(dev, 4 * G, 0x3000) == 0xF4004000
    assert dev.dma_ops.flushes == 0
    assert single(dev, 4 * G, 0x1000) == 0xF4000000
    assert dev.dma_ops.flushes == 1


def test_full_flush_is_the_default():
    dev = gart()
    single(dev, 4 * G, 0x1000)
    single(dev, 4 * G, 0x1000)
    assert dev.dma_ops.flushes == 2


def test_request_larger_than_the_boundary_hangs():
    dev = gart()
    dma_set_seg_boundary(dev, 0x3FFF)
    assert single(dev, 4 * G, 0x4000) == BASE
    with pytest.raises(KernelHang):
        single(dev, 4 * G, 0x5000)


def test_boundary_skips_to_the_next_one():
    dev = gart()
    dma_set_seg_boundary(dev, 0x3FFF)
    single(dev, 4 * G, 0x3000)
    assert single(dev, 4 * G, 0x2000) == BASE + 0x4000


def test_head_offset_beyond_a_page_points_behind_the_data():
    """{offset 0x1800, 0x800} and a page: the address is that of the second buffer's entry."""
    dev = gart(merge=True)
    sgt = SgTable([(4 * G, 0x1800, 0x800), (8 * G, 0, 0x1000)], page_shift=12)
    dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert segments(sgt) == [(0xF4001800, 0x1800)]
    assert dev.dma_ops.walker.lookup(dev, 0xF4001800)[0] == 8 * G + 0x800


def test_panic_on_overflow():
    with pytest.raises(KernelBug, match="dma_map_area overflow"):
        single(gart(panic=True, pages=4), 4 * G, 0x4000)
    with pytest.raises(KernelBug, match="dma_map_sg: overflow"):
        dma_map_sgtable(gart(panic=True, pages=4), table((4 * G, 0, 0x4000)), DMA_TO_DEVICE)


def test_zero_length_entry_is_a_bug():
    with pytest.raises(KernelBug, match="length == 0"):
        dma_map_sgtable(gart(), table((4 * G, 0, 0)), DMA_TO_DEVICE)


def test_unmap_of_an_error_warns_and_of_an_address_outside_does_nothing():
    dev = gart()
    single(dev, 4 * G, 0x1000)
    dma_unmap_page(dev, 2**64 - 1, 0x1000, DMA_TO_DEVICE)
    dma_unmap_page(dev, 0x1000, 0x1000, DMA_TO_DEVICE)
    assert len(dev.machine.dmesg) == 1 and dev.dma_ops.resources() == {"entries": 1}


def test_unmap_behind_the_aperture_is_caught():
    dev = gart(pages=4)
    with pytest.raises(KernelBug, match="behind the GATT"):
        dma_unmap_page(dev, BASE + 0x3000, 0x2000, DMA_TO_DEVICE)


def test_late_access_reaches_the_scratch_page_and_an_unused_entry_faults():
    dev = gart()
    address = single(dev, 4 * G, 0x1000)
    dev.machine.mem.poke(4 * G, b"secret")
    assert dev.dma_read(address, 6) == b"secret"
    dma_unmap_page(dev, address, 0x1000, DMA_TO_DEVICE)
    assert dev.dma_read(address, 6) == b"secret"    # the chip still has the entry in its TLB
    dev.dma_ops.flush()
    assert dev.dma_read(address, 6) == bytes(6)
    with pytest.raises(DmaFault, match="not-present"):
        dev.dma_read(address + 0x1000, 1)


def test_walker_run_ends_where_the_aperture_begins():
    dev = gart()
    assert dev.dma_ops.walker.lookup(dev, BASE - 0x10) == (BASE - 0x10, 0x10)


@pytest.mark.parametrize(("options", "base", "pages"), [
    (dict(), BASE, 16384),
    (dict(agp=True), BASE + (32 << 20), 8192),
    (dict(iommu_size=0x200000), BASE + (62 << 20), 512),
    (dict(iommu_size=0x280000), BASE + (64 << 20) - 0x100000, 256),
], ids=["whole", "half", "2M", "2.5M loses 1.5M"])
def test_window(options, base, pages):
    ops = gart(**options).dma_ops
    assert (ops.bus_base, ops.pages) == (base, pages)


@pytest.mark.parametrize(("arguments", "words"), [
    ((0xF1000000, 1), "32 MiB"), ((0xFE000000, 1), "32 MiB"), ((0, 1), "32 MiB"), ((BASE, 8), "order"),
])
def test_impossible_apertures(arguments, words):
    with pytest.raises(ValueError, match=words):
        GartDmaOps(Machine("m", table_base=0xE0000000), *arguments)


def test_no_resource_mapping():
    with pytest.raises(DmaError):
        dma_map_resource(gart(), 0xFE000000, 0x1000, DMA_TO_DEVICE)


@pytest.mark.parametrize(("force", "mask", "mapped"), [(False, 0xFFFFFFFF, False), (True, 0xFFFFFFFF, True)])
def test_coherent_memory_is_mapped_only_if_forced(force, mask, mapped):
    dev = gart(force=force)
    dev.coherent_dma_mask = mask
    cpu, handle = dma_alloc_attrs(dev, 0x5000)
    assert (handle >= BASE) == mapped
    if mapped:
        assert handle & 0x7FFF == 0 and dev.dma_ops.walker.lookup(dev, handle)[0] == cpu
    before = dev.machine.pages_allocated
    dma_free_attrs(dev, 0x5000, cpu, handle)
    assert dev.dma_ops.resources() == {"entries": 0} and dev.machine.pages_allocated < before


@pytest.mark.parametrize("mask", [0xFFFFFF, 0xFFFFFFFF])
def test_coherent_memory_without_room(mask):
    """It stays where it is if the streaming mask reaches it, and is given back if not."""
    dev = gart(force=True)
    dev.dma_mask = mask
    before = dev.machine.pages_allocated
    dev.machine.fail("entries")
    if mask == 0xFFFFFFFF:
        cpu, handle = dma_alloc_attrs(dev, 0x1000)
        assert cpu == handle
        return
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, 0x1000)
    assert dev.machine.pages_allocated == before


@pytest.mark.parametrize("config", backends()["gart_dma_ops"].machines, ids=lambda config: config.name)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_bytes_arrive_and_nothing_leaks(config, data):
    """Whatever is mapped where: the device reads the CPU's bytes, and all is free in the end."""
    dev = config.build()
    live = []
    for k in range(data.draw(st.integers(1, 12))):
        phys = data.draw(st.sampled_from([0x100000, 4 * G, 6 * G])) + k * 0x10000 + data.draw(st.integers(0, 0xFFF))
        size = data.draw(st.integers(1, 0x3000))
        dev.machine.mem.poke(phys, bytes([k + 1]) * size)
        live.append((single(dev, phys, size), size, k + 1))
        if len(live) > 2 and data.draw(st.booleans()):
            address, size, _ = live.pop(0)
            dma_unmap_page(dev, address, size, DMA_TO_DEVICE)
    for address, size, value in live:
        assert dev.dma_read(address, size) == bytes([value]) * size
        dma_unmap_page(dev, address, size, DMA_TO_DEVICE)
    assert dev.dma_ops.resources() == {"entries": 0}
