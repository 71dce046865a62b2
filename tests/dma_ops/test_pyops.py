# SPDX-License-Identifier: MIT
"""Backends in Python, alone and around another one."""

import errno

import pytest

import dma_ops
from conformance.selection import backend, machine
from dma_ops import (
    DMA_BIDIRECTIONAL,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    DmaFault,
    KernelBug,
    Machine,
    PyDmaMapOps,
    WrappedOps,
)
from scatterlist.core import SgTable

OFFSET = 1 << 40


class Shift(PyDmaMapOps):
    """Bus addresses are physical addresses plus OFFSET; counts what is mapped."""

    p2pdma = True

    def __init__(self):
        self.live = 0

    def alloc(self, dev, size, attrs):
        page = dev.machine.alloc_ram(0)
        return page, page + OFFSET

    def free(self, dev, size, cpu_addr, addr, attrs):
        dev.machine.free_ram(cpu_addr)

    def map_page(self, dev, page, offset, size, dir, attrs):
        if size > 1 << 20:
            raise DmaError(errno.ENOMEM)
        self.live += 1
        return page + offset + OFFSET

    def unmap_page(self, dev, addr, size, dir, attrs):
        self.live -= 1

    def map_sg(self, dev, sg, dir, attrs):
        for entry in sg:
            if not entry.length:
                return -errno.EINVAL
            entry.dma_address = entry.phys + OFFSET
            entry.dma_length = entry.length
        self.live += len(sg)
        return len(sg)

    def unmap_sg(self, dev, sg, dir, attrs):
        self.live -= len(sg)

    def translate(self, dev, addr, write):
        if addr < OFFSET:
            raise DmaFault(addr, "not-present", write)
        return addr - OFFSET, 4096 - addr % 4096

    def resources(self):
        return {"mappings": self.live}


def device(ops):
    machine = Machine("test", ram=((0, 1 << 24),))
    return Device("dev", machine, dma_ops=ops, mask=(1 << 64) - 1)


def table():
    return SgTable([(0x2000, 16, 100), (0x5000, 0, 4096), (0x9000, 4000, 200)])


def test_what_is_defined_is_filled():
    ops = Shift()
    assert set(ops.ops) == {"alloc", "free", "map_page", "unmap_page", "map_sg", "unmap_sg"}
    assert ops.flags == 1 and dma_ops.dma_pci_p2pdma_supported(device(ops))


def test_a_backend_in_python_maps():
    ops = Shift()
    dev, sgt = device(ops), table()
    dma_ops.dma_map_sgtable(dev, sgt, DMA_BIDIRECTIONAL)
    assert sgt.segments() == [(0x2010 + OFFSET, 100, 0), (0x5000 + OFFSET, 4096, 0), (0x9fa0 + OFFSET, 200, 0)]
    dev.dma_write(0x9fa0 + OFFSET, b"x" * 200)
    assert dev.machine.mem.peek(0x9fa0, 200) == b"x" * 200
    assert ops.resources() == {"mappings": 3}
    dma_ops.dma_unmap_sgtable(dev, sgt, DMA_BIDIRECTIONAL)
    assert ops.resources() == {"mappings": 0}


def test_what_is_not_defined_is_null():
    class Empty(PyDmaMapOps):
        pass

    dev = device(Empty())
    with pytest.raises(KernelBug, match=r"NULL dma_map_ops\.map_sg"):
        dma_ops.dma_map_sgtable(dev, table(), DMA_TO_DEVICE)
    with pytest.raises(KernelBug, match=r"NULL dma_map_ops\.map_page"):
        dma_ops.dma_map_page(dev, 0, 0, 1, DMA_TO_DEVICE)
    with pytest.raises(DmaError):
        dma_ops.dma_map_resource(dev, 0xf0000000, 4096, DMA_TO_DEVICE)
    with pytest.raises(DmaFault):
        dev.dma_read(0, 1)


def test_errors_become_linux_results():
    dev = device(Shift())
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_page(dev, 0, 0, 2 << 20, DMA_TO_DEVICE)
    assert error.value.errno == errno.ENOMEM
    with pytest.raises(DmaError) as error:
        dma_ops.dma_map_sgtable(dev, SgTable([(0, 0, 0)]), DMA_TO_DEVICE)
    assert error.value.errno == errno.EINVAL


@pytest.mark.parametrize(("answer", "error"), [(4, ValueError), (-5000, ValueError), (None, TypeError),
                                               ("3", TypeError)])
def test_a_wrong_count_does_not_reach_c(answer, error):
    class Wrong(PyDmaMapOps):
        def map_sg(self, dev, sg, dir, attrs):
            return answer

    with pytest.raises(error, match=r"Wrong\.map_sg answered"):
        dma_ops.dma_map_sgtable(device(Wrong()), table(), DMA_TO_DEVICE)


def test_a_list_ends_with_the_call():
    class Keeps(PyDmaMapOps):
        def map_sg(self, dev, sg, dir, attrs):
            self.kept = sg
            return len(sg)

    ops = Keeps()
    dma_ops.dma_map_sgtable(device(ops), table(), DMA_TO_DEVICE)
    with pytest.raises(ValueError, match="after the call"):
        _ = ops.kept[0].length
    assert len(ops.kept) == 3


# -- wrapped ---------------------------------------------------------------------------------------------------

class Merges(WrappedOps):
    def map_sg(self, dev, sg, dir, attrs):
        count = self.inner_map_sg(dev, sg, dir, attrs)
        sg[0].dma_length += sg[1].dma_length
        return count


