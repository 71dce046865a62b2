# SPDX-License-Identifier: MIT
"""dma-direct: reach, windows, caches, coherent memory, and the traps of kernel/dma/direct.c."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dma_ops
from dma_ops import (
    DMA_ATTR_NO_KERNEL_MAPPING,
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    Machine,
    p2pdma,
)
from dma_ops.direct import DmaDirect
from dma_ops.pci import PciTree, PciType
from dma_ops.swiotlb import IoTlbMem
from scatterlist.core import SgTable

GIB = 1 << 30
WINDOWS = ((0, 0x80000000, GIB), (GIB, 0x4000000000, GIB))


def make(ram=4 * GIB, *, pool=None, nslabs=512, force=False, mask=0xFFFFFFFF, coherent=True, ranges=(), limit=0,
         **facts):
    machine = Machine("test", arch=facts.pop("arch", "x86_64"), ram=facts.pop("memory", [(0, ram)]), **facts)
    dev = Device("dev", machine, mask=mask, coherent=coherent, dma_ranges=ranges, bus_dma_limit=limit)
    if pool is not None:
        dev.io_tlb_mem = IoTlbMem(machine, pool, nslabs, force_bounce=force)
    return dev


def map_page(dev, phys, size, direction=DMA_BIDIRECTIONAL, attrs=0):
    """The bus address, or the errno."""
    try:
        return dma_ops.dma_map_page(dev, phys & ~0xFFF, phys & 0xFFF, size, direction, attrs)
    except DmaError as error:
        return -error.errno


class TestReach:
    @pytest.mark.parametrize(
        ("facts", "phys", "size", "expected"),
        [
            pytest.param({}, 0x1234, 10, 0x1234, id="identity"),
            pytest.param({}, 0xFFFFF000, 4096, 0xFFFFF000, id="the last page below the mask"),
            pytest.param({}, 0xFFFFF001, 4096, -errno.ENOMEM, id="one byte above"),
            pytest.param({}, 1 << 32, 0, 1 << 32, id="zero bytes end before their start"),
            pytest.param({"mask": 0xFFFFFF}, 0x1000000, 1, -errno.ENOMEM, id="24 bits"),
            pytest.param({"mask": (1 << 40) - 1, "limit": 0xFFFFFFF}, 0x10000000, 1, -errno.ENOMEM, id="bus limit"),
            pytest.param({"limit": 0x1FFFFFFFF}, 1 << 32, 1, -errno.ENOMEM, id="the smaller of mask and bus limit"),
            pytest.param({"ranges": WINDOWS}, 0x1000, 8, 0x80001000, id="first window"),
            pytest.param({"ranges": WINDOWS, "mask": (1 << 40) - 1}, GIB + 8, 8, 0x4000000008, id="second window"),
            pytest.param({"ranges": WINDOWS}, GIB + 8, 8, -errno.ENOMEM, id="a window beyond the mask"),
            pytest.param({"ranges": WINDOWS}, 2 * GIB, 8, -errno.ENOMEM, id="no window is an error, not identity"),
            pytest.param({"ranges": ((GIB, 0, GIB),)}, 0, 8, -errno.ENOMEM, id="below all windows"),
        ],
    )
    def test_map_page(self, facts, phys, size, expected):
        dev = make(8 * GIB, **facts)
        assert map_page(dev, phys, size) == expected
        assert bool(dev.machine.dmesg) == (expected < 0)

    def test_wrapped_32_bit_address_is_refused(self):
        dev = make(arch="arm", bits=32, memory=[(0x40000000, 0x60000000)])
        assert map_page(dev, 0x5FFFF000, 4096) == 0x5FFFF000
        assert map_page(dev, 0x3FFFF000, 4096) == -errno.ENOMEM
        assert map_page(dev, 0xFFFFF800, 4096) == -errno.ENOMEM

    def test_resource_ignores_the_windows(self):
        dev = make(ranges=WINDOWS)
        assert dma_ops.dma_map_resource(dev, 0xFC000000, 4096, DMA_TO_DEVICE) == 0xFC000000
        with pytest.raises(DmaError):
            dma_ops.dma_map_resource(dev, 1 << 32, 4096, DMA_TO_DEVICE)

    @pytest.mark.parametrize(
        ("facts", "mask", "accepted"),
        [
            ({}, 0xFFFFFFFF, True),
            ({}, 0xFFFFFF, True),
            ({}, 0xFFFF, False),
            ({"zone_dma_bits": 32, "memory": [(GIB, GIB + (512 << 20))]}, 0x5FFFEFFF, False),
            ({"zone_dma_bits": 32, "memory": [(GIB, GIB + (512 << 20))]}, 0x5FFFF000, True),
            ({"has_zone_dma": False, "memory": [(0, 256 << 20)]}, 0xFFFFFFF, True),
            ({"has_zone_dma": False, "memory": [(0, 256 << 20)]}, 0x7FFFFFF, False),
        ],
        ids=["32", "24 is ZONE_DMA", "16", "arm64 below RAM's top", "arm64 RAM's top", "no zone", "no zone, less"],
    )
    def test_supported_masks(self, facts, mask, accepted):
        dev = make(**facts)
        try:
            dma_ops.dma_set_mask(dev, mask)
        except DmaError as error:
            assert error.errno == errno.EIO
            assert dev.dma_mask == 0xFFFFFFFF
            assert not accepted
        else:
            assert accepted

    @pytest.mark.parametrize(
        ("memory", "ranges", "mask"),
        [([(0, 512 << 20)], (), 0x1FFFFFFF), ([(0, 2 * GIB), (4 * GIB, 8 * GIB)], (), 0x1FFFFFFFF),
         ([(0, 2 * GIB)], WINDOWS, 0x7FFFFFFFFF), ([(0, 4 * GIB)], WINDOWS, (1 << 64) - 1)],
        ids=["512M", "hole", "windows", "RAM outside of the windows"],
    )
    def test_required_mask(self, memory, ranges, mask):
        assert dma_ops.dma_get_required_mask(make(memory=memory, ranges=ranges)) == mask

    @pytest.mark.parametrize(
        ("facts", "size"),
        [({}, (1 << 64) - 1), ({"pool": 0x1000000}, (1 << 64) - 1),
         ({"pool": 0x1000000, "mask": 0xFFFFFFF}, 262144), ({"pool": 0x1000000, "force": True}, 262144)],
        ids=["no pool", "all reachable", "limited", "forced"],
    )
    def test_max_mapping_size(self, facts, size):
        dev = make(512 << 20, **facts)
        assert dma_ops.dma_max_mapping_size(dev) == size
        if size == 262144:
            dma_ops.dma_set_min_align_mask(dev, 0xFFF)
            assert dma_ops.dma_max_mapping_size(dev) == 258048

    def test_6_12_counts_ram_outside_of_the_windows(self):
        inside = {"ram": 2 * GIB, "ranges": WINDOWS, "mask": (1 << 64) - 1, "pool": 0x1000000}
        assert dma_ops.dma_max_mapping_size(make(kernel=612, **inside)) == (1 << 64) - 1
        outside = {**inside, "ranges": WINDOWS[:1], "memory": [(GIB // 2, GIB + 4096)]}
        assert dma_ops.dma_max_mapping_size(make(kernel=612, **outside)) == 262144


class TestLists:
    ENTRIES = ((0x10000, 0, 4096), (0x11000, 0, 4096), (0x20000, 100, 200))

    def test_never_merges(self):
        dev = make()
        table = SgTable(self.ENTRIES)
        dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        assert table.segments() == [(0x10000, 4096, 0), (0x11000, 4096, 0), (0x20064, 200, 0)]
        dma_ops.dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
        assert table.segments() == [(0x10000, 4096, 0), (0x11000, 4096, 0), (0x20064, 200, 0)]

    def test_a_failure_leaves_stale_addresses(self):
        dev = make(8 * GIB)
        table = SgTable([(0x1000, 0, 16), (1 << 32, 0, 16), (0x2000, 0, 16)])
        with pytest.raises(DmaError) as error:
            dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        assert error.value.errno == errno.EIO
        assert not error.value.retryable
        assert [row[3:] for row in table.entries()] == [(0x1000, 16, 0), ((1 << 64) - 1, 0, 0), (0, 0, 0)]

    def test_a_failure_copies_nothing_back(self):
        dev = make(8 * GIB, pool=0x1000000, nslabs=128)
        dev.machine.cpu_write(1 << 32, b"original")
        table = SgTable([(1 << 32, 0, 8), (1 << 33, 0, 262144)])
        before = dev.resources()
        with pytest.raises(DmaError):
            dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert dev.resources() == before == {"swiotlb slots": 0}
        assert dev.machine.cpu_read(1 << 32, 8) == b"original"

    def test_a_32_bit_dma_addr_t_keeps_a_32_bit_error(self):
        dev = make(arch="mips", bits=32, memory=[(0, 256 << 20)], coherent=False, mask=0xFFFFFF)
        table = SgTable([(0x1000000, 0, 16)])
        with pytest.raises(DmaError):
            dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        assert table.entries()[0][3] == 0xFFFFFFFF


class TestBytes:
    """What the device reaches is what the CPU meant."""

    MACHINES = (
        pytest.param({}, id="coherent"),
        pytest.param({"cached": True}, id="coherent and cached"),
        pytest.param({"cached": True, "coherent": False}, id="non-coherent"),
        pytest.param({"pool": 0x1000000, "force": True}, id="bounced"),
        pytest.param({"pool": 0x1000000, "force": True, "cached": True, "coherent": False}, id="bounced, non-coherent"),
        pytest.param({"ranges": WINDOWS, "mask": (1 << 40) - 1}, id="windows"),
        pytest.param({"arch": "arm", "bits": 32, "cached": True, "coherent": False}, id="32 bits"),
    )

    @pytest.mark.parametrize("facts", MACHINES)
    def test_round_trip(self, facts):
        dev = make(2 * GIB, **facts)
        before = dev.resources()
        dev.machine.cpu_write(0x40000FF0, b"from the CPU".ljust(64))
        addr = map_page(dev, 0x40000FF0, 64)
        assert dev.dma_read(addr, 12) == b"from the CPU"
        dev.dma_write(addr + 20, b"from the device")
        dma_ops.dma_sync_single_for_cpu(dev, addr, 64, DMA_BIDIRECTIONAL)
        assert dev.machine.cpu_read(0x40000FF0, 35) == b"from the CPU        from the device"
        dev.machine.cpu_write(0x40000FF0, b"again")
        dma_ops.dma_sync_single_for_device(dev, addr, 64, DMA_BIDIRECTIONAL)
        assert dev.dma_read(addr, 12) == b"againthe CPU"
        dev.dma_write(addr + 63, b"!")
        dma_ops.dma_unmap_page(dev, addr, 64, DMA_BIDIRECTIONAL)
        assert dev.machine.cpu_read(0x40000FF0 + 63, 1) == b"!"
        assert dev.resources() == before

    @pytest.mark.parametrize("facts", MACHINES)
    def test_bytes_that_the_device_leaves_alone(self, facts):
        dev = make(2 * GIB, **facts)
        dev.machine.cpu_write(0x40000000, b"0123456789")
        addr = map_page(dev, 0x40000000, 10, DMA_FROM_DEVICE)
        dev.dma_write(addr + 4, b"xx")
        dma_ops.dma_unmap_page(dev, addr, 10, DMA_FROM_DEVICE)
        assert dev.machine.cpu_read(0x40000000, 10) == b"0123xx6789"

    def test_without_the_sync_the_device_reads_stale_bytes(self):
        dev = make(cached=True, coherent=False)
        addr = map_page(dev, 0x10000, 64, DMA_TO_DEVICE)
        dev.machine.cpu_write(0x10000, b"new")
        assert dev.dma_read(addr, 3) == bytes(3)
        dma_ops.dma_sync_single_for_device(dev, addr, 64, DMA_TO_DEVICE)
        assert dev.dma_read(addr, 3) == b"new"

    def test_without_the_sync_the_cpu_reads_stale_bytes(self):
        dev = make(cached=True, coherent=False)
        addr = map_page(dev, 0x10000, 64, DMA_FROM_DEVICE)
        assert dev.machine.cpu_read(0x10000, 3) == bytes(3)
        dev.dma_write(addr, b"new")
        assert dev.machine.cpu_read(0x10000, 3) == bytes(3)
        dma_ops.dma_sync_single_for_cpu(dev, addr, 64, DMA_FROM_DEVICE)
        assert dev.machine.cpu_read(0x10000, 3) == b"new"

    def test_skip_cpu_sync_leaves_the_cache_alone(self):
        dev = make(cached=True, coherent=False)
        dev.machine.cpu_write(0x10000, b"new")
        addr = map_page(dev, 0x10000, 64, DMA_TO_DEVICE, DMA_ATTR_SKIP_CPU_SYNC)
        assert dev.dma_read(addr, 3) == bytes(3)

    @pytest.mark.parametrize(("part", "expected"), [((0, 10), b"X" * 10 + b"." * 20), ((10, 10), b"." * 10 + b"X" * 10
                                                    + b"." * 10), ((29, 1), b"." * 29 + b"X")],
                             ids=["first", "middle", "last"])
    def test_partial_sync_of_a_bounced_mapping(self, part, expected):
        dev = make(pool=0x1000000, force=True)
        dev.machine.cpu_write(0x50000, b"." * 30)
        addr = map_page(dev, 0x50000, 30)
        dev.dma_write(addr, b"X" * 30)
        dma_ops.dma_sync_single_for_cpu(dev, addr + part[0], part[1], DMA_BIDIRECTIONAL)
        assert dev.machine.cpu_read(0x50000, 30) == expected

    @pytest.mark.parametrize(("kernel", "copied"), [(601, False), (612, True)])
    def test_partial_sync_at_the_start_of_a_further_slot(self, kernel, copied):
        """6.1 takes the first bytes of the second slot for an access before the mapping's start."""
        dev = make(pool=0x1000000, force=True, kernel=kernel)
        dma_ops.dma_set_min_align_mask(dev, 0xFFF)
        addr = map_page(dev, 0x50700, 3000)
        second = (addr + 2048) & ~2047
        dev.dma_write(second, b"new")
        dma_ops.dma_sync_single_for_cpu(dev, second, 3, DMA_FROM_DEVICE)
        assert dev.machine.cpu_read(0x50700 + second - addr, 3) == (b"new" if copied else bytes(3))
        assert any("Access before mapping start" in line for line in dev.machine.dmesg) != copied

    def test_an_address_outside_of_the_windows_faults(self):
        dev = make(ranges=WINDOWS)
        with pytest.raises(DmaFault, match="out-of-range"):
            dev.dma_read(0x1000, 1)

    def test_a_pool_that_the_device_cannot_reach(self):
        dev = make(pool=0x1000000, mask=0xFFFFFF)
        assert map_page(dev, 0x2000000, 16) == -errno.ENOMEM
        assert dev.machine.dmesg == ["WARNING: swiotlb_map: swiotlb addr overflow"]
        assert dev.io_tlb_mem.used == 0

    def test_need_sync(self):
        assert not dma_ops.dma_need_sync(make(), 0x1000)
        assert dma_ops.dma_need_sync(make(coherent=False), 0x1000)
        dev = make(pool=0x1000000)
        assert dma_ops.dma_need_sync(dev, 0x1000800)
        assert not dma_ops.dma_need_sync(dev, 0x2000000)

    @pytest.mark.parametrize(
        ("kernel", "size", "direction", "bounced"),
        [(612, 32, DMA_FROM_DEVICE, True), (612, 33, DMA_FROM_DEVICE, False), (612, 96, DMA_FROM_DEVICE, True),
         (612, 97, DMA_FROM_DEVICE, False), (612, 32, DMA_TO_DEVICE, False), (601, 32, DMA_FROM_DEVICE, False)],
    )
    def test_small_buffers_share_cache_lines(self, kernel, size, direction, bounced):
        dev = make(pool=0x1000000, arch="arm64", kernel=kernel, cached=True, coherent=False)
        map_page(dev, 0x50000, size, direction)
        assert (dev.io_tlb_mem.used != 0) == bounced


