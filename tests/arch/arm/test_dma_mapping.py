# SPDX-License-Identifier: MIT
"""iommu_ops of 32-bit Arm: the traps of the window, the merging and the unwinding, with Linux's own numbers."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import backends
from arch.arm.dma_mapping import ArmIommuOps
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
    dma_map_page,
    dma_map_resource,
    dma_map_sgtable,
    dma_set_mask,
    dma_set_max_seg_size,
    dma_set_seg_boundary,
    dma_sync_single_for_cpu,
    dma_unmap_page,
    dma_unmap_resource,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

G, M = 1 << 30, 1 << 20
A, B, C, D = 0x60000000, 0x61000000, 0x62000000, 0x63000000
ATTR_FORCE_CONTIGUOUS, ATTR_ALLOC_SINGLE_PAGES, ATTR_PRIVILEGED = 0x40, 0x80, 0x200


def arm(base=0, size=4 * G, *, coherent=False, lpae=False):
    bits = 64 if lpae else 32
    machine = Machine("m", arch="arm", bits=32, ram=[(G, 2 * G)], dma_addr_bits=bits, phys_addr_bits=bits,
                      has_zone_dma=False, cached=True, table_base=0xE0000000)
    return Device("dev", machine, pci=False, coherent=coherent, dma_ops=ArmIommuOps(machine, base, size))


def single(dev, phys, size, direction=DMA_TO_DEVICE):
    return dma_map_page(dev, phys & ~0xFFF, phys & 0xFFF, size, direction)


def table(*rows):
    return SgTable(list(rows), page_shift=12)


def segments(sgt):
    return [(row[3], row[4]) for row in sgt.entries()[:sgt.nents]]


def reaches(dev, address, phys):
    assert dev.dma_ops.walker.lookup(dev, address)[0] == phys


# -- the window ------------------------------------------------------------------------------------------------

def test_iova_0_is_never_unmapped():
    dev = arm()
    assert single(dev, A, 0x1000) == 0
    dma_unmap_page(dev, 0, 0x1000, DMA_TO_DEVICE)
    assert single(dev, B, 0x1000) == 0x1000
    reaches(dev, 0, A)
    assert dma_map_resource(dev, 0xFE000000, 0x1000, DMA_TO_DEVICE) == 0x2000


def test_iova_0_of_a_resource_leaks_and_of_a_list_does_not():
    dev = arm()
    assert dma_map_resource(dev, 0xFE000010, 0x1000, DMA_TO_DEVICE) == 0x10
    dma_unmap_resource(dev, 0x10, 0x1000, DMA_TO_DEVICE)
    assert dev.dma_ops.resources()["entries"] == 2
    dev = arm()
    sgt = table((A, 0, 0x1000))
    dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert segments(sgt) == [(0, 0x1000)]
    dma_unmap_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert dev.dma_ops.resources()["entries"] == 0 and dev.dma_ops.table() == {}


def test_first_fit_with_natural_alignment_up_to_1_mib():
    dev = arm()
    sizes = (3 * 0x1000, 3 * 0x1000, 0x1000, M, 2 * M, 0x1000)
    assert [single(dev, A, size) for size in sizes] == [0, 0x4000, 0x3000, 0x100000, 0x200000, 0x7000]


@pytest.mark.parametrize(("base", "size", "bits", "extensions"), [
    (0, 4 * G, 32768, 32),
    (0, 128 * M, 32768, 1),
    (0, 200 * M, 32768, 1),
    (0x1000, 0x5000, 32, 1),
    (0x10000000, 8 * M, 2048, 1),
], ids=["4G", "128M", "200M is 128M", "5 pages are 32", "8M"])
def test_window(base, size, bits, extensions):
    ops = arm(base, size).dma_ops
    assert (ops.base, ops.bits, ops.extensions, ops.nr_bitmaps) == (base, bits, extensions, 1)


@pytest.mark.parametrize(("size", "err"), [(4 * G + 0x1000, errno.ERANGE), (0xFFF, errno.EINVAL)])
def test_impossible_windows(size, err):
    with pytest.raises(DmaError) as failure:
        arm(0, size)
    assert failure.value.errno == err


def test_a_small_window_is_rounded_up():
    dev = arm(0x1000, 0x5000)
    assert [single(dev, A, 0x1000) for _ in range(6)][-1] == 0x6000


def test_more_than_a_bitmap_never_fits_and_the_new_bitmap_stays():
    dev = arm(0x80000000, G)
    with pytest.raises(DmaError):
        single(dev, A, 129 * M)
    assert dev.dma_ops.nr_bitmaps == 2
    assert single(dev, A, 128 * M) == 0x80000000
    assert single(dev, A, 128 * M) == 0x88000000


def test_no_more_bitmaps_than_the_window_has():
    dev = arm(0, 256 * M)
    assert [single(dev, A, 128 * M) for _ in range(2)] == [0, 128 * M]
    with pytest.raises(DmaError):
        single(dev, A, 0x1000)
    assert dev.dma_ops.nr_bitmaps == 2


@pytest.mark.parametrize(("address", "size", "words"), [
    (0x7FFFF000, 0x1000, "not in the mapping"),
    (0x87FFF000, 0x2000, "leaves its bitmap"),
    (0x90000000, 0x1000, "NULL pointer"),
], ids=["below", "straddles", "no bitmap yet"])
def test_unmap_of_what_is_not_in_a_bitmap(address, size, words):
    dev = arm(0x80000000, G, coherent=True)
    with pytest.raises(KernelBug, match=words):
        dma_unmap_page(dev, address, size, DMA_TO_DEVICE)


def test_a_window_above_4_gib_translates_nothing():
    """iommu_map() takes an unsigned long: the device is given 8 GiB, the IOMMU maps 0."""
    dev = arm(8 * G, G, lpae=True)
    assert single(dev, A, 0x1000) == 8 * G
    assert dev.dma_ops.table() == {0: (A, 1)}
    with pytest.raises(DmaFault, match="out-of-range"):
        dev.dma_read(8 * G, 1)
    dma_unmap_page(dev, 8 * G, 0x1000, DMA_TO_DEVICE)
    assert dev.dma_ops.table() == {}


def test_the_mask_is_never_looked_at():
    dev = arm(0x80000000, G)
    dma_set_mask(dev, 0xFFFF)
    assert single(dev, A, 0x1000) == 0x80000000


# -- lists -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("rows", "out"), [
    pytest.param([(A, 0x100, 0xF00), (B, 0, 0x1000), (C, 0, 0x800), (D, 0, 0x1000)],
                 [(0x100, 0x2700), (0x3000, 0x1000)], id="until a joint is not page-aligned"),
    pytest.param([(A, 0, 0x1000), (B, 1, 0xFFF)], [(0, 0x1000), (0x1001, 0xFFF)], id="an offset begins a new one"),
    pytest.param([(A, 0, 0), (B, 0, 0x1000)], [(0, 0x1000)], id="an empty entry merges"),
    pytest.param([(A, 0, 0)], [(0, 0)], id="nothing but an empty entry"),
    pytest.param([(A, 0x1001, 0xFFF), (B, 0, 0x10)], [(0x1001, 0x100F)], id="an offset beyond the page"),
])
def test_merging(rows, out):
    dev = arm()
    sgt = table(*rows)
    dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert segments(sgt) == out
    assert all(row[4] == 0 for row in sgt.entries()[sgt.nents:])


@pytest.mark.parametrize(("length", "n"), [(0xF000, 1), (0xF001, 2)])
def test_max_seg_size_counts_the_heads_offset(length, n):
    dev = arm()
    dma_set_max_seg_size(dev, 0x10000)
    sgt = table((A, 0x800, 0x800), (B, 0, length))
    dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert sgt.nents == n


def test_the_segment_boundary_is_never_looked_at():
    dev = arm()
    dma_set_seg_boundary(dev, 0x1FFF)
    sgt = table(*[(A + k * 0x1000, 0, 0x1000) for k in range(5)])
    dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert segments(sgt) == [(0, 0x5000)]


@pytest.mark.parametrize(("nth", "code", "ret"), [(3, errno.ENOMEM, errno.ENOMEM), (3, errno.EIO, errno.EINVAL)])
def test_unwinding(nth, code, ret):
    dev = arm()
    dev.dma_ops.map_errno = code
    dev.machine.fail("iommu_map", nth)
    sgt = table((A, 0, 0x1000), (B, 1, 0xFFF), (C, 0, 0x1000), (D, 16, 16))
    with pytest.raises(DmaError) as failure:
        dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert failure.value.errno == ret
    assert [row[3:5] for row in sgt.entries()] == [(0, 0x1000), (0xFFFFFFFF, 0), (0, 0), (0, 0)]
    assert dev.dma_ops.resources()["entries"] == 0 and dev.dma_ops.table() == {}


def test_a_list_without_iova_is_enomem():
    dev = arm(0x1000, 0x5000)
    with pytest.raises(DmaError) as failure:
        dma_map_sgtable(dev, table((A, 0, 33 * 0x1000)), DMA_TO_DEVICE)
    assert failure.value.errno == errno.ENOMEM


@pytest.mark.parametrize("what", ["page", "list"])
def test_an_offset_beyond_the_page_leaks_the_pages_before_it(what):
    dev = arm(0x80000000, G)
    if what == "page":
        address = dma_map_page(dev, A, 0x2010, 0x100, DMA_TO_DEVICE)
        assert address == 0x80002010
        dma_unmap_page(dev, address, 0x100, DMA_TO_DEVICE)
    else:
        sgt = table((A, 0x2010, 0x100))
        dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
        dma_unmap_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert dev.dma_ops.resources()["entries"] == 2
    assert dev.dma_ops.table() == {0x80000: (A, 1), 0x80001: (A + 0x1000, 1)}


# -- protection, caches ----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("direction", "attrs", "prot"), [
    (DMA_TO_DEVICE, 0, 1), (DMA_FROM_DEVICE, 0, 3), (DMA_BIDIRECTIONAL, 0, 3),
    (DMA_TO_DEVICE, ATTR_PRIVILEGED, 33),
], ids=["to", "from is readable", "bidi", "privileged"])
def test_protection(direction, attrs, prot):
    dev = arm()
    dma_map_page(dev, A, 0, 0x1000, direction, attrs)
    assert dev.dma_ops.table() == {0: (A, prot)}


def test_protection_of_a_resource():
    dev = arm()
    dma_map_resource(dev, 0xFE000000, 0x1000, DMA_BIDIRECTIONAL)
    assert dev.dma_ops.table() == {0: (0xFE000000, 3 | 16)}


def test_large_pages_are_used_where_both_addresses_allow():
    dev = arm(0x80000000, G)
    single(dev, A, 4 * M)
    assert sorted(dev.dma_ops.domain.table()) == [0x80000000, 0x80200000]
    assert len(dev.dma_ops.table()) == 1024
    dma_unmap_page(dev, 0x80000000, 4 * M, DMA_TO_DEVICE)
    assert dev.dma_ops.table() == {}


def test_the_device_sees_what_the_cpu_wrote_and_the_cpu_what_the_device_wrote():
    dev = arm(0x80000000, G)
    dev.machine.cpu_write(A + 0x10, b"to the device")
    address = single(dev, A + 0x10, 0x100, DMA_BIDIRECTIONAL)
    assert dev.dma_read(address, 13) == b"to the device"
    dev.dma_write(address, b"to the CPU...")
    dma_sync_single_for_cpu(dev, address, 0x100, DMA_BIDIRECTIONAL)
    assert dev.machine.cpu_read(A + 0x10, 13) == b"to the CPU..."


def test_sync_at_iova_0_does_nothing():
    dev = arm()
    dev.machine.events = []
    assert single(dev, A, 0x1000, DMA_FROM_DEVICE) == 0
    dma_sync_single_for_cpu(dev, 0, 0x1000, DMA_FROM_DEVICE)
    assert [event[0] for event in dev.machine.events] == ["sync_dev"]


def test_a_coherent_device_needs_no_cache_maintenance():
    dev = arm(0x80000000, G, coherent=True)
    dev.machine.events = []
    sgt = table((A, 0, 0x1000))
    dma_map_sgtable(dev, sgt, DMA_FROM_DEVICE)
    dma_unmap_sgtable(dev, sgt, DMA_FROM_DEVICE)
    assert dev.machine.events == []


# -- coherent memory -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("attrs", [0, ATTR_FORCE_CONTIGUOUS, ATTR_ALLOC_SINGLE_PAGES])
def test_coherent_memory_of_a_device_that_is_not(attrs):
    """Scattered pages under one kernel address: all of them are mapped."""
    dev = arm(0x80000000, G)
    before = dev.machine.pages_allocated
    cpu, handle = dma_alloc_attrs(dev, 0x15000, attrs)
    assert handle == 0x80000000
    dev.machine.cpu_write(cpu, bytes(range(256)) * 0x150)
    assert dev.dma_read(handle, 0x15000) == bytes(range(256)) * 0x150
    dma_free_attrs(dev, 0x15000, cpu, handle, attrs)
    assert dev.machine.pages_allocated == before
    assert dev.dma_ops.resources() == {"entries": 0, "buffers": 0}


def test_coherent_memory_of_a_coherent_device_is_mapped_wrong_from_the_second_page_on():
    dev = arm(0x80000000, G, coherent=True)
    dev.dma_ops.stack = [0x5000, 0x1B9F8000]
    cpu, handle = dma_alloc_attrs(dev, 10000)
    assert dev.dma_ops.table() == {0x80000: (cpu, 3), 0x80001: (0x5000, 3), 0x80002: (0x1B9F8000, 3)}
    dma_free_attrs(dev, 10000, cpu, handle)
    assert dev.dma_ops.table() == {}


def test_one_page_of_a_coherent_device_is_right():
    dev = arm(0x80000000, G, coherent=True)
    cpu, handle = dma_alloc_attrs(dev, 64)
    dev.machine.cpu_write(cpu, b"ring")
    assert dev.dma_read(handle, 4) == b"ring"


@pytest.mark.parametrize(("coherent", "lost"), [(False, 0), (True, 1)])
def test_coherent_memory_that_cannot_be_mapped(coherent, lost):
    """__iommu_alloc_simple() gives it to the atomic pool, which does not know it."""
    dev = arm(0x80000000, G, coherent=coherent)
    before = dev.machine.pages_allocated
    dev.machine.fail("iommu_map")
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, 0x1000)
    assert dev.machine.pages_allocated == before + lost
    assert dev.dma_ops.resources()["entries"] == 0


def test_pages_run_out_by_order():
    """Without 16 pages in one piece it goes on with single ones, and gives all back when those run out too."""
    dev = arm(0x80000000, G)
    dev.machine.fail("pages", 1)
    cpu, handle = dma_alloc_attrs(dev, 0x10000)
    assert len(dev.dma_ops.table()) == 16
    dma_free_attrs(dev, 0x10000, cpu, handle)
    dev.machine.fail("pages", 3)
    before = dev.machine.pages_allocated
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, 0x10000, ATTR_ALLOC_SINGLE_PAGES)
    assert dev.machine.pages_allocated == before


def test_free_of_what_was_not_allocated_warns():
    dev = arm(0x80000000, G)
    dma_free_attrs(dev, 0x1000, 0x12345000, 0x80000000)
    assert "invalid coherent area" in dev.machine.dmesg[0]


def test_no_alloc_pages():
    with pytest.raises(DmaError):
        dma_alloc_pages(arm(), 0x1000, DMA_TO_DEVICE)


@pytest.mark.parametrize("config", backends()["iommu_ops"].machines, ids=lambda config: config.name)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_bytes_arrive_and_lists_do_not_leak(config, data):
    dev = config.build()
    ram = dev.machine.ram_ranges[-1][0]
    live = []
    for k in range(data.draw(st.integers(1, 6))):
        rows = []
        for i in range(data.draw(st.integers(1, 5))):
            offset = data.draw(st.sampled_from([0, 0, 0, 0x10, 0xFFF]))
            length = data.draw(st.sampled_from([0x1000 - offset, 0x1000, 1, 0x2345]))
            page = ram + (k * 8 + i) * 0x10000
            dev.machine.cpu_write(page + offset, bytes([k * 8 + i + 1]) * length)
            rows.append((page, offset, length))
        sgt = table(*rows)
        dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
        live.append((sgt, b"".join(bytes([k * 8 + i + 1]) * row[2] for i, row in enumerate(rows))))
        if len(live) > 2 and data.draw(st.booleans()):
            dma_unmap_sgtable(dev, live.pop(0)[0], DMA_TO_DEVICE)
    for sgt, raw in live:
        assert b"".join(dev.dma_read(address, length) for address, length in segments(sgt)) == raw
        dma_unmap_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert dev.dma_ops.resources() == {"entries": 0, "buffers": 0} and dev.dma_ops.table() == {}