class MarksTheWrongSlot(WrappedOps):
    p2pdma = False

    def map_sg(self, dev, sg, dir, attrs):
        count = self.inner_map_sg(dev, sg, dir, attrs)
        sg[-1].bus_address = True
        return count


class ForgetsToUnmap(WrappedOps):
    def unmap_sg(self, dev, sg, dir, attrs):
        pass


def test_a_wrapper_delegates_what_it_does_not_define():
    inner = Shift()
    ops = WrappedOps(inner)
    assert ops.ops == inner.ops and ops.flags == inner.flags and ops.walker is inner.walker
    dev, sgt = device(ops), table()
    dma_ops.dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert sgt.segments()[0] == (0x2010 + OFFSET, 100, 0)
    assert dev.dma_read(0x2010 + OFFSET, 4) == bytes(4)
    dma_ops.dma_unmap_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert ops.resources() == {"mappings": 0}
    addr = dma_ops.dma_map_page(dev, 0x3000, 8, 8, DMA_TO_DEVICE)
    assert addr == 0x3008 + OFFSET and ops.resources() == {"mappings": 1}
    cpu_addr, handle = dma_ops.dma_alloc_attrs(dev, 100)
    assert handle == cpu_addr + OFFSET
    dma_ops.dma_free_attrs(dev, 100, cpu_addr, handle)


@pytest.mark.parametrize(("saboteur", "segments", "supported", "left"), [
    (Merges, [(0x2010 + OFFSET, 4196, 0), (0x5000 + OFFSET, 4096, 0), (0x9fa0 + OFFSET, 200, 0)], True, 0),
    (MarksTheWrongSlot, [(0x2010 + OFFSET, 100, 0), (0x5000 + OFFSET, 4096, 0), (0x9fa0 + OFFSET, 200, 1)], False, 0),
    (ForgetsToUnmap, [(0x2010 + OFFSET, 100, 0), (0x5000 + OFFSET, 4096, 0), (0x9fa0 + OFFSET, 200, 0)], True, 3),
])
def test_a_saboteur_alters_one_member(saboteur, segments, supported, left):
    dev, sgt = device(saboteur(Shift())), table()
    dma_ops.dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert sgt.segments() == segments
    assert dma_ops.dma_pci_p2pdma_supported(dev) == supported
    dma_ops.dma_unmap_sgtable(dev, sgt, DMA_TO_DEVICE)
    assert dev.dma_ops.resources() == {"mappings": left}


def test_a_wrapper_without_init_is_an_error():
    class NoInit(WrappedOps):
        def __init__(self):
            pass

        def map_sg(self, dev, sg, dir, attrs):
            return self.inner_map_sg(dev, sg, dir, attrs)

    with pytest.raises(ValueError, match="__init__"):
        dma_ops.dma_map_sgtable(device(NoInit()), table(), DMA_TO_DEVICE)


def test_a_wrapper_has_the_newer_api_of_what_it_wraps():
    """Ranges in two steps through a wrapper, one member altered; around a table without them there are none."""
    links = []

    class Watches(WrappedOps):
        def iova_link(self, dev, state, phys, offset, size, dir, attrs):
            links.append((phys, offset))
            return self.inner_iova_link(dev, state, phys, offset, size, dir, attrs)

    dev, state = machine(backend("iommu_dma_ops"), "intel").build(), dma_ops.DmaIovaState()
    dev.dma_ops = Watches(dev.dma_ops)
    page = dev.machine.alloc_ram(1)
    dev.machine.cpu_write(page, b"here")
    assert dma_ops.dma_iova_try_alloc(dev, state, page, 8192)
    dma_ops.dma_iova_link(dev, state, page, 0, 8192, DMA_TO_DEVICE)
    dma_ops.dma_iova_sync(dev, state, 0, 8192)
    assert links == [(page, 0)] and dev.dma_read(state.addr, 4) == b"here"
    dma_ops.dma_iova_destroy(dev, state, 8192, DMA_TO_DEVICE)
    addr = dma_ops.dma_map_phys(dev, page, 4, DMA_TO_DEVICE)
    assert dev.dma_read(addr, 4) == b"here"
    dev = device(Watches(Shift()))
    assert not dma_ops.dma_iova_try_alloc(dev, state, 0, 4096)
    assert dma_ops.dma_map_phys(dev, 0x3008, 8, DMA_TO_DEVICE) == 0x3008 + OFFSET


def test_errors_of_the_newer_members():
    class Refuses(WrappedOps):
        def iova_link(self, dev, state, phys, offset, size, dir, attrs):
            raise DmaError(errno.EEXIST)

        def iova_sync(self, dev, state, offset, size):
            return -errno.EIO

        def map_phys(self, dev, phys, size, dir, attrs):
            return None

    dev, state = machine(backend("iommu_dma_ops"), "intel").build(), dma_ops.DmaIovaState()
    dev.dma_ops = Refuses(dev.dma_ops)
    assert dma_ops.dma_iova_try_alloc(dev, state, 0, 4096)
    for call, code in ((lambda: dma_ops.dma_iova_link(dev, state, 0x3000, 0, 4096, 0), errno.EEXIST),
                       (lambda: dma_ops.dma_iova_sync(dev, state, 0, 4096), errno.EIO),
                       (lambda: dma_ops.dma_map_phys(dev, 0x3000, 4, 0), errno.ENOMEM)):
        with pytest.raises(DmaError) as caught:
            call()
        assert caught.value.errno == code
