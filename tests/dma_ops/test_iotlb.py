# SPDX-License-Identifier: MIT
"""What the hardware remembers: filled by accesses, emptied by commands alone."""

import pytest

import dma_ops
from arch import backends
from dma_ops import DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DmaFault
from dma_ops.iotlb import Iotlb

#: (backend, machine, commands that one unmapping of two pages sends, commands that flush() sends then)
UNMAP = [
    ("alpha_pci_ops", "tsunami-6g", 0, 1),
    ("ccio_ops", "c360-64", 1, 0),
    ("gart_dma_ops", "opteron-force", 0, 1),
    ("iommu_dma_ops", "intel", 1, 0),
    ("iommu_dma_ops", "amd", 1, 0),
    ("iommu_dma_ops", "smmuv3", 1, 0),
    ("iommu_ops", "rcar-h2", 1, 0),
    ("jazz_dma_ops", "pica61", 0, 1),
    ("s390_pci_dma_ops", "zpci", 0, 1),
    ("sba_dma_ops", "zx1-16k", 0, 1),
    ("sba_ops", "c3000-32", 1, 0),
    ("sbus_iommu_dma_gflush_ops", "ss20", 2, 0),
    ("sun4u_dma_ops", "psycho", 0, 1),
]


def build(backend, machine):
    return next(one for one in backends()[backend].machines if one.name == machine).build()


def mapped(dev, pages=2, direction=DMA_BIDIRECTIONAL):
    """(physical address, bus address) of a mapping that the machine's window translates."""
    size = pages * dev.machine.page_size
    page = dev.machine.alloc_ram(pages.bit_length())
    return page, dma_ops.dma_map_page(dev, page, 0, size, direction)


@pytest.mark.parametrize(("backend", "machine", "at_unmap", "at_flush"), UNMAP, ids=str)
def test_when_the_kernel_tells_the_hardware(backend, machine, at_unmap, at_flush):
    dev = build(backend, machine)
    size = 2 * dev.machine.page_size
    _, bus = mapped(dev)
    tlb = dev.dma_ops.walker.iotlb
    assert tlb.holds(bus) is None
    dev.dma_write(bus, bytes(size))
    assert tlb.holds(bus, True) == dev.dma_ops.walker.lookup(dev, bus)[0]
    before = tlb.commands
    dma_ops.dma_unmap_page(dev, bus, size, DMA_BIDIRECTIONAL)
    assert tlb.commands - before == at_unmap
    dev.dma_ops.flush()
    assert tlb.commands - before == at_unmap + at_flush
    assert tlb.holds(bus, True) is None
    assert tlb.holds(bus + size - 1, True) is None


@pytest.mark.parametrize("machine", ["intel", "amd", "smmuv3"])
def test_a_lost_command_leaves_the_old_buffer_in_reach(machine):
    dev = build("iommu_dma_ops", machine)
    page, bus = mapped(dev)
    dev.dma_write(bus, b"old")
    dev.dma_ops.walker.iotlb.deaf = True
    dma_ops.dma_unmap_page(dev, bus, 2 * dev.machine.page_size, DMA_BIDIRECTIONAL)
    with pytest.raises(DmaFault):
        dev.dma_ops.walker.lookup(dev, bus)     # the table is right
    dev.dma_write(bus, b"new")
    assert dev.machine.mem.peek(page, 3) == b"new"


def test_a_range_that_ends_too_early_leaves_the_last_page():
    dev = build("iommu_dma_ops", "intel")
    _, bus = mapped(dev)
    size = dev.machine.page_size
    dev.dma_read(bus, 2 * size)
    dev.dma_ops.walker.iotlb.short = True
    dma_ops.dma_unmap_page(dev, bus, 2 * size, DMA_BIDIRECTIONAL)
    with pytest.raises(DmaFault):
        dev.dma_read(bus, 1)
    assert dev.dma_read(bus + size, 1) == b"\0"


def test_an_access_that_was_not_allowed_is_not_remembered():
    dev = build("iommu_dma_ops", "amd")
    _, bus = mapped(dev, direction=DMA_TO_DEVICE)
    dev.dma_read(bus, 16)
    with pytest.raises(DmaFault):
        dev.dma_write(bus, b"x")


def test_a_large_access_is_one_run_where_the_pages_follow_one_another():
    dev = build("iommu_dma_ops", "intel")
    page, bus = mapped(dev, 8)
    size = 8 * dev.machine.page_size
    assert dev.dma_ops.walker.prefetch(dev, bus, size) == (page, size)
    assert len(dev.dma_ops.walker.iotlb) == 8
    assert dev.dma_ops.walker.prefetch(dev, bus + 100, size - 100) == (page + 100, size - 100)


def test_a_granule_has_bounds():
    with pytest.raises(ValueError, match="granule"):
        Iotlb(8)
    assert len(Iotlb(12)) == 0
