# SPDX-License-Identifier: MIT
"""vio_dma_mapping_ops: entitlement, and what charging and refunding get wrong."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arch
import dma_ops
from arch.powerpc import IommuTable, VioCmo, VioDmaMappingOps
from dma_ops import DMA_BIDIRECTIONAL, DMA_TO_DEVICE, Device, DmaError, KernelBug, Machine
from scatterlist.core import SgTable

GB = 1 << 30
PAGE = 4096
BUFFER = 0x1000000
MIN = 1562624
ALL = (1 << 64) - 1


def make(entitled=10_000_000, desired=(2_000_000, 100_000), size=2 * GB, balanced=True):
    """The first of two devices, and the bus's accounts."""
    machine = Machine("test", arch="powerpc", big_endian=True, ram=((0, GB),))
    cmo = VioCmo(entitled, len(desired))
    devices = []
    for wish in desired:
        ops = VioDmaMappingOps(IommuTable(machine, size=size), cmo=cmo, desired=wish)
        devices.append(ops.attach(Device("vio", machine, pci=False, dma_parms=False, mask=ALL)))
    if balanced:
        cmo.balance()
    return devices[0], cmo


def map_page(dev, size, offset=0):
    return dma_ops.dma_map_page(dev, BUFFER, offset, size, DMA_TO_DEVICE)


def sg(*lengths, step=3 * PAGE):
    return SgTable([(BUFFER + i * step, 0, length) for i, length in enumerate(lengths)], page_shift=12)


class TestBus:
    def test_boot(self):
        _, cmo = make(balanced=False)
        assert (cmo.reserve_size, cmo.excess_size, cmo.spare, cmo.min) == (3 * MIN, 5312128, MIN, 3 * MIN)

    def test_too_little_panics(self):
        with pytest.raises(KernelBug, match="Insufficient system entitlement"):
            VioCmo(3 * MIN - 1, 2)

    @pytest.mark.parametrize(
        ("wish", "desired"),
        [
            pytest.param(0, MIN, id="at least the minimum"),
            pytest.param(2_000_000, 2_002_944, id="rounded to I/O pages"),
            pytest.param(100_000, MIN, id="the minimum itself is no multiple"),
        ],
    )
    def test_probe(self, wish, desired):
        dev, _ = make(desired=(wish, 0))
        assert dev.dma_ops.desired == dev.dma_ops.entitled == desired

    def test_driver_without_a_wish_is_refused(self):
        dev, cmo = make()
        with pytest.raises(DmaError) as error:
            VioDmaMappingOps(dev.dma_ops.tbl, cmo=cmo, desired=None)
        assert error.value.errno == errno.EINVAL

    def test_before_the_balance_all_comes_from_the_excess(self):
        dev, cmo = make(balanced=False)
        dev.dma_ops.set_desired(2_000_896)
        addr = map_page(dev, 8192)
        assert (cmo.excess_free, cmo.curr) == (5303936, 8192)
        dma_ops.dma_unmap_page(dev, addr, 8192, DMA_TO_DEVICE)
        assert (cmo.excess_free, cmo.excess_size, cmo.reserve_size) == (5303936, 5303936, 4696064)
        assert cmo.balance_queued

    def test_after_the_balance(self):
        dev, cmo = make(balanced=False)
        dev.dma_ops.set_desired(2_000_896)
        cmo.balance()
        assert (cmo.reserve_size, cmo.excess_size, cmo.excess_free) == (5126144, 4873856, 4873856)
        assert dev.dma_ops.entitled == 2_000_896
        map_page(dev, 2_002_944)
        assert cmo.excess_free == 4871808

    def test_growth_tops_up_the_spare_and_forgets_it(self):
        _, cmo = make()
        cmo.spare = 1_000_000
        cmo.entitlement_update(11_000_000)
        assert (cmo.spare, cmo.entitled) == (MIN, 10_437_376)

    @pytest.mark.parametrize(
        ("entitlement", "device"),
        [
            pytest.param(9_000_000, 2_002_944, id="from the excess"),
            pytest.param(5_000_000, 1_874_752, id="from a device"),
        ],
    )
    def test_shrinking(self, entitlement, device):
        dev, cmo = make()
        reserve = cmo.reserve_size
        cmo.entitlement_update(entitlement)
        assert (cmo.entitled, dev.dma_ops.entitled, cmo.reserve_size) == (entitlement, device, reserve)

    def test_shrinking_below_what_is_needed(self):
        _, cmo = make()
        with pytest.raises(DmaError) as error:
            cmo.entitlement_update(3 * MIN - 1)
        assert error.value.errno == errno.ENOMEM

    def test_remove(self):
        dev, cmo = make()
        addr = map_page(dev, PAGE)
        with pytest.raises(KernelBug):
            dev.dma_ops.remove()
        dma_ops.dma_unmap_page(dev, addr, PAGE, DMA_TO_DEVICE)
        dev.dma_ops.remove()
        assert (dev.dma_ops.entitled, cmo.reserve_size, cmo.excess_size) == (MIN, 3 * MIN, 5312128)


