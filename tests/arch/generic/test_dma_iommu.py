# SPDX-License-Identifier: MIT
"""iommu_dma_ops: numbers of the fact sheets and of recorded surprises, and bytes through every walker."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dma_ops
from arch import backends
from arch.generic._records_iommu import arm64, x86_64
from arch.generic.dma_iommu import IommuDmaOps
from dma_ops import (
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    Machine,
)
from dma_ops.flush_queue import FlushQueue
from dma_ops.iommu_virtio import VirtioDomain
from dma_ops.iova import IovaDomain
from dma_ops.p2pdma import pci_alloc_p2pmem, pci_p2pdma_add_resource
from dma_ops.pci import PciTree, PciType
from dma_ops.pgtable_lpae import LpaeDomain
from dma_ops.pgtable_vtd import VtdDomain
from dma_ops.swiotlb import swiotlb_init
from scatterlist.core import SgTable

RECORD = backends()["iommu_dma_ops"]
K4 = 4096
ERROR = 2**64 - 1


@pytest.fixture(params=RECORD.machines, ids=lambda config: config.name)
def dev(request: pytest.FixtureRequest) -> Device:
    return request.param.build()


@pytest.fixture
def intel() -> Device:
    return x86_64("intel", "intel")


def buffer(dev: Device, *shape: tuple[int, int]) -> SgTable:
    """A list of (offset, length) entries, each in pages of its own that do not touch the others'."""
    machine = dev.machine
    rows = []
    for offset, length in shape:
        order = max(0, (max(offset + length, 1) - 1) // machine.page_size).bit_length()
        rows.append((machine.alloc_ram(order), offset, length))
        machine.alloc_ram(0)
    return SgTable(rows, page_shift=machine.page_shift)


def layout(dev: Device, table: SgTable) -> list[tuple[int, int]]:
    """The segments relative to the start of the range, which is the first entry's granule."""
    dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    base = table.segments()[0][0] & ~(K4 - 1)
    return [(addr - base, length) for addr, length, _ in table.segments()]


# -- lists -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("limits", "shape", "pages", "segments"), [
    pytest.param({}, [(0, 4096), (0, 8192), (512, 1024), (0, 4096)], 8, [(0, 12288), (0x3200, 1024), (0x4000, 4096)],
                 id="dma-core-4.5-a"),
    pytest.param({}, [(0, 4096), (0, 100), (0, 4096)], 4, [(0, 4196), (0x2000, 4096)], id="short-entry-ends-a-segment"),
    pytest.param({}, [(0, 65536), (0, 4096)], 32, [(0, 65536), (0x10000, 4096)], id="max-seg"),
    pytest.param({"boundary": 0xFFFF}, [(0, 40960)] * 3, 42, [(0, 40960), (0x10000, 40960), (0x20000, 40960)],
                 id="two-paddings"),
    pytest.param({"boundary": 0xFFFF}, [(0, 40960), (0, 4096), (0, 40960)], 32, [(0, 45056), (0x10000, 40960)],
                 id="observed-segb"),
    pytest.param({"max_seg": 512}, [(0, 4096), (0, 12288), (0, 8192), (0, 8192)], 8, [(0, 32768)],
                 id="longer-than-max-seg-swallows-all"),
    pytest.param({"max_seg": 8192}, [(0, 4096), (0, 4096), (0, 4096)], 4, [(0, 8192), (0x2000, 4096)], id="max-seg-8K"),
    pytest.param({}, [(0, 0), (0, 4096)], 1, [(0, 0), (0, 4096)], id="leading-zero-length"),
    pytest.param({}, [(0, 4096), (16, 0), (0, 4096)], 4, [(0, 4096), (0x1010, 0), (0x2000, 4096)],
                 id="zero-length-with-offset"),
])
def test_layout(intel: Device, limits: dict[str, int], shape: list[tuple[int, int]], pages: int,
                segments: list[tuple[int, int]]) -> None:
    if "boundary" in limits:
        dma_ops.dma_set_seg_boundary(intel, limits["boundary"])
    if "max_seg" in limits:
        dma_ops.dma_set_max_seg_size(intel, limits["max_seg"])
    table = buffer(intel, *shape)
    before = [row[:3] for row in table.entries()]
    assert layout(intel, table) == segments
    assert intel.resources()["iova"] == pages       # below 32 granules a range is rounded up to a power of two
    assert [row[:3] for row in table.entries()] == before
    assert {row[3:5] for row in table.entries()[len(segments):]} <= {(ERROR, 0)}


