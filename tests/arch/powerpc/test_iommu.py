# SPDX-License-Identifier: MIT
"""The table of arch/powerpc/kernel/iommu.c: pools, hints, merging, unwinding, and the traps of its allocator."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dma_ops
from arch.powerpc import DmaIommuOps, IommuTable
from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, Device, DmaError, DmaFault, KernelHang, Machine
from scatterlist.core import SgTable

GB = 1 << 30
PAGE = 0x1000
BUFFER = 0x1000000


def make(*, page_shift=12, cpu=0, segb=None, max_seg=65536, mask=0xffffffff, size=2 * GB, big_endian=True, **table):
    """A PCI device behind a 2 GiB window of 4 KiB TCEs, unless said otherwise."""
    machine = Machine("test", arch="powerpc", big_endian=big_endian, page_shift=page_shift, ram=((0, GB),), nr_cpus=8)
    dev = Device("dev", machine, mask=mask)
    dev.max_segment_size = max_seg
    if segb is not None:
        dev.segment_boundary_mask = segb
    machine.cpu = cpu
    return DmaIommuOps(IommuTable(machine, size=size, **table)).attach(dev)


def pages(n, length=PAGE, step=2 * PAGE):
    """n entries that do not touch."""
    return [(BUFFER + i * step, 0, length) for i in range(n)]


def map_sg(dev, rows, direction=DMA_TO_DEVICE):
    table = SgTable(rows, page_shift=dev.machine.page_shift)
    dma_ops.dma_map_sgtable(dev, table, direction)
    return table


def segments(table):
    return [(row[3], row[4]) for row in table.entries()[:table.nents]]


def used(dev):
    return dev.dma_ops.resources()["entries"]


class TestPools:
    """Where requests of so many bytes at a page's offset 0 go, one after the other."""

    @pytest.mark.parametrize(
        ("facts", "sizes", "addresses"),
        [
            pytest.param({}, [PAGE, PAGE], [0x1000, 0x10000], id="small ones start a block of 16"),
            pytest.param({"cpu": 1}, [PAGE, PAGE], [0x18000000, 0x18010000], id="CPU 1 has pool 1"),
            pytest.param({"cpu": 2}, [PAGE], [0x48000000], id="CPU 2 has pool 3"),
            pytest.param({"cpu": 3}, [PAGE], [0x0001000], id="CPU 3 shares pool 0"),
            pytest.param({}, [15 * PAGE, 16 * PAGE, 16 * PAGE], [0x1000, 0x60000000, 0x60010000],
                         id="16 pages are large, without blocks"),
            pytest.param({"size": GB // 2, "cpu": 2}, [PAGE], [0x1000], id="below 1 GiB there is one pool"),
            pytest.param({"window": 0x8000000, "size": GB // 8}, [PAGE], [0x8000000], id="page 0 only at offset 0"),
            pytest.param({"reserved": (0, 64)}, [PAGE], [0x40000], id="MMIO32 is reserved"),
            pytest.param({"blocksize": 1}, [PAGE, PAGE], [0x1000, 0x2000], id="DART's block of one"),
            pytest.param({"mask": 0x3fffffff, "cpu": 2}, [PAGE, PAGE, 16 * PAGE], [0x8000000, 0x8010000, 0x20000000],
                         id="a mask folds the hint"),
            pytest.param({"mask": 0xffffff, "cpu": 2}, [PAGE], [0x1000], id="a small mask leads to pool 0"),
            pytest.param({"mask": 0xffff, "page_shift": 16}, [16 * PAGE], [None], id="a mask below any page"),
            pytest.param({"page_shift": 16}, [PAGE, 65536, PAGE], [0x1000, 0x60000000, 0x10000],
                         id="a CPU page of 16 TCEs is large"),
            pytest.param({"page_shift": 16, "size": GB // 2}, [65536, PAGE, 0x8000], [0x18000000, 0x1000, 0x10000],
                         id="alignment of CPU pages"),
        ],
    )
    def test_addresses(self, facts, sizes, addresses):
        dev = make(**facts)
        got = []
        for size in sizes:
            try:
                got.append(dma_ops.dma_map_page(dev, BUFFER, 0, size, DMA_TO_DEVICE))
            except DmaError:
                got.append(None)
        assert got == addresses

    def test_offset_inside_the_page_is_kept(self):
        dev = make()
        assert [dma_ops.dma_map_page(dev, BUFFER, 0x123, 16, DMA_TO_DEVICE) for _ in range(2)] == [0x1123, 0x10123]

    def test_window_of_64_entries_gives_61_pages_in_this_order(self):
        dev = make(size=64 * PAGE)
        got = [dma_ops.dma_map_page(dev, BUFFER, 0, PAGE, DMA_TO_DEVICE) >> 12 for _ in range(61)]
        assert got[:6] == [1, 0x10, 0x20, 2, 0x11, 0x21]
        assert got[-15:] == list(range(0x30, 0x3f))
        with pytest.raises(DmaError) as error:
            dma_ops.dma_map_page(dev, BUFFER, 0, PAGE, DMA_TO_DEVICE)
        assert error.value.errno == errno.ENOMEM
        for page in got:
            dma_ops.dma_unmap_page(dev, page << 12, PAGE, DMA_TO_DEVICE)
        assert used(dev) == 1
        again = [dma_ops.dma_map_page(dev, BUFFER, 0, PAGE, DMA_TO_DEVICE) >> 12 for _ in range(61)]
        assert sorted(again) == sorted(got)

    def test_zero_bytes(self):
        dev = make()
        with pytest.raises(DmaError):
            dma_ops.dma_map_page(dev, BUFFER, 0, 0, DMA_TO_DEVICE)
        assert dma_ops.dma_map_page(dev, BUFFER, 0x100, 0, DMA_TO_DEVICE) == 0x1100
        assert used(dev) == 2

    def test_request_above_the_boundary_never_returns(self):
        dev = make(segb=0xffff)
        with pytest.raises(KernelHang):
            map_sg(dev, [(BUFFER, 0, 0x11000)])

    def test_free_outside_the_table_is_logged_and_ignored(self):
        dev = make()
        dma_ops.dma_unmap_page(dev, 1 << 59, PAGE, DMA_TO_DEVICE)
        assert dev.machine.dmesg == ["WARNING: iommu_free: invalid entry"]

    def test_nothing_guards_page_0(self):
        dev = make()
        dma_ops.dma_unmap_page(dev, 0, PAGE, DMA_TO_DEVICE)
        assert used(dev) == 0


class TestLists:
    @pytest.mark.parametrize(
        ("facts", "rows", "expected"),
        [
            pytest.param({"max_seg": 1 << 20}, [(BUFFER, 0, 0xf000), (0x2000000, 0, 0x10000), (0x3000000, 0, PAGE)],
                         [(0x1000, 0xf000), (0x60000000, 0x10000), (0x10000, 0x1000)], id="pools split a list"),
            pytest.param({}, pages(17), [(0x1000, 0x10000), (0x11000, 0x1000)], id="17 pages of max_seg 64 KiB"),
            pytest.param({"segb": 0xffff}, pages(16), [(0x1000, 0x10000)], id="a segment crosses the boundary"),
            pytest.param({"novmerge": True}, pages(2), [(0x1000, PAGE), (0x2000, PAGE)], id="iommu=novmerge"),
            pytest.param({"max_seg": PAGE}, [(BUFFER, 0, 4 * PAGE)], [(0x1000, 4 * PAGE)], id="nothing is split"),
            pytest.param({}, [(BUFFER, 0x200, 0xe00), (0x2000000, 0, PAGE)],
                         [(0x1200, 0x1e00)], id="the joint must be page aligned, the head need not"),
            pytest.param({"page_shift": 16}, [(BUFFER, 0xf000, PAGE), (0x2000000, 0, 0x10000)],
                         [(0x1000, 0x1000), (0x60000000, 0x10000)], id="a CPU page of 64 KiB goes to the large pool"),
            pytest.param({}, [(BUFFER, 0, PAGE), (BUFFER, 0, 0), (0x2000000, 0, PAGE)],
                         [(0x1000, PAGE), (0x2000, PAGE)], id="an empty entry breaks a segment"),
        ],
    )
    def test_segments(self, facts, rows, expected):
        dev = make(**facts)
        before = used(dev)
        table = map_sg(dev, rows)
        assert segments(table) == expected
        assert [row[:3] for row in table.entries()] == rows
        dma_ops.dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
        assert used(dev) == before

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            pytest.param([(0x1003000, 0, PAGE), (0x1004000, 0, PAGE)], [(0x13000, PAGE), (0x24000, PAGE)],
                         id="touching pages, apart in the window"),
            pytest.param([(0x100f000, 0, PAGE), (0x1010000, 0, PAGE)], [(0x1f000, 2 * PAGE)],
                         id="joint at the edge of an I/O page"),
        ],
    )
    def test_io_pages_larger_than_pages(self, rows, expected):
        dev = make()
        dev = DmaIommuOps(IommuTable(dev.machine, size=2 * GB, page_shift=16)).attach(dev)
        assert segments(map_sg(dev, rows)) == expected

    def test_slot_after_the_last_is_a_terminator_and_the_rest_stale(self):
        dev = make(max_seg=PAGE)
        table = map_sg(dev, pages(4))
        dma_ops.dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
        dev.max_segment_size = 65536
        dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        assert [row[3:5] for row in table.entries()] == [(0x10000, 4 * PAGE), (0x2000, 0), (0x3000, PAGE),
                                                         (0x4000, PAGE)]

    def test_leading_empty_entry_leaks_the_list(self):
        dev = make()
        table = map_sg(dev, [(BUFFER, 0, 0), *pages(2)])
        assert segments(table) == [(0, 0), (0x1000, 2 * PAGE)]
        dma_ops.dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
        assert used(dev) == 3

    def test_full_table_is_eio_and_unwound(self):
        dev = make(size=64 * PAGE)
        table = SgTable(pages(62), page_shift=12)
        with pytest.raises(DmaError) as error:
            dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        assert error.value.errno == errno.EIO
        assert used(dev) == 1
        assert dev.dma_ops.table() == {}
        assert not any(row[4] for row in table.entries())

    def test_refused_entries_leak_in_lists_only(self):
        dev = make()
        dev.machine.fail("set")
        with pytest.raises(DmaError):
            dma_ops.dma_map_page(dev, BUFFER, 0, PAGE, DMA_TO_DEVICE)
        assert used(dev) == 1
        dev.machine.fail("set", 2)
        with pytest.raises(DmaError) as error:
            map_sg(dev, pages(2))
        assert (error.value.errno, used(dev)) == (errno.EIO, 2)


class TestCoherent:
    @pytest.mark.parametrize(
        ("facts", "size", "aligned", "taken"),
        [
            pytest.param({}, 1, 1, 1, id="one page"),
            pytest.param({}, 5000, 2, 2, id="two"),
            pytest.param({}, 40960, 16, 10, id="ten pages at a multiple of 16"),
            pytest.param({"page_shift": 16}, 1, 16, 16, id="a CPU page of 64 KiB"),
        ],
    )
    def test_alignment(self, facts, size, aligned, taken):
        dev = make(**facts)
        before = used(dev), dev.machine.pages_allocated
        cpu, addr = dma_ops.dma_alloc_attrs(dev, size)
        assert (addr >> 12) % aligned == 0
        assert used(dev) - before[0] == taken
        dev.dma_write(addr, b"written")
        assert dev.machine.cpu_read(cpu, 7) == b"written"
        dma_ops.dma_free_attrs(dev, size, cpu, addr)
        assert (used(dev), dev.machine.pages_allocated) == before

    @pytest.mark.parametrize("order", [pytest.param(12, id="4096 pages"), pytest.param(13, id="8192 pages")])
    def test_largest(self, order):
        dev = make()
        if order < 13:
            dma_ops.dma_alloc_attrs(dev, PAGE << order)
        else:
            with pytest.raises(DmaError):
                dma_ops.dma_alloc_attrs(dev, PAGE << order)
            assert dev.machine.pages_allocated == 0

    def test_page_of_a_larger_io_page(self):
        dev = make()
        dev = DmaIommuOps(IommuTable(dev.machine, size=2 * GB, page_shift=16)).attach(dev)
        dev.machine.feed_alloc(0x2003000)
        assert dma_ops.dma_alloc_attrs(dev, PAGE) == (0x2003000, 0x13000)


class TestEntries:
    """What is written to memory, as bytes at the table's base, for a buffer at BUFFER."""

    @pytest.mark.parametrize(
        ("facts", "direction", "index", "raw"),
        [
            pytest.param({}, DMA_TO_DEVICE, 1, "0000000001000001", id="tce, read"),
            pytest.param({}, DMA_FROM_DEVICE, 1, "0000000001000003", id="tce, a write allows reads"),
            pytest.param({"big_endian": False}, DMA_BIDIRECTIONAL, 1, "0000000001000003", id="big-endian on a LE CPU"),
            pytest.param({"format": "dart"}, DMA_TO_DEVICE, 1, "80001000", id="dart"),
            pytest.param({"format": "pasemi"}, DMA_FROM_DEVICE, 1, "80001000", id="pasemi"),
            pytest.param({"format": "cell", "ioid": 0x11}, DMA_BIDIRECTIONAL, 1, "f800000001000011", id="cell, both"),
            pytest.param({"format": "cell"}, DMA_TO_DEVICE, 1, "7800000001000000", id="cell, read"),
            pytest.param({"format": "cell"}, DMA_FROM_DEVICE, 1, "b800000001000000", id="cell, write"),
        ],
    )
    def test_format(self, facts, direction, index, raw):
        dev = make(**facts)
        dma_ops.dma_map_page(dev, BUFFER, 0, PAGE, direction)
        entry = bytes.fromhex(raw)
        tbl = dev.dma_ops.tbl
        assert dev.machine.mem.peek(tbl.it_base + index * len(entry), len(entry)) == entry
        assert dev.dma_ops.table() == {index: int(raw, 16)}

    def test_weak_ordering(self):
        dev = make(format="cell")
        dma_ops.dma_map_page(dev, BUFFER, 0, PAGE, DMA_BIDIRECTIONAL, dma_ops.DMA_ATTR_WEAK_ORDERING)
        assert dev.dma_ops.table() == {1: 0xe000000001000000}

    @pytest.mark.parametrize(
        ("facts", "direction", "refused"),
        [
            pytest.param({}, DMA_TO_DEVICE, "write", id="tce to device"),
            pytest.param({}, DMA_FROM_DEVICE, None, id="tce from device may be read"),
            pytest.param({"format": "cell"}, DMA_FROM_DEVICE, "read", id="cell from device"),
            pytest.param({"format": "cell"}, DMA_TO_DEVICE, "write", id="cell to device"),
            pytest.param({"format": "dart"}, DMA_TO_DEVICE, None, id="dart knows no permission"),
        ],
    )
    def test_permission(self, facts, direction, refused):
        dev = make(**facts)
        addr = dma_ops.dma_map_page(dev, BUFFER, 0, PAGE, direction)
        for name, access in (("read", lambda: dev.dma_read(addr, 4)), ("write", lambda: dev.dma_write(addr, b"abcd"))):
            if name == refused:
                with pytest.raises(DmaFault) as fault:
                    access()
                assert fault.value.reason == "permission"
            else:
                access()

    def test_unmapped_faults(self):
        dev = make()
        addr = dma_ops.dma_map_page(dev, BUFFER, 0, PAGE, DMA_TO_DEVICE)
        dma_ops.dma_unmap_page(dev, addr, PAGE, DMA_TO_DEVICE)
        with pytest.raises(DmaFault) as fault:
            dev.dma_read(addr, 1)
        assert fault.value.reason == "not-present"
        with pytest.raises(DmaFault) as fault:
            dev.dma_read(2 * GB, 1)
        assert fault.value.reason == "out-of-range"

    def test_dart_leads_cleared_entries_to_its_own_page(self):
        dev = make(format="dart", dummy_page=True, reserve_last=True)
        addr = dma_ops.dma_map_page(dev, BUFFER, 0, PAGE, DMA_TO_DEVICE)
        dma_ops.dma_unmap_page(dev, addr, PAGE, DMA_TO_DEVICE)
        dev.dma_write(addr, b"lost")
        assert dev.machine.cpu_read(BUFFER, 4) == bytes(4)
        assert dev.dma_ops.table() == {}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 0x4000), st.integers(1, 0x5000)), min_size=1, max_size=12),
    st.sampled_from([(12, 12, "tce"), (16, 12, "tce"), (12, 16, "tce"), (16, 16, "tce"), (12, 12, "dart"),
                     (12, 12, "cell")]),
    st.sampled_from([0xfff, 0xffff, 0xffffffff]),
    st.integers(0, 7),
)
def test_device_reaches_the_bytes_of_the_list(rows, shape, max_seg, cpu):
    page_shift, io_shift, form = shape
    machine = Machine("test", arch="powerpc", page_shift=page_shift, ram=((0, GB),), nr_cpus=8)
    machine.cpu = cpu
    dev = Device("dev", machine)
    dev.max_segment_size = max_seg
    DmaIommuOps(IommuTable(machine, size=GB, page_shift=io_shift, format=form)).attach(dev)
    table = SgTable([(page << page_shift, offset, length) for page, offset, length in rows], page_shift=page_shift)
    for n, (page, offset, length) in enumerate(rows):
        machine.cpu_write((page << page_shift) + offset, bytes([n + 1]) * length)
    meant = b"".join(machine.cpu_read((page << page_shift) + offset, length) for page, offset, length in rows)
    dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
    reached = b"".join(dev.dma_read(address, length) for address, length in segments(table))
    assert reached == meant
    assert all(length <= max_seg or length in [row[2] for row in rows] for _, length in segments(table))
    dma_ops.dma_unmap_sgtable(dev, table, DMA_BIDIRECTIONAL)
    assert used(dev) == 1
    assert dev.dma_ops.table() == {}