class TestCharges:
    def test_offset_is_not_counted(self):
        dev, _ = make()
        map_page(dev, 0x20, 0xff0)
        assert dev.dma_ops.resources() == {"allocated": PAGE, "entries": 3}

    def test_merging_is_refunded(self):
        dev, _ = make()
        table = SgTable([(BUFFER, 0x800, 0x800), (0x2000000, 0, 0x800)], page_shift=12)
        dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        assert (table.segments(), dev.dma_ops.allocated) == ([(0x1800, 0x1000, 0)], PAGE)

    def test_stale_slots_are_credited(self):
        dev, cmo = make()
        table = sg(PAGE, PAGE, PAGE)
        table.set_dma(2, 0, 0x77)
        dma_ops.dma_map_sgtable(dev, table, DMA_TO_DEVICE)
        assert dev.dma_ops.allocated == 3 * PAGE
        dma_ops.dma_unmap_sgtable(dev, table, DMA_TO_DEVICE)
        assert (dev.dma_ops.allocated, cmo.curr) == (2**64 - PAGE, 2**64 - PAGE)

    @pytest.mark.parametrize(
        ("call", "code", "counted"),
        [
            pytest.param(lambda dev: map_page(dev, PAGE), errno.ENOMEM, 1, id="page"),
            pytest.param(lambda dev: dma_ops.dma_map_sgtable(dev, sg(PAGE), 1), errno.EIO, 0, id="list"),
            pytest.param(lambda dev: dma_ops.dma_alloc_attrs(dev, PAGE), errno.ENOMEM, 1, id="coherent"),
        ],
    )
    def test_full_table(self, call, code, counted):
        dev, _ = make(size=64 * PAGE)
        for _ in range(61):
            map_page(dev, PAGE)
        with pytest.raises(DmaError) as error:
            call(dev)
        assert (error.value.errno, dev.dma_ops.allocs_failed) == (code, counted)
        assert dev.dma_ops.allocated == 61 * PAGE

    @pytest.mark.parametrize(
        ("call", "code"),
        [
            pytest.param(lambda dev: map_page(dev, 8 << 20), errno.ENOMEM, id="page"),
            pytest.param(lambda dev: dma_ops.dma_map_sgtable(dev, sg(8 << 20), 1), errno.ENOMEM, id="list"),
            pytest.param(lambda dev: dma_ops.dma_alloc_attrs(dev, 8 << 20), errno.ENOMEM, id="coherent"),
        ],
    )
    def test_no_entitlement(self, call, code):
        dev, _ = make()
        with pytest.raises(DmaError) as error:
            call(dev)
        assert (error.value.errno, dev.dma_ops.allocs_failed) == (code, 1)
        assert dev.dma_ops.resources() == {"allocated": 0, "entries": 1}

    def test_excess_is_closed_while_the_spare_is_short(self):
        dev, cmo = make()
        cmo.spare = MIN - 1
        map_page(dev, 2_002_944)
        with pytest.raises(DmaError):
            map_page(dev, 1)

    def test_no_table_is_a_null_dereference(self):
        _, cmo = make()
        machine = Machine("test", arch="powerpc")
        dev = VioDmaMappingOps(None, cmo=cmo).attach(Device("vio", machine, pci=False, mask=ALL))
        with pytest.raises(KernelBug, match="NULL"):
            map_page(dev, PAGE)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 4095), st.integers(1, 20000)), min_size=1, max_size=8))
def test_accounts_come_back_to_nothing(rows):
    dev, cmo = make()
    dev.machine.cpu_write(0, bytes(range(256)) * 9000)
    table = SgTable([(page << 12, offset, length) for page, offset, length in rows], page_shift=12)
    meant = b"".join(dev.machine.cpu_read((page << 12) + offset, length) for page, offset, length in rows)
    before = dev.dma_ops.resources()
    dma_ops.dma_map_sgtable(dev, table, DMA_BIDIRECTIONAL)
    assert b"".join(dev.dma_read(address, length) for address, length, _ in table.segments()) == meant
    dma_ops.dma_unmap_sgtable(dev, table, DMA_BIDIRECTIONAL)
    assert (dev.dma_ops.resources(), cmo.curr) == (before, 0)


@pytest.mark.parametrize(
    "config", [pytest.param(c, id=c.name) for c in arch.backends()["vio_dma_mapping_ops"].machines]
)
def test_every_machine_moves_bytes(config):
    dev = config.build()
    cpu, addr = dma_ops.dma_alloc_attrs(dev, 5000)
    dev.dma_write(addr + 4990, b"powerpc")
    assert dev.machine.cpu_read(cpu + 4990, 7) == b"powerpc"
    dma_ops.dma_free_attrs(dev, 5000, cpu, addr)
    assert dev.dma_ops.resources() == {"allocated": 0, "entries": 1}
