# SPDX-License-Identifier: MIT
"""The dispatch of kernel/dma/mapping.c: what is asked of the device before a backend is, and what stands in for it."""

import errno

import pytest

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, Device, DmaError, KernelBug, Machine, PyDmaMapOps, debug
from scatterlist import SgTable

PAGE = 4096
ALL = 2**64 - 1


def device(ops=None, **options) -> Device:
    machine = Machine("test", ram=((0, 1 << 24),), kernel=options.pop("kernel", 601), pci_p2pdma=True)
    return Device("dev", machine, dma_ops=ops, mask=options.pop("mask", ALL), **options)


def table() -> SgTable:
    return SgTable([(0x4000, 0, PAGE), (0x8000, 0, 100)])


def failed(call) -> int:
    with pytest.raises(DmaError) as caught:
        call()
    return caught.value.errno


# -- streaming -------------------------------------------------------------------------------------------------

def test_without_a_mask_nothing_is_mapped() -> None:
    """dev->dma_mask NULL: a warning and an error, but dma_map_sgtable takes the 0 for success."""
    dev, sgt = device(), table()
    dev.has_dma_mask = False
    assert failed(lambda: dma_ops.dma_map_page(dev, 0x4000, 0, 1, DMA_BIDIRECTIONAL)) == errno.ENOMEM
    assert failed(lambda: dma_ops.dma_map_resource(dev, 1 << 32, 1, DMA_BIDIRECTIONAL)) == errno.ENOMEM
    assert failed(lambda: dma_ops.dma_map_sg(dev, sgt, DMA_BIDIRECTIONAL)) == errno.EIO
    dma_ops.dma_map_sgtable(dev, sgt, DMA_BIDIRECTIONAL)
    assert sgt.nents == 0 and sgt.entries()[0][3:] == (0, 0, 0)
    assert dev.machine.dmesg == [
        "WARNING: dma_map_page_attrs: dev->dma_mask is NULL", "WARNING: dma_map_resource: dev->dma_mask is NULL",
        "WARNING: __dma_map_sg_attrs: dev->dma_mask is NULL", "WARNING: __dma_map_sg_attrs: dev->dma_mask is NULL"]
    assert failed(lambda: dma_ops.dma_set_mask(dev, ALL)) == errno.EIO and dma_ops.dma_get_mask(dev) == 2**32 - 1


@pytest.mark.parametrize("answer", [0, -errno.EREMOTEIO, -errno.EPERM, -errno.EAGAIN])
def test_only_four_errnos_pass(answer) -> None:
    ops = type("Answers", (PyDmaMapOps,), {"map_sg": lambda self, dev, sg, dir, attrs: answer})()
    dev = device(ops)
    allowed = answer == -errno.EREMOTEIO
    assert failed(lambda: dma_ops.dma_map_sgtable(dev, table(), 0)) == (-answer if allowed else errno.EIO)
    assert dev.machine.dmesg == ([] if allowed else [
        "WARNING: __dma_map_sg_attrs: the backend answered an errno that is not allowed"])


@pytest.mark.parametrize("dir", [-1, 3])
@pytest.mark.parametrize("call", [
    lambda dev, dir: dma_ops.dma_map_page(dev, 0x4000, 0, 1, dir),
    lambda dev, dir: dma_ops.dma_unmap_page(dev, 0x4000, 1, dir),
    lambda dev, dir: dma_ops.dma_map_sg(dev, table(), dir),
    lambda dev, dir: dma_ops.dma_unmap_sg(dev, table(), dir),
    lambda dev, dir: dma_ops.dma_map_resource(dev, 1 << 32, 1, dir),
    lambda dev, dir: dma_ops.dma_unmap_resource(dev, 1 << 32, 1, dir),
    lambda dev, dir: dma_ops.dma_sync_single_for_cpu(dev, 0x4000, 1, dir),
    lambda dev, dir: dma_ops.dma_sync_sg_for_device(dev, table(), 1, dir),
    lambda dev, dir: dma_ops.dma_alloc_pages(dev, 1, dir),
    lambda dev, dir: dma_ops.dma_alloc_noncontiguous(dev, 1, dir),
])
def test_dma_none_and_others_are_a_bug(call, dir) -> None:
    with pytest.raises(KernelBug, match=r"^kernel BUG at kernel/dma/mapping.c: !valid_dma_direction\(dir\)$"):
        call(device(), dir)


