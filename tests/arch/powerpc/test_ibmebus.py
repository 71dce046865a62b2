# SPDX-License-Identifier: MIT
"""ibmebus_dma_ops: kernel addresses as bus addresses."""

import errno
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dma_ops
from arch.powerpc import IbmebusDmaOps
from dma_ops import DMA_BIDIRECTIONAL, DMA_TO_DEVICE, Device, DmaError, DmaFault, KernelBug, Machine
from scatterlist.core import SgTable

PAGE_OFFSET = 0xc000000000000000
BUFFER = 0x1000000


def make(page_shift=12):
    machine = Machine("test", arch="powerpc", big_endian=True, page_shift=page_shift, ram=((0, 1 << 30),))
    return Device("lhca", machine, pci=False, dma_parms=False, dma_ops=IbmebusDmaOps())


def test_address_is_the_linear_map_whatever_the_mask():
    dev = make()
    assert dma_ops.dma_map_page(dev, 0x1000, 0x234, 100, DMA_TO_DEVICE) == 0xc000000000001234
    assert dev.dma_mask == 0xffffffff


@pytest.mark.parametrize(
    ("bits", "accepted"),
    [pytest.param(32, False, id="32"), pytest.param(63, False, id="63"), pytest.param(64, True, id="64")],
)
def test_mask(bits, accepted):
    dev = make()
    if accepted:
        dma_ops.dma_set_mask_and_coherent(dev, (1 << bits) - 1)
    else:
        with pytest.raises(DmaError) as error:
            dma_ops.dma_set_mask_and_coherent(dev, (1 << bits) - 1)
        assert error.value.errno == errno.EIO
    assert dma_ops.dma_get_required_mask(dev) == (1 << 64) - 1


def test_lists_are_not_joined_and_stay_as_they_are():
    dev = make()
    table = SgTable([(BUFFER, 0, 4096), (BUFFER + 4096, 0, 4096), (BUFFER, 10, 0)], page_shift=12)
    dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    expected = [(PAGE_OFFSET + BUFFER, 4096), (PAGE_OFFSET + BUFFER + 4096, 4096), (PAGE_OFFSET + BUFFER + 10, 0)]
    assert [row[:2] for row in table.segments()] == expected
    dma_ops.dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
    assert [row[:2] for row in table.segments()] == expected


def test_empty_list_is_eio():
    dev = make()
    table = SgTable([(BUFFER, 0, 4096)], page_shift=12)
    table.orig_nents = 0
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    table.orig_nents = 1
    assert (error.value.errno, len(dev.machine.dmesg)) == (errno.EIO, 1)


class TestKmalloc:
    def test_neither_page_aligned_nor_zeroed(self):
        dev = make()
        first, second = (dma_ops.dma_alloc_attrs(dev, 0x100) for _ in range(2))
        assert second[0] - first[0] == 0x100
        assert second[1] == PAGE_OFFSET + second[0]
        assert dev.machine.cpu_read(second[0], 4) != bytes(4)

    @pytest.mark.parametrize(
        ("size", "fits"),
        [pytest.param(16 << 20, True, id="16 MiB"), pytest.param((16 << 20) + 1, False, id="a byte more")],
    )
    def test_largest(self, size, fits):
        dev = make()
        if fits:
            dma_ops.dma_alloc_attrs(dev, size)
        else:
            with pytest.raises(DmaError):
                dma_ops.dma_alloc_attrs(dev, size)

    @given(st.lists(st.integers(1, 9000), max_size=20))
    def test_objects_are_apart_and_all_come_back(self, sizes):
        dev = make()
        held = [(size, *dma_ops.dma_alloc_attrs(dev, size)) for size in sizes]
        spans = sorted((cpu, cpu + size) for size, cpu, _ in held)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        for size, cpu, addr in held:
            dev.dma_write(addr, b"\1" * size)
            dma_ops.dma_free_attrs(dev, size, cpu, addr)
        assert (dev.dma_ops.resources(), dev.machine.pages_allocated) == ({"objects": 0}, 0)

    def test_double_free(self):
        dev = make()
        cpu, addr = dma_ops.dma_alloc_attrs(dev, 0x100)
        dma_ops.dma_free_attrs(dev, 0x100, cpu, addr)
        with pytest.raises(KernelBug):
            dma_ops.dma_free_attrs(dev, 0x100, cpu, addr)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda dev: dma_ops.dma_map_resource(dev, 1 << 40, 4096, 1), id="map_resource"),
        pytest.param(lambda dev: dma_ops.dma_alloc_pages(dev, 4096, 1), id="alloc_pages"),
        pytest.param(lambda dev: dma_ops.dma_get_sgtable(dev, BUFFER, PAGE_OFFSET, 4096), id="get_sgtable"),
    ],
)
def test_absent(call):
    with pytest.raises(DmaError):
        call(make())


@given(st.integers(0, 1000), st.integers(0, 65535), st.integers(1, 200000))
def test_device_reaches_the_bytes(page, offset, length):
    dev = make(16)
    addr = dma_ops.dma_map_page(dev, page << 16, offset, length, DMA_BIDIRECTIONAL)
    data = bytes(i & 0xff for i in range(length))
    dev.dma_write(addr, data)
    assert dev.machine.cpu_read((page << 16) + offset, length) == data


@pytest.mark.parametrize(
    "addr", [pytest.param(BUFFER, id="physical"), pytest.param(PAGE_OFFSET + (1 << 30), id="no RAM")]
)
def test_faults(addr):
    with pytest.raises(DmaFault):
        make().dma_read(addr, 1)
