# SPDX-License-Identifier: MIT
"""dma_iova_*: one range in two steps, on iommu-dma; False everywhere else."""

import errno

import pytest

import arch
import dma_ops
from arch.generic.dma_iommu import IommuDmaOps
from dma_ops import (
    Device,
    DmaError,
    DmaFault,
    DmaIovaState,
    KernelBug,
    Machine,
)
from dma_ops.iommu_flat import FlatDomain
from dma_ops.pgtable_vtd import VtdDomain
from dma_ops.swiotlb import IoTlbMem

BIDI, TO, FROM = range(3)
MMIO = dma_ops.DMA_ATTR_MMIO
REQUIRE_COHERENT = dma_ops.DMA_ATTR_REQUIRE_COHERENT
RAM, POOL = 0x10000000, 0x78000000
ALL = (1 << 64) - 1


def make(granule=4096, *, page_shift=None, coherent=True, untrusted=False, min_align=0, mask=ALL, **facts):
    shift = granule.bit_length() - 1 if page_shift is None else page_shift
    machine = Machine("m", kernel=700, page_shift=shift, ram=((0, 0x80000000),))
    dev = Device("d", machine, coherent=coherent)
    dev.io_tlb_mem = IoTlbMem(machine, POOL, 2048)
    dev.untrusted = untrusted
    dma_ops.dma_set_min_align_mask(dev, min_align)
    IommuDmaOps(FlatDomain(machine, granule), dev, **facts)
    dma_ops.dma_set_mask_and_coherent(dev, mask)
    machine.events = []
    return dev


def alloc(dev, phys, size):
    state = DmaIovaState()
    assert dma_ops.dma_iova_try_alloc(dev, state, phys, size)
    return state


def error_of(call, *args):
    """The errno's name, or None."""
    try:
        call(*args)
    except DmaError as error:
        return errno.errorcode[error.errno].replace("ENOTSUP", "EOPNOTSUPP")
    return None


def kinds(dev):
    return [event[0] for event in dev.machine.events]


def live(dev):
    return dev.dma_ops.resources()["iova"]


# -- the range -------------------------------------------------------------------------------------------------

def test_state_is_16_bytes_with_bit_63_for_bouncing():
    dev = make(untrusted=True, min_align=4095)
    state = alloc(dev, RAM + 8, 100)
    assert bytes(state) == (0xFFFFF008).to_bytes(8, "little") + (100).to_bytes(8, "little")
    dma_ops.dma_iova_link(dev, state, RAM + 8, 0, 100, TO)
    assert bytes(state)[8:] == (1 << 63 | 100).to_bytes(8, "little")
    assert dma_ops.dma_iova_size(state) == 100 and state.swiotlb


@pytest.mark.parametrize(("phys", "size", "granules", "offset"), [
    pytest.param(0, 4096, 1, 0, id="aligned"),
    pytest.param(1, 1, 1, 1, id="one-byte"),
    pytest.param(0xFFF, 2, 2, 0xFFF, id="over-a-granule's-end"),
    pytest.param(0x200, 57360, 15, 0x200, id="offset-adds-a-granule"),
    pytest.param(RAM + 0x800, 16384, 5, 0x800, id="only-the-offset-counts"),
])
def test_try_alloc(phys, size, granules, offset):
    dev = make()
    state = alloc(dev, phys, size)
    assert state.addr & 4095 == offset and state.size == size
    assert live(dev) >= granules > live(dev) // 2        # the magazines round up to a power of two
    assert dev.machine.events == []
    dma_ops.dma_iova_free(dev, state)
    assert live(dev) == 0


@pytest.mark.parametrize(("size", "line"), [
    pytest.param(0, "WARNING: dma_iova_try_alloc: !size", id="nothing"),
    pytest.param(1 << 63, "WARNING: dma_iova_try_alloc: size & DMA_IOVA_USE_SWIOTLB", id="bit-63"),
])
def test_sizes_that_are_warned_of_once(size, line):
    dev = make()
    state = alloc(dev, 0, 4096)
    for _ in range(2):
        assert not dma_ops.dma_iova_try_alloc(dev, state, 0, size)
        assert bytes(state) == bytes(16)
    assert dev.machine.dmesg == [line]


def test_the_largest_size_is_taken():
    assert alloc(make(), 0, (1 << 63) - 1).addr == 1 << 63


def test_no_space():
    dev = make(mask=0xFFFFFF)
    assert not dma_ops.dma_iova_try_alloc(dev, DmaIovaState(), 0, 1 << 25)
    dev.machine.fail("iova", 1)
    assert not dma_ops.dma_iova_try_alloc(dev, DmaIovaState(), 0, 4096)


