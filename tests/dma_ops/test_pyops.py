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


# -- every member ----------------------------------------------------------------------------------------------

PAGES = 0x5000
ANSWERS = {
    "alloc": (0x3000, 0x13000), "free": None, "alloc_pages": (0x4000, 0x14000), "free_pages": None,
    "alloc_noncontiguous": None, "free_noncontiguous": None, "map_page": 0x15008, "unmap_page": None,
    "map_sg": 2, "unmap_sg": None, "map_resource": 0x16000, "unmap_resource": None, "sync_single_for_cpu": None,
    "sync_single_for_device": None, "sync_sg_for_cpu": None, "sync_sg_for_device": None, "dma_supported": True,
    "get_required_mask": 0xffffff, "max_mapping_size": 1 << 20, "opt_mapping_size": 1 << 16,
    "get_merge_boundary": 0xfff, "map_phys": 0x17000, "unmap_phys": None, "iova_try_alloc": True, "iova_link": 0,
    "iova_sync": None, "iova_unlink": None, "iova_free": None,
}


def plain(argument):
    """What a member was given, without what ends with the call."""
    if isinstance(argument, dma_ops.pyops.SgView):
        return [(entry.page, entry.offset, entry.length) for entry in argument]
    return "state" if isinstance(argument, dma_ops.DmaIovaState) else argument


def recorder(name):
    def member(self, dev, *arguments):
        self.calls.append((name, *map(plain, arguments)))
        if name == "alloc_noncontiguous":
            made = SgTable([(PAGES, 0, 8192)])
            made.set_dma(0, 0x18000, 8192)
            return made
        return ANSWERS[name]
    return member


def repeater(name):
    def member(self, dev, *arguments):
        self.seen.append(name)
        answer = getattr(self, f"inner_{name}")(dev, *arguments)
        if name not in ("alloc", "alloc_pages"):
            return answer
        assert answer[0] == 0
        return answer[1:]
    return member


Everything = type("Everything", (PyDmaMapOps,), {name: recorder(name) for name in ANSWERS})
Repeats = type("Repeats", (WrappedOps,), {name: repeater(name) for name in ANSWERS if "noncontiguous" not in name})
LIST = [(0x2000, 16, 100), (0x5000, 0, 4096), (0x9000, 4000, 200)]
STATE = dma_ops.DmaIovaState()

# (call of the API, its result, what the member was given)
CALLS = [
    (lambda dev: dma_ops.dma_alloc_attrs(dev, 5000, 4), (0x3000, 0x13000), ("alloc", 5000, 4)),
    (lambda dev: dma_ops.dma_free_attrs(dev, 5000, 0x3000, 0x13000, 4), None, ("free", 5000, 0x3000, 0x13000, 4)),
    (lambda dev: dma_ops.dma_alloc_pages(dev, 5000, 1), (0x4000, 0x14000), ("alloc_pages", 8192, 1)),
    (lambda dev: dma_ops.dma_free_pages(dev, 5000, 0x4000, 0x14000, 1), None,
     ("free_pages", 8192, 0x4000, 0x14000, 1)),
    (lambda dev: dma_ops.dma_alloc_noncontiguous(dev, 8192, 2).entries(), [(PAGES, 0, 8192, 0x18000, 8192, 0)],
     ("alloc_noncontiguous", 8192, 2, 0)),
    (lambda dev: dma_ops.dma_free_noncontiguous(dev, 8192, SgTable(LIST), 2), None,
     ("free_noncontiguous", 8192, LIST, 2)),
    (lambda dev: dma_ops.dma_map_page(dev, 0x3000, 8, 16, 1, 2), 0x15008, ("map_page", 0x3000, 8, 16, 1, 2)),
    (lambda dev: dma_ops.dma_unmap_page(dev, 0x15008, 16, 1, 2), None, ("unmap_page", 0x15008, 16, 1, 2)),
    (lambda dev: dma_ops.dma_map_sg(dev, SgTable(LIST), 0, 2), 2, ("map_sg", LIST, 0, 2)),
    (lambda dev: dma_ops.dma_unmap_sg(dev, SgTable(LIST), 0, 2), None, ("unmap_sg", LIST, 0, 2)),
    (lambda dev: dma_ops.dma_map_resource(dev, 0xf0000000, 64, 2, 2), 0x16000,
     ("map_resource", 0xf0000000, 64, 2, 2)),
    (lambda dev: dma_ops.dma_unmap_resource(dev, 0x16000, 64, 2, 2), None, ("unmap_resource", 0x16000, 64, 2, 2)),
    (lambda dev: dma_ops.dma_sync_single_for_cpu(dev, 0x15008, 16, 2), None, ("sync_single_for_cpu", 0x15008, 16, 2)),
    (lambda dev: dma_ops.dma_sync_single_for_device(dev, 0x15008, 16, 1), None,
     ("sync_single_for_device", 0x15008, 16, 1)),
    (lambda dev: dma_ops.dma_sync_sg_for_cpu(dev, SgTable(LIST), 2, 2), None, ("sync_sg_for_cpu", LIST[:2], 2)),
    (lambda dev: dma_ops.dma_sync_sg_for_device(dev, SgTable(LIST), 1, 1), None,
     ("sync_sg_for_device", LIST[:1], 1)),
    (lambda dev: dma_ops.dma_set_mask(dev, 0xffff), None, ("dma_supported", 0xffff)),
    (dma_ops.dma_get_required_mask, 0xffffff, ("get_required_mask",)),
    (dma_ops.dma_max_mapping_size, 1 << 20, ("max_mapping_size",)),
    (dma_ops.dma_opt_mapping_size, 1 << 16, ("opt_mapping_size",)),
    (dma_ops.dma_get_merge_boundary, 0xfff, ("get_merge_boundary",)),
    (lambda dev: dma_ops.dma_map_phys(dev, 0x3008, 16, 0, 2), 0x17000, ("map_phys", 0x3008, 16, 0, 2)),
    (lambda dev: dma_ops.dma_unmap_phys(dev, 0x17000, 16, 0, 2), None, ("unmap_phys", 0x17000, 16, 0, 2)),
    (lambda dev: dma_ops.dma_iova_try_alloc(dev, STATE, 0x3008, 16), True, ("iova_try_alloc", "state", 0x3008, 16)),
    (lambda dev: dma_ops.dma_iova_link(dev, STATE, 0x3008, 8, 16, 1, 2), None,
     ("iova_link", "state", 0x3008, 8, 16, 1, 2)),
    (lambda dev: dma_ops.dma_iova_sync(dev, STATE, 8, 16), None, ("iova_sync", "state", 8, 16)),
    (lambda dev: dma_ops.dma_iova_unlink(dev, STATE, 8, 16, 1, 2), None, ("iova_unlink", "state", 8, 16, 1, 2)),
    (lambda dev: dma_ops.dma_iova_free(dev, STATE), None, ("iova_free", "state")),
]
MEMBERS = [row[2][0] for row in CALLS]


