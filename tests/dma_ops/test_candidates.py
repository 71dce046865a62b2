# SPDX-License-Identifier: MIT
"""The three designs of 2021: what each answers, leaves and undoes."""

import errno
from contextlib import suppress

import pytest

from arch import backends
from conformance.checks.bench import Bench
from conformance.checks.topology import FORWARDS, UNKNOWN, peers
from conformance.facts import Subject
from dma_ops import (
    DMA_BIDIRECTIONAL,
    DMA_TO_DEVICE,
    Device,
    DmaError,
    KernelBug,
    Machine,
    dma_set_max_seg_size,
    dma_set_seg_boundary,
)
from dma_ops.candidates import (
    DmaVector,
    dma_map_new,
    dma_map_p2p_sg,
    dma_new_path,
    dma_unmap_new,
    dma_unmap_p2p_sg,
    mark,
)
from scatterlist.bvec import BioVecs
from scatterlist.core import SgTable
from scatterlist.entry import sg_is_pci_p2pdma, sg_page

RAM = 0x100000
P = 4096
GIB = 1 << 30


def bench(backend, machine):
    record = backends()[backend]
    config = next(config for config in record.machines if config.name == machine)
    return Bench(Subject(record, config), f"{backend}/{machine}")


@pytest.fixture
def direct():
    return bench("dma_direct", "x86_64")


@pytest.fixture
def intel():
    return bench("iommu_dma_ops", "intel")


def marks(sgt):
    return [(sg_is_pci_p2pdma(sg), sg.dma_flags) for sg in sgt]


def code(call, *arguments, **options):
    with pytest.raises(DmaError) as caught:
        call(*arguments, **options)
    return caught.value.errno


def mixed(b, *kinds, host=FORWARDS):
    p = peers(b, host)
    return p, p.lot([p.row(kind, 0, b.page) for kind in kinds])


# -- A ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fixture", ["direct", "intel"])
def test_the_mark_moves_into_page_link(request, fixture):
    b = request.getfixturevalue(fixture)
    p, lot = mixed(b, "ram", "near", "ram")
    sgt = SgTable(lot.rows, p2pdma_bit=True)
    before = b.counters()
    assert mark.dma_map_sg(b.device, sgt, DMA_BIDIRECTIONAL, mark="page_link") == sgt.nents == 3
    assert marks(sgt) == [(False, 0), (True, 0), (False, 0)]
    assert [sg_page(sg) for sg in sgt] == [page for page, _, _ in lot.rows]     # the bit is no part of the pointer
    assert sgt.segments()[1][0] == p.bus(lot.rows[1])
    mark.dma_unmap_sg(b.device, sgt, DMA_BIDIRECTIONAL, mark="page_link")
    assert marks(sgt) == [(False, 0)] * 3
    assert b.counters() == before


def test_the_mark_is_on_the_output(intel):
    """RAM, RAM, BUS with the RAM merged: the mark is on slot 1, whose page is RAM."""
    p = peers(intel)
    run = intel.frames(2, contiguous=True)
    rows = [(run[0], 0, P), (run[1], 0, P), p.row("near", 0, P)]
    sgt = SgTable(rows, p2pdma_bit=True)
    assert mark.dma_map_sg(intel.device, sgt, DMA_TO_DEVICE, mark="page_link") == 2
    assert marks(sgt) == [(False, 0), (True, 0), (False, 0)]
    assert sg_page(list(sgt)[1]) == run[1]
    mark.dma_unmap_sg(intel.device, sgt, DMA_TO_DEVICE, mark="page_link")
    assert marks(sgt) == [(False, 0)] * 3


def test_both_places_give_the_same_addresses(intel):
    _, lot = mixed(intel, "near", "ram", "near2", "far")
    seen = {}
    for place in mark.PLACES:
        sgt = SgTable(lot.rows, p2pdma_bit=True)
        mark.dma_map_sg(intel.device, sgt, DMA_TO_DEVICE, mark=place)
        seen[place] = [length for _, length, _ in sgt.segments()], [bool(a or b) for a, b in marks(sgt)]
        mark.dma_unmap_sg(intel.device, sgt, DMA_TO_DEVICE, mark=place)
    assert seen["dma_flags"] == seen["page_link"] == ([P] * 4, [True, False, True, False])