class TestCoherent:
    def test_zeroed_and_aligned_to_its_order(self):
        dev = make(512 << 20)
        cpu, addr = dma_ops.dma_alloc_attrs(dev, 5000)
        assert cpu == addr
        assert addr % 8192 == 0
        assert dev.dma_read(addr, 5000) == bytes(5000)
        dma_ops.dma_free_attrs(dev, 5000, cpu, addr)
        assert dev.machine.pages_allocated == 0

    @pytest.mark.parametrize(
        ("facts", "below"),
        [({}, 1 << 32), ({"mask": (1 << 31) - 1}, 1 << 24), ({"mask": 0xFFFFFF}, 1 << 24),
         ({"mask": (1 << 40) - 1}, 8 * GIB), ({"mask": (1 << 40) - 1, "limit": 0xFFFFFFFF}, 1 << 32)],
        ids=["32 bits: ZONE_DMA32", "31 bits: ZONE_DMA32 then ZONE_DMA", "24 bits: ZONE_DMA", "40 bits", "bus limit"],
    )
    def test_zones(self, facts, below):
        dev = make(memory=[(0, 3 * GIB), (4 * GIB, 8 * GIB)], **facts)
        _, addr = dma_ops.dma_alloc_attrs(dev, 4096)
        assert below // 2 <= addr < below

    def test_no_zone_is_low_enough(self):
        dev = make(8 * GIB)
        dev.coherent_dma_mask = 0xFFFF
        with pytest.raises(DmaError) as error:
            dma_ops.dma_alloc_attrs(dev, 4096)
        assert error.value.retryable
        assert dev.machine.pages_allocated == 0

    def test_windows_move_the_handle(self):
        dev = make(memory=[(0, GIB)], ranges=WINDOWS)
        cpu, addr = dma_ops.dma_alloc_attrs(dev, 4096)
        assert addr == 0x80000000 + cpu

    def test_memory_behind_a_window_beyond_the_mask(self):
        dev = make(memory=[(GIB, 2 * GIB)], ranges=WINDOWS)
        with pytest.raises(DmaError):
            dma_ops.dma_alloc_attrs(dev, 4096)
        assert dev.machine.pages_allocated == 0

    def test_no_sync_is_needed_on_a_machine_that_is_not_coherent(self):
        dev = make(512 << 20, cached=True, coherent=False)
        cpu, addr = dma_ops.dma_alloc_attrs(dev, 4096)
        dev.machine.cpu_write(cpu, b"descriptor")
        assert dev.dma_read(addr, 10) == b"descriptor"
        dev.dma_write(addr, b"done")
        assert dev.machine.cpu_read(cpu, 4) == b"done"
        dma_ops.dma_free_attrs(dev, 4096, cpu, addr)
        dev.machine.cpu_write(cpu, b"cached again")
        assert dev.machine.mem.peek(cpu, 4) == b"done"

    def test_old_cache_lines_do_not_come_back(self):
        dev = make(512 << 20, cached=True, coherent=False)
        page = dev.machine.alloc_ram(0)
        dev.machine.cpu_write(page, b"dirty")
        dev.machine.free_ram(page)
        cpu, addr = dma_ops.dma_alloc_attrs(dev, 4096)
        assert cpu == page
        assert dev.dma_read(addr, 5) == dev.machine.cpu_read(cpu, 5) == bytes(5)

    def test_pages_need_syncs(self):
        dev = make(512 << 20, cached=True, coherent=False)
        page, addr = dma_ops.dma_alloc_pages(dev, 4096, DMA_BIDIRECTIONAL)
        dev.machine.cpu_write(page, b"x")
        assert dev.dma_read(addr, 1) == b"\0"
        dma_ops.dma_free_pages(dev, 4096, page, addr, DMA_BIDIRECTIONAL)
        assert dev.machine.pages_allocated == 0

    def test_no_kernel_mapping_is_freed_by_its_cookie(self):
        dev = make(512 << 20)
        cookie, addr = dma_ops.dma_alloc_attrs(dev, 4096, DMA_ATTR_NO_KERNEL_MAPPING)
        dma_ops.dma_free_attrs(dev, 4096, cookie, addr ^ 0x1000, DMA_ATTR_NO_KERNEL_MAPPING)
        assert dev.machine.pages_allocated == 0

    def test_double_free_is_a_bug(self):
        dev = make(512 << 20)
        cpu, addr = dma_ops.dma_alloc_attrs(dev, 4096)
        dma_ops.dma_free_attrs(dev, 4096, cpu, addr)
        with pytest.raises(KernelBug, match="Bad page state"):
            dma_ops.dma_free_attrs(dev, 4096, cpu, addr)

    def test_fault_injection(self):
        dev = make(512 << 20)
        dev.machine.fail("pages")
        with pytest.raises(DmaError):
            dma_ops.dma_alloc_attrs(dev, 4096)
        assert dma_ops.dma_alloc_attrs(dev, 4096)

    def test_a_restricted_pool_gives_it_all(self):
        dev = make(512 << 20)
        dev.io_tlb_mem = pool = IoTlbMem(dev.machine, 0x1000000, 128, for_alloc=True)
        dev.machine.mem.poke(pool.start, b"old bytes")
        cpu, addr = dma_ops.dma_alloc_attrs(dev, 5000)
        assert pool.start <= addr < pool.end
        assert pool.used == 4
        assert dev.dma_read(addr, 9) == bytes(9)
        assert pool.start <= map_page(dev, 0x5000, 100) < pool.end
        dma_ops.dma_free_attrs(dev, 5000, cpu, addr)
        assert pool.used == 1
        with pytest.raises(DmaError):
            dma_ops.dma_alloc_attrs(dev, 262145)


