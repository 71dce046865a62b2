# SPDX-License-Identifier: MIT
"""sun4u_dma_ops and sun4v_dma_ops: traps with the numbers that Linux's own code gave."""

import errno
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arch import backends
from arch.sparc.iommu import Sun4uDmaOps
from arch.sparc.pci_sun4v import Sun4vDmaOps
from dma_ops import (
    DMA_ATTR_WEAK_ORDERING,
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
    dma_set_mask,
    dma_set_max_seg_size,
    dma_set_seg_boundary,
    dma_sync_sgtable_for_cpu,
    dma_unmap_page,
    dma_unmap_sgtable,
)
from scatterlist.core import SgTable

PHYS = 0x2000000
PAGE = 8192
RECORDS = backends()


def make(kind: type[Sun4uDmaOps | Sun4vDmaOps], *, mask: int = 0xFFFFFFFF, **options: Any) -> Device:
    machine = Machine("sparc64", arch="sparc64", big_endian=True, page_shift=13, ram=[(0, 1 << 30)], nr_cpus=16)
    return Device("device", machine, mask=mask, dma_ops=kind(machine, **options))


def table_of(*entries: tuple[int, int]) -> SgTable:
    """Entries of (length, offset), each on pages of its own."""
    rows = [(PHYS + 0x100000 * i, offset, length) for i, (length, offset) in enumerate(entries)]
    return SgTable(rows, page_shift=13)


def single(dev: Device, size: int = PAGE, direction: int = DMA_BIDIRECTIONAL, attrs: int = 0) -> int:
    return dma_map_page(dev, PHYS, 0, size, direction, attrs)


def segments(dev: Device, table: SgTable) -> list[tuple[int, int]]:
    dma_map_sgtable(dev, table, DMA_TO_DEVICE)
    return [row[:2] for row in table.segments()]


class TestSun4u:
    def test_a_maximum_of_64_kib(self) -> None:
        assert segments(make(Sun4uDmaOps), table_of(*[(PAGE, 0)] * 9)) == [(0xC0000000, 0x10000), (0xC0010000, 0x2000)]

    def test_b_a_segment_crosses_the_boundary(self) -> None:
        dev = make(Sun4uDmaOps)
        dev.dma_ops.preset(hint=7)
        dma_set_seg_boundary(dev, 0xFFFF)
        assert segments(dev, table_of(*[(PAGE, 0)] * 2)) == [(0xC000E000, 0x4000)]

    def test_b_or_stops_at_its_size(self) -> None:
        dev = make(Sun4uDmaOps)
        dev.dma_ops.preset(hint=7)
        dma_set_seg_boundary(dev, 0xFFFF)
        dma_set_max_seg_size(dev, 1 << 20)
        assert segments(dev, table_of(*[(PAGE, 0)] * 9)) == [(0xC000E000, 0x10000), (0xC001E000, 0x2000)]

    def test_c_a_base_that_is_not_on_the_boundary_caps_segments(self) -> None:
        dev = make(Sun4uDmaOps, base=0xC0008000, entries=4096)
        dma_set_seg_boundary(dev, 0xFFFF)
        assert segments(dev, table_of(*[(PAGE, 0)] * 8)) == [(0xC0008000, 0x8000), (0xC0010000, 0x8000)]

    def test_d_two_entries_are_lost_and_a_wrap_flushes(self) -> None:
        dev = make(Sun4uDmaOps, entries=16)
        addresses = [single(dev) for _ in range(14)]
        assert addresses == [0xC0000000 + (i << 13) for i in range(14)]
        assert dev.dma_ops.flushes == 0
        with pytest.raises(DmaError):
            single(dev)
        dma_unmap_page(dev, addresses[3], PAGE, DMA_BIDIRECTIONAL)
        assert single(dev) == 0xC0006000
        assert dev.dma_ops.flushes == 1

    @pytest.mark.parametrize(("streaming", "iopte"), [(False, 0x8000800002000012), (True, 0x9000800002000012)])
    def test_e_ioptes_with_a_context_end_at_the_dummy_page(self, streaming: bool, iopte: int) -> None:
        dev = make(Sun4uDmaOps, contexts=True, streaming=streaming)
        address = single(dev, direction=DMA_FROM_DEVICE)
        assert dev.dma_ops.table() == {0: iopte}
        dma_unmap_page(dev, address, PAGE, DMA_FROM_DEVICE)
        assert dev.dma_ops.table() == {0: iopte & ~0x7FFFFFFFE000 | dev.dma_ops.dummy_page}
        dev.dma_write(address, b"late")
        assert dev.machine.mem.peek(PHYS, 4) == bytes(4)
        assert dev.machine.mem.peek(dev.dma_ops.dummy_page, 4) == b"late"

    def test_f_a_failed_list_keeps_its_context(self) -> None:
        dev = make(Sun4uDmaOps, entries=16, contexts=True)
        with pytest.raises(DmaError) as failure:
            dma_map_sgtable(dev, table_of(*[(0x8000, 0)] * 4), DMA_TO_DEVICE)
        assert failure.value.errno == errno.EINVAL
        assert dev.dma_ops.resources() == {"iopte entries": 0, "contexts": 1}

    def test_g_offsets(self) -> None:
        table = table_of((0x1000, 0x1000), (0x800, 0), (0x1800, 0x800))
        assert segments(make(Sun4uDmaOps), table) == [(0xC0001000, 0x1800), (0xC0004800, 0x1800)]

    def test_g_an_empty_first_entry_hides_the_rest_from_unmap(self) -> None:
        dev = make(Sun4uDmaOps)
        table = table_of((0, 0), (PAGE, 0))
        assert segments(dev, table) == [(0, 0), (0xC0000000, PAGE)]
        dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
        assert dev.dma_ops.resources()["iopte entries"] == 1

    def test_a_stale_slot_0_is_read_for_its_context(self) -> None:
        dev = make(Sun4uDmaOps, contexts=True)
        table = table_of((0, 0), (PAGE, 0))
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        with pytest.raises(KernelBug, match="beyond the TSB"):
            dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)

    def test_syncing_a_list_whose_first_slot_is_empty_is_an_oops(self) -> None:
        dev = make(Sun4uDmaOps)
        table = table_of((0, 0), (PAGE, 0))
        dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        with pytest.raises(KernelBug, match="NULL pointer"):
            dma_sync_sgtable_for_cpu(dev, table, DMA_TO_DEVICE)

    def test_masks_and_coherent_memory(self) -> None:
        dev = make(Sun4uDmaOps, dma_addr_mask=0xDFFFFFFF)
        with pytest.raises(DmaError):
            dma_set_mask(dev, 0x7FFFFFFF)
        dma_set_mask(dev, 0xDFFFFFFF)
        with pytest.raises(DmaError):
            dma_alloc_attrs(dev, 8 << 20)
        cpu, handle = dma_alloc_attrs(dev, 10000)
        dev.dma_write(handle + 9999, b"x")
        assert dev.machine.cpu_read(cpu + 9999, 1) == b"x"
        dma_free_attrs(dev, 10000, cpu, handle)
        assert (dev.dma_ops.resources()["iopte entries"], dev.machine.pages_allocated) == (0, 0)
        dev.dma_write(handle, b"y")                     # the entries stay valid
        assert dev.machine.mem.peek(cpu, 1) == b"y"


