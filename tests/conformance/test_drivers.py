# SPDX-License-Identifier: MIT
"""Each driver moves the same bytes over whatever path its list was mapped by, on every backend."""

import struct
from collections import Counter
from functools import cache
from random import Random

import pytest

from conformance.axis import marked, try_peers, try_ram
from conformance.checks.bench import Bench
from conformance.checks.topology import FORWARDS, peers
from conformance.drivers import DRIVERS, HardwareError, MemoryRegions, NvmePrp, NvmeSgl, Ring
from conformance.drivers.rdma import best_page_size
from conformance.paths import PATHS, entries
from conformance.selection import known_backends, subject
from dma_ops import DMA_BIDIRECTIONAL, DMA_TO_DEVICE, Device, DmaError, DmaFault, KernelBug, Machine
from dma_ops.p2pdma import pci_alloc_p2pmem
from scatterlist.core import SgTable

RAM = 0x100000
P = 4096


# -- lists -----------------------------------------------------------------------------------------------------

PEERS = ("near", "near2", "far")
MEMORY = (("ram",), PEERS, ("ram", *PEERS))         # of a list: host memory, P2P memory, both


class Lists:
    """Small lists over frames of a bench and of its peers, of which many begin and end where a page list wants it."""

    def __init__(self, bench, p, rnd, most, align):
        self.page = bench.page
        self.align = align
        self.rnd = rnd
        self.most = most                # entries
        block = bench.blocks("low")[0]
        self.frames = {"ram": [block.start + i * self.page for i in range(block.frames)]}
        for kind in PEERS if p is not None else ():
            start = pci_alloc_p2pmem(p.providers[kind], 16 * self.page)
            self.frames[kind] = [start + i * self.page for i in range(16)]

    def draw(self, driver, kinds):
        """(the kind of each entry, rows)"""
        rnd, page, align = self.rnd, self.page, max(driver.align, self.align)
        n = rnd.randrange(1, self.most + 1)
        if page > 1 << 14:              # whole pages in the middle are slow to fill
            n = min(n, 2)
        chosen = [rnd.choice(kinds) for _ in range(n)]
        frames = []
        for kind, m in Counter(chosen).items():
            pool = self.frames[kind]
            first = rnd.randrange(len(pool) - 2 * m)
            frames += [(kind, f) for f in (pool[first:first + m] if rnd.random() < 0.5 else rnd.sample(pool, m))]
        if len(set(chosen)) > 1:
            rnd.shuffle(frames)
        joined = rnd.random() < 0.67 and n > 1
        rows = []
        for i, (_, frame) in enumerate(frames):
            offset, length = rnd.randrange(page - 700) & -align, rnd.randrange(align, 600) & -align
            if joined and i == 0:
                offset = page - length
            elif joined and i < n - 1:
                offset, length = 0, page
            elif joined:
                offset = 0
            rows.append((frame, offset, length))
        spare = sum(length for _, _, length in rows) % max(driver.total, align)
        if spare:                       # the last entry makes the sum fit
            frame, offset, length = rows[-1]
            rows[-1] = (frame, offset, length + max(driver.total, align) - spare)
        return [kind for kind, _ in frames], rows


def put(machine, rows, content):
    at = 0
    for page, offset, length in rows:
        write = machine.mem.poke if machine.is_p2p_page(page) else machine.cpu_write
        write(page + offset, content[at:at + length])
        at += length


def get(machine, rows):
    return b"".join(
        (machine.mem.peek if machine.is_p2p_page(page) else machine.cpu_read)(page + offset, length)
        for page, offset, length in rows
    )


def move(device, driver, path, rows, content, raw):
    """One list: (what the device read, what lies there after the device wrote raw)."""
    put(device.machine, rows, content)
    mapping = path.map(device, rows, DMA_BIDIRECTIONAL)
    extents = mapping.extents()
    assert sum(length for _, length in extents) == len(content)
    read = driver.fetch(extents)
    driver.store(extents, raw)
    mapping.undo()
    return read, get(device.machine, rows)


def refuse(bench, path, rows):
    """One list that is refused: an errno, and the allocator, the table and the list are as they were."""
    given = path.prepare(bench.device, rows)
    before = bench.counters(), bench.ops.table()
    with pytest.raises(DmaError):
        path.call(bench.device, given, DMA_BIDIRECTIONAL)
    assert (bench.counters(), bench.ops.table()) == before
    if isinstance(given, SgTable):
        assert entries(given) == rows
        assert not marked(given)


#: The PS3's IO controller dies of two mappings within one I/O page.
MOST = {"ps3_ioc0_dma_ops": 1}
#: ia64 loses the lowest bit of an entry's offset (test_ia64_loses_the_lowest_bit).
ALIGN = {"sba_dma_ops": 2}


@cache
def verdicts(s):
    """{path: {kind of memory: mechanism}}: what the axis sees, under a host bridge that forwards. The policy is left
    out: a driver that does not ask hands its P2P memory to whatever the mechanism is."""
    kinds = PEERS if s.machine.pci_p2pdma else ()
    return {
        name: {"ram": try_ram(path, s, "drivers")[0]}
        | {kind: try_peers(path, s, "drivers", FORWARDS, (kind,))[0] for kind in kinds}
        for name, path in PATHS.items()
    }