def test_a_granule_above_the_page_is_bug():
    with pytest.raises(KernelBug):
        make(65536, page_shift=12)


# -- linking ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("try_phys", "phys", "offset", "size", "expected"), [
    pytest.param(0, RAM, 0, 4096, None, id="first"),
    pytest.param(0, RAM, 4096, 100, None, id="last-may-be-short"),
    pytest.param(RAM + 512, RAM + 512, 0, 100, None, id="offset-of-try-alloc"),
    pytest.param(0, RAM + 512, 4096, 100, "EIO", id="offset-in-a-later-granule"),
    pytest.param(0, RAM + 512, 0, 100, "EINVAL", id="offset-that-try-alloc-was-not-told"),
    pytest.param(0, RAM, 512, 100, "EINVAL", id="offset-in-the-range-only"),
    pytest.param(0, RAM, 0, 0, None, id="nothing"),
])
def test_link(try_phys, phys, offset, size, expected):
    dev = make()
    state = alloc(dev, try_phys, 16384)
    assert error_of(dma_ops.dma_iova_link, dev, state, phys, offset, size, TO) == expected
    assert kinds(dev) == (["map"] if expected is None and size else [])
    assert bool(dev.machine.dmesg) == (expected == "EIO")


@pytest.mark.parametrize(("facts", "attrs", "expected"), [
    pytest.param({"untrusted": True}, MMIO, "EPERM", id="mmio-may-not-bounce"),
    pytest.param({"untrusted": True}, REQUIRE_COHERENT, "EPERM", id="coherent-may-not-bounce"),
    pytest.param({"coherent": False}, REQUIRE_COHERENT, "EOPNOTSUPP", id="not-coherent"),
    pytest.param({"coherent": False, "untrusted": True}, REQUIRE_COHERENT, "EOPNOTSUPP", id="not-coherent-first"),
])
def test_link_refuses(facts, attrs, expected):
    dev = make(min_align=4095, **facts)
    state = alloc(dev, RAM + 256, 512)
    assert error_of(dma_ops.dma_iova_link, dev, state, RAM + 256, 0, 512, FROM, attrs) == expected
    assert dev.machine.events == [] and dev.machine.dmesg == [] and dev.io_tlb_mem.used == 0


def test_what_bounced_cannot_become_coherent():
    dev = make(untrusted=True, min_align=4095)
    state = alloc(dev, RAM + 8, 16)
    dma_ops.dma_iova_link(dev, state, RAM + 8, 0, 16, BIDI)
    for _ in range(2):
        assert error_of(dma_ops.dma_iova_link, dev, state, RAM + 8, 0, 16, BIDI, REQUIRE_COHERENT) == "EOPNOTSUPP"
    assert len(dev.machine.dmesg) == 1


def test_sync_needs_no_link():
    dev = make()
    state = alloc(dev, 0, 8192)
    dma_ops.dma_iova_sync(dev, state, 0, 8192)
    dma_ops.dma_iova_sync(dev, state, 4096, 0)
    assert dev.machine.events == [("sync_map", 0xFFFFE000, 8192, 0), ("sync_map", 0xFFFFF000, 0, 0)]


def test_a_failing_sync_leaves_the_links():
    dev = make()
    state = alloc(dev, 0, 4096)
    dma_ops.dma_iova_link(dev, state, RAM, 0, 4096, TO)
    dev.dma_ops.domain.fail_sync = 1
    assert error_of(dma_ops.dma_iova_sync, dev, state, 0, 4096) == "EIO"
    assert dev.dma_read(state.addr, 1) == b"\0"


def test_freeing_what_is_linked_leaves_it_to_the_next_owner():
    dev = make()
    state = alloc(dev, 0, 4096)
    dma_ops.dma_iova_link(dev, state, RAM, 0, 4096, TO)
    dma_ops.dma_iova_free(dev, state)
    other = alloc(dev, 0, 4096)
    assert other.addr == state.addr
    assert error_of(dma_ops.dma_iova_link, dev, other, RAM + 4096, 0, 4096, TO) == "EEXIST"


def test_a_second_free_gives_the_address_out_twice():
    dev = make()
    state = alloc(dev, 0, 4096)
    dma_ops.dma_iova_free(dev, state)
    dma_ops.dma_iova_free(dev, state)
    assert alloc(dev, 0, 4096).addr == alloc(dev, 0, 4096).addr