def test_no_mark_in_the_page_link_of_a_32_bit_machine():
    machine = Machine("m", bits=32, ram=((RAM, 64 << 20),), pci_p2pdma=True)
    device = Device("d", machine)
    machine.add_pgmap(0x20000000, 0x20400000, 0, 0)
    sgt = SgTable([(RAM, 0, P), (0x20000000, 0, P)])
    assert code(mark.dma_map_sg, device, sgt, DMA_TO_DEVICE, mark="page_link") == errno.EOPNOTSUPP
    assert sgt.entries() == [(RAM, 0, P, 0, 0, 0), (0x20000000, 0, P, 0, 0, 0)]
    assert mark.dma_map_sg(device, SgTable([(RAM, 0, P)]), DMA_TO_DEVICE, mark="page_link") == 1


def test_a_table_without_the_bit_and_a_place_that_is_none(direct):
    sgt = SgTable([(RAM, 0, P)])
    with pytest.raises(ValueError, match="no third flag bit"):
        mark.dma_map_sg(direct.device, sgt, DMA_TO_DEVICE, mark="page_link")
    with pytest.raises(ValueError, match="no place for the mark"):
        mark.dma_map_sg(direct.device, sgt, DMA_TO_DEVICE, mark="offset")


# -- B ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fixture", ["direct", "intel"])
def test_every_entry_keeps_its_address(request, fixture):
    b = request.getfixturevalue(fixture)
    p, lot = mixed(b, "ram", "near", "ram", "far", "near2")
    sgt = SgTable(lot.rows)
    before = b.counters()
    assert dma_map_p2p_sg(b.device, sgt, DMA_BIDIRECTIONAL) == 5
    assert marks(sgt) == [(False, 0)] * 5
    assert sgt.segments()[1][0] == p.bus(lot.rows[1])
    assert b.read(sgt.segments()) == lot.content
    dma_unmap_p2p_sg(b.device, sgt, DMA_BIDIRECTIONAL)
    assert [row[:3] for row in sgt.entries()] == lot.rows
    assert b.counters() == before


def test_neighbours_are_not_merged(intel):
    run = intel.frames(2, contiguous=True)
    sgt = SgTable([(run[0], 0, P), (run[1], 0, P)])
    assert dma_map_p2p_sg(intel.device, sgt, DMA_TO_DEVICE) == 2
    dma_unmap_p2p_sg(intel.device, sgt, DMA_TO_DEVICE)


@pytest.mark.parametrize("fixture", ["direct", "intel"])
def test_a_blocked_peer_is_refused_before_anything_is_mapped(request, fixture):
    b = request.getfixturevalue(fixture)
    _, lot = mixed(b, "ram", "near", "far", host=UNKNOWN)
    sgt = SgTable(lot.rows)
    before = b.counters(), b.ops.table(), sgt.entries()
    assert code(dma_map_p2p_sg, b.device, sgt, DMA_TO_DEVICE) == errno.EREMOTEIO
    assert (b.counters(), b.ops.table(), sgt.entries()) == before


def test_a_failure_in_the_middle_unmaps_what_came_before(intel):
    _, lot = mixed(intel, "ram", "near", "ram", "ram")
    sgt = SgTable(lot.rows)
    before = intel.counters()
    intel.machine.fail("iova", 3)
    assert code(dma_map_p2p_sg, intel.device, sgt, DMA_TO_DEVICE) == errno.ENOMEM
    assert intel.counters() == before
    assert [row[:3] for row in sgt.entries()] == lot.rows


@pytest.mark.parametrize("name", sorted(set(backends()) - {"dma_direct", "iommu_dma_ops"}))
def test_the_op_is_absent_elsewhere(name):
    record = backends()[name]
    device = record.machines[0].build()
    sgt = SgTable([(0x100000, 0, device.machine.page_size)], page_shift=device.machine.page_shift)
    before = sgt.entries()
    assert code(dma_map_p2p_sg, device, sgt, DMA_TO_DEVICE) == errno.ENXIO
    assert sgt.entries() == before


