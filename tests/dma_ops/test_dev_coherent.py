# SPDX-License-Identifier: MIT
"""A device's own coherent region."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dma_ops
from dma_ops import Device, DmaError, Machine
from dma_ops.dev_coherent import dma_declare_coherent_memory, dma_release_coherent_memory

SRAM, BUS, PAGE = 0xF0001000, 0x3000, 4096


def make(pages=16, **facts):
    dev = Device("dev", Machine("test", ram=[(0, 512 << 20)], **facts), coherent=not facts)
    dma_declare_coherent_memory(dev, SRAM, BUS, pages * PAGE)
    return dev


def page(dev, size):
    """Number of the first page in the region, or the errno."""
    try:
        cpu, handle = dma_ops.dma_alloc_attrs(dev, size)
    except DmaError as error:
        return -error.errno
    assert cpu - SRAM == handle - BUS
    return (cpu - SRAM) // PAGE


@pytest.mark.parametrize(
    ("sizes", "pages"),
    [
        ([1, 1, 4096, 4097], [0, 1, 2, 4]),
        ([4096, 12288, 4096], [0, 4, 1]),
        ([16 * PAGE, 1], [0, -errno.ENOMEM]),
        ([16 * PAGE + 1], [-errno.ENOMEM]),
        ([1, 9 * PAGE], [0, -errno.ENOMEM]),
    ],
    ids=["first fit", "3 pages take an aligned 4", "all of it", "more than all", "the answer is final"],
)
def test_bitmap(sizes, pages):
    dev = make()
    assert [page(dev, size) for size in sizes] == pages
    assert dev.machine.pages_allocated == 0


def test_a_region_that_is_no_power_of_two():
    assert page(make(12), 9 * PAGE) == -errno.ENOMEM
    assert page(make(12), 8 * PAGE) == 0


@pytest.mark.parametrize("facts", [{}, {"cached": True}], ids=["coherent", "non-coherent"])
def test_bytes(facts):
    dev = make(**facts)
    dev.machine.mem.poke(SRAM, b"old")
    cpu, handle = dma_ops.dma_alloc_attrs(dev, 100)
    assert dev.dma_read(handle, 3) == bytes(3)
    dev.machine.cpu_write(cpu, b"descriptor")
    assert dev.dma_read(handle, 10) == b"descriptor"
    dev.dma_write(handle, b"done")
    assert dev.machine.cpu_read(cpu, 4) == b"done"
    assert dev.resources()["coherent pages"] == 1
    dma_ops.dma_free_attrs(dev, 100, cpu, handle)
    assert dev.resources()["coherent pages"] == 0


def test_memory_from_elsewhere_is_freed_elsewhere():
    dev = make()
    region, dev.coherent_pool = dev.coherent_pool, None
    cpu, handle = dma_ops.dma_alloc_attrs(dev, PAGE)
    dev.coherent_pool = region
    dma_ops.dma_free_attrs(dev, PAGE, cpu, handle)
    assert dev.machine.pages_allocated == 0


def test_one_region_for_each_device():
    dev = make()
    with pytest.raises(DmaError) as error:
        dma_declare_coherent_memory(dev, 0xF1000000, 0, PAGE)
    assert error.value.errno == errno.EBUSY
    dma_release_coherent_memory(dev)
    dma_declare_coherent_memory(dev, 0xF1000000, 0, PAGE)
    assert dev.coherent_pool.phys == 0xF1000000
    with pytest.raises(DmaError) as error:
        dma_declare_coherent_memory(dev, 0xF1000000, 0, 0)
    assert error.value.errno == errno.EINVAL


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 6 * PAGE), st.integers(-8, -1)), max_size=40))
def test_no_page_belongs_to_two(steps):
    """Positive: allocate so many bytes; negative: free one of those held."""
    dev = make(13)
    held = []
    for step in steps:
        if step < 0:
            if held:
                first, size, _ = held.pop(step % len(held))
                dma_ops.dma_free_attrs(dev, size, SRAM + first * PAGE, BUS + first * PAGE)
            continue
        first = page(dev, step)
        span = 1 << (-(-step // PAGE) - 1).bit_length()
        taken = set().union(*(mine for _, _, mine in held))
        fits = [start for start in range(0, 13 - span + 1, span) if taken.isdisjoint(range(start, start + span))]
        assert first == (fits[0] if fits else -errno.ENOMEM)
        if fits:
            held.append((first, step, set(range(first, first + span))))
        assert dev.coherent_pool.used == sum(len(mine) for *_, mine in held)