def subject_of(name):
    """On the first machine that can have P2P memory, or the first."""
    found = [subject(name, config.name) for config in known_backends()[name].machines]
    return next((s for s in found if s.machine.pci_p2pdma), found[0])


def many_lists(name, count):
    """count lists for each driver: how many transfers there were, and how many refusals, by kind of memory."""
    s = subject_of(name)
    if not s.reach or not s.allocates:
        with pytest.raises((DmaError, KernelBug)):
            Ring(s.config.build())
        return None
    told = verdicts(s)
    moved, refused = Counter(), Counter()
    for driver_name, kind in DRIVERS.items():
        rnd = Random(f"{name}/{driver_name}")
        bench = Bench(s, f"{name}/{driver_name}")
        p = peers(bench, FORWARDS) if s.machine.pci_p2pdma else None
        lists = Lists(bench, p, rnd, MOST.get(name, 4), ALIGN.get(name, 1))
        driver = kind(bench.device)
        before = bench.counters()
        for i in range(count):
            choice = MEMORY[i % 3] if p is not None else MEMORY[0]
            kinds, rows = lists.draw(kind, choice)
            size = sum(length for _, _, length in rows)
            content, raw = rnd.randbytes(size), rnd.randbytes(size)
            for path_name, path in PATHS.items():
                met = {told[path_name][one] for one in kinds}
                if met & {"unsafe", "absent"}:
                    continue
                if "refused" in met:
                    refuse(bench, path, rows)
                    refused[choice] += 1
                    continue
                read, found = move(bench.device, driver, path, rows, content, raw)
                assert read == content, (driver_name, path_name, i, kinds, rows)
                assert found == raw, (driver_name, path_name, i, kinds, rows)
                moved[choice] += 1
        assert bench.counters() == before
        driver.close()
    assert moved[MEMORY[0]], "no path maps RAM"
    return moved, refused


BACKENDS = sorted(known_backends())


@pytest.mark.parametrize("name", BACKENDS)
def test_every_path_of_every_driver_moves_the_same_bytes(name):
    many_lists(name, 60)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BACKENDS)
def test_a_thousand_lists(name):
    many_lists(name, 1000)


def test_p2p_bytes_go_through_the_backends_whose_mechanism_is_native():
    """Where the policy refuses, too: what an unsupporting backend maps through the host bridge, the drivers reach."""
    for name in ("dma_direct", "iommu_dma_ops", "gart_dma_ops", "dma_iommu_ops", "xen_swiotlb_dma_ops"):
        moved, refused = many_lists(name, 9)
        assert moved[PEERS] and moved[MEMORY[2]], name
        assert bool(refused) == (name not in ("dma_direct", "iommu_dma_ops")), name


def test_ia64_loses_the_lowest_bit():
    """PIDE_FLAG is bit 0 of what map_sg keeps in dma_address (sba_iommu.c: sba_coalesce_chunks): the device is sent one
    byte too low. dma_map_page has no flag."""
    bench = Bench(subject("sba_dma_ops", "zx1-16k"), "x")
    frame = bench.blocks("low")[0].start
    rows = [(frame, 0x101, 64), (frame + 4 * bench.page, 0, 64)]
    content = bytes(range(128))
    got = {}
    for name in ("legacy", "C/dma_map_sg", "C/per-segment"):
        with NvmeSgl(bench.device) as driver:
            got[name], _ = move(bench.device, driver, PATHS[name], rows, content, bytes(128))
    assert got["C/per-segment"] == content
    assert got["legacy"] == got["C/dma_map_sg"] == b"\0" + content[:63] + content[64:]


# -- the drivers one by one ------------------------------------------------------------------------------------

@pytest.fixture
def device():
    return Device("d", Machine("m", ram=((RAM, 64 << 20),)), mask=(1 << 64) - 1)


def fill(device, extents, seed=1):
    raw = Random(seed).randbytes(sum(length for _, length in extents))
    at = 0
    for start, length in extents:
        device.machine.cpu_write(start, raw[at:at + length])
        at += length
    return raw


@pytest.mark.parametrize(
    ("extents", "prps"),
    [
        pytest.param([(RAM + 0x10, 0x20)], 0, id="inside-a-page"),
        pytest.param([(RAM + 0x10, P - 0x10)], 0, id="up-to-the-end"),
        pytest.param([(RAM + 0x10, P)], RAM + P, id="two-pages-no-list"),
        pytest.param([(RAM + 0xFFC, 4), (RAM + 8 * P, P)], RAM + 8 * P, id="two-extents-no-list"),
    ],
)
def test_prp2_is_the_second_page(device, extents, prps):
    with NvmePrp(device) as driver:
        raw = fill(device, extents)
        assert driver.fetch(extents) == raw
        assert struct.unpack("<QQ", driver.descriptors.read(24, 16)) == (extents[0][0], prps)


