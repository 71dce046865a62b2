# SPDX-License-Identifier: MIT
"""dma-debug: one row per error, with Linux's words."""

import pytest

import dma_ops
from dma_ops import (
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
    Machine,
    PyDmaMapOps,
    debug,
)
from scatterlist.core import SgTable

BIDI, TO, FROM = DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE
RAM = 1 << 24


class Identity(PyDmaMapOps):
    """Bus addresses are physical addresses; adjacent entries of a list become one segment if merge is set."""

    merge = False

    def alloc(self, dev, size, attrs):
        page = dev.machine.alloc_ram(0)
        return page, page

    def free(self, dev, size, cpu_addr, addr, attrs):
        dev.machine.free_ram(cpu_addr)

    def map_page(self, dev, page, offset, size, dir, attrs):
        return page + offset

    def map_sg(self, dev, sg, dir, attrs):
        for entry in sg:
            entry.dma_address, entry.dma_length = entry.phys, entry.length
        if self.merge:
            sg[0].dma_length = sum(entry.length for entry in sg)
            return 1
        return len(sg)

    def map_resource(self, dev, phys, size, dir, attrs):
        return phys

    def unmap_page(self, *args): pass
    unmap_sg = unmap_resource = sync_single_for_cpu = sync_single_for_device = unmap_page
    sync_sg_for_cpu = sync_sg_for_device = unmap_page


@pytest.fixture
def dev():
    machine = Machine("test", ram=((0, RAM),))
    device = Device("0000:00:05.0", machine, dma_ops=Identity(), mask=(1 << 64) - 1)
    debug.enable(device, all_errors=True)
    return device


def mapped(dev, dir=BIDI, size=100, page=0x3000):
    addr = dma_ops.dma_map_page(dev, page, 0, size, dir)
    dma_ops.dma_mapping_error(dev, addr)
    return addr


def table(n=2):
    return SgTable([(0x10000 + i * 0x2000, 0, 512) for i in range(n)])


def free_error_address(dev):
    dma_ops.dma_unmap_page(dev, (1 << 64) - 1, 100, BIDI)


def free_twice(dev):
    addr = mapped(dev)
    dma_ops.dma_unmap_page(dev, addr, 100, BIDI)
    dma_ops.dma_unmap_page(dev, addr, 100, BIDI)


def free_other_size(dev):
    dma_ops.dma_unmap_page(dev, mapped(dev), 200, BIDI)


def free_wrong_function(dev):
    dma_ops.dma_unmap_resource(dev, mapped(dev), 100, BIDI)


def free_other_cpu_address(dev):
    _, handle = dma_ops.dma_alloc_attrs(dev, 4096)
    dev.debug.free_coherent(dev, 4096, 0x4000, handle)


def unmap_other_count(dev):
    sgt = table(3)
    dma_ops.dma_map_sgtable(dev, sgt, BIDI)
    dev.debug.unmap_sg(dev, sgt.entries()[:1], 1, BIDI)


def free_other_direction(dev):
    dma_ops.dma_unmap_page(dev, mapped(dev, TO), 100, FROM)


def free_unchecked(dev):
    dma_ops.dma_unmap_page(dev, dma_ops.dma_map_page(dev, 0x3000, 0, 100, TO), 100, TO)


def sync_unmapped(dev):
    dma_ops.dma_sync_single_for_cpu(dev, 0x3000, 4, FROM)


def sync_outside(dev):
    addr = mapped(dev, size=4096)
    dev.debug.sync_single(dev, addr, (1 << 64) - addr, BIDI, True)      # only a range that wraps around gets there


def sync_other_direction(dev):
    dma_ops.dma_sync_single_for_cpu(dev, mapped(dev, FROM), 100, BIDI)


def sync_read_only(dev):
    dma_ops.dma_sync_single_for_cpu(dev, mapped(dev, TO), 100, FROM)


def sync_write_only(dev):
    dma_ops.dma_sync_single_for_device(dev, mapped(dev, FROM), 100, TO)


def sync_other_count(dev):
    sgt = table(3)
    dma_ops.dma_map_sgtable(dev, sgt, FROM)
    dma_ops.dma_sync_sg_for_cpu(dev, sgt, 2, FROM)


def map_stack(dev):
    dev.debug.stack = [(0x3000, 0x4000)]
    mapped(dev)