@pytest.mark.parametrize("wrap", [lambda inner: inner, WrappedOps, Repeats, lambda inner: WrappedOps(Repeats(inner))],
                         ids=["alone", "wrapped", "repeated", "twice"])
@pytest.mark.parametrize(("call", "answer", "given"), CALLS, ids=MEMBERS)
def test_every_member_gets_its_arguments(wrap, call, answer, given):
    """Bare, through a wrapper that defines nothing, and through one that defines all and calls inner_<member>()."""
    inner = Everything()
    inner.calls = []
    ops = wrap(inner)
    for wrapper in (ops, ops.inner):
        if isinstance(wrapper, Repeats):
            wrapper.seen = seen = []
    dev = device(ops)
    assert call(dev) == answer
    assert inner.calls[0] == given and {name for name, *_ in inner.calls} <= {given[0], "max_mapping_size"}
    if "Repeats" in repr(ops) and "noncontiguous" not in given[0]:
        assert seen[0] == given[0]


def test_no_member_is_forgotten():
    assert sorted(MEMBERS) == sorted(ANSWERS) and set(dma_ops.pyops.NEWER) < set(MEMBERS)
    assert set(Everything().ops) == set(ANSWERS) - set(dma_ops.pyops.NEWER)
    with pytest.raises(AssertionError):             # and the rows would tell a member that gets something else
        test_every_member_gets_its_arguments(WrappedOps, CALLS[6][0], 0x15008, ("map_page", 0x3000, 8, 16, 1, 0))