class TestP2p:
    """A provider behind the same bridge as the client, so its memory is mapped by bus address."""

    BAR = 0xFC000000
    BUS = 0x80000000

    @pytest.fixture
    def dev(self):
        dev = make(2 * GIB, pci_p2pdma=True)
        bridge = PciTree(dev.machine).add_host().add("01.0", 0x1B36, 0xE, kind=PciType.PCI_BRIDGE)
        provider = bridge.add("00.0", 0x1AF4, 0x1110)
        provider.add_bar(2, self.BAR, 2 << 20, bus=self.BUS)
        p2pdma.pci_p2pdma_add_resource(provider, 2)
        dev.pci = bridge.add("01.0", 0x1234, 0x11E8)
        return dev

    def table(self):
        return SgTable([(self.BAR + 0x1000, 0, 4096), (0x50000, 0, 4096)])

    def test_bus_addresses_beside_ram(self, dev):
        table = self.table()
        dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert table.segments() == [(self.BUS + 0x1000, 4096, 1), (0x50000, 4096, 0)]
        dma_ops.dma_unmap_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert [row[5] for row in table.entries()] == [0, 0]

    def test_they_pass_every_limit(self, dev):
        dev.dma_mask = 0xFFFFFF
        dev.bus_dma_limit = 0xFFFF
        dev.segment_boundary_mask = 0xFF
        dev.io_tlb_mem = IoTlbMem(dev.machine, 0x1000000, 128, force_bounce=True)
        table = SgTable([(self.BAR, 0, 65536 * 2)])
        dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert table.segments() == [(self.BUS, 65536 * 2, 1)]

    def test_out_of_reach_leaves_the_entry_alone(self, dev):
        dev.pci = dev.pci.host.add("05.0", 0x1234, 0x11E8)
        table = SgTable([(0x50000, 0, 4096), (self.BAR, 0, 4096)])
        with pytest.raises(DmaError) as error:
            dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert error.value.errno == errno.EREMOTEIO
        assert [row[3:] for row in table.entries()] == [(0x50000, 4096, 0), (0, 0, 0)]

    def test_map_page_does_not_ask(self, dev):
        dev.pci = dev.pci.host.add("05.0", 0x1234, 0x11E8)
        assert map_page(dev, self.BAR, 4096) == self.BAR

    def test_what_would_bounce_is_refused(self, dev):
        dev.io_tlb_mem = IoTlbMem(dev.machine, 0x1000000, 128, force_bounce=True)
        assert map_page(dev, self.BAR, 4096) == -errno.ENOMEM
        assert dev.io_tlb_mem.used == 0

    def test_an_empty_unmap_leaves_the_mark(self, dev):
        """A kernel without swiotlb and cache maintenance. Mapping does not clear the mark either."""
        dev.direct = DmaDirect(unmap_sg_is_stub=True)
        table = self.table()
        dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
        dma_ops.dma_unmap_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert [row[5] for row in table.entries()] == [1, 0]
        dev.pci = dev.pci.host.add("05.0", 0x1234, 0x11E8)
        dev.pci.tree.cpu = ("AMD", 0x17)
        dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert table.segments()[0] == (self.BAR + 0x1000, 4096, 1)

    def test_a_stale_mark_leaks_the_slot_of_ram(self, dev):
        """Mapping does not clear a mark that an earlier mapping left, and unmapping skips what is marked."""
        dev.io_tlb_mem = IoTlbMem(dev.machine, 0x1000000, 128, force_bounce=True)
        table = SgTable([(0x50000, 0, 100)])
        for fields, leaked in ((0, 0), (1, 1)):
            for sg in table:
                sg.dma_flags = fields
            dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
            assert dev.io_tlb_mem.used == 1
            dma_ops.dma_unmap_sgtable(dev, table, DMA_BIDIRECTIONAL)
            assert dev.io_tlb_mem.used == leaked

    def test_a_list_that_would_bounce_is_eio(self, dev):
        """Not -EREMOTEIO: the route is there, only the buffer is not."""
        dev.pci = dev.pci.host.add("05.0", 0x1234, 0x11E8)
        dev.pci.tree.cpu = ("AMD", 0x17)
        dev.io_tlb_mem = IoTlbMem(dev.machine, 0x1000000, 128, force_bounce=True)
        with pytest.raises(DmaError) as error:
            dma_ops.dma_map_sgtable(dev, self.table(), DMA_BIDIRECTIONAL)
        assert (error.value.errno, dev.io_tlb_mem.used) == (errno.EIO, 0)

    def test_sync_takes_a_bus_address_for_a_dma_address(self, dev):
        """The peer's bus address 0x80001000 is also the number of slot 2 of the pool, which the sync overwrites."""
        dev.io_tlb_mem = pool = IoTlbMem(dev.machine, self.BUS, 512)
        victim = Device("victim", dev.machine)
        victim.io_tlb_mem = pool
        pool.map_single(victim, 0x70000, 4096, 4096, 0, DMA_FROM_DEVICE)
        slot = pool.map_single(victim, 0x72000, 4096, 4096, 0, DMA_FROM_DEVICE)
        assert slot == self.BUS + 0x1000
        victim.dma_write(slot, b"packet")
        table = self.table()
        dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        dma_ops.dma_sync_sgtable_for_device(dev, table, DMA_TO_DEVICE)
        assert victim.dma_read(slot, 6) == bytes(6)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 4095), st.binary(min_size=1, max_size=9000)), min_size=1, max_size=8
    ),
    st.sampled_from([0, 0xFFF]),
)
def test_bounced_and_direct_lists_agree(entries, min_align):
    """The bytes a device finds and leaves are the same whether a list is bounced or not."""
    seen = []
    for force in (False, True):
        dev = make(2 * GIB, pool=0x1000000, force=force)
        dev.min_align_mask = min_align
        table = SgTable([(0x10000000 + i * 0x10000 + page * 4096, offset, len(data))
                         for i, (page, offset, data) in enumerate(entries)])
        for (page, offset, length, *_), (*_, data) in zip(table.entries(), entries, strict=True):
            assert length == len(data)
            dev.machine.cpu_write(page + offset, data)
        dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert (dev.io_tlb_mem.used != 0) == force
        found = [dev.dma_read(addr, length) for addr, length, _ in table.segments()]
        for addr, length, _ in table.segments():
            dev.dma_write(addr + length // 2, b"#")
        dma_ops.dma_unmap_sgtable(dev, table, DMA_BIDIRECTIONAL)
        left = [dev.machine.cpu_read(page + offset, length) for page, offset, length, *_ in table.entries()]
        assert dev.io_tlb_mem.used == 0
        seen.append((found, left))
    assert seen[0] == seen[1]
    assert seen[0][0] == [data for *_, data in entries]