def test_first_addresses(intel: Device) -> None:
    """dma-core.md 4.4, and a length that is not rounded in the tree's alignment only."""
    addresses = [layout_base(intel, pages) for pages in (1, 1, 3)]
    assert addresses == [0xFFFFF000, 0xFFFFE000, 0xFFFF8000]


def layout_base(dev: Device, pages: int) -> int:
    table = buffer(dev, (0, pages * K4))
    dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    return int(table.segments()[0][0])


@pytest.mark.parametrize(("kernel", "code"), [(601, errno.ENOMEM), (612, errno.EINVAL)], ids=["6.1", "6.12"])
def test_a_zero_length_entry_pads_to_the_boundary(kernel: int, code: int) -> None:
    dev = x86_64("m", "intel", kernel=kernel)
    table = buffer(dev, (0, 4096), (0, 0), (0, 4096))
    before = [row[:3] for row in table.entries()]
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert error.value.errno == code
    assert table.nents == table.orig_nents == 3
    assert [row[:3] for row in table.entries()] == before
    assert [row[3:5] for row in table.entries()] == [(ERROR, 0)] * 3
    assert dev.resources()["iova"] == 0


def test_a_leading_zero_length_entry_leaks(intel: Device) -> None:
    table = buffer(intel, (0, 0), (0, 4096))
    dma_ops.dma_map_sgtable(intel, table, DMA_TO_DEVICE)
    dma_ops.dma_unmap_sgtable(intel, table, DMA_TO_DEVICE)
    assert intel.resources()["iova"] == 1


def test_stale_dma_fields_corrupt_a_failed_map(intel: Device) -> None:
    """The trap of dma-core.md 4.10: a list that was mapped is mapped again, and an entry in it is refused."""
    provider = peer(intel)
    table = SgTable([(intel.machine.alloc_ram(0), 0, 4096), (provider, 0, 4096), (intel.machine.alloc_ram(0), 0, 512)])
    table.set_dma(2, 0xFFFFE000, 64)
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_sgtable(intel, table, DMA_TO_DEVICE)
    assert error.value.errno == errno.EREMOTEIO
    assert [row[1:3] for row in table.entries()] == [(0, 4096), (0, 4096), (0xFFFFE000, 64)]


def test_a_boundary_that_is_no_mask_dies(intel: Device) -> None:
    dma_ops.dma_set_seg_boundary(intel, 0xFFFE)
    with pytest.raises(KernelBug, match="NULL pointer"):
        dma_ops.dma_map_sgtable(intel, buffer(intel, (0, 131072)), DMA_TO_DEVICE)


def test_failed_page_table_gives_everything_back(intel: Device) -> None:
    table = buffer(intel, (0, 8192), (0, 8192))
    for nth in (1, 2):
        intel.machine.fail("table", nth)
        with pytest.raises(DmaError) as error:
            dma_ops.dma_map_sgtable(intel, table, DMA_TO_DEVICE)
        assert error.value.errno == errno.ENOMEM
        assert (intel.resources()["iova"], intel.dma_ops.table()) == (0, {})
    intel.machine.fail("iova")
    with pytest.raises(DmaError):
        dma_ops.dma_map_sgtable(intel, table, DMA_TO_DEVICE)
    dma_ops.dma_map_sgtable(intel, table, DMA_TO_DEVICE)


# -- addresses -------------------------------------------------------------------------------------------------

def page(dev: Device) -> int:
    return dma_ops.dma_map_page(dev, dev.machine.alloc_ram(0), 0, K4, DMA_TO_DEVICE)


@pytest.mark.parametrize(("mask", "address"), [
    pytest.param(0xFFFFFF, 0xFFF000, id="24"),
    pytest.param(0x7FFFFFFF, 0x7FFFF000, id="31-below-the-window"),
    pytest.param(0xFFFFFFFF, 0xFFFFF000, id="32"),
    pytest.param((1 << 40) - 1, 0xFFFFF000, id="40-is-tried-below-4G-first"),
    pytest.param((1 << 64) - 1, 0xFFFFF000, id="64"),
])
def test_mask(intel: Device, mask: int, address: int) -> None:
    dma_ops.dma_set_mask(intel, mask)
    assert page(intel) == address