@pytest.mark.parametrize(
    ("member", "call", "code"),
    [
        ("alloc", lambda dev: dma_ops.dma_alloc_attrs(dev, 1), errno.ENOMEM),
        ("alloc_pages", lambda dev: dma_ops.dma_alloc_pages(dev, 1, 0), errno.ENOMEM),
        ("alloc_noncontiguous", lambda dev: dma_ops.dma_alloc_noncontiguous(dev, 1, 0), errno.ENOMEM),
        ("map_page", lambda dev: dma_ops.dma_map_page(dev, 0, 0, 1, 0), errno.ENOMEM),
        ("map_resource", lambda dev: dma_ops.dma_map_resource(dev, 0xf0000000, 1, 0), errno.ENOMEM),
        ("map_sg", lambda dev: dma_ops.dma_map_sgtable(dev, SgTable(LIST), 0), errno.EREMOTEIO),
        ("map_phys", lambda dev: dma_ops.dma_map_phys(dev, 0, 1, 0), errno.ENOMEM),
        ("iova_link", lambda dev: dma_ops.dma_iova_link(dev, STATE, 0, 0, 1, 0), errno.EREMOTEIO),
        ("iova_sync", lambda dev: dma_ops.dma_iova_sync(dev, STATE, 0, 1), errno.EREMOTEIO),
    ],
)
@pytest.mark.parametrize("wrap", [lambda inner: inner, WrappedOps], ids=["alone", "wrapped"])
def test_a_member_fails_by_raising(wrap, member, call, code):
    """Only map_sg and the newer members have an errno that callers see."""
    def fails(self, dev, *arguments):
        raise DmaError(errno.EREMOTEIO)

    ops = type("Fails", (PyDmaMapOps,), {"iova_try_alloc": recorder("iova_try_alloc"), member: fails})()
    with pytest.raises(DmaError) as caught:
        call(device(wrap(ops)))
    assert caught.value.errno == code


@pytest.mark.parametrize(("call", "member"), [(row[0], row[2][0]) for row in CALLS], ids=MEMBERS)
def test_another_exception_passes(call, member):
    def breaks(self, dev, *arguments):
        raise LookupError(member)

    ops = type("Breaks", (Everything,), {member: breaks})()
    ops.calls = []
    with pytest.raises(LookupError, match=member):
        call(device(WrappedOps(ops)))


@pytest.mark.parametrize("member", ["iova_link", "iova_sync", "iova_unlink", "iova_free"])
def test_half_of_the_two_step_api_is_null(member):
    """With iova_try_alloc the device counts as one with iommu-dma: the members that are not there are NULL."""
    ops = type("Half", (PyDmaMapOps,), {"iova_try_alloc": recorder("iova_try_alloc")})()
    call = next(row[0] for row in CALLS if row[2][0] == member)
    for table_ in (ops, WrappedOps(ops)):
        with pytest.raises(KernelBug, match=f"^BUG: kernel NULL pointer dereference in dma_{member}$"):
            call(device(table_))


@pytest.mark.parametrize(("call", "member"), [(row[0], row[2][0]) for row in CALLS], ids=MEMBERS)
def test_a_wrapper_cannot_fill_what_is_null(call, member):
    """Its own member is called, and finds none below."""
    ops = Repeats(PyDmaMapOps())
    ops.seen = []
    newer, noncontiguous = member in dma_ops.pyops.NEWER, "noncontiguous" in member
    if noncontiguous:                       # no inner_ member: the pages come from alloc_pages, and go to free_pages
        member = member.replace("noncontiguous", "pages")
    error, sentence = (ValueError, "has no such member of the newer DMA API$") if newer else (
        KernelBug, rf"^call of NULL dma_map_ops\.{member}$")
    with pytest.raises(error, match=sentence):
        call(device(ops))
    assert ops.seen == [member]


@pytest.mark.parametrize("answer", [None, SgTable()], ids=["none", "empty"])
def test_a_table_without_entries_is_a_failed_allocation(answer):
    ops = type("Nothing", (PyDmaMapOps,), {"alloc_noncontiguous": lambda self, dev, size, dir, attrs: answer})()
    with pytest.raises(DmaError) as caught:
        dma_ops.dma_alloc_noncontiguous(device(ops), 4096, 0)
    assert caught.value.errno == errno.ENOMEM


def test_entries_are_read_and_written():
    class Looks(PyDmaMapOps):
        def map_sg(self, dev, sg, dir, attrs):
            first, last = sg[0], sg[-1]
            self.seen = first.page, first.offset, first.length, first.phys, repr(last)
            first.page, first.offset, first.length = 0x7000, 1, 2
            first.dma_address, first.dma_length, first.dma_flags = 3, 4, 2
            first.bus_address = True
            last.bus_address = True
            last.bus_address = False
            self.after = first.dma_address, first.dma_length, first.dma_flags, first.bus_address, last.dma_flags
            self.text = repr(first)
            for call, error in ((lambda: setattr(first, "page", 0x7001), ValueError), (lambda: sg[3], IndexError),
                                (lambda: sg[-4], IndexError)):
                with pytest.raises(error):
                    call()
            return 1

    ops, sgt = Looks(), SgTable(LIST)
    assert dma_ops.dma_map_sg(device(ops), sgt, 0) == 1
    assert ops.seen == (0x2000, 16, 100, 0x2010, "<SgEntry 0x9fa0+0xc8 -> 0x0+0x0>")
    assert ops.after == (3, 4, 3, True, 0) and ops.text == "<SgEntry 0x7001+0x2 -> 0x3+0x4 bus>"
    assert sgt.entries()[0] == (0x7000, 1, 2, 3, 4, 3)
    with pytest.raises(ValueError, match=r"^an SgEntry is made by iterating over a list, not by itself$"):
        _ = dma_ops.pyops.SgEntry().page


