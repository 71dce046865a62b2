# SPDX-License-Identifier: MIT
"""xen_swiotlb_dma_ops: machine addresses and the pool, with the numbers that Linux's own code gave."""

import errno
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import backends
from arch.xen.p2m import P2m
from arch.xen.swiotlb_xen import XenSwiotlbDmaOps
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
    dma_map_resource,
    dma_map_sg,
    dma_map_sgtable,
    dma_max_mapping_size,
    dma_set_coherent_mask,
    dma_set_mask,
    dma_set_min_align_mask,
    dma_set_seg_boundary,
    dma_sync_single_for_cpu,
    dma_sync_single_for_device,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from dma_ops.swiotlb import IoTlbMem
from scatterlist.core import SgTable

MACHINES = backends()["xen_swiotlb_dma_ops"].machines
POOL = 0x4000000
SEGMENTS = [0x3FF80, 0x3FF00, 0x3FE80, 0x3FE00, 0x3FD80, 0x3FD00, 0x3FC80, 0x3FC00,
            0x3FB80, 0x3FB00, 0x3FA80, 0x3FA00, 0x3F980, 0x3F900, 0x3F880, 0x3F800]
FAR = 0x8000000                 # guest memory whose machine frames are beyond 4 GiB


def pv(nslabs: int = 2048, nareas: int = 1, force: bool = False) -> Device:
    """The sheet's guest: pfn 0x1000 and 0x1001 adjacent below 4 GiB, 0x1002 elsewhere, most of it above 4 GiB."""
    machine = Machine("pv", arch="x86_64", ram=[(0x1000, 0x10000000)], nr_cpus=nareas)
    p2m = P2m(machine, "pv", 0x10000, 0x200000, free_top=0x40000, gap=5)
    p2m.set(0, 0x110000, 0x10000)
    p2m.set(0x1000, 0x80000, 2)
    p2m.set(0x1002, 0x90000, 14)
    pool = IoTlbMem(machine, POOL, nslabs, nareas, force_bounce=force)
    dev = Device("nic", machine, dma_ops=XenSwiotlbDmaOps(p2m, pool))
    dev.io_tlb_mem = pool
    return dev


def single(dev: Device, phys: int, size: int, direction: int = DMA_TO_DEVICE, attrs: int = 0) -> int:
    return dma_map_page(dev, phys & ~0xFFF, phys & 0xFFF, size, direction, attrs)


def used(dev: Device) -> int:
    return dev.resources()["swiotlb slots"]


