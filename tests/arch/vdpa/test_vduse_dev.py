# SPDX-License-Identifier: MIT
"""vduse_dev_dma_ops: bounce pages and their two IOVA domains, with the numbers that Linux's own code gave."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import backends
from arch.vdpa.vduse_dev import VduseDmaOps
from dma_ops import (
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    Machine,
    dma_alloc_attrs,
    dma_free_attrs,
    dma_map_page,
    dma_map_sgtable,
    dma_max_mapping_size,
    dma_unmap_page,
)
from scatterlist.core import SgTable

MACHINES = backends()["vduse_dev_dma_ops"].machines
MIB = 1 << 20
NONE = {"stream granules": 0, "coherent granules": 0, "coherent entries": 0}
FREE = (1 << 64) - 1


def device(entries: int = 2048, page_shift: int = 12) -> Device:
    machine = Machine("vduse", ram=[(0, 1 << 30)], page_shift=page_shift)
    return Device("vdpa0", machine, pci=False, mask=FREE, dma_ops=VduseDmaOps(machine, entries))


def single(dev: Device, size: int, phys: int = 0x10000000, direction: int = DMA_TO_DEVICE, attrs: int = 0) -> int:
    page = dev.machine.page_size
    return dma_map_page(dev, phys & ~(page - 1), phys & (page - 1), size, direction, attrs)


def test_sizes_are_rounded_and_aligned() -> None:
    dev = device()
    assert [single(dev, pages * 4096) for pages in (1, 3, 1)] == [0x3FFF000, 0x3FF8000, 0x3FF7000]
    dma_unmap_page(dev, 0x3FFF000, 4096, DMA_TO_DEVICE)
    assert [single(dev, 4096), single(dev, 4096)] == [0x3FFF000, 0x3FF6000]
    dma_unmap_page(dev, 0x3FF8000, 3 * 4096, DMA_TO_DEVICE)
    assert [single(dev, 4 * 4096), single(dev, 3 * 4096)] == [0x3FF8000, 0x3FF0000]


def test_half_of_what_is_promised_fits() -> None:
    dev = device()
    assert dma_max_mapping_size(dev) == 64 * MIB
    for size in (64 * MIB, 32 * MIB + 4096):
        with pytest.raises(DmaError):
            single(dev, size)
    assert [single(dev, 32 * MIB), single(dev, 16 * MIB)] == [0x2000000, 0x1000000]
    with pytest.raises(DmaError):
        single(dev, 16 * MIB)
    assert single(dev, 8 * MIB) == 0x800000


def test_an_entry_of_the_magazine_comes_before_the_tree() -> None:
    dev = device()
    dma_unmap_page(dev, 0x1234000, 4096, DMA_TO_DEVICE)         # never mapped, but free from now on
    assert single(dev, 4096) == 0x1234000


def test_the_offset_is_lost_and_pages_are_crossed() -> None:
    dev = device()
    dev.machine.cpu_write(0x5F00, bytes(range(256)) * 2)
    addr = single(dev, 0x200, 0x5F00)
    assert addr == 0x3FFF000
    assert dev.dma_read(addr, 0x200) == bytes(range(256)) * 2
    (orig, page), = dev.dma_ops.table().values()
    assert orig == 0x5F00
    assert dev.dma_ops.domain.iotlb.table() == {0: (0, 64 * MIB - 1, 0, 3)}
    dma_unmap_page(dev, addr, 0x200, DMA_TO_DEVICE)
    assert dev.dma_ops.table() == {0x3FFF: (FREE, page)}


def test_a_bounce_page_keeps_what_was_in_it() -> None:
    dev = device()
    dev.machine.cpu_write(0x5000, b"secret")
    addr = single(dev, 6, 0x5000)
    dma_unmap_page(dev, addr, 6, DMA_TO_DEVICE)
    assert dev.dma_read(addr, 6) == b"secret"                   # after unmap
    assert single(dev, 6, 0x9000, DMA_FROM_DEVICE) == addr
    assert dev.dma_read(addr, 6) == b"secret"                   # and under a mapping that is not copied in
    dma_unmap_page(dev, addr, 6, DMA_FROM_DEVICE)
    assert dev.machine.cpu_read(0x9000, 6) == b"secret"         # copied out, though the device wrote nothing


def test_attributes_are_ignored() -> None:
    dev = device()
    addr = single(dev, 4, 0x5000, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC)
    dev.dma_write(addr, b"data")
    dma_unmap_page(dev, addr, 4, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC)
    assert dev.machine.cpu_read(0x5000, 4) == b"data"


def test_what_the_device_writes_to_a_page_it_should_read_stays_there() -> None:
    dev = device()
    dev.machine.cpu_write(0x5000, b"mine")
    addr = single(dev, 4, 0x5000)
    dev.dma_write(addr, b"hers")
    dma_unmap_page(dev, addr, 4, DMA_TO_DEVICE)
    assert dev.machine.cpu_read(0x5000, 4) == b"mine"


def test_coherent_addresses() -> None:
    dev = device()
    cpu, handle = dma_alloc_attrs(dev, 4096)
    assert [handle] + [dma_alloc_attrs(dev, size)[1] for size in (5 * 4096, 8192)] == [0x7FFF000, 0x7FF0000, 0x7FEE000]
    dma_free_attrs(dev, 4096, cpu, handle)
    cpu, handle = dma_alloc_attrs(dev, 4096)
    assert handle == 0x7FFF000
    dev.dma_write(handle, b"ring")
    assert dev.machine.cpu_read(cpu, 4) == b"ring"


def test_64_mib_of_coherent_memory_are_all() -> None:
    dev = device()
    assert dma_alloc_attrs(dev, 64 * MIB)[1] == 0x4000000
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, 4096)


def test_a_coherent_entry_ends_with_the_size_asked_for() -> None:
    dev = device()
    pages = dev.machine.pages_allocated
    cpu, handle = dma_alloc_attrs(dev, 5000)
    assert dev.dma_ops.domain.iotlb.table() == {0: (handle, handle + 4999, cpu, 3)}
    with pytest.raises(DmaFault, match="not-present"):
        dev.dma_read(handle + 5000, 1)
    dma_free_attrs(dev, 5000, cpu, handle)
    assert dev.dma_ops.resources() == NONE
    assert dev.machine.pages_allocated == pages


def test_free_of_a_stranger_warns_and_frees_the_pages_only() -> None:
    dev = device()
    cpu, handle = dma_alloc_attrs(dev, 4096)
    dma_free_attrs(dev, 4096, cpu, handle - 0x10000)
    assert dev.machine.dmesg == ["WARNING: vduse_domain_free_coherent"]
    assert dev.dma_ops.resources() == {"stream granules": 0, "coherent granules": 1, "coherent entries": 1}
    assert dev.machine.pages_allocated == 0


def test_larger_pages_have_no_coherent_space() -> None:
    dev = device(page_shift=16)
    for size in (4096, 65536):
        with pytest.raises(DmaError):
            dma_alloc_attrs(dev, size)
    assert [single(dev, 4096), single(dev, 65536), single(dev, 100, 0x10010FFF)] == [0x3FFF000, 0x3FE0000, 0x3FDF000]
    pages = {pfn: page for pfn, (orig, page) in dev.dma_ops.table().items() if orig != FREE}
    assert len({pages[pfn] for pfn in range(0x3FE0, 0x3FF0)}) == 1              # sixteen maps share one page


def test_entries_are_shared_by_both_kinds() -> None:
    dev = device(4)
    coherent = [dma_alloc_attrs(dev, 4096) for _ in range(4)]
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, 4096)
    with pytest.raises(DmaError):
        single(dev, 4096)
    dma_free_attrs(dev, 4096, *coherent[0])
    assert [single(dev, 4096), single(dev, 4096)] == [0x3FFF000, 0x3FFE000]     # one entry for all of them
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, 4096)


def test_without_a_bounce_page_the_originals_before_stay() -> None:
    dev = device()
    dev.machine.fail("table", 3)                                # the IOTLB's entry, one page, and not another
    with pytest.raises(DmaError):
        single(dev, 8192)
    assert [orig for orig, _ in dev.dma_ops.table().values()] == [0x10000000]
    assert dev.dma_ops.resources() == NONE


def test_no_map_sg() -> None:
    with pytest.raises(KernelBug, match="NULL"):
        dma_map_sgtable(device(), SgTable([(0x10000000, 0, 4096)]), DMA_TO_DEVICE)


def test_unmap_beyond_the_bounce_space_writes_wild() -> None:
    with pytest.raises(KernelBug, match="bounce_maps"):
        dma_unmap_page(device(), 0x4000000, 4096, DMA_TO_DEVICE)


def test_unmap_of_what_is_not_mapped_warns() -> None:
    dev = device()
    dma_unmap_page(dev, 0x1000, 4096, DMA_FROM_DEVICE)
    assert dev.machine.dmesg == ["WARNING: vduse_domain_bounce"]


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 4095), st.integers(1, 9000)), min_size=1, max_size=30),
       machine=st.sampled_from(MACHINES), seed=st.randoms(use_true_random=False))
def test_round_trip(rows: list[tuple[int, int]], machine, seed) -> None:
    """What is copied in and out is what the CPU and the device meant, byte for byte."""
    dev = machine.build()
    live = []
    for i, (offset, size) in enumerate(rows):
        phys = 0x800000 + 0x4000 * i + offset
        data = seed.randbytes(size)
        dev.machine.cpu_write(phys, data)
        live.append((single(dev, size, phys, DMA_BIDIRECTIONAL), phys, data))
    seed.shuffle(live)
    while live:
        addr, phys, data = live.pop()
        assert dev.dma_read(addr, len(data)) == data
        dev.dma_write(addr, data[::-1])
        dma_unmap_page(dev, addr, len(data), DMA_BIDIRECTIONAL)
        assert dev.machine.cpu_read(phys, len(data)) == data[::-1]
    assert dev.dma_ops.resources() == NONE