def test_the_first_entries_alone():
    class First(WrappedOps):
        def map_sg(self, dev, sg, dir, attrs):
            for wrong in (-1, 4):
                with pytest.raises(ValueError, match=f"^{wrong} entries of a list of 3$"):
                    self.inner_map_sg(dev, sg, dir, attrs, nents=wrong)
            return self.inner_map_sg(dev, sg, dir, attrs, nents=2)

        def unmap_sg(self, dev, sg, dir, attrs):
            self.inner_unmap_sg(dev, sg, dir, attrs, nents=1)

    ops, sgt = First(Shift()), table()
    dev = device(ops)
    assert dma_ops.dma_map_sg(dev, sgt, 0) == 2 and sgt.entries()[2][3:] == (0, 0, 0)
    dma_ops.dma_unmap_sg(dev, sgt, 0)
    assert ops.resources() == {"mappings": 1} and repr(ops).startswith("<First around <") and ops.table() == {}
    ops.flush()


def test_a_wrapper_of_an_older_table_has_no_newer_inner_members():
    class Asks(WrappedOps):
        def map_phys(self, dev, phys, size, dir, attrs):
            return self.inner_map_phys(dev, phys, size, dir, attrs)

        def iova_try_alloc(self, dev, state, phys, size):
            return self.inner_iova_try_alloc(dev, state, phys, size)

    dev = device(Asks(Shift()))
    for call in (lambda: dma_ops.dma_map_phys(dev, 0, 1, 0), lambda: dma_ops.dma_iova_try_alloc(dev, STATE, 0, 1)):
        with pytest.raises(ValueError, match=r"has no such member of the newer DMA API$"):
            call()


def test_two_steps_in_python():
    """A backend that gives ranges out one behind the other; what it writes into a state is there in the next call."""
    class Ranges(Shift):
        def __init__(self):
            super().__init__()
            self.next, self.links = OFFSET << 1, {}

        def iova_try_alloc(self, dev, state, phys, size):
            if size > 1 << 20:
                return False
            state.addr, state.size = self.next + phys % 4096, size
            self.next += 1 << 20
            return True

        def iova_link(self, dev, state, phys, offset, size, dir, attrs):
            if offset + size > state.size:
                return -errno.EINVAL
            self.links[state.addr + offset] = phys, size

        def iova_unlink(self, dev, state, offset, size, dir, attrs):
            del self.links[state.addr + offset]

        def iova_free(self, dev, state):
            self.freed = state.addr, state.size

        def translate(self, dev, addr, write):
            for start, (phys, size) in self.links.items():
                if start <= addr < start + size:
                    return phys + addr - start, size - (addr - start)
            return super().translate(dev, addr, write)

    for wrap in (lambda inner: inner, WrappedOps):
        ops, state = Ranges(), dma_ops.DmaIovaState()
        dev = device(wrap(ops))
        assert dma_ops.dma_iova_try_alloc(dev, state, 0x3010, 100)
        assert (state.addr, state.size, dma_ops.dma_iova_size(state)) == ((OFFSET << 1) + 0x10, 100, 100)
        dma_ops.dma_iova_link(dev, state, 0x3010, 0, 60, 0)
        dma_ops.dma_iova_link(dev, state, 0x8000, 60, 40, 0)
        with pytest.raises(DmaError, match=r"failed with errno 22"):
            dma_ops.dma_iova_link(dev, state, 0x9000, 99, 2, 0)
        dev.dma_write(state.addr + 58, b"abcd")
        assert dev.machine.mem.peek(0x3010 + 58, 2) + dev.machine.mem.peek(0x8000, 2) == b"abcd"
        dma_ops.dma_iova_unlink(dev, state, 60, 40, 0)
        dma_ops.dma_iova_destroy(dev, state, 60, 0)
        assert ops.links == {} and ops.freed == (state.addr, 100)
        assert not dma_ops.dma_iova_try_alloc(dev, state, 0, 2 << 20) and not state


def test_a_range_has_63_bits():
    state = dma_ops.DmaIovaState()
    state.addr, state.size = 2**64 - 1, 2**63 - 1
    assert (state.addr, state.size, state.swiotlb) == (2**64 - 1, 2**63 - 1, False)
    with pytest.raises(ValueError, match=r"^a range of 9223372036854775808 bytes: bit 63 is DMA_IOVA_USE_SWIOTLB$"):
        state.size = 2**63
    assert state.size == 2**63 - 1