def test_an_empty_entry_is_refused(direct):
    assert code(dma_map_p2p_sg, direct.device, SgTable([(RAM, 0, 0)]), DMA_TO_DEVICE) == errno.EINVAL


# -- C ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", ["native", "per-segment", "dma_map_sg"])
def test_a_vector_has_the_bytes_of_its_ranges(direct, path):
    frames = direct.frames(3)
    vector = dma_map_new(direct.device, [(frames[0] + 5, 100), (frames[1], P), (frames[2] + 1, 7)], DMA_TO_DEVICE,
                         path=path)
    assert (vector.path, vector.size, len(vector), vector.mapped) == (path, P + 107, 3, True)
    assert list(vector) == [(frames[0] + 5, 100, 0), (frames[1], P, 0), (frames[2] + 1, 7, 0)]
    assert vector[-1] == vector[2]
    with pytest.raises(IndexError):
        vector[3]
    dma_unmap_new(direct.device, vector, DMA_TO_DEVICE)
    assert (len(vector), vector.mapped) == (0, False)


def test_bio_vecs_go_in(direct):
    vector = dma_map_new(direct.device, BioVecs([(RAM, 3 * P, 100)]), DMA_TO_DEVICE)
    assert list(vector) == [(RAM + 100, 3 * P, 0)]


@pytest.mark.parametrize(("backend", "machine", "path"), [
    ("dma_direct", "x86_64", "native"),
    ("iommu_dma_ops", "intel", "native"),
    ("iommu_dma_ops", "intel-untrusted", "per-segment"),    # its unaligned ranges have to be bounced
    ("alpha_pci_ops", "tsunami", "per-segment"),
    ("vdpasim_dma_ops", "sim", "per-segment"),
    ("dma_iommu_ops", "pseries-ddw", "per-segment"),        # a bypass is the backend's affair
])
def test_the_path_by_itself(backend, machine, path):
    assert dma_new_path(bench(backend, machine).device) == path


@pytest.mark.parametrize("path", ["native", "per-segment", "dma_map_sg"])
def test_a_range_over_4_gib_is_split(path):
    machine = Machine("m", ram=((RAM, 16 * GIB),))
    device = Device("d", machine, mask=(1 << 64) - 1)
    vector = dma_map_new(device, [(RAM + 0x10, 9 * GIB), (RAM + 12 * GIB, 5)], DMA_TO_DEVICE, path=path)
    pieces = list(vector)
    assert sum(length for _, length, _ in pieces) == vector.size == 9 * GIB + 5
    assert [length for _, length, _ in pieces] == [(1 << 32) - P - 0x10, (1 << 32) - P, GIB + 2 * P + 0x10, 5]
    at = RAM + 0x10
    for address, length, _ in pieces[:3]:
        assert address == at
        at += length


def test_exactly_uint_max_is_one_piece():
    device = Device("d", Machine("m", ram=((RAM, 16 * GIB),)), mask=(1 << 64) - 1)
    assert len(dma_map_new(device, [(RAM, 0xFFFFFFFF)], DMA_TO_DEVICE)) == 1
    assert len(dma_map_new(device, [(RAM, 0x100000000)], DMA_TO_DEVICE)) == 2


def test_a_range_without_page(direct):
    """No struct page: dma_map_sg cannot be told, the other paths take dma_map_resource."""
    mmio = 0xF_0000_0000
    with suppress(DmaError):
        peers(direct)
    before = direct.counters()
    assert code(dma_map_new, direct.device, [(RAM, P), (mmio, P)], DMA_TO_DEVICE,
                path="dma_map_sg") == errno.EOPNOTSUPP
    assert direct.counters() == before
    vector = dma_map_new(direct.device, [(mmio, P)], DMA_TO_DEVICE)
    assert list(vector) == [(mmio, P, 2)]
    dma_unmap_new(direct.device, vector, DMA_TO_DEVICE)


def test_a_range_without_page_needs_map_resource():
    b = bench("alpha_pci_ops", "tsunami")
    ram = b.frames(1)[0]
    before = b.counters()
    assert code(dma_map_new, b.device, [(ram, 100), (1 << 40, 4096)], DMA_TO_DEVICE) == errno.ENXIO
    assert b.counters() == before


