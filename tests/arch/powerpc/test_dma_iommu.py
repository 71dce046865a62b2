# SPDX-License-Identifier: MIT
"""dma_iommu_ops: masks, direct windows, and what crosses between window and table."""

import pytest

import arch
import dma_ops
from arch.powerpc import DirectWindow, DmaIommuOps, IommuTable
from dma_ops import DMA_BIDIRECTIONAL, Device, DmaError, DmaFault, Machine
from scatterlist.core import SgTable

GB = 1 << 30
PAGE = 0x10000
BUFFER = 0x1000000
DDW = 1 << 59
ALL = (1 << 64) - 1


def make(direct=None, *, ram=((0, GB),), pci=True, **table):
    machine = Machine("test", arch="powerpc", page_shift=16, ram=ram)
    facts = {"size": GB, **table}
    return DmaIommuOps(IommuTable(machine, **facts), direct).attach(Device("dev", machine, pci=pci, dma_parms=pci))


def bits(n):
    return (1 << n) - 1


def accepts(dev, mask):
    try:
        dma_ops.dma_set_mask_and_coherent(dev, mask)
    except DmaError:
        return False
    return True


class TestMasks:
    @pytest.mark.parametrize(
        ("window", "mask", "offset"),
        [
            pytest.param(DirectWindow("ddw", DDW), bits(63), None, id="ddw: 63 bits"),
            pytest.param(DirectWindow("ddw", DDW), ALL, DDW, id="ddw: 64 bits"),
            pytest.param(DirectWindow("ioda", DDW), bits(59), None, id="ioda: 59 bits"),
            pytest.param(DirectWindow("ioda", DDW), DDW + GB - 2, None, id="ioda: a byte short"),
            pytest.param(DirectWindow("ioda", DDW), DDW + GB - 1, DDW, id="ioda: base + RAM"),
            pytest.param(DirectWindow("phb3", DDW), 5 * GB, None, id="phb3: a byte short"),
            pytest.param(DirectWindow("phb3", DDW), 5 * GB + 1, 4 * GB, id="phb3: 4 GiB + RAM"),
            pytest.param(DirectWindow("phb3", DDW), ALL, DDW, id="phb3: 64 bits"),
            pytest.param(DirectWindow("dart", 1 << 39), bits(39), None, id="dart: 39 bits"),
            pytest.param(DirectWindow("dart", 1 << 39), bits(40), 1 << 39, id="dart: 40 bits"),
            pytest.param(DirectWindow("cell", 2 * GB), bits(63), None, id="cell: 63 bits"),
            pytest.param(DirectWindow("cell", 2 * GB), ALL, 2 * GB, id="cell: 64 bits"),
            pytest.param(None, ALL, None, id="no window"),
        ],
    )
    def test_who_goes_direct(self, window, mask, offset):
        dev = make(window)
        assert accepts(dev, mask)
        assert dev.dma_ops_bypass == (offset is not None)
        if offset is not None:
            assert dev.dma_offset == offset
            dev.machine.cpu_write(BUFFER, b"direct")
            assert dev.dma_read(BUFFER + offset, 6) == b"direct"

    def test_any_mask_will_do_unless_the_window_is_above_it(self):
        assert accepts(make(), 0xffff)
        dev = make()
        assert accepts(dev, 1)
        high = DmaIommuOps(IommuTable(dev.machine, window=4 * GB, size=GB)).attach(Device("dev", dev.machine))
        assert not accepts(high, bits(32))
        assert accepts(high, bits(33))

    @pytest.mark.parametrize(
        ("table", "expected"),
        [
            pytest.param({"size": 2 * GB}, bits(32), id="2 GiB at 0"),
            pytest.param({"size": 1 << 28}, bits(29), id="256 MiB at 0"),
            pytest.param({"size": GB, "window": GB, "page_shift": 16}, bits(32), id="1 GiB at 1 GiB"),
        ],
    )
    def test_required_mask_of_a_vio_device(self, table, expected):
        assert dma_ops.dma_get_required_mask(make(pci=False, **table)) == expected

    def test_no_table_no_window(self):
        with pytest.raises(ValueError, match="needs a table"):
            DmaIommuOps(None, DirectWindow("ddw", DDW))

    def test_no_table(self):
        dev = make()
        dev.dma_ops = DmaIommuOps(None)
        assert not accepts(dev, bits(32))
        with pytest.raises(DmaError):
            dma_ops.dma_map_page(dev, BUFFER, 0, 16, DMA_BIDIRECTIONAL)
        with pytest.raises(DmaError):
            dma_ops.dma_alloc_attrs(dev, 16)


class TestPmem:
    """A window that ends below persistent memory: what lies under bus_dma_limit goes direct, one call at a time."""

    def make(self):
        dev = make(DirectWindow("ddw", DDW, pmem=True, memory_max=GB), ram=((0, GB), (4 * GB, 5 * GB)))
        assert accepts(dev, ALL)
        return dev

    @pytest.mark.parametrize(
        ("phys", "addr"),
        [
            pytest.param(BUFFER, DDW + BUFFER, id="RAM"),
            pytest.param(4 * GB, 0x30000000, id="persistent memory"),
            pytest.param(GB - PAGE, DDW + GB - PAGE, id="the last page of the window"),
        ],
    )
    def test_page(self, phys, addr):
        dev = self.make()
        assert dma_ops.dma_map_page(dev, phys, 0, PAGE, DMA_BIDIRECTIONAL) == addr
        dma_ops.dma_unmap_page(dev, addr, PAGE, DMA_BIDIRECTIONAL)
        assert dev.dma_ops.resources() == {"entries": 1}

    @pytest.mark.parametrize(
        ("rows", "direct"),
        [
            pytest.param([(BUFFER, 0, PAGE)], True, id="RAM"),
            pytest.param([(BUFFER, 0, PAGE), (4 * GB, 0, PAGE)], False, id="one entry above sends all to the table"),
            pytest.param([(GB - PAGE, PAGE - 16, 16)], False, id="the offset counts twice"),
            pytest.param([(GB - PAGE, 0, PAGE)], True, id="no offset"),
        ],
    )
    def test_list(self, rows, direct):
        dev = self.make()
        table = SgTable(rows, page_shift=16)
        dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert all((row[3] >= DDW) == direct for row in table.entries()[:table.nents])
        dma_ops.dma_unmap_sgtable(dev, table, DMA_BIDIRECTIONAL)
        assert dev.dma_ops.resources() == {"entries": 1}