def test_the_attributes_of_7_x() -> None:
    """Who requires coherence is refused by a device that is not; MMIO is no page, and undoing it undoes nothing."""
    class Counts(PyDmaMapOps):
        unmapped = 0

        def map_page(self, dev, page, offset, size, dir, attrs):
            return page

        def unmap_page(self, dev, addr, size, dir, attrs):
            self.unmapped += 1

        def map_sg(self, dev, sg, dir, attrs):
            return len(sg)

        def map_resource(self, dev, phys, size, dir, attrs):
            return phys

    coherent, mmio = dma_ops.DMA_ATTR_REQUIRE_COHERENT, dma_ops.DMA_ATTR_MMIO
    for kernel, coherent_device, refused in ((617, False, True), (617, True, False), (612, False, False)):
        dev = device(Counts(), kernel=kernel, coherent=coherent_device)
        calls = (lambda dev=dev: dma_ops.dma_map_page(dev, 0x4000, 0, 1, 0, coherent),
                 lambda dev=dev: dma_ops.dma_map_sgtable(dev, table(), 0, coherent),
                 lambda dev=dev: dma_ops.dma_map_resource(dev, 1 << 32, 1, 0, coherent))
        if refused:
            assert [failed(call) for call in calls] == [errno.ENOMEM, errno.EOPNOTSUPP, errno.ENOMEM]
        else:
            assert [call() for call in calls] == [0x4000, None, 1 << 32]
        dma_ops.dma_unmap_page(dev, 0x4000, 1, 0, mmio)
        assert dev.dma_ops.unmapped == (kernel < 617)
    assert failed(lambda: dma_ops.dma_map_page(device(Counts(), kernel=617), 0x4000, 0, 1, 0, mmio)) == errno.ENOMEM


def test_p2p_memory_is_no_page_to_map_under_dma_debug() -> None:
    for kernel, watched, refused in ((617, True, True), (617, False, False), (612, True, False)):
        dev = device(kernel=kernel)
        dev.machine.add_pgmap(1 << 32, (1 << 32) + PAGE, 0, 0)
        if watched:
            debug.enable(dev)
        if refused:
            assert failed(lambda dev=dev: dma_ops.dma_map_page(dev, 1 << 32, 0, 1, 0)) == errno.ENOMEM
            assert dev.machine.dmesg == ["WARNING: dma_map_page_attrs: is_zone_device_page(page)"]
        else:
            assert dma_ops.dma_map_page(dev, 1 << 32, 0, 1, 0) == 1 << 32


def test_a_single_buffer_is_its_page_and_offset() -> None:
    ops = type("Shows", (PyDmaMapOps,), {"map_page": lambda self, dev, page, offset, *rest: page + (offset << 32)})()
    assert dma_ops.dma_map_single(device(ops), 0x4123, 16, 0) == 0x4000 + (0x123 << 32)
    dev = device()
    dma_ops.dma_unmap_single(dev, dma_ops.dma_map_single(dev, 0x4123, 16, 0), 16, 0)
    with pytest.raises(ValueError, match=r"^dev: 1099511627777 bytes cannot have been mapped$"):
        dma_ops.dma_unmap_single(dev, 0, (1 << 40) + 1, 0)


# -- coherent --------------------------------------------------------------------------------------------------

