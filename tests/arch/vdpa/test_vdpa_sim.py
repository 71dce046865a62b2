# SPDX-License-Identifier: MIT
"""vdpasim_dma_ops: the traps of a space without pages, with the numbers that Linux's own code gave."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import backends
from arch.vdpa.vdpa_sim import VdpasimDmaOps
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
    dma_free_attrs,
    dma_map_page,
    dma_map_sgtable,
    dma_set_mask_and_coherent,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

MACHINES = backends()["vdpasim_dma_ops"].machines
TOP = 1 << 64


def device(entries: int = 2048) -> Device:
    machine = Machine("sim", ram=[(0, 1 << 30)])
    return Device("vdpa0", machine, pci=False, mask=TOP - 1, dma_ops=VdpasimDmaOps(machine, entries))


def single(dev: Device, size: int, phys: int = 0x10000000, direction: int = DMA_TO_DEVICE) -> int:
    return dma_map_page(dev, phys & ~0xFFF, phys & 0xFFF, size, direction)


def test_addresses_are_aligned_to_the_size_in_bytes() -> None:
    dev = device()
    sizes = (4096, 4096, 100, 1, 3, 5000, 65536, 4096)
    assert [TOP - single(dev, size) for size in sizes] == [
        0x2000, 0x3000, 0x3080, 0x3081, 0x3084, 0x6000, 0x20000, 0x21000]     # gaps above are not looked at again
    dma_unmap_page(dev, TOP - 0x2000, 4096, DMA_TO_DEVICE)
    assert TOP - single(dev, 4096) == 0x2000
    assert TOP - single(dev, 16) == 0x3010


def test_the_offset_is_lost() -> None:
    dev = device()
    dev.machine.mem.poke(0x10000123, b"first")
    addr = single(dev, 0x1000, 0x10000123)
    assert addr & 0xFFF == 0
    assert dev.dma_read(addr, 5) == b"first"
    assert dev.dma_ops.table() == {0: (addr, addr + 0xFFF, 0x10000123, 1)}


def test_a_mapping_more_than_entries_fails_until_one_is_gone() -> None:
    dev = device(4)
    addrs = [single(dev, 4096) for _ in range(4)]
    for _ in range(2):
        with pytest.raises(DmaError):
            single(dev, 4096)
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, 64)
    assert dev.dma_ops.resources() == {"iova ranges": 4, "iotlb entries": 4}
    dma_unmap_page(dev, addrs[1], 4096, DMA_TO_DEVICE)
    assert single(dev, 4096) == addrs[1]


@pytest.mark.parametrize("kind", ["iova", "table"])
def test_a_failed_allocation_leaves_nothing(kind: str) -> None:
    dev = device()
    dev.machine.fail(kind)
    with pytest.raises(DmaError):
        single(dev, 4096)
    assert dev.dma_ops.resources() == {"iova ranges": 0, "iotlb entries": 0}


def test_unmap_of_two_frees_the_entries_of_both_but_one_address() -> None:
    dev = device()
    for page in range(3):
        single(dev, 4096, 0x10000000 + page * 4096)
    dma_unmap_page(dev, TOP - 0x3000, 8192, DMA_TO_DEVICE)
    assert dev.dma_ops.resources() == {"iova ranges": 2, "iotlb entries": 1}
    assert dev.dma_ops.table() == {0: (TOP - 0x4000, TOP - 0x3001, 0x10002000, 1)}
    assert [single(dev, 4096), single(dev, 4096)] == [TOP - 0x3000, TOP - 0x5000]


def test_unmap_of_a_stranger_does_nothing() -> None:
    dev = device()
    dma_unmap_page(dev, 0x1234000, 4096, DMA_TO_DEVICE)
    assert single(dev, 4096) == TOP - 0x2000


def test_no_map_sg() -> None:
    dev = device()
    table = SgTable([(0x10000000, 0, 4096)])
    with pytest.raises(KernelBug, match="NULL"):
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)                # of a NULL unmap_sg the core says nothing


def test_no_bytes_break_the_tree() -> None:
    dev = device()
    addr = single(dev, 4096)
    with pytest.raises(DmaError):
        single(dev, 0)
    assert dev.machine.dmesg == ["WARNING: iova_insert_rbtree"]
    with pytest.raises(KernelBug):
        single(dev, 4096)
    with pytest.raises(KernelBug):
        dev.dma_ops.table()
    dma_unmap_page(dev, addr, 4096, DMA_TO_DEVICE)              # finds its entry, but no address range
    assert dev.dma_ops.resources() == {"iova ranges": 1, "iotlb entries": 0}


def test_a_mask_is_taken_and_ignored() -> None:
    dev = device()
    dma_set_mask_and_coherent(dev, 0xFFFF)
    assert single(dev, 4096) == TOP - 0x2000


@pytest.mark.parametrize(("direction", "reads", "writes"), [
    (DMA_TO_DEVICE, True, False), (DMA_FROM_DEVICE, False, True), (DMA_BIDIRECTIONAL, True, True)])
def test_directions_are_permissions(direction: int, reads: bool, writes: bool) -> None:
    dev = device()
    addr = single(dev, 100, direction=direction)
    for allowed, access in ((reads, lambda: dev.dma_read(addr, 1)), (writes, lambda: dev.dma_write(addr, b"x"))):
        if allowed:
            access()
        else:
            with pytest.raises(DmaFault, match="permission"):
                access()
    with pytest.raises(DmaFault, match="not-present"):
        dev.dma_read(addr + 100, 1)
    dma_unmap_page(dev, addr, 100, direction)
    with pytest.raises(DmaFault, match="not-present"):
        dev.dma_read(addr, 1)


def test_a_simulator_needs_two_entries() -> None:
    with pytest.raises(ValueError, match="2 is the least"):
        device(1)


def test_coherent_memory_is_returned() -> None:
    dev = device()
    pages = dev.machine.pages_allocated
    cpu, handle = dma_alloc_attrs(dev, 5000)
    assert handle == TOP - 0x2000                   # 8 KiB aligned, 5000 bytes long
    dev.dma_write(handle + 4999, b"x")
    assert dev.machine.cpu_read(cpu + 4999, 1) == b"x"
    dma_free_attrs(dev, 5000, cpu, handle)
    assert dev.machine.pages_allocated == pages
    assert dev.dma_ops.resources() == {"iova ranges": 0, "iotlb entries": 0}


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 4095), st.integers(1, 9000)), min_size=1, max_size=31),
       seed=st.randoms(use_true_random=False))
def test_round_trip(rows: list[tuple[int, int]], seed) -> None:
    """What the device reads and writes is what the CPU meant, byte for byte, whatever else comes and goes."""
    dev = MACHINES[2].build()
    live = []
    for i, (offset, size) in enumerate(rows):
        phys = 0x800000 + 0x4000 * i + offset
        data = seed.randbytes(size)
        dev.machine.cpu_write(phys, data)
        live.append((dma_map_page(dev, phys & ~0xFFF, phys & 0xFFF, size, DMA_BIDIRECTIONAL), phys, data))
    seed.shuffle(live)
    while live:
        addr, phys, data = live.pop()
        assert dev.dma_read(addr, len(data)) == data
        dev.dma_write(addr, data[::-1])
        assert dev.machine.cpu_read(phys, len(data)) == data[::-1]
        dma_unmap_page(dev, addr, len(data), DMA_BIDIRECTIONAL)
        with pytest.raises(DmaFault):
            dev.dma_read(addr, 1)
    assert dev.dma_ops.resources() == {"iova ranges": 0, "iotlb entries": 0}