class TestBypass:
    def test_mask_is_lowered_over_a_live_mapping(self):
        dev = make(DirectWindow("ddw", DDW))
        assert accepts(dev, ALL)
        addr = dma_ops.dma_map_page(dev, BUFFER, 0, 16, DMA_BIDIRECTIONAL)
        assert addr == DDW + BUFFER
        assert accepts(dev, bits(32))
        dma_ops.dma_unmap_page(dev, addr, 16, DMA_BIDIRECTIONAL)
        assert dev.machine.dmesg == ["WARNING: iommu_free: invalid entry"]
        assert dma_ops.dma_get_required_mask(dev) == bits(60)

    def test_mask_is_raised_over_a_live_mapping(self):
        dev = make(DirectWindow("ddw", DDW))
        addr = dma_ops.dma_map_page(dev, BUFFER, 0, 16, DMA_BIDIRECTIONAL)
        assert accepts(dev, ALL)
        dma_ops.dma_unmap_page(dev, addr, 16, DMA_BIDIRECTIONAL)
        assert dev.dma_ops.resources() == {"entries": 2}

    def test_asking_for_the_required_mask_closes_the_window(self):
        dev = make(DirectWindow("ddw", DDW))
        dma_ops.dma_set_mask(dev, ALL)
        dev.coherent_dma_mask = bits(32)
        assert dev.dma_ops_bypass
        assert dma_ops.dma_get_required_mask(dev) == bits(60)
        assert not dev.dma_ops_bypass

    def test_p2p_policy_looks_past_the_bypass(self):
        dev = make(DirectWindow("ioda", DDW))
        assert accepts(dev, ALL)
        assert not dma_ops.dma_pci_p2pdma_supported(dev)


class TestDynamicWindow:
    def test_entries_map_ram_only(self):
        dev = make(DirectWindow("ddw", DDW, page_shift=24), ram=((0, GB // 2), (GB, GB + GB // 2)))
        with pytest.raises(DmaFault) as fault:
            dev.dma_read(DDW, 1)
        assert fault.value.reason == "out-of-range"
        assert accepts(dev, ALL)
        dev.dma_write(DDW + GB, b"up")
        assert dev.machine.cpu_read(GB, 2) == b"up"
        with pytest.raises(DmaFault) as fault:
            dev.dma_read(DDW + 3 * GB // 4, 1)
        assert fault.value.reason == "not-present"

    def test_pmem_limits_it(self):
        dev = make(DirectWindow("ddw", DDW, pmem=True, memory_max=GB), ram=((0, GB), (4 * GB, 5 * GB)))
        assert accepts(dev, ALL)
        assert (dev.dma_ops_bypass, dev.bus_dma_limit) == (False, DDW + GB)

    def test_too_small_a_window_replaces_the_table(self):
        machine = Machine("test", arch="powerpc", page_shift=16, ram=((0, GB),))
        large = IommuTable(machine, window=DDW, size=GB, page_shift=16)
        dev = DmaIommuOps(IommuTable(machine, size=GB), DirectWindow("ddw", DDW, instead=large)).attach(
            Device("dev", machine))
        old = dma_ops.dma_map_page(dev, BUFFER, 0, 16, DMA_BIDIRECTIONAL)
        assert accepts(dev, ALL)
        assert dma_ops.dma_map_page(dev, BUFFER, 0, 16, DMA_BIDIRECTIONAL) == DDW
        dma_ops.dma_unmap_page(dev, old, 16, DMA_BIDIRECTIONAL)
        assert machine.dmesg == ["WARNING: iommu_free: invalid entry"]
        assert not accepts(dev, bits(32))

    def test_phb3_loses_its_table(self):
        dev = make(DirectWindow("phb3", DDW))
        addr = dma_ops.dma_map_page(dev, BUFFER, 0, 16, DMA_BIDIRECTIONAL)
        dev.dma_read(addr, 16)
        assert accepts(dev, bits(40))
        with pytest.raises(DmaFault):
            dev.dma_read(addr, 16)


RECORD = arch.backends()["dma_iommu_ops"]


@pytest.mark.parametrize("config", [pytest.param(c, id=c.name) for c in RECORD.machines])
def test_every_machine_of_the_record_moves_bytes(config):
    dev = config.build()
    before = dev.dma_ops.resources()
    if dev.dma_ops_bypass or dev.bus_dma_limit:
        dev.machine.cpu_write(BUFFER, b"powerpc")
        assert dev.dma_read(BUFFER + dev.dma_offset, 7) == b"powerpc"
        return
    addr = dma_ops.dma_map_page(dev, BUFFER, 0x123, 0x2345, DMA_BIDIRECTIONAL)
    dev.dma_write(addr, b"powerpc")
    assert dev.machine.cpu_read(BUFFER + 0x123, 7) == b"powerpc"
    dma_ops.dma_unmap_page(dev, addr, 0x2345, DMA_BIDIRECTIONAL)
    assert dev.dma_ops.resources() == before