def test_a_coherent_mask_of_0() -> None:
    """dma_alloc_attrs warns and goes on; dma_alloc_pages gives up."""
    dev = device(type("Allocs", (PyDmaMapOps,), {"alloc": lambda self, dev, size, attrs: (0x4000, 0x5000),
                                                 "alloc_pages": lambda self, dev, size, dir: (0x4000, 0x5000)})())
    dev.coherent_dma_mask = 0
    assert dma_ops.dma_alloc_attrs(dev, 1) == (0x4000, 0x5000)
    assert failed(lambda: dma_ops.dma_alloc_pages(dev, 1, 0)) == errno.ENOMEM
    assert dev.machine.dmesg == ["WARNING: dma_alloc_attrs: the coherent mask is 0",
                                 "WARNING: dma_alloc_pages: the coherent mask is 0"]


@pytest.mark.parametrize("watched", [False, True])
def test_noncontiguous_memory_without_a_member_is_pages(watched) -> None:
    dev = device()
    if watched:
        debug.enable(dev)
    sgt = dma_ops.dma_alloc_noncontiguous(dev, 2 * PAGE + 1, 0)
    ((page, offset, length, address, mapped, _),) = sgt.entries()
    assert (offset, length, mapped, sgt.nents) == (0, 3 * PAGE, 3 * PAGE, 1) and address == page
    assert dev.machine.pages_allocated == 4                 # 2^2 pages
    dma_ops.dma_free_noncontiguous(dev, 2 * PAGE + 1, sgt, 0)
    assert dev.machine.pages_allocated == 0 and dev.machine.dmesg == []
    assert failed(lambda: dma_ops.dma_alloc_noncontiguous(dev, 1 << 25, 0)) == errno.ENOMEM
    assert failed(lambda: dma_ops.dma_alloc_noncontiguous(dev, 1, 0, 1)) == errno.EINVAL
    dev.machine.fail("pages")
    assert failed(lambda: dma_ops.dma_alloc_noncontiguous(dev, 1, 0)) == errno.ENOMEM
    assert dev.machine.pages_allocated == 0


def test_a_table_without_allocators() -> None:
    dev = device(PyDmaMapOps())
    for call in (lambda: dma_ops.dma_alloc_attrs(dev, 1), lambda: dma_ops.dma_alloc_pages(dev, 1, 0),
                 lambda: dma_ops.dma_alloc_noncontiguous(dev, 1, 0)):
        assert failed(call) == errno.ENOMEM
    dma_ops.dma_free_attrs(dev, 1, 0x4000, 0x4000)          # Linux does nothing
    dma_ops.dma_free_pages(dev, 1, 0x4000, 0x4000, 0)
    assert failed(lambda: dma_ops.dma_get_sgtable(dev, 0x4000, 0x4000, 1)) == errno.ENXIO


def test_get_sgtable() -> None:
    """One entry of the linear map, or a run for each neighbourhood of gathered pages, the last as long as is asked."""
    dev = device()
    assert dma_ops.dma_get_sgtable(dev, 0x4000, 0, 5000).entries() == [(0x4000, 0, 2 * PAGE, 0, 0, 0)]
    cpu = dev.machine.vmap([0x4000, 0x5000, 0x9000, 0x3000, 0x4000])
    rows = [row[:3] for row in dma_ops.dma_get_sgtable(dev, cpu, 0, 5 * PAGE - 96).entries()]
    assert rows == [(0x4000, 0, 2 * PAGE), (0x9000, 0, PAGE), (0x3000, 0, 2 * PAGE - 96)]


@pytest.mark.parametrize(("members", "answer"), [({}, False), ({"mmap": lambda self: None}, True)])
def test_can_mmap(members, answer) -> None:
    assert dma_ops.dma_can_mmap(device(type("Maps", (PyDmaMapOps,), members)())) is answer
    assert dma_ops.dma_can_mmap(device()) is True


# -- masks and limits ------------------------------------------------------------------------------------------