@pytest.mark.parametrize("path", ["native", "per-segment", "dma_map_sg", None])
def test_reachability_and_a_missing_op_are_not_one_errno(path):
    b = bench("dma_direct", "x86_64")
    _, lot = mixed(b, "ram", "far", host=UNKNOWN)
    ranges = [(page + offset, length) for page, offset, length in lot.rows]
    assert code(dma_map_new, b.device, ranges, DMA_TO_DEVICE, path=path) == errno.EREMOTEIO
    b = bench("gart_dma_ops", "opteron")
    _, lot = mixed(b, "ram", "near")
    ranges = [(page + offset, length) for page, offset, length in lot.rows]
    before = b.counters(), b.ops.table()
    assert code(dma_map_new, b.device, ranges, DMA_TO_DEVICE, path=path) == errno.ENXIO
    assert (b.counters(), b.ops.table()) == before


@pytest.mark.parametrize("k", range(1, 5))
@pytest.mark.parametrize("path", ["native", "per-segment", "dma_map_sg"])
def test_a_failure_at_range_k_leaves_nothing(intel, k, path):
    ranges = [(frame, P) for frame in intel.frames(4)]
    dma_set_max_seg_size(intel.device, P)                   # so that no two share a stretch
    before = intel.counters(), intel.ops.table()
    intel.machine.fail("iova", 1 if path == "dma_map_sg" else k)
    assert code(dma_map_new, intel.device, ranges, DMA_TO_DEVICE, path=path) in (errno.EIO, errno.ENOMEM)
    assert (intel.counters(), intel.ops.table()) == before


def test_a_peer_that_cannot_be_reached_behind_what_was_mapped(intel):
    _, lot = mixed(intel, "ram", "near", "ram", "far", host=UNKNOWN)
    before = intel.counters(), intel.ops.table()
    ranges = [(page + offset, length) for page, offset, length in lot.rows]
    for path in ("native", "per-segment", "dma_map_sg"):
        assert code(dma_map_new, intel.device, ranges, DMA_TO_DEVICE, path=path) == errno.EREMOTEIO
        assert (intel.counters(), intel.ops.table()) == before


@pytest.mark.parametrize("path", ["native", "per-segment", "dma_map_sg"])
def test_paths_agree_byte_by_byte(intel, path):
    """Not the same segments, but the same bytes behind them, P2P memory included."""
    dma_set_max_seg_size(intel.device, 1 << 20)
    _, lot = mixed(intel, "ram", "near", "ram", "ram", "near2", "far")
    ranges = [(page + offset, length) for page, offset, length in lot.rows]
    vector = dma_map_new(intel.device, ranges, DMA_BIDIRECTIONAL, path=path)
    assert intel.read(list(vector)) == lot.content
    assert [flags & 1 for _, _, flags in vector].count(1) == 2
    dma_unmap_new(intel.device, vector, DMA_BIDIRECTIONAL)


def test_a_stretch_is_one_segment_and_one_flush(intel):
    dma_set_max_seg_size(intel.device, 16 * P)
    frames = intel.frames(3)
    before, table = intel.counters(), intel.ops.table()
    flushes = intel.ops.domain.syncs
    ranges = [(frames[0] + 0x100, P - 0x100), (frames[1], P), (frames[2], 8), (frames[2] + 16, 8)]
    vector = dma_map_new(intel.device, ranges, DMA_TO_DEVICE)
    assert [(address % P, length) for address, length, _ in vector] == [(0x100, 2 * P - 0x100 + 8), (16, 8)]
    assert len(intel.ops.table()) - len(table) == 4
    dma_unmap_new(intel.device, vector, DMA_TO_DEVICE)
    assert intel.ops.domain.syncs - flushes == 2
    assert (intel.counters(), intel.ops.table()) == (before, table)


