# SPDX-License-Identifier: MIT
"""jazz_dma_ops: the traps of the R4030's table, with the numbers that Linux's own code gave."""

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
    dma_alloc_attrs,
    dma_free_attrs,
    dma_map_page,
    dma_map_sgtable,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

MACHINES = backends()["jazz_dma_ops"].machines
FREE = 0xFF000000


@pytest.fixture(params=MACHINES, ids=lambda config: config.name)
def dev(request: pytest.FixtureRequest) -> Device:
    return request.param.build()


def single(dev: Device, phys: int, size: int) -> int:
    return dma_map_page(dev, phys & ~0xFFF, phys & 0xFFF, size, DMA_TO_DEVICE)


@pytest.mark.parametrize(("phys", "size", "address", "entries"), [
    pytest.param(0x100000, 0x1000, 0x0, 2, id="a page that ends on a page boundary takes two entries"),
    pytest.param(0x200123, 0x10, 0x123, 1, id="the offset stays"),
    pytest.param(0x200FF0, 0x10, 0xFF0, 2, id="the end is exclusive"),
    pytest.param(0x200FF0, 0xF, 0xFF0, 1, id="one byte less and it is one entry"),
    pytest.param(0x100000, 0x400000, 0x0, 1025, id="4 MiB is the most"),
    pytest.param(0x1FFFF000, 0x1000, 0x0, 2, id="the last page below 512 MiB"),
])
def test_entries(dev: Device, phys: int, size: int, address: int, entries: int) -> None:
    assert single(dev, phys, size) == address
    assert dev.dma_ops.resources() == {"entries": entries}


@pytest.mark.parametrize(("phys", "size"), [(0x100000, 0x400001), (0x20000000, 0x1000), (0x100000, 0)])
def test_refused(dev: Device, phys: int, size: int) -> None:
    with pytest.raises(DmaError):
        single(dev, phys, size)
    assert dev.dma_ops.resources() == {"entries": 0}


def test_free_asks_for_the_owner_and_leaves_the_frame(dev: Device) -> None:
    assert single(dev, 0x200123, 0x10) == 0x123
    dma_unmap_page(dev, 0x0, 0x10, DMA_TO_DEVICE)           # owner is 0x123: nothing is freed
    assert dev.dma_ops.resources() == {"entries": 1}
    assert "trying to free other's dma pages" in dev.machine.dmesg[-1]
    dma_unmap_page(dev, 0x123, 0x10, DMA_TO_DEVICE)
    assert dev.dma_ops.table() == {0: (0x200000, FREE)}
    dev.machine.mem.poke(0x200123, b"still here")
    assert dev.dma_read(0x123, 10) == b"still here"


def test_the_space_holds_three_of_4_mib(dev: Device) -> None:
    for i in range(9):
        assert single(dev, 0x300000, 0xFFF) == i << 12
    assert [single(dev, 0x2000000, 0x400000) for _ in range(3)] == [0x9000, 0x40A000, 0x80B000]
    with pytest.raises(DmaError):
        single(dev, 0x2000000, 0x400000)


def test_a_failed_list_leaks_what_it_mapped(dev: Device) -> None:
    table = SgTable([(0x100000, 0, 4096), (0x200000, 0, 0), (0x300000, 0, 100)])
    with pytest.raises(DmaError) as failure:
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert failure.value.errno == errno.EIO
    assert dev.dma_ops.resources() == {"entries": 2}
    assert [row[3] for row in table.entries()] == [0, dev.machine.dma_addr_mask, 0]


def test_first_fit_goes_on_behind_a_hole_that_is_too_short(dev: Device) -> None:
    a = single(dev, 0x100000, 0xFFF)
    b = single(dev, 0x100000, 0xFFF)
    c = single(dev, 0x100000, 0xFFF)
    dma_unmap_page(dev, b, 0xFFF, DMA_TO_DEVICE)
    assert single(dev, 0x100000, 0x1FFF) == 0x3000
    assert single(dev, 0x100000, 0xFFF) == b
    assert (a, b, c) == (0x0, 0x1000, 0x2000)


def test_beyond_the_limit_register_faults(dev: Device) -> None:
    assert dev.dma_read(0xFFFFFF, 1) == b"\0"
    with pytest.raises(DmaFault, match="out-of-range"):
        dev.dma_read(0x1000000, 1)


def test_coherent_memory_is_returned(dev: Device) -> None:
    pages = dev.machine.pages_allocated
    cpu, handle = dma_alloc_attrs(dev, 5000)
    dev.machine.mem.poke(cpu + 4999, b"x")
    assert dev.dma_read(handle + 4999, 1) == b"x"
    assert dev.dma_ops.resources() == {"entries": 3}
    dma_free_attrs(dev, 5000, cpu, handle)
    assert dev.machine.pages_allocated == pages
    assert dev.dma_ops.resources() == {"entries": 0}


ENTRIES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4095), st.integers(1, 9000)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(entries=ENTRIES, direction=st.sampled_from([DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL]))
def test_round_trip(entries: list[tuple[int, int, int]], direction: int) -> None:
    """What the device reads and writes through the table is what the CPU meant, byte for byte."""
    dev = MACHINES[1].build()
    base = 0x800000
    rows = [(base + 0x4000 * page, offset, length) for page, offset, length in entries]
    table = SgTable(rows)
    for i, (page, offset, length) in enumerate(rows):
        dev.machine.cpu_write(page + offset, bytes((i + k) & 0xFF for k in range(length)))
    before = [dev.machine.cpu_read(page + offset, length) for page, offset, length in rows]
    dma_map_sgtable(dev, table, direction)
    for (address, length, _), data in zip(table.segments(), before, strict=True):
        if direction != DMA_FROM_DEVICE:
            assert dev.dma_read(address, length) == data
    if direction != DMA_TO_DEVICE:
        for i, (address, length, _) in enumerate(table.segments()):
            dev.dma_write(address, bytes([i & 0xFF]) * length)
    dma_unmap_sgtable(dev, table, direction)
    if direction != DMA_TO_DEVICE:
        last = {}
        for i, (page, offset, length) in enumerate(rows):
            last.update(dict.fromkeys(range(page + offset, page + offset + length), i & 0xFF))
        assert all(dev.machine.cpu_read(address, 1)[0] == value for address, value in last.items())
    assert dev.dma_ops.resources() == {"entries": 0}