def test_masks_that_are_refused() -> None:
    class Picky(PyDmaMapOps):
        def dma_supported(self, dev, mask):
            return mask >= 2**32 - 1 and not (dev.dma_mask == mask == 2**40 - 1)

    dev = device(Picky(), mask=2**32 - 1)
    assert failed(lambda: dma_ops.dma_set_mask(dev, 2**24 - 1)) == errno.EIO
    assert failed(lambda: dma_ops.dma_set_coherent_mask(dev, 2**24 - 1)) == errno.EIO
    assert (dev.dma_mask, dev.coherent_dma_mask) == (2**32 - 1, 2**32 - 1)
    dma_ops.dma_set_coherent_mask(dev, 2**36 - 1)
    assert failed(lambda: dma_ops.dma_set_mask_and_coherent(dev, 1)) == errno.EIO
    dma_ops.dma_set_mask_and_coherent(dev, 2**40 - 1)       # the second is refused, and nobody is told
    assert (dev.dma_mask, dev.coherent_dma_mask) == (2**40 - 1, 2**36 - 1)


def test_limits_need_dma_parms() -> None:
    dev = device(pci=False, dma_parms=False)
    for call in (lambda: dma_ops.dma_set_max_seg_size(dev, 1), lambda: dma_ops.dma_set_seg_boundary(dev, 1),
                 lambda: dma_ops.dma_set_min_align_mask(dev, 1)):
        assert failed(call) == errno.EIO
    dev = device()
    dma_ops.dma_set_max_seg_size(dev, 5)
    dma_ops.dma_set_seg_boundary(dev, 0xfff)
    dma_ops.dma_set_min_align_mask(dev, 7)
    assert (dma_ops.dma_get_max_seg_size(dev), dma_ops.dma_get_seg_boundary(dev), dma_ops.dma_get_min_align_mask(dev)
            ) == (5, 0xfff, 7)


def table_with(*members: str, **more) -> PyDmaMapOps:
    return type("Table", (PyDmaMapOps,), dict.fromkeys(members, lambda self, dev, *rest: None) | more)()


@pytest.mark.parametrize(
    ("kernel", "ops", "options", "watched", "answer"),
    [
        pytest.param(601, (), {}, False, False, id="6.1: no member to sync"),
        pytest.param(601, ("sync_single_for_cpu",), {}, False, True, id="6.1: one for the CPU"),
        pytest.param(601, ("sync_single_for_device",), {}, False, True, id="6.1: one for the device"),
        pytest.param(601, ("sync_sg_for_cpu",), {}, False, False, id="6.1: lists do not count"),
        pytest.param(612, (), {}, False, False, id="6.12: no member to sync"),
        pytest.param(612, (), {}, True, True, id="6.12: dma-debug wants to see them all"),
        pytest.param(612, ("sync_sg_for_cpu",), {}, False, True, id="6.12: lists count"),
        pytest.param(612, ("sync_single_for_cpu", "iova_try_alloc"), {"coherent": True}, False, False,
                     id="6.12: coherent iommu-dma"),
        pytest.param(612, ("sync_single_for_cpu", "iova_try_alloc"), {"coherent": False}, False, True,
                     id="6.12: iommu-dma that is not"),
        pytest.param(601, ("sync_single_for_cpu", "iova_try_alloc"), {"coherent": True}, False, True,
                     id="6.1: the same always"),
    ],
)
def test_need_sync(kernel, ops, options, watched, answer) -> None:
    """As dma_set_mask() found it in 6.12: dma_setup_need_sync() and dma_dev_need_sync()."""
    dev = device(table_with(*ops), kernel=kernel, **options)
    if watched:
        debug.enable(dev)
    dma_ops.dma_set_mask(dev, ALL)
    assert dma_ops.dma_need_sync(dev, 0x4000) is answer


def test_before_a_mask_is_set_syncs_are_needed() -> None:
    assert dma_ops.dma_need_sync(device(table_with(), kernel=612), 0x4000) is True