def test_bus_limit(intel: Device) -> None:
    intel.bus_dma_limit = 0x3FFFFFFF
    assert page(intel) == 0x3FFFF000


def test_raising_the_mask_does_not_move_up(intel: Device) -> None:
    """tiny_err: the 32-bit search goes on below the last 24-bit allocation."""
    dma_ops.dma_set_mask(intel, 0xFFFFFF)
    assert page(intel) == 0xFFF000
    dma_ops.dma_set_mask(intel, 0xFFFFFFF)
    assert page(intel) == 0xFFE000


def test_reserved_is_not_given_out(intel: Device) -> None:
    """The window up to 0xfebfffff and the MSI range of 1 MiB at 0xfee00000."""
    dma_ops.dma_set_mask(intel, 0xFEFFFFFF)
    assert [layout_base(intel, 256) for _ in range(4)] == [0xFEF00000, 0xFED00000, 0xFEC00000, 0xBFF00000]


def make(kernel: int = 601, **facts: object) -> Device:
    machine = Machine("m", arch="x86_64", kernel=kernel, ram=[(0x1000, 1 << 30)])
    dev = Device("0000:00:04.0", machine, mask=(1 << 64) - 1)
    IommuDmaOps(VtdDomain(machine, 39), dev, **facts)
    return dev


def test_forcedac() -> None:
    assert page(make(forcedac=True)) == 0x7FFFFFF000


@pytest.mark.parametrize(("kernel", "second"), [(601, 0xFFFFF000), (612, 0x7FFFFFE000)], ids=["6.1", "6.12"])
def test_when_32_bits_are_full(kernel: int, second: int) -> None:
    """6.1 asks below 4 GiB every time; 6.12 gives that up for the device for good."""
    dev = make(kernel, windows=[(0x1000, 0xFFFFEFFF)])
    first = page(dev)
    assert (first, page(dev)) == (0xFFFFF000, 0x7FFFFFF000)
    dma_ops.dma_unmap_page(dev, first, K4, DMA_TO_DEVICE)
    dev.dma_ops.cookie.space.flush()
    assert page(dev) == second


def test_dma_ranges_reserve_the_gaps_and_the_page_behind_each() -> None:
    dev = make(dma_ranges=[(0x40000000, 0x7FFFFFFF)], forcedac=True)
    assert page(dev) == 0x7FFFF000
    assert dev.dma_ops.cookie.space.find(0x40000) == (0, 0x40000)     # the window's own first page goes, too


def test_a_range_beyond_the_iommu_is_refused() -> None:
    machine = Machine("m")
    dev = Device("d", machine)
    with pytest.raises(DmaError) as error:
        IommuDmaOps(VtdDomain(machine, 39), dev, base=1 << 40)
    assert (error.value.errno, dev.dma_ops) == (errno.EFAULT, None)


def test_one_domain_for_a_group(intel: Device) -> None:
    other = Device("0000:00:05.0", intel.machine)
    intel.dma_ops.attach(other)
    assert (page(intel), page(other)) == (0xFFFFF000, 0xFFFFE000)
    with pytest.raises(DmaError):
        intel.dma_ops.attach(other, base=1 << 20)


def test_a_request_beyond_the_mask_takes_any_cached_range(intel: Device) -> None:
    """iova_rcache_get: limit - size wraps."""
    table = buffer(intel, (0, 8192))
    dma_ops.dma_map_sgtable(intel, table, DMA_TO_DEVICE)
    dma_ops.dma_unmap_sgtable(intel, table, DMA_TO_DEVICE)
    dma_ops.dma_set_mask(intel, 0xFFF)
    dma_ops.dma_map_sgtable(intel, table, DMA_TO_DEVICE)
    assert table.segments()[0][0] == 0xFFFFE000


def test_coherent_mask_limits_alloc(intel: Device) -> None:
    dma_ops.dma_set_coherent_mask(intel, 0xFFFFFF)
    assert dma_ops.dma_alloc_attrs(intel, K4)[1] == 0xFFF000


# -- one page, resources ---------------------------------------------------------------------------------------