class TestSun4v:
    def test_a_pools_by_cpu(self) -> None:
        dev = make(Sun4vDmaOps)
        got = []
        for cpu in range(4):
            dev.machine.cpu = cpu
            got.append(single(dev))
        assert got == [0x80000000, 0xB0000000, 0xE0000000, 0x90000000]

    def test_b_a_pool_less_two_entries_is_the_most(self) -> None:
        dev = make(Sun4vDmaOps)
        with pytest.raises(DmaError):
            single(dev, 16383 << 13)
        dev.dma_ops.preset(fill=[(0, 1)])
        assert single(dev, 16382 << 13) == 0x88000000

    @pytest.mark.parametrize(("mask", "address"), [
        ((1 << 64) - 1, (1 << 44) + 0x300000000), (0x1FFFFFFFF, (1 << 44) + 0x300000000), (0xFFFFFFFF, 0xB0000000)])
    def test_c_the_mask_chooses_the_window(self, mask: int, address: int) -> None:
        dev = make(Sun4vDmaOps, mask=mask, atu_base=1 << 44)
        dev.machine.cpu = 1
        assert single(dev) == address
        assert dev.dma_read(address, 4) == bytes(4)

    def test_d_the_mask_is_compared_with_the_size(self) -> None:
        dev = make(Sun4vDmaOps)
        dma_set_mask(dev, 0x7FFFFFFF)
        assert single(dev) == 0x80000000
        with pytest.raises(DmaError):
            dma_set_mask(dev, 0x3FFFFFFF)

    @pytest.mark.parametrize(("vpci", "attributes"), [(1, 3), (2, 7)])
    def test_f_relaxed_order_needs_vpci_2(self, vpci: int, attributes: int) -> None:
        dev = make(Sun4vDmaOps, vpci_major=vpci)
        single(dev, direction=DMA_FROM_DEVICE, attrs=DMA_ATTR_WEAK_ORDERING)
        assert dev.dma_ops.table() == {0: PHYS | attributes}

    def test_g_large_coherent_memory_leaks(self) -> None:
        dev = make(Sun4vDmaOps)
        cpu, handle = dma_alloc_attrs(dev, 8 << 20)
        dma_free_attrs(dev, 8 << 20, cpu, handle)
        assert dev.dma_ops.resources() == {"iotsb entries": 0}
        assert dev.machine.pages_allocated == 1024

    def test_k_a_failed_flush_in_the_middle_shifts_the_rest(self) -> None:
        dev = make(Sun4vDmaOps, size=0x400000)
        dev.dma_ops.preset(fill=[(1, 1)])
        table = table_of((PAGE, 0), (2 * PAGE, 0))
        dev.dma_ops.hypervisor.fail_map(1)
        assert segments(dev, table) == [(0x80000000, PAGE), (0x80004000, 2 * PAGE)]
        assert dev.dma_ops.table() == {2: PHYS | 1, 3: PHYS + 0x100000 | 1, 4: PHYS + 0x102000 | 1}
        assert dev.dma_ops.resources() == {"iotsb entries": 4}      # entry 4 is not among them
        with pytest.raises(DmaFault):
            dev.dma_read(0x80000000, 1)

    def test_a_refused_single_mapping_leaves_nothing(self) -> None:
        dev = make(Sun4vDmaOps)
        dev.dma_ops.hypervisor.fail_map(1)
        with pytest.raises(DmaError):
            single(dev)
        assert dev.dma_ops.resources() == {"iotsb entries": 0}

    def test_batches_of_1024(self) -> None:
        dev = make(Sun4vDmaOps)
        dev.dma_ops.hypervisor.fail_map(2)
        single(dev, 1024 << 13)
        with pytest.raises(DmaError):
            single(dev, 1 << 13)

    def test_firmware_entries_outside_of_ram_stay_reserved(self) -> None:
        dev = make(Sun4vDmaOps, firmware={0: 0x50000000, 1: 0x10000000})
        assert dev.dma_ops.resources() == {"iotsb entries": 1}
        assert single(dev) == 0x80002000