# -- bouncing --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("granule", "min_align", "offset", "size", "expected", "slots"), [
    pytest.param(4096, 4095, 3584, 8804, None, 4, id="head-middle-tail"),
    pytest.param(4096, 0, 3584, 8804, "EINVAL", 0, id="head-without-min-align"),
    pytest.param(4096, 0, 8, 16, "EINVAL", 0, id="inside-a-granule-without-min-align"),
    pytest.param(4096, 0, 0, 8292, None, 2, id="tail-only-without-min-align"),
    pytest.param(65536, 65535, 57344, 75328, None, 64, id="64k"),
    pytest.param(65536, 4095, 57344, 75328, "EINVAL", 0, id="64k-with-min-align-of-4k-and-offset-above"),
    pytest.param(65536, 4095, 100, 50, None, 32, id="64k-with-min-align-of-4k-and-offset-below"),
])
def test_bounced_links(granule, min_align, offset, size, expected, slots):
    dev = make(granule, untrusted=True, min_align=min_align)
    state = alloc(dev, RAM + offset, size)
    assert error_of(dma_ops.dma_iova_link, dev, state, RAM + offset, 0, size, TO) == expected
    assert state.swiotlb == (expected is None)
    assert dev.io_tlb_mem.used == slots
    dma_ops.dma_iova_destroy(dev, state, size if expected is None else 0, TO)
    assert dev.io_tlb_mem.used == 0 and live(dev) == 0


def test_only_head_and_tail_are_copied_and_the_device_sees_nothing_else():
    dev = make(untrusted=True, min_align=4095)
    memory = dev.machine.mem
    memory.poke(RAM, b"\x11" * 16384)
    memory.poke(RAM + 3584, b"\xaa" * 512 + b"\xbb" * 8192 + b"\xcc" * 100)
    state = alloc(dev, RAM + 3584, 8804)
    dma_ops.dma_iova_link(dev, state, RAM + 3584, 0, 8804, BIDI)
    base = state.addr - 3584
    assert dev.dma_read(base, 16384) == bytes(3584) + memory.peek(RAM + 3584, 8804) + bytes(3996)
    dev.dma_write(base + 3580, b"\x77" * 8)
    dma_ops.dma_iova_destroy(dev, state, 8804, BIDI)
    assert memory.peek(RAM + 3580, 8) == b"\x11" * 4 + b"\x77" * 4


@pytest.mark.parametrize("nth", [1, 2, 3], ids=["head", "middle", "tail"])
def test_a_bounced_link_that_fails_unwinds_itself_only(nth):
    """V1 unlinked [0, mapped): an earlier link instead of its own."""
    dev = make(untrusted=True, min_align=4095)
    state = alloc(dev, RAM + 3584, 8804)
    dev.dma_ops.domain.fail_map = nth
    assert error_of(dma_ops.dma_iova_link, dev, state, RAM + 3584, 0, 8804, TO) == "ENOMEM"
    assert dev.dma_ops.table() == {} and dev.io_tlb_mem.used == 0 and dev.machine.dmesg == []


def test_the_unwinding_spares_earlier_links():
    dev = make(untrusted=True, min_align=4095)
    state = alloc(dev, 0, 16484)
    dma_ops.dma_iova_link(dev, state, RAM, 0, 8192, TO)
    dev.dma_ops.domain.fail_map = 2
    assert error_of(dma_ops.dma_iova_link, dev, state, RAM + 32768, 8192, 8292, TO) == "ENOMEM"
    assert sorted(phys for phys, _ in dev.dma_ops.table().values()) == [RAM, RAM + 4096]


def test_a_full_pool():
    dev = make(untrusted=True, min_align=4095)
    dev.machine.fail("swiotlb", 1)
    state = alloc(dev, RAM + 8, 16)
    assert error_of(dma_ops.dma_iova_link, dev, state, RAM + 8, 0, 16, TO) == "ENOMEM"
    assert not state.swiotlb


def test_unlinking_a_hole_loses_the_slots_behind_it():
    dev = make(untrusted=True, min_align=4095)
    state = alloc(dev, 0, 12388)
    dma_ops.dma_iova_link(dev, state, RAM, 8192, 4196, TO)
    dma_ops.dma_iova_unlink(dev, state, 0, 12388, TO)
    assert dev.io_tlb_mem.used == 2
    assert dev.machine.dmesg == ["WARNING: iommu_dma_iova_unlink_range_slow: !phys",
                                 "WARNING: dma_iova_unlink: unmapped != size"]