def bus(slot: int) -> int:
    """The machine address of a slot."""
    return (SEGMENTS[slot // 128] << 12) + slot % 128 * 2048


def test_each_segment_of_the_pool_is_contiguous() -> None:
    dev = pv()
    assert [dev.dma_ops.p2m.machine_frame((POOL >> 12) + 64 * i + 63) - 63 for i in range(16)] == SEGMENTS


@pytest.mark.parametrize(("phys", "size", "address"), [
    pytest.param(0x1000800, 0x1800, 0x80000800, id="two adjacent frames"),
    pytest.param(0x1000800, 0x1801, bus(0), id="the third is elsewhere"),
    pytest.param(0x1002FFF, 2, 0x90000FFF, id="across a joint"),
    pytest.param(0x1001FFF, 2, bus(0), id="across a gap"),
    pytest.param(0x1000000, 0, 0x80000000, id="no bytes need no slot"),
    pytest.param(FAR, 16, bus(0), id="beyond 32 bits in machine memory only"),
])
def test_direct_or_bounced(phys: int, size: int, address: int) -> None:
    dev = pv()
    assert single(dev, phys, size) == address
    assert bool(used(dev)) == (address == bus(0))


def test_the_mask_is_held_against_the_machine_address() -> None:
    dev = pv()
    dma_set_mask(dev, 0x7FFFFFFF)
    assert single(dev, 0x1000000, 0x100) == bus(0)          # at 16 MiB for the guest, at 2 GiB for the machine
    assert single(dev, 0x1002000, 0x100) == bus(1)


@pytest.mark.parametrize(("mask", "good"), [(0x3FFFFFFF, True), (0xFFFFFFF, False), (0x3FFFBFFF, True)])
def test_only_the_last_byte_of_the_pool_is_asked(mask: int, good: bool) -> None:
    dev = pv()
    if not good:
        with pytest.raises(DmaError) as failure:
            dma_set_mask(dev, mask)
        assert failure.value.errno == errno.EIO
    else:
        dma_set_mask(dev, mask)                             # 0x3fffbfff: the first segment reaches beyond it
        assert dev.dma_mask == mask


def test_a_mask_that_was_taken_can_fail_later() -> None:
    dev = pv()
    dma_set_mask(dev, 0x3FF7FFFF)                           # the last segment ends at 0x3f83ffff, the first is above
    with pytest.raises(DmaError):
        single(dev, FAR, 16)
    assert used(dev) == 0


def test_slots() -> None:
    dev = pv()
    addrs = [single(dev, FAR, size) for size in (0x100, 0x1000, 0x801, 0x40000)]
    assert addrs == [bus(0), bus(2), bus(4), bus(128)]
    with pytest.raises(DmaError):
        single(dev, FAR, 0x40001)
    assert [single(dev, FAR, size) for size in (0x3F800, 0x800, 1)] == [bus(256), bus(383), bus(384)]
    dma_unmap_page(dev, addrs[1], 0x1000, DMA_TO_DEVICE)
    assert [single(dev, FAR, size) for size in (0x1000, 0x7FF)] == [bus(386), bus(388)]       # next fit: not slot 2
    assert len(dev.dma_ops.table()) == used(dev) == 263


def test_boundaries_are_those_of_the_guests_addresses() -> None:
    dev = pv()
    dma_set_seg_boundary(dev, 0xFFFF)
    assert [single(dev, FAR, size) for size in (65536, 4096)] == [bus(0), bus(32)]
    with pytest.raises(DmaError):
        single(dev, FAR, 65537)
    assert single(dev, FAR, 65536) == bus(64)


def test_areas() -> None:
    dev = pv(nareas=4)
    dma_set_mask(dev, 0x3FFFFFFF)
    for cpu, slot in ((1, 512), (2, 1024), (7, 1536), (0, 0)):
        dev.machine.cpu = cpu
        assert single(dev, FAR, 4096) == bus(slot)


def test_map_copies_in_for_every_direction() -> None:
    dev = pv()
    dev.machine.cpu_write(FAR + 100, b"before")
    addr = single(dev, FAR + 100, 5000, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC)
    assert dev.dma_read(addr, 6) == b"before"
    dev.dma_write(addr, b"behind")
    dma_unmap_page(dev, addr, 5000, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC)
    assert dev.machine.cpu_read(FAR + 100, 6) == b"before"      # at unmap the attribute counts
    assert used(dev) == 0


def test_sync() -> None:
    dev = pv()
    addr = single(dev, FAR, 16, DMA_BIDIRECTIONAL)
    dev.dma_write(addr, b"device")
    dma_sync_single_for_cpu(dev, addr, 16, DMA_BIDIRECTIONAL)
    assert dev.machine.cpu_read(FAR, 6) == b"device"
    dev.machine.cpu_write(FAR, b"driver")
    dma_sync_single_for_device(dev, addr, 16, DMA_BIDIRECTIONAL)
    assert dev.dma_read(addr, 6) == b"driver"


def test_a_failed_list_gives_its_slots_back_but_not_the_index() -> None:
    dev = pv()
    table = SgTable([(FAR, 0, 4096), (FAR + 0x4000, 0, 4096), (FAR + 0x8000, 0, 300000)])
    with pytest.raises(DmaError) as failure:
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    assert failure.value.errno == errno.EIO
    assert [row[3:5] for row in table.entries()] == [(bus(0), 0), (bus(2), 4096), (dev.machine.dma_addr_mask, 0)]
    assert used(dev) == 0
    assert single(dev, FAR, 100) == bus(4)
    assert "swiotlb buffer is full" in dev.machine.dmesg
    with pytest.raises(DmaError):
        dma_map_sg(dev, SgTable([(FAR, 0, 262145)]), DMA_TO_DEVICE)


def test_exhaustion_and_refill() -> None:
    dev = pv(nslabs=512)
    addrs = [single(dev, FAR, 0x40000) for _ in range(4)]
    assert addrs == [bus(0), bus(128), bus(256), bus(384)]
    with pytest.raises(DmaError):
        single(dev, FAR, 1)
    for addr in addrs:
        dma_unmap_page(dev, addr, 0x40000, DMA_TO_DEVICE)
    assert used(dev) == 0
    assert [single(dev, FAR, 0x40000) for _ in range(4)] == addrs


def test_limits() -> None:
    dev = pv()
    assert dma_max_mapping_size(dev) == 0x40000
    dma_set_min_align_mask(dev, 0xFFF)
    assert dma_max_mapping_size(dev) == 0x3F000
    with pytest.raises(DmaError):
        dma_map_resource(dev, 0xFE000000, 4096, DMA_BIDIRECTIONAL)


def test_no_bytes_that_must_bounce_are_a_bug() -> None:
    dev = pv(force=True)
    with pytest.raises(KernelBug, match="nslots"):
        single(dev, FAR, 0)


def test_a_min_align_mask_above_a_page_is_lost_in_machine_memory() -> None:
    dev = pv()
    dma_set_min_align_mask(dev, 0x3FFF)
    dev.dma_ops.p2m.set(0x1004, 0x90013)
    assert single(dev, 0x1004010, 16) == 0x90013010


def test_another_domains_memory_is_out_of_reach() -> None:
    dev = pv()
    addr = single(dev, 0x1000000, 16)
    assert dev.dma_read(addr, 1) == b"\0"
    for stranger in (0xA0000000, 0x1000000):
        with pytest.raises(DmaFault, match="not-present"):
            dev.dma_read(stranger, 1)


# -- coherent ------------------------------------------------------------------------------------------------------

def test_coherent_memory_is_exchanged() -> None:
    dev = pv()
    held = []
    for size, mfn in ((4096, 0x3F7FA), (8192, 0x3F7F2), (20000, 0x3F7E0), (262144, 0x3F780)):
        held.append((size, *dma_alloc_attrs(dev, size)))
        assert held[-1][2] == mfn << 12
    dma_set_coherent_mask(dev, 0x3FFFFFFF)
    held.append((4096, *dma_alloc_attrs(dev, 4096)))
    assert held[-1][2] == 0x3F77A << 12
    dev.machine.fail("exchange")
    before = dev.machine.pages_allocated
    with pytest.raises(DmaError):
        dma_alloc_attrs(dev, 4096)
    assert dev.machine.pages_allocated == before
    for i, (size, cpu, handle) in enumerate(held):
        dev.machine.cpu_write(cpu + size - 1, bytes([i + 1]))
        assert dev.dma_read(handle + size - 1, 1) == bytes([i + 1])
    assert dev.dma_ops.resources() == {"remapped blocks": 5}
    for size, cpu, handle in held:
        dma_free_attrs(dev, size, cpu, handle)
        with pytest.raises(DmaFault):
            dev.dma_read(handle, 1)
    assert dev.dma_ops.resources() == {"remapped blocks": 0}
    assert dev.machine.pages_allocated == (0x400000 >> 12)          # the pool


def test_extents_that_were_given_back_are_given_again() -> None:
    dev = pv()
    for _ in range(600):                                    # 2^9 frames each: 600 of them are more than there are
        cpu, handle = dma_alloc_attrs(dev, 2 << 20)
        dma_free_attrs(dev, 2 << 20, cpu, handle)
    assert dev.dma_ops.resources() == {"remapped blocks": 0}


def test_free_under_a_smaller_mask_keeps_the_memory() -> None:
    dev = pv()
    cpu, handle = dma_alloc_attrs(dev, 4096)
    before = dev.machine.pages_allocated
    dev.coherent_dma_mask = 0xFFFFFF
    dma_free_attrs(dev, 4096, cpu, handle)
    assert dev.machine.dmesg == ["WARNING: xen_swiotlb_free_coherent"]
    assert dev.machine.pages_allocated == before


# -- Arm -----------------------------------------------------------------------------------------------------------

def config(name: str) -> Device:
    return next(machine for machine in MACHINES if machine.name == name).build()


FOREIGN = 0x50000000 - 0x1000   # the last page of RAM: another domain's, at the end of the frames above it


def test_a_foreign_page_is_reached_in_place() -> None:
    dev = config("arm64-noncoherent")
    addr = dma_map_page(dev, 0x4FFF0000, 0xF000, 16, DMA_TO_DEVICE)
    assert addr == 0x500FF000
    dma_unmap_page(dev, addr, 16, DMA_TO_DEVICE)
    dev.machine.cpu_write(FOREIGN, b"other domain")
    addr = dma_map_page(dev, 0x4FFF0000, 0xF000, 16, DMA_TO_DEVICE)
    assert dev.dma_read(addr, 12) == b"other domain"        # cleaned by the hypercall
    assert used(dev) == 0


def test_a_foreign_page_bounces_without_the_hypercall() -> None:
    dev = config("arm64-noflush")
    dev.machine.cpu_write(FOREIGN, b"other domain")
    addr = dma_map_page(dev, FOREIGN, 0, 16, DMA_BIDIRECTIONAL)
    assert addr == 0x44000000
    assert dev.dma_read(addr, 12) == b"other domain"
    dev.dma_write(addr, b"device")
    dma_unmap_page(dev, addr, 16, DMA_BIDIRECTIONAL)
    assert dev.machine.cpu_read(FOREIGN, 12) == b"devicedomain"
    assert used(dev) == 0
    assert dma_map_page(dev, 0x41000000, 0, 16, DMA_TO_DEVICE) == 0x41000000        # its own page does not


def test_frames_of_a_guest() -> None:
    machine = Machine("pv", ram=[(0x1000, 0x800000), (0x1000000, 0x1800000)])
    p2m = P2m(machine, "pv", 0x1800, 0x4000)
    p2m.set(0x100, 0x2000, 2)
    assert [p2m.machine_frame(pfn) for pfn in (0x101, 0x900, 0x1800, 0x9999)] == [0x2001, 0x900, 0x1800, 0x9999]
    assert p2m.machine_frame(0x200) == (1 << 64) - 1        # RAM without a machine frame
    assert [p2m.guest_frame(mfn) for mfn in (0x2001, 0x900, 0x9999)] == [0x101, 0x900, 0x9999]
    p2m.set(0x101, 0x3000)
    assert [p2m.guest_frame(mfn) for mfn in (0x2001, 0x3000)] == [0x2001, 0x101]    # beyond the p2m: itself again
    with pytest.raises(ValueError, match="not in the tables"):
        p2m.set(0x17FF, 0, 2)
    with pytest.raises(ValueError, match="exchanges no frames"):
        P2m(machine, "arm", free_top=0x1000)


@given(loads=st.lists(st.tuples(st.integers(0, 150), st.lists(st.tuples(st.integers(0, 290), st.integers(1, 90)),
                                                               max_size=4)), min_size=1, max_size=3))
def test_frames_by_runs(loads: list[tuple[int, list[tuple[int, int]]]]) -> None:
    """load() writes what set() writes one by one, also where it names a machine frame twice."""
    machine = Machine("pv", ram=[(0, 0x800000)])
    by_runs, one_by_one = P2m(machine, "pv", 600, 400), P2m(machine, "pv", 600, 400)
    for pfn, runs in loads:
        frames = array("Q", [mfn + i for mfn, n in runs for i in range(n)])
        by_runs.load(pfn, frames)
        for i, mfn in enumerate(frames):
            one_by_one.set(pfn + i, mfn)
    for table, size in ("p2m", 600), ("m2p", 400):
        first, second = (machine.mem.peek(getattr(model, table), 8 * size) for model in (by_runs, one_by_one))
        assert first == second


@pytest.mark.parametrize(("pfn", "frames"), [
    (0x17FF, array("Q", [1, 2])), (0, array("Q", [0x3FFF, 0x4000])), (0, array("Q", [5, (1 << 64) - 1])),
    (0, array("q", [1])), (0, array("I", [1])), (0, b"12345678"),
], ids=["pfn", "mfn", "wrap", "signed", "narrow", "bytes"])
def test_frames_that_are_not_in_the_tables(pfn: int, frames: object) -> None:
    p2m = P2m(Machine("pv", ram=[(0, 0x1800000)]), "pv", 0x1800, 0x4000)
    with pytest.raises(ValueError):
        p2m.load(pfn, frames)


ENTRIES = st.lists(st.tuples(st.integers(0, 4095), st.integers(1, 9000)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(entries=ENTRIES, machine=st.sampled_from(MACHINES),
       direction=st.sampled_from([DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL]))
def test_round_trip(entries: list[tuple[int, int]], machine, direction: int) -> None:
    """What the device reads and writes at machine addresses is what the CPU meant, byte for byte."""
    dev = machine.build()
    base = dev.machine.ram_ranges[0][0] + 0x2000000
    rows = [(base + 0x10000 * i, offset, length) for i, (offset, length) in enumerate(entries)]
    table = SgTable(rows, page_shift=dev.machine.page_shift)
    data = [bytes((i + k) & 0xFF for k in range(length)) for i, (_, _, length) in enumerate(rows)]
    for (page, offset, _), raw in zip(rows, data, strict=True):
        dev.machine.cpu_write(page + offset, raw)
    dma_map_sgtable(dev, table, direction)
    for (address, length, _), raw in zip(table.segments(), data, strict=True):
        if direction != DMA_FROM_DEVICE:
            assert dev.dma_read(address, length) == raw
        if direction != DMA_TO_DEVICE:
            dev.dma_write(address, raw[::-1])
    dma_unmap_sgtable(dev, table, direction)
    for (page, offset, length), raw in zip(rows, data, strict=True):
        want = raw if direction == DMA_TO_DEVICE else raw[::-1]
        assert dev.machine.cpu_read(page + offset, length) == want
    assert used(dev) == 0