def test_resource_keeps_its_offset_and_ignores_the_mask(intel: Device) -> None:
    dma_ops.dma_set_mask(intel, 0xFFFFFF)
    addr = dma_ops.dma_map_resource(intel, 0xFD_0000_0123, 64, DMA_BIDIRECTIONAL)
    assert addr == 0xFFF123
    assert intel.dma_ops.walker.lookup(intel, addr) == (0xFD_0000_0123, K4 - 0x123)
    dma_ops.dma_unmap_resource(intel, addr, 64, DMA_BIDIRECTIONAL)
    assert intel.resources()["iova"] == 0


def test_smmu_refuses_what_its_output_cannot_say() -> None:
    dev = arm64("m")
    with pytest.raises(DmaError):
        dma_ops.dma_map_resource(dev, 1 << 44, K4, DMA_BIDIRECTIONAL)
    assert dev.resources()["iova"] == 0
    assert dma_ops.dma_map_resource(dev, (1 << 44) - K4, K4, DMA_BIDIRECTIONAL) == 0xFFFFF000


def test_unmapping_nothing_warns(intel: Device) -> None:
    dma_ops.dma_unmap_page(intel, 0x1000, K4, DMA_TO_DEVICE)
    assert intel.machine.dmesg == ["WARNING: iommu_dma_unmap_page: !phys"]


@pytest.mark.parametrize(("kernel", "fails"), [(601, False), (612, True)], ids=["6.1", "6.12"])
def test_min_align_mask_above_the_granule(kernel: int, fails: bool) -> None:
    """10_minalign: 6.12 refuses single pages, and still maps lists."""
    dev = x86_64("m", "intel", kernel=kernel)
    dma_ops.dma_set_min_align_mask(dev, 0x3FFF)
    if fails:
        with pytest.raises(DmaError):
            page(dev)
        with pytest.raises(DmaError):
            page(dev)
        assert dev.machine.dmesg == ["WARNING: Unsupported alignment constraint"]
    else:
        assert page(dev) == 0xFFFFF000
    dma_ops.dma_map_sgtable(dev, buffer(dev, (0, K4)), DMA_TO_DEVICE)


def test_limits(dev: Device) -> None:
    assert dma_ops.dma_pci_p2pdma_supported(dev)
    assert dma_ops.dma_get_merge_boundary(dev) == K4 - 1
    assert dma_ops.dma_get_required_mask(dev) == 0xFFFFFFFF
    untrusted = dev.machine.name == "intel-untrusted"
    assert dma_ops.dma_max_mapping_size(dev) == (262144 if untrusted else ERROR)
    assert dma_ops.dma_opt_mapping_size(dev) == min(32 * dev.machine.page_size, dma_ops.dma_max_mapping_size(dev))


# -- bytes through the hardware --------------------------------------------------------------------------------

@pytest.mark.parametrize("direction", [DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL], ids=["to", "from", "bidi"])
def test_permissions(dev: Device, direction: int) -> None:
    size = dev.machine.page_size
    cpu = dev.machine.alloc_ram(0)
    addr = dma_ops.dma_map_page(dev, cpu, 0, size, direction)
    if direction == DMA_TO_DEVICE:
        with pytest.raises(DmaFault, match="permission"):
            dev.dma_write(addr, b"x")
    else:
        dev.dma_write(addr + size - 1, b"x")
    dma_ops.dma_unmap_page(dev, addr, size, direction)
    dev.dma_ops.flush()
    with pytest.raises(DmaFault, match="not-present"):
        dev.dma_read(addr, 1)