ENTRIES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8191), st.integers(1, 20000)), min_size=1, max_size=40)
CONFIGS = [(backend, config) for backend in ("sun4u_dma_ops", "sun4v_dma_ops") for config in RECORDS[backend].machines]


@pytest.mark.parametrize(("backend", "config"), CONFIGS, ids=lambda value: getattr(value, "name", value))
@settings(max_examples=20, deadline=None)
@given(entries=ENTRIES, direction=st.sampled_from([DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_BIDIRECTIONAL]))
def test_round_trip(backend: str, config: Any, entries: list[tuple[int, int, int]], direction: int) -> None:
    dev = config.build()
    rows = [(PHYS + 0x8000 * page, offset, length) for page, offset, length in entries]
    for i, (page, offset, length) in enumerate(rows):
        dev.machine.cpu_write(page + offset, bytes((i + k) & 0xFF for k in range(length)))
    before = b"".join(dev.machine.cpu_read(page + offset, length) for page, offset, length in rows)
    table = SgTable(rows, page_shift=13)
    dma_map_sgtable(dev, table, direction)
    parts = table.segments()
    assert b"".join(dev.dma_read(address, length) for address, length, _ in parts) == before
    for address, length, _ in parts:
        if direction == DMA_TO_DEVICE:
            with pytest.raises(DmaFault, match="permission"):
                dev.dma_write(address, b"\xa5")
        else:
            dev.dma_write(address, b"\xa5" * length)
    if direction != DMA_TO_DEVICE:
        assert all(dev.machine.cpu_read(page + offset, length) == b"\xa5" * length for page, offset, length in rows)
    dma_unmap_sgtable(dev, table, direction)
    dev.dma_ops.flush()
    assert not any(dev.dma_ops.resources().values())
    if not RECORDS[backend].stale:
        for address, length, _ in parts:
            with pytest.raises(DmaFault, match="not-present"):
                dev.dma_read(address + length - 1, 1)


@pytest.mark.parametrize("order", ["same", "reversed", "odd first"])
def test_exhaustion_and_refill(order: str) -> None:
    dev = make(Sun4uDmaOps, entries=256)
    first = [single(dev) for _ in range(254)]
    with pytest.raises(DmaError):
        single(dev)
    for address in {"same": first, "reversed": first[::-1], "odd first": first[1::2] + first[::2]}[order]:
        dma_unmap_page(dev, address, PAGE, DMA_BIDIRECTIONAL)
    assert dev.dma_ops.resources()["iopte entries"] == 0
    assert [single(dev) for _ in range(254)] == first
