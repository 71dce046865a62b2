# SPDX-License-Identifier: MIT
"""dma_dummy_ops refuses everything, and says so in its own way."""

import errno

import pytest

import dma_ops
from arch import backends
from dma_ops import DMA_TO_DEVICE, Device, DmaError, DmaFault
from scatterlist.core import SgTable


@pytest.fixture(params=backends()["dma_dummy_ops"].machines, ids=lambda config: config.name)
def dev(request: pytest.FixtureRequest) -> Device:
    return request.param.build()


def test_lists_are_refused_with_einval_and_untouched(dev: Device) -> None:
    page = dev.machine.alloc_ram(1)
    table = SgTable([(page, 0, 4096), (page + dev.machine.page_size, 5, 100)], page_shift=dev.machine.page_shift)
    before = table.entries()
    with pytest.raises(DmaError) as failure:
        dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert failure.value.errno == errno.EINVAL
    assert not failure.value.retryable
    assert (table.entries(), table.nents) == (before, 2)


def test_pages_masks_and_allocations_are_refused(dev: Device) -> None:
    for refused in (
        lambda: dma_ops.dma_map_page(dev, 1 << 30, 0, 0, DMA_TO_DEVICE),
        lambda: dma_ops.dma_map_resource(dev, 1 << 28, 4096, DMA_TO_DEVICE),
        lambda: dma_ops.dma_alloc_attrs(dev, 4096),
        lambda: dma_ops.dma_alloc_pages(dev, 4096, DMA_TO_DEVICE),
        lambda: dma_ops.dma_get_sgtable(dev, 1 << 30, 0, 4096),
        lambda: dma_ops.dma_set_mask(dev, 0xFFFFFFFFFFFFFFFF),
    ):
        with pytest.raises(DmaError):
            refused()
    assert dev.dma_mask == 0xFFFFFFFF


def test_limits(dev: Device) -> None:
    assert dma_ops.dma_can_mmap(dev)
    assert dma_ops.dma_get_required_mask(dev) == 0xFFFFFFFF
    assert dma_ops.dma_max_mapping_size(dev) == 0xFFFFFFFFFFFFFFFF
    assert dma_ops.dma_get_merge_boundary(dev) == 0
    assert not dma_ops.dma_need_sync(dev, 0)
    assert not dma_ops.dma_pci_p2pdma_supported(dev)


def test_unmapping_anything_does_nothing_and_the_device_reaches_nothing(dev: Device) -> None:
    dma_ops.dma_unmap_page(dev, 0x1234, 10, DMA_TO_DEVICE)
    assert dev.machine.dmesg == []
    with pytest.raises(DmaFault, match="not-present"):
        dev.dma_read(1 << 30, 1)