@settings(max_examples=30, deadline=None)
@given(
    index=st.integers(0, len(RECORD.machines) - 1),
    lists=st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 20000)), min_size=1, max_size=6),
            st.sampled_from([DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL]),
        ),
        min_size=1, max_size=4,
    ),
    max_seg=st.sampled_from([65536, 32768, 20480]),
    boundary=st.sampled_from([0xFFFFFFFF, 0xFFFF, 0x7FFF]),
)
def test_round_trip(index: int, lists: list[tuple[list[tuple[int, int]], int]], max_seg: int, boundary: int) -> None:
    """What the CPU wrote is what the device reads, and the other way round; then nothing is left, nothing in reach."""
    dev = RECORD.machines[index].build()
    machine = dev.machine
    dma_ops.dma_set_max_seg_size(dev, max_seg)
    dma_ops.dma_set_seg_boundary(dev, boundary)
    mapped = []
    for number, (shape, direction) in enumerate(lists):
        table = buffer(dev, *shape)
        data = [bytes([number + 1]) * (length - 1) + b"\xee" for _, _, length, *_ in table.entries()]
        for (start, offset, *_), text in zip(table.entries(), data, strict=True):
            machine.cpu_write(start + offset, text)
        dma_ops.dma_map_sgtable(dev, table, direction)
        mapped.append((table, direction, b"".join(data)))
    for table, direction, data in mapped:
        segments = table.segments()
        assert sum(length for _, length, _ in segments) == len(data)
        if direction != DMA_FROM_DEVICE:
            assert b"".join(dev.dma_read(addr, length) for addr, length, _ in segments) == data
        if direction != DMA_TO_DEVICE:
            for addr, length, _ in segments:
                dev.dma_write(addr, bytes(255 - byte for byte in dev_slice(data, segments, addr)[:length]))
    for table, direction, data in mapped:
        segments = table.segments()
        dma_ops.dma_unmap_sgtable(dev, table, direction)
        got = b"".join(machine.cpu_read(start + offset, length) for start, offset, length, *_ in table.entries())
        assert got == (data if direction == DMA_TO_DEVICE else bytes(255 - byte for byte in data))
        dev.dma_ops.flush()
        for addr, length, _ in segments:
            for at in (addr, addr + length - 1):
                with pytest.raises(DmaFault):
                    dev.dma_read(at, 1)
    assert not any(dev.resources().values())
    assert dev.dma_ops.table() == {}
    assert machine.dmesg == []


def dev_slice(data: bytes, segments: list[tuple[int, int, int]], addr: int) -> bytes:
    at = 0
    for start, length, _ in segments:
        if start == addr:
            return data[at:at + length]
        at += length
    raise AssertionError(f"{addr:#x} is no segment")