def test_a_stretch_keeps_to_the_devices_limits(intel):
    frames = intel.frames(4, contiguous=True)
    dma_set_max_seg_size(intel.device, 2 * P)
    vector = dma_map_new(intel.device, [(frame, P) for frame in frames], DMA_TO_DEVICE)
    assert [length for _, length, _ in vector] == [2 * P, 2 * P]
    dma_unmap_new(intel.device, vector, DMA_TO_DEVICE)
    dma_set_max_seg_size(intel.device, 1 << 20)
    dma_set_seg_boundary(intel.device, 2 * P - 1)
    vector = dma_map_new(intel.device, [(frame, P) for frame in frames], DMA_TO_DEVICE)
    for address, length, _ in vector:
        assert address // (2 * P) == (address + length - 1) // (2 * P)
    dma_unmap_new(intel.device, vector, DMA_TO_DEVICE)


def test_dma_map_sg_underneath_merges_and_keeps_its_table(intel):
    run = intel.frames(4, contiguous=True)
    before = intel.counters()
    many = dma_map_new(intel.device, [(frame, P) for frame in run], DMA_TO_DEVICE, path="per-segment")
    one = dma_map_new(intel.device, [(frame, P) for frame in run], DMA_TO_DEVICE, path="dma_map_sg")
    assert (len(many), len(one), one.size) == (4, 1, 4 * P)
    dma_unmap_new(intel.device, one, DMA_TO_DEVICE)         # the four entries are in the vector's own table
    dma_unmap_new(intel.device, many, DMA_TO_DEVICE)
    assert intel.counters() == before


@pytest.mark.parametrize("ranges", [
    pytest.param([], id="none"),
    pytest.param([(RAM, 0)], id="no-bytes"),
    pytest.param([(RAM, P), ((1 << 64) - P, 2 * P)], id="wraps"),
    pytest.param([(RAM, 1 << 41)], id="too-much"),
    pytest.param([((1 << 30) - P, 4 << 40)], id="more-than-there-is"),
])
def test_misuse_is_einval(direct, ranges):
    assert code(dma_map_new, direct.device, ranges, DMA_TO_DEVICE) == errno.EINVAL


def test_a_range_of_two_kinds_is_einval(direct):
    p = peers(direct)
    bar = p.providers["far"].bars[0]
    end = bar.start + bar.size
    assert code(dma_map_new, direct.device, [(end - P, 2 * P)], DMA_TO_DEVICE) == errno.EINVAL


def test_native_is_refused_where_it_is_absent():
    b = bench("alpha_pci_ops", "tsunami")
    assert code(dma_map_new, b.device, [(b.frames(1)[0], 64)], DMA_TO_DEVICE, path="native") == errno.ENXIO
    assert code(dma_map_new, bench("vdpasim_dma_ops", "sim").device, [(0x100000, 64)], DMA_TO_DEVICE,
                path="dma_map_sg") == errno.ENXIO


def test_a_vector_is_unmapped_once_and_for_its_device(direct):
    vector = dma_map_new(direct.device, [(RAM, P)], DMA_TO_DEVICE)
    other = direct.config.build()
    with pytest.raises(ValueError, match="not mapped for this device"):
        dma_unmap_new(other, vector, DMA_TO_DEVICE)
    dma_unmap_new(direct.device, vector, DMA_TO_DEVICE)
    with pytest.raises(ValueError, match="not mapped for this device"):
        dma_unmap_new(direct.device, vector, DMA_TO_DEVICE)


def test_what_python_may_not_ask(direct):
    with pytest.raises(TypeError, match="comes from dma_map_new"):
        DmaVector()
    with pytest.raises(ValueError, match="is no path"):
        dma_map_new(direct.device, [(RAM, P)], DMA_TO_DEVICE, path="sideways")
    with pytest.raises(KernelBug):
        dma_map_new(direct.device, [(RAM, P)], 7)
    with pytest.raises(OverflowError):
        dma_map_new(direct.device, [(-1, P)], DMA_TO_DEVICE)
    with pytest.raises(ValueError, match="without __init__"):
        dma_map_new(Device.__new__(Device), [(RAM, P)], DMA_TO_DEVICE)
    assert code(dma_map_p2p_sg, direct.device, SgTable(), DMA_TO_DEVICE) == errno.EINVAL
    assert code(mark.dma_map_sg, direct.device, SgTable.__new__(SgTable), DMA_TO_DEVICE) in (errno.EIO, errno.EINVAL)