# -- caches and queues -----------------------------------------------------------------------------------------

def test_caches_whole_granules_out_and_exact_bytes_back():
    dev = make(coherent=False)
    state = alloc(dev, RAM + 512, 8192)
    dma_ops.dma_iova_link(dev, state, RAM + 512, 0, 8192, FROM)
    dma_ops.dma_iova_destroy(dev, state, 8192, FROM)
    assert [event for event in dev.machine.events if event[0].startswith("sync_")] == [
        ("sync_dev", RAM, 12288, FROM),
        ("sync_cpu", RAM + 512, 3584, FROM),
        ("sync_cpu", RAM + 4096, 4096, FROM),
        ("sync_cpu", RAM + 8192, 512, FROM),
    ]


def test_mmio_has_no_cache_lines():
    dev = make(coherent=False)
    state = alloc(dev, 0, 4096)
    dma_ops.dma_iova_link(dev, state, 0xE0000000, 0, 4096, TO, MMIO)
    dma_ops.dma_iova_destroy(dev, state, 4096, TO, MMIO)
    assert kinds(dev) == ["map", "unmap", "iotlb_sync"]


def test_destroy_is_never_queued_and_frees_the_whole_range():
    """V1 put it into the flush queue, and gave back no more than mapped_len."""
    dev = make(lazy=True)
    state = alloc(dev, 0, 65536)
    dma_ops.dma_iova_link(dev, state, RAM, 0, 4096, TO)
    dma_ops.dma_iova_destroy(dev, state, 4096, TO)
    assert kinds(dev) == ["map", "unmap", "iotlb_sync"]
    assert dev.dma_ops.cookie.queue.waiting == 0 and live(dev) == 0
    addr = dma_ops.dma_map_phys(dev, RAM, 4096, TO)
    dma_ops.dma_unmap_phys(dev, addr, 4096, TO)
    assert dev.dma_ops.cookie.queue.waiting == 1         # where a mapping of its own waits


# -- the device's side -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("lazy", [False, True], ids=["strict", "lazy"])
@pytest.mark.parametrize("kernel", [601, 700])
def test_bytes_through_vtd(kernel, lazy):
    machine = Machine("m", kernel=kernel, ram=((0, 1 << 30),))
    dev = Device("d", machine)
    IommuDmaOps(VtdDomain(machine, 39), dev, lazy=lazy)
    pages = [0x200000, 0x305000, 0x101000]
    for i, page in enumerate(pages):
        machine.mem.poke(page, bytes([i + 1]) * 4096)
    state = alloc(dev, 0, 3 * 4096)
    for i, page in enumerate(pages):
        dma_ops.dma_iova_link(dev, state, page, i * 4096, 4096, TO)
    dma_ops.dma_iova_sync(dev, state, 0, 3 * 4096)
    assert dev.dma_read(state.addr, 3 * 4096) == b"\1" * 4096 + b"\2" * 4096 + b"\3" * 4096
    with pytest.raises(DmaFault, match="permission"):
        dev.dma_write(state.addr, b"x")
    dma_ops.dma_iova_unlink(dev, state, 4096, 4096, TO)
    with pytest.raises(DmaFault, match="not-present"):
        dev.dma_read(state.addr + 4096, 1)
    dma_ops.dma_iova_link(dev, state, pages[0], 4096, 4096, TO)
    dma_ops.dma_iova_destroy(dev, state, 3 * 4096, TO)
    for offset in range(0, 3 * 4096, 4096):
        with pytest.raises(DmaFault):
            dev.dma_read(state.addr + offset, 1)
    assert live(dev) == 0


# -- everybody else --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("record", list(arch.backends().values()), ids=lambda record: record.id)
def test_only_iommu_dma_has_it(record):
    dev = record.machines[0].build()
    state = DmaIovaState()
    assert dma_ops.dma_iova_try_alloc(dev, state, 0, dev.machine.page_size) == (record.id == "iommu_dma_ops")
    assert dma_ops.dma_use_iova(state) == bool(state) == (record.id == "iommu_dma_ops")
    if record.id != "iommu_dma_ops":
        for call, args in ((dma_ops.dma_iova_link, (0, 0, 4096, TO)), (dma_ops.dma_iova_sync, (0, 4096)),
                           (dma_ops.dma_iova_unlink, (0, 4096, TO)), (dma_ops.dma_iova_free, ()),
                           (dma_ops.dma_iova_destroy, (4096, TO))):
            with pytest.raises(KernelBug, match="no DMA domain"):
                call(dev, state, *args)