def map_text(dev):
    dev.debug.text = [(0x3040, 0x4000)]
    mapped(dev)


def map_not_linear(dev):
    dma_ops.dma_map_single(dev, RAM + 0x1000, 16, TO)


def map_vmalloc(dev):
    dma_ops.dma_map_single(dev, 0xffffc90000001000, 16, TO)


def long_segment(dev):
    dma_ops.dma_set_max_seg_size(dev, 256)
    dma_ops.dma_map_sgtable(dev, table(1), TO)


def across_boundary(dev):
    dma_ops.dma_set_seg_boundary(dev, 0xff)
    dma_ops.dma_map_sgtable(dev, table(1), TO)


def overlap(dev):
    mapped(dev)
    mapped(dev, FROM, page=0x3000, size=50)


def pending(dev):
    mapped(dev)
    dma_ops.dma_map_sgtable(dev, table(1), TO)
    dev.debug.unbind(dev)


def no_entries(dev):
    dev.machine.fail("debug entries")
    mapped(dev)


def no_cache_lines(dev):
    dev.machine.fail("debug cache lines")
    mapped(dev)


AT = "[device address=0x0000000000003000]"


@pytest.mark.parametrize(("act", "numbers", "text"), [
    (free_error_address, [1], "device driver tries to free an invalid DMA memory address"),
    (free_twice, [2], f"device driver tries to free DMA memory it has not allocated {AT} [size=100 bytes]"),
    (free_other_size, [3], f"device driver frees DMA memory with different size {AT} [map size=100 bytes] "
                           "[unmap size=200 bytes]"),
    (free_wrong_function, [4], f"device driver frees DMA memory with wrong function {AT} [size=100 bytes] "
                               "[mapped as single] [unmapped as resource]"),
    (free_other_cpu_address, [5], "device driver frees DMA memory with different CPU address "
     "[device address=0x0000000000fff000] [size=4096 bytes] [cpu alloc address=0x0000000000fff000] "
     "[cpu free address=0x0000000000004000]"),
    (unmap_other_count, [6], "device driver frees DMA sg list with different entry count [map count=3] "
                             "[unmap count=1]"),
    (free_other_direction, [7], f"device driver frees DMA memory with different direction {AT} [size=100 bytes] "
                                "[mapped with DMA_TO_DEVICE] [unmapped with DMA_FROM_DEVICE]"),
    (free_unchecked, [8], f"device driver failed to check map error{AT} [size=100 bytes] [mapped as single]"),
    (sync_unmapped, [9], f"device driver tries to sync DMA memory it has not allocated {AT} [size=4 bytes]"),
    (sync_outside, [10], f"device driver syncs DMA memory outside allocated range {AT} [allocation size=4096 bytes] "
                         "[sync offset+size=18446744073709539328]"),
    (sync_other_direction, [11], f"device driver syncs DMA memory with different direction {AT} [size=100 bytes] "
                                 "[mapped with DMA_FROM_DEVICE] [synced with DMA_BIDIRECTIONAL]"),
    (sync_read_only, [11, 12], f"device driver syncs device read-only DMA memory for cpu {AT} [size=100 bytes] "
                               "[mapped with DMA_TO_DEVICE] [synced with DMA_FROM_DEVICE]"),
    (sync_write_only, [11, 13], f"device driver syncs device write-only DMA memory to device {AT} [size=100 bytes] "
                                "[mapped with DMA_FROM_DEVICE] [synced with DMA_TO_DEVICE]"),
    (sync_other_count, [14, 14], "device driver syncs DMA sg list with different entry count [map count=3] "
                                 "[sync count=2]"),
    (map_stack, [15], "device driver maps memory from stack [addr=0000000000003000]"),
    (map_text, [16], "device driver maps memory from kernel text or rodata [addr=0000000000003000] [len=100]"),
    (map_not_linear, [17], "device driver maps memory from invalid area [addr=0000000001001000] [len=16]"),
    (map_vmalloc, [17, 17], "device driver maps memory from vmalloc area [addr=ffffc90000001000] [len=16]"),
    (long_segment, [18], "mapping sg segment longer than device claims to support [len=512] [max=256]"),
    (across_boundary, [19], "mapping sg segment across boundary [start=0x0000000000010000] [end=0x00000000000101ff] "
                            "[boundary=0x00000000000000ff]"),
    (overlap, [20], "cacheline tracking EEXIST, overlapping mappings aren't supported"),
    (pending, [21], "device driver has pending DMA allocations while released from device [count=2]\n"
     "One of leaked entries details: [device address=0x0000000000010000] [size=512 bytes] [mapped with DMA_TO_DEVICE] "
     "[mapped as scather-gather]"),
    (no_entries, [22], None),
    (no_cache_lines, [22], None),
], ids=lambda value: value.__name__ if callable(value) else "")
def test_error(dev, act, numbers, text):
    act(dev)
    assert dev.debug.numbers == numbers
    if text is not None:
        assert dev.debug.reports[-1].text == f"DMA-API: pci 0000:00:05.0: {text}"
        assert str(dev.debug.reports[-1]) in dev.machine.dmesg