def test_a_prp_list_leads_to_the_next(device):
    with NvmePrp(device, room=3) as driver:
        extents = [(RAM + 0x800, 0x800), (RAM + 16 * P, 3 * P), (RAM + 32 * P, 2 * P + 8)]
        raw = fill(device, extents)
        assert driver.fetch(extents) == raw
        first = driver.descriptors.bus + 2 * P - 24
        assert struct.unpack("<QQ", driver.descriptors.read(24, 16)) == (RAM + 0x800, first)
        assert struct.unpack("<3Q", driver.descriptors.read(2 * P - 24, 24)) == (
            RAM + 16 * P, RAM + 17 * P, driver.descriptors.bus + 2 * P
        )


def test_whole_prp_list_pages_are_chained(device):
    with NvmePrp(device, room=512) as driver:
        extents = [(RAM + 4, 1025 * P)]
        raw = fill(device, extents)
        assert driver.fetch(extents) == raw
        fresh = Random(2).randbytes(len(raw))
        driver.store(extents, fresh)
        assert device.machine.cpu_read(RAM + 4, len(raw)) == fresh


def test_a_hole_makes_two_prp_commands(device):
    driver = NvmePrp(device)
    parts = list(driver.parts([(RAM, P), (RAM + 4 * P, P - 4), (RAM + 8 * P, 8), (RAM + 9 * P + 4, 4)]))
    assert [len(part) for part in parts] == [2, 1, 1]


def test_the_controller_refuses_an_offset_in_the_middle(device):
    driver = NvmePrp(device)
    with pytest.raises(HardwareError, match="has an offset"):
        driver.submit(struct.pack("<QQ", RAM, RAM + P + 4), P + 8, 0, None)
    with pytest.raises(HardwareError, match="not on a dword"):
        driver.submit(struct.pack("<QQ", RAM + 2, 0), 4, 0, None)


def test_sgl_segments_are_chained(device):
    driver = NvmeSgl(device, segment=4)
    extents = [(RAM + i * 3 * P + i, 100 + 4 * i) for i in range(11)]
    raw = fill(device, extents)
    assert driver.fetch(extents) == raw
    address, length, kind = struct.unpack("<QI3xB", driver.descriptors.read(24, 16))
    assert (length, kind) == (64, 0x20)                 # three blocks and the way on
    assert driver.descriptors.read(address - driver.descriptors.bus + 63, 1) == b"\x20"


def test_an_sgl_must_have_the_commands_size(device):
    driver = NvmeSgl(device)
    with pytest.raises(HardwareError, match="other than 8 bytes"):
        driver.submit(struct.pack("<QI3xB", RAM, 4, 0), 8, 0x40, None)


@pytest.mark.parametrize(
    ("extents", "size"),
    [
        pytest.param([(0x10000, 100)], 4096, id="small"),
        pytest.param([(0x10F00, 8192)], 16384, id="one-range-in-one-page"),
        pytest.param([(0x11000, 4096), (0x20000, 4096)], 8192, id="scattered-pages"),
        pytest.param([(0x14000, 0xC000), (0x40000, 0x10000)], 0x20000, id="merged-to-128k"),
        pytest.param([(0x200000, 2 << 20), (0x800000, 2 << 20), (0xA00000, 5)], 2 << 20, id="huge"),
    ],
)
def test_a_regions_page_size_follows_from_the_list(extents, size):
    assert best_page_size(extents) == size


def test_a_region_permits_only_what_it_was_made_for(device):
    driver = MemoryRegions(device)
    fill(device, [(RAM, 64)])
    driver.run([(RAM, 64)], None)
    with pytest.raises(HardwareError, match="does not permit"):
        driver.adapter.access(driver.descriptors.bus, 0x7F0000000000, 8, b"\0" * 8)
    with pytest.raises(HardwareError, match="outside the region"):
        driver.adapter.access(driver.descriptors.bus, 0x7F0000000000, 65, None)


def test_the_ring_wraps_and_writes_back(device):
    driver = Ring(device, slots=4)
    for i in range(5):
        extents = [(RAM + k * P, 50 + k + i) for k in range(7)]
        raw = fill(device, extents, i)
        assert driver.fetch(extents) == raw
    assert driver.tail == driver.engine.head == 35 % 4


def test_the_hardware_fetches_through_the_iommu():
    """Without its mapping, not even the descriptor is reached."""
    s = subject("iommu_dma_ops", "intel")
    driver = Ring(s.config.build())
    driver.close()
    with pytest.raises(DmaFault):
        driver.engine.run(None)


def test_what_is_unmapped_is_not_reached():
    s = subject("iommu_dma_ops", "intel")
    bench = Bench(s, "x")
    driver = NvmeSgl(bench.device)
    rows = bench.lot("pages").rows
    mapping = PATHS["C/per-segment"].map(bench.device, rows, DMA_TO_DEVICE)
    extents = mapping.extents()
    driver.fetch(extents)
    with pytest.raises(DmaFault, match="permission"):
        driver.store(extents, bytes(sum(length for _, length in extents)))
    mapping.undo()
    with pytest.raises(DmaFault, match="not-present"):
        driver.fetch(extents)
