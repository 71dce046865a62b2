# SPDX-License-Identifier: MIT
"""s390_pci_dma_ops: the traps of zPCI, with the numbers that Linux's own code gave."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import backends
from arch.s390.pci_dma import S390PciDmaOps
from dma_ops import (
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelHang,
    Machine,
    dma_alloc_attrs,
    dma_free_attrs,
    dma_map_page,
    dma_map_sgtable,
    dma_set_seg_boundary,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

START = 0x100000000
PHYS = 0x1000000
MACHINES = backends()["s390_pci_dma_ops"].machines


def make(**options: object) -> Device:
    machine = Machine("z", arch="s390x", big_endian=True, ram=[(0, 256 << 20)], table_base=1 << 41)
    return Device("zpci", machine, dma_ops=S390PciDmaOps(machine, **options))


def table_of(*entries: tuple[int, int]) -> SgTable:
    """Entries of (length, offset), each on pages of its own."""
    return SgTable([(PHYS + 0x30000 * i, offset, length) for i, (length, offset) in enumerate(entries)])


def single(dev: Device, size: int = 4096, offset: int = 0) -> int:
    return dma_map_page(dev, PHYS, offset, size, DMA_BIDIRECTIONAL)


@pytest.mark.parametrize(("entries", "segments"), [
    pytest.param([(0x1000, 0)] * 20, [(START, 0x10000), (START + 0x10000, 0x4000)], id="a: 64 KiB is the most"),
    pytest.param([(0xE00, 0x200), (0x800, 0), (0x800, 0), (0x800, 0x800), (0x1000, 0)],
                 [(START + 0x200, 0x1600), (START + 0x2000, 0x800), (START + 0x3800, 0x1800)], id="b: joints"),
    pytest.param([(0x100, 0x1800)], [(START + 0x1800, 0x100)], id="c: an offset beyond a page"),
    pytest.param([(0xFE00, 0x200), (0x1000, 0)], [(START + 0x200, 0xFE00), (START + 0x10000, 0x1000)],
                 id="d: the limit counts the first offset"),
    pytest.param([(0x20000, 0)], [(START, 0x20000)], id="d: one entry may exceed the limit"),
    pytest.param([(0x1000, 0), (0, 0)], [(START, 0x1000)], id="f: nothing at the end of a run"),
    pytest.param([(0, 0x10)], [(START + 0x10, 0)], id="f: nothing, at an offset"),
])
def test_segments(entries: list[tuple[int, int]], segments: list[tuple[int, int]]) -> None:
    dev = make()
    table = table_of(*entries)
    dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert [row[:2] for row in table.segments()] == segments
    assert all(row[4] == 0 for row in table.entries()[len(segments):])


def test_pages_before_a_large_offset_stay_mapped() -> None:
    dev = make()
    table = table_of((0x100, 0x1800))
    dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    assert dev.dma_ops.resources() == {"pages": 1}
    assert dev.dma_ops.table() == {0: PHYS | 0x200, 1: PHYS + 0x1000 | 0x400}
    assert table.entries()[0][3:5] == (0, 0)


@pytest.mark.parametrize("entries", [[(0x1000, 0), (0, 0), (0x1000, 0)], [(0, 0), (0x1000, 0)]])
def test_an_empty_entry_before_others_is_refused(entries: list[tuple[int, int]]) -> None:
    dev = make()
    with pytest.raises(DmaError) as failure:
        dma_map_sgtable(dev, table_of(*entries), DMA_TO_DEVICE)
    assert failure.value.errno == errno.EINVAL
    dev.dma_ops.flush()
    assert dev.dma_ops.resources() == {"pages": 0}


def test_lazy_addresses_are_not_given_out_again_before_a_wrap() -> None:
    dev = make()
    for i in range(3):
        address = single(dev)
        assert address == START + (i << 12)
        dma_unmap_page(dev, address, 4096, DMA_BIDIRECTIONAL)


def test_strict_is_next_fit_too() -> None:
    dev = make(strict=True)
    dma_unmap_page(dev, single(dev), 4096, DMA_BIDIRECTIONAL)
    assert single(dev) == START + 0x1000


def test_a_wrap_refreshes_everything_and_the_last_page_is_never_used() -> None:
    dev = make(aperture=0x10000)
    dev.machine.events = []
    addresses = [single(dev) for _ in range(15)]
    assert addresses == [START + (i << 12) for i in range(15)]
    with pytest.raises(DmaError):
        single(dev)
    assert dev.machine.events == [("rpcit", START, 0x10000, 0)]
    for i in (2, 4, 6):
        dma_unmap_page(dev, addresses[i], 4096, DMA_BIDIRECTIONAL)
    assert [single(dev), single(dev)] == [addresses[2], addresses[4]]
    assert dev.machine.events == [("rpcit", START, 0x10000, 0)] * 2


def test_a_list_of_no_entries_maps_entry_0() -> None:
    dev = make()
    table = table_of((0x1000, 0))
    table.orig_nents = 0
    dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert (table.nents, dev.dma_ops.resources()) == (1, {"pages": 1})


def test_a_request_over_the_boundary_never_ends() -> None:
    dev = make()
    dma_set_seg_boundary(dev, 0x1FFF)
    with pytest.raises(KernelHang):
        single(dev, 0x3000)


@pytest.mark.parametrize(("strict", "code", "pages"), [(True, errno.EIO, 1), (False, errno.EIO, 0)])
def test_a_failed_refresh_at_unmap_keeps_the_address(strict: bool, code: int, pages: int) -> None:
    dev = make(strict=strict)
    address = single(dev)
    dev.dma_ops.fail_rpcit(1, code)
    dma_unmap_page(dev, address, 4096, DMA_BIDIRECTIONAL)
    assert dev.dma_ops.resources() == {"pages": pages}


def test_a_guest_out_of_resources_refreshes_everything_and_goes_on() -> None:
    dev = make(tlb_refresh=True)
    dev.machine.events = []
    dev.dma_ops.fail_rpcit(1, errno.ENOMEM)
    assert single(dev) == START
    assert dev.machine.events == [("rpcit", START, 256 << 20, 0)]


@pytest.mark.parametrize("nth", [1, 2])
def test_no_memory_for_a_table_leaves_nothing(nth: int) -> None:
    dev = make()
    dev.machine.fail("table", nth)
    with pytest.raises(DmaError):
        single(dev)
    dev.dma_ops.flush()
    assert dev.dma_ops.resources() == {"pages": 0}
    assert dev.dma_ops.table() == {}


def test_to_device_is_read_only_for_the_device() -> None:
    dev = make()
    address = dma_map_page(dev, PHYS, 0, 4096, DMA_TO_DEVICE)
    dev.dma_read(address, 4096)
    with pytest.raises(DmaFault, match="permission"):
        dev.dma_write(address, b"x")


def test_coherent_memory_is_returned() -> None:
    dev = make()
    cpu, handle = dma_alloc_attrs(dev, 5000)
    dev.dma_write(handle + 4999, b"x")
    assert dev.machine.cpu_read(cpu + 4999, 1) == b"x"
    dma_free_attrs(dev, 5000, cpu, handle)
    dev.dma_ops.flush()
    assert dev.machine.pages_allocated == 0
    assert dev.dma_ops.resources() == {"pages": 0}


ENTRIES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4095), st.integers(1, 9000)), min_size=1, max_size=50)


@pytest.mark.parametrize("config", MACHINES[:3], ids=lambda config: config.name)
@settings(max_examples=25, deadline=None)
@given(entries=ENTRIES, direction=st.sampled_from([DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL]))
def test_round_trip(config: object, entries: list[tuple[int, int, int]], direction: int) -> None:
    dev = config.build()
    rows = [(PHYS + 0x4000 * page, offset, length) for page, offset, length in entries]
    for i, (page, offset, length) in enumerate(rows):
        dev.machine.cpu_write(page + offset, bytes((i + k) & 0xFF for k in range(length)))
    before = b"".join(dev.machine.cpu_read(page + offset, length) for page, offset, length in rows)
    table = SgTable(rows)
    dma_map_sgtable(dev, table, direction)
    segments = table.segments()
    assert b"".join(dev.dma_read(address, length) for address, length, _ in segments) == before
    if direction != DMA_TO_DEVICE:
        for address, length, _ in segments:
            dev.dma_write(address, b"\xa5" * length)
        assert all(dev.machine.cpu_read(page + offset, length) == b"\xa5" * length for page, offset, length in rows)
    dma_unmap_sgtable(dev, table, direction)
    dev.dma_ops.flush()
    for address, length, _ in segments:
        for at in (address, address + length - 1):
            with pytest.raises(DmaFault, match="not-present"):
                dev.dma_read(at, 1)
    assert dev.dma_ops.resources() == {"pages": 0}


@pytest.mark.parametrize("order", ["same", "reversed", "odd first"])
def test_exhaustion_and_refill(order: str) -> None:
    dev = MACHINES[3].build()
    first = [single(dev) for _ in range(255)]
    assert first == [START + (i << 12) for i in range(255)]
    with pytest.raises(DmaError):
        single(dev)
    freed = {"same": first, "reversed": first[::-1], "odd first": first[1::2] + first[::2]}[order]
    for address in freed:
        dma_unmap_page(dev, address, 4096, DMA_BIDIRECTIONAL)
    assert dev.dma_ops.resources() == {"pages": 0}
    assert [single(dev) for _ in range(255)] == first