# -- coherent memory -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("attrs", [0, dma_ops.DMA_ATTR_FORCE_CONTIGUOUS], ids=["gathered", "contiguous"])
def test_coherent(dev: Device, attrs: int) -> None:
    size = 3 * dev.machine.page_size - 96
    before = dev.machine.pages_allocated
    cpu, handle = dma_ops.dma_alloc_attrs(dev, size, attrs)
    assert handle % (4 * dev.machine.page_size) == 0
    dev.machine.cpu_write(cpu, bytes(range(256)) * (size // 256))
    assert dev.dma_read(handle, size // 256 * 256) == bytes(range(256)) * (size // 256)
    dev.dma_write(handle + size - 4, b"done")
    assert dev.machine.cpu_read(cpu + size - 4, 4) == b"done"
    assert sum(row[2] for row in dma_ops.dma_get_sgtable(dev, cpu, handle, size).entries()) >= size
    dma_ops.dma_free_attrs(dev, size, cpu, handle, attrs)
    dev.dma_ops.flush()
    assert (dev.machine.pages_allocated, dev.resources()["iova"]) == (before, 0)


def test_gathered_pages_follow_the_page_sizes_of_the_iommu() -> None:
    """VT-d has 4 KiB and 2 MiB: single pages below that; AMD has every power of two."""
    for iommu, runs in (("intel", [K4] * 7), ("amd", [4 * K4, 2 * K4, K4])):
        dev = x86_64("m", iommu)
        cpu, handle = dma_ops.dma_alloc_attrs(dev, 7 * K4)
        rows = dma_ops.dma_get_sgtable(dev, cpu, handle, 7 * K4).entries()
        assert [row[2] for row in rows] == runs
        assert dev.machine.vmap_pages(cpu)[0] == rows[0][0]


def test_noncontiguous(dev: Device) -> None:
    size = 5 * dev.machine.page_size
    before = dev.machine.pages_allocated
    table = dma_ops.dma_alloc_noncontiguous(dev, size, DMA_BIDIRECTIONAL)
    ((addr, length, _),) = table.segments()
    assert length == size
    dev.dma_write(addr, bytes(size - 1) + b"!")
    last = table.entries()[-1]
    assert dev.machine.mem.peek(last[0] + last[2] - 1, 1) == b"!"
    dma_ops.dma_free_noncontiguous(dev, size, table, DMA_BIDIRECTIONAL)
    dev.dma_ops.flush()
    assert (dev.machine.pages_allocated, dev.resources()["iova"]) == (before, 0)


@pytest.mark.parametrize("kind", ["pages", "iova", "table"])
def test_alloc_failure_leaves_nothing(intel: Device, kind: str) -> None:
    before = intel.machine.pages_allocated
    intel.machine.fail(kind, 2 if kind == "pages" else 1)
    with pytest.raises(DmaError):
        dma_ops.dma_alloc_attrs(intel, 3 * K4)
    assert (intel.machine.pages_allocated, intel.resources()["iova"]) == (before, 0)


# -- the flush queue -------------------------------------------------------------------------------------------

def test_an_unmapped_range_waits_for_the_timer() -> None:
    dev = x86_64("m", "intel", lazy=True)
    ops = dev.dma_ops
    first = page(dev)
    dma_ops.dma_unmap_page(dev, first, K4, DMA_TO_DEVICE)
    assert (ops.cookie.queue.waiting, ops.resources()) == (1, {"iova": 1})
    assert page(dev) == first - K4
    ops.tick(9)
    assert ops.cookie.queue.waiting == 1
    ops.tick(1)
    assert (ops.cookie.queue.waiting, ops.cookie.queue.timer_on) == (0, False)
    assert page(dev) == first


def test_a_full_ring_flushes() -> None:
    dev = x86_64("m", "intel", lazy=True)
    for _ in range(256):
        dma_ops.dma_unmap_page(dev, page(dev), K4, DMA_TO_DEVICE)
    queue = dev.dma_ops.cookie.queue
    assert (queue.waiting, queue.finished) == (1, 1)      # 255 fit


def test_queues_are_per_cpu_or_single() -> None:
    machine = Machine("m", nr_cpus=2)
    domain, space = VirtioDomain(machine), IovaDomain(nr_cpus=2)
    assert FlushQueue(domain, space, nr_cpus=2).timeout == 10
    assert FlushQueue(domain, space, nr_cpus=2, single=True).timeout == 1000
    with pytest.raises(ValueError, match="power of two"):
        FlushQueue(domain, space, size=100)
    with pytest.raises(ValueError, match="nr_cpus"):
        FlushQueue(domain, space, nr_cpus=3)


# -- untrusted devices and non-coherent ones -------------------------------------------------------------------

@pytest.fixture
def untrusted() -> Device:
    return x86_64("m", "intel", untrusted=True)


def test_untrusted_lists_are_not_merged(untrusted: Device) -> None:
    table = buffer(untrusted, (0, 4096), (0, 4096), (256, 512))
    dma_ops.dma_map_sgtable(untrusted, table, DMA_TO_DEVICE)
    assert [length for _, length, _ in table.segments()] == [4096, 4096, 512]
    assert untrusted.resources() == {"iova": 3, "swiotlb slots": 2}     # full granules are not bounced


def test_untrusted_device_sees_only_its_bytes(untrusted: Device) -> None:
    machine = untrusted.machine
    cpu = machine.alloc_ram(0)
    machine.cpu_write(cpu, b"secret!!" * 512)
    addr = dma_ops.dma_map_page(untrusted, cpu, 0, 24, DMA_TO_DEVICE)
    assert untrusted.dma_read(addr & ~(K4 - 1), K4).strip(b"\0") == b"secret!!" * 3
    dma_ops.dma_unmap_page(untrusted, addr, 24, DMA_TO_DEVICE)
    assert untrusted.resources() == {"iova": 0, "swiotlb slots": 0}


def test_untrusted_without_a_pool(untrusted: Device) -> None:
    untrusted.io_tlb_mem = None
    with pytest.raises(DmaError):
        dma_ops.dma_map_page(untrusted, untrusted.machine.alloc_ram(0), 1, 1, DMA_TO_DEVICE)
    assert "bounce buffers are inactive" in untrusted.machine.dmesg[0]
    table = buffer(untrusted, (0, 4096), (1, 1))
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_sgtable(untrusted, table, DMA_TO_DEVICE)
    assert (error.value.errno, untrusted.resources()["iova"]) == (errno.EIO, 0)


def test_untrusted_client_of_p2p_memory(untrusted: Device) -> None:
    """Mapped without a look at the route, or bounced: iommu_dma_map_sg_swiotlb."""
    memory = peer(untrusted)
    table = SgTable([(memory, 0, K4), (memory + K4, 0, 64)])
    dma_ops.dma_map_sgtable(untrusted, table, DMA_TO_DEVICE)
    assert untrusted.dma_ops.walker.lookup(untrusted, table.segments()[0][0])[0] == memory
    assert untrusted.resources()["swiotlb slots"] > 0


def test_cache_maintenance(intel: Device) -> None:
    dev = arm64("m", coherent=False)
    dev.machine.events = []
    table = buffer(dev, (0, 4096), (128, 64))
    dma_ops.dma_map_sgtable(dev, table, DMA_FROM_DEVICE)
    dma_ops.dma_unmap_sgtable(dev, table, DMA_FROM_DEVICE)
    entries = [(start + offset, length) for start, offset, length, *_ in table.entries()]
    assert dev.machine.events == [(what, at, size, DMA_FROM_DEVICE) for what in ("sync_dev", "sync_cpu")
                                  for at, size in entries]
    dev.machine.events = []
    dma_ops.dma_map_sgtable(dev, table, DMA_FROM_DEVICE, dma_ops.DMA_ATTR_SKIP_CPU_SYNC)
    assert dev.machine.events == []


def test_small_buffers_bounce_on_arm64_since_6_12() -> None:
    """Whole kmalloc cache lines do not."""
    machine = Machine("m", arch="arm64", kernel=612, ram=[(1 << 30, 2 << 30)], cached=True)
    dev = Device("0000:00:01.0", machine, coherent=False)
    dev.io_tlb_mem = swiotlb_init(machine)
    IommuDmaOps(LpaeDomain(machine, 48, 44), dev)
    cpu = machine.alloc_ram(0)
    for size, bounced in ((16, True), (64, False), (96, True), (4096, False)):
        addr = dma_ops.dma_map_page(dev, cpu, 0, size, DMA_FROM_DEVICE)
        assert (dev.resources()["swiotlb slots"] > 0) == bounced
        dma_ops.dma_unmap_page(dev, addr, size, DMA_FROM_DEVICE)
        table = SgTable([(cpu, 0, K4), (cpu, 0, size)])
        dma_ops.dma_map_sgtable(dev, table, DMA_FROM_DEVICE)
        assert table.nents == (2 if bounced else 1)
        dma_ops.dma_unmap_sgtable(dev, table, DMA_FROM_DEVICE)
        assert not any(dev.resources().values())


# -- P2P -------------------------------------------------------------------------------------------------------

def peer(dev: Device, *, same_switch: bool = False, cpu: tuple[str, int] | None = None) -> int:
    """Four pages of a provider's memory; dev is its sibling below a switch, or below another root port."""
    tree = PciTree(dev.machine, cpu=cpu)
    host = tree.add_host()
    host.add("00.0", 0x8086, 0x29C0)
    upstream = host.add("1c.0", 0x1B36, 0xC, kind=PciType.ROOT_PORT, acs=0).add(
        "00.0", 0x104C, 0x8232, kind=PciType.UPSTREAM, acs=0)
    ports = [upstream.add(f"{i:02x}.0", 0x104C, 0x8233, kind=PciType.DOWNSTREAM, acs=0) for i in range(2)]
    provider = ports[0].add("00.0", 0x1AF4, 0x1110)
    provider.add_bar(2, 0xFC000000, 16 << 20)
    pci_p2pdma_add_resource(provider, 2)
    client_port = ports[1] if same_switch else host.add("1d.0", 0x1B36, 0xC, kind=PciType.ROOT_PORT, acs=0)
    dev.pci = client_port.add("00.0", 0x1234, 0x11E8)
    return pci_alloc_p2pmem(provider, 4 * K4)


def test_bus_addresses_split_the_range(intel: Device) -> None:
    """dma-core.md 4.5: {RAM, RAM, BUS, RAM}; the mark is on the output entry."""
    memory = peer(intel, same_switch=True)
    ram = [intel.machine.alloc_ram(0) for _ in range(5)][::2]
    table = SgTable([(ram[0], 0, K4), (ram[1], 0, K4), (memory, 0, K4), (ram[2], 0, K4)])
    dma_ops.dma_map_sgtable(intel, table, DMA_BIDIRECTIONAL)
    base = table.segments()[0][0]
    assert table.segments() == [(base, 8192, 0), (memory, K4, 1), (base + 0x2000, K4, 0)]
    assert intel.resources()["iova"] == 4
    intel.dma_write(memory, b"to the peer")
    assert intel.machine.mem.peek(memory, 11) == b"to the peer"
    dma_ops.dma_unmap_sgtable(intel, table, DMA_BIDIRECTIONAL)
    assert intel.resources()["iova"] == 0
    assert [row[5] for row in table.entries()] == [0] * 4


def test_only_bus_addresses_take_no_range(intel: Device) -> None:
    memory = peer(intel, same_switch=True)
    table = SgTable([(memory + i * K4, 0, K4) for i in range(3)])
    dma_ops.dma_map_sgtable(intel, table, DMA_TO_DEVICE)
    assert [flags for _, _, flags in table.segments()] == [1, 1, 1]
    assert (intel.resources()["iova"], intel.dma_ops.table()) == (0, {})
    dma_ops.dma_unmap_sgtable(intel, table, DMA_TO_DEVICE)


def test_through_the_host_bridge_merges_with_ram(intel: Device) -> None:
    memory = peer(intel, cpu=("AMD", 0x17))
    table = SgTable([(intel.machine.alloc_ram(0), 0, K4), (memory, 0, K4)])
    dma_ops.dma_map_sgtable(intel, table, DMA_BIDIRECTIONAL)
    assert table.segments() == [(0xFFFFE000, 8192, 0)]
    assert intel.dma_ops.walker.lookup(intel, 0xFFFFF000)[0] == memory


def test_unreachable_memory_is_refused(intel: Device) -> None:
    memory = peer(intel)
    table = SgTable([(intel.machine.alloc_ram(0), 16, 64), (memory, 0, K4), (intel.machine.alloc_ram(0), 0, K4)])
    before = [row[:3] for row in table.entries()]
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_sgtable(intel, table, DMA_TO_DEVICE)
    assert (error.value.errno, error.value.retryable) == (errno.EREMOTEIO, False)
    assert [row[:3] for row in table.entries()] == before
    assert intel.resources()["iova"] == 0


def test_p2p_pages_are_maintained_like_ram() -> None:
    """P2P-45, broken by 6.1 for a device that does not snoop."""
    dev = arm64("m", coherent=False)
    memory = peer(dev, same_switch=True)
    dev.machine.events = []
    table = SgTable([(memory, 0, K4)])
    dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    dma_ops.dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    assert [event[:3] for event in dev.machine.events] == [("sync_dev", memory, K4), ("sync_cpu", memory, K4)]


def test_a_refusal_comes_after_the_cache_maintenance() -> None:
    """dma-core.md 4.10: RAM and the peer's memory are written back for a list that is then refused."""
    dev = arm64("m", coherent=False)
    memory = peer(dev)
    ram = dev.machine.alloc_ram(0)
    dev.machine.events = []
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_sgtable(dev, SgTable([(ram, 0, 64), (memory, 0, K4)]), DMA_TO_DEVICE)
    assert error.value.errno == errno.EREMOTEIO
    assert [event[:3] for event in dev.machine.events] == [("sync_dev", ram, 64), ("sync_dev", memory, K4)]


@pytest.mark.parametrize("kinds", ["RRBR", "BRRB", "RBRRB", "RRRB"])
def test_unmapping_the_returned_count_happens_to_work(intel: Device, kinds: str) -> None:
    """dma-core.md 4.10: outputs are all within the count, so nothing is left. One less leaves a mark, or an IOVA."""
    memory = peer(intel, same_switch=True)
    for less in (0, 1):
        rows = [(memory + i * K4 if kind == "B" else intel.machine.alloc_ram(0), 0, K4) for i, kind in enumerate(kinds)]
        table = SgTable(rows)
        dma_ops.dma_map_sgtable(intel, table, DMA_TO_DEVICE)
        last = table.segments()[-1][2]
        table.orig_nents = table.nents - less
        dma_ops.dma_unmap_sgtable(intel, table, DMA_TO_DEVICE)
        table.orig_nents = len(kinds)
        marked = any(row[5] for row in table.entries())
        assert marked == bool(less and last)
        if not less:
            assert intel.resources()["iova"] == 0


# -- the record ------------------------------------------------------------------------------------------------

def test_record() -> None:
    names = {config.name for config in RECORD.machines}
    assert len(names) == len(RECORD.machines)
    assert {name for known in RECORD.known for name in known.machines} <= names
    builders: list[Callable[[], Device]] = [config.build for config in RECORD.machines]
    assert all(isinstance(build().dma_ops, RECORD.ops) for build in builders)
