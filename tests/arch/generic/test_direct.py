# SPDX-License-Identifier: MIT
"""dma-direct on each machine of its record."""

import errno

import pytest

import dma_ops
from arch import backends
from dma_ops import DMA_BIDIRECTIONAL, DMA_TO_DEVICE, Device, DmaError
from scatterlist.core import SgTable

RECORD = backends()["dma_direct"]
UNREACHABLE = "x86_64-iommu-off"


@pytest.fixture(params=RECORD.machines, ids=lambda config: config.name)
def dev(request: pytest.FixtureRequest) -> Device:
    return request.param.build()


def test_names_are_unique() -> None:
    assert len({config.name for config in RECORD.machines}) == len(RECORD.machines)
    known = {name for fault in RECORD.known for name in fault.machines}
    assert known <= {config.name for config in RECORD.machines}


def test_a_list_of_the_highest_pages(dev: Device) -> None:
    """Bytes both ways without a sync call, as a single use needs none; nothing stays allocated."""
    machine = dev.machine
    size = machine.page_size
    pages = [machine.alloc_ram(0) for _ in range(3)]
    table = SgTable([(pages[0], 0, size), (pages[1], 100, 300), (pages[2], size - 7, 7)],
                    page_shift=machine.page_shift)
    machine.cpu_write(pages[1] + 100, b"to the device")
    before = dev.resources()
    if machine.name == UNREACHABLE:
        with pytest.raises(DmaError) as error:
            dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert error.value.errno == errno.EIO
        return
    dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
    assert table.nents == 3
    addr = table.segments()[1][0]
    assert dev.dma_read(addr, 13) == b"to the device"
    dev.dma_write(addr + 13, b", and back")
    dma_ops.dma_unmap_sgtable(dev, table, DMA_BIDIRECTIONAL)
    assert machine.cpu_read(pages[1] + 100, 23) == b"to the device, and back"
    assert dev.resources() == before


def test_coherent_memory(dev: Device) -> None:
    before = (dev.machine.pages_allocated, dev.resources())
    cpu, handle = dma_ops.dma_alloc_attrs(dev, 3 * dev.machine.page_size)
    assert handle + 3 * dev.machine.page_size - 1 <= dev.coherent_dma_mask
    dev.machine.cpu_write(cpu, b"ring")
    assert dev.dma_read(handle, 4) == b"ring"
    dev.dma_write(handle + 4, b"done")
    assert dev.machine.cpu_read(cpu, 8) == b"ringdone"
    dma_ops.dma_free_attrs(dev, 3 * dev.machine.page_size, cpu, handle)
    assert (dev.machine.pages_allocated, dev.resources()) == before


@pytest.mark.parametrize(
    ("name", "bounced"),
    [("x86_64", False), ("x86_64-bounce", True), ("x86_64-force", True), ("arm64-restricted", True),
     ("arm64-windows", False)],
)
def test_who_bounces(name: str, bounced: bool) -> None:
    dev = next(config for config in RECORD.machines if config.name == name).build()
    page = dev.machine.alloc_ram(0)
    addr = dma_ops.dma_map_page(dev, page, 0, 100, DMA_TO_DEVICE)
    assert (dev.resources().get("swiotlb slots", 0) != 0) == bounced
    assert dma_ops.dma_need_sync(dev, addr) == (bounced or not dev.dma_coherent)


def test_windows() -> None:
    dev = next(config for config in RECORD.machines if config.name == "arm64-windows").build()
    assert dma_ops.dma_map_page(dev, 0x100000, 5, 10, DMA_TO_DEVICE) == 0xC0100005
    assert dma_ops.dma_map_page(dev, 0x40000000, 5, 10, DMA_TO_DEVICE) == 0x400000005