@pytest.mark.parametrize(("act", "text"), [
    (no_entries, "DMA-API: debugging out of memory - disabling"),
    (no_cache_lines, "DMA-API: cacheline tracking ENOMEM, dma-debug disabled"),
])
def test_without_memory_it_is_disabled(dev, act, text):
    act(dev)
    assert dev.machine.dmesg == [text]
    dma_ops.dma_unmap_page(dev, 0x9000, 1, TO)
    assert dev.debug.numbers == [22]


def test_right_use_is_silent(dev):
    sgt = table()
    with dma_ops.mapped_sgtable(dev, sgt, FROM) as mapping:
        mapping.sync_for_cpu()
        mapping.sync_for_device()
    with dma_ops.mapped_page(dev, 0x3000, 0, 4096, FROM) as page:
        dma_ops.dma_sync_single_for_cpu(dev, page.dma_address + 64, 64, FROM)
    with dma_ops.coherent(dev, 4096):
        pass
    addr = dma_ops.dma_map_resource(dev, 0xf0000000, 4096, BIDI)
    dma_ops.dma_mapping_error(dev, addr)
    dma_ops.dma_unmap_resource(dev, addr, 4096, BIDI)
    dev.debug.unbind(dev)
    assert dev.debug.reports == [] and list(dev.debug.entries()) == []


def test_a_merged_list_is_recorded_as_it_was_mapped(dev):
    dev.dma_ops.merge = True
    sgt = SgTable([(0x10000, 0, 4096), (0x11000, 0, 4096)])
    dma_ops.dma_map_sgtable(dev, sgt, TO)
    assert [(entry.address, entry.size, entry.call_ents, entry.mapped_ents) for entry in dev.debug.entries()] == [
        (0x10000, 8192, 2, 1)]
    dma_ops.dma_unmap_sgtable(dev, sgt, TO)
    assert dev.debug.reports == [] and list(dev.debug.entries()) == []


def test_one_report_is_printed_unless_all_are_asked_for(dev):
    dev.debug.all_errors = False
    for _ in range(3):
        sync_unmapped(dev)
    assert dev.debug.numbers == [9, 9, 9] and len(dev.machine.dmesg) == 1


def test_equal_addresses_are_told_apart_by_the_best_fit(dev):
    mapped(dev, TO, size=100)
    mapped(dev, TO, size=300)
    dma_ops.dma_unmap_page(dev, 0x3000, 300, TO)
    dma_ops.dma_unmap_page(dev, 0x3000, 100, TO)
    assert dev.debug.numbers == []
    mapped(dev, TO, size=100)
    mapped(dev, TO, size=300)
    dma_ops.dma_unmap_page(dev, 0x3000, 200, TO)        # two matches, none perfect: none
    assert dev.debug.numbers == [2]


def test_the_overlap_counter_ends_at_seven(dev):
    for _ in range(9):
        dma_ops.dma_map_page(dev, 0x3000, 0, 8, BIDI, DMA_ATTR_SKIP_CPU_SYNC)
    assert [report.text.partition(": exceeded")[1:] for report in dev.debug.reports] == [
        (": exceeded", " 7 overlapping mappings of cacheline 0x00000000000000c0")]


def test_a_report_says_where_the_mapping_was_made(dev):
    free_other_size(dev)
    assert dev.debug.reports[0].place.startswith(__file__)
    assert "Mapped at: " in dev.machine.dmesg[0]


def test_dump(dev):
    mapped(dev, TO)
    assert dev.debug.dump() == ["0000:00:05.0 pci single idx 1 P=3000 N=3 D=3000 L=64 DMA_TO_DEVICE "
                                "dma map error checked"]
