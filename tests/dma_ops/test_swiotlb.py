# SPDX-License-Identifier: MIT
"""Bounce buffers: the slot walk, what is copied when, and the traps of swiotlb.c."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, Device, KernelBug, KernelHang, Machine
from dma_ops.swiotlb import IoTlbMem, swiotlb_init

POOL = 0x3000000
SLOT = 2048


def make(nslabs=512, nareas=1, *, start=POOL, kernel=601, min_align=0, seg_boundary=None, **facts):
    """A device with a pool, and the pool."""
    machine = Machine("test", arch="x86_64", ram=[(0, 256 << 20)], kernel=kernel, **facts)
    pool = IoTlbMem(machine, start, nslabs, nareas)
    dev = Device("dev", machine)
    dev.io_tlb_mem = pool
    dev.min_align_mask = min_align
    if seg_boundary is not None:
        dev.segment_boundary_mask = seg_boundary
    return dev, pool


def slot(pool, addr):
    return None if addr is None else (addr - pool.start) / SLOT


def take(dev, pool, size, orig=0x100000, align=0):
    return slot(pool, pool.map_single(dev, orig, size, size, align, DMA_TO_DEVICE))


class TestWalk:
    """Each row: the requests (size, orig), and the slots they get."""

    @pytest.mark.parametrize(
        ("facts", "requests", "slots"),
        [
            pytest.param({}, [(1, 0x100000), (1, 0x100000)], [0, 1], id="one byte takes one slot"),
            pytest.param({}, [(1, 0x100000), (4096, 0x100000), (1, 0x100000)], [0, 2, 4], id="4096 is page aligned"),
            pytest.param({}, [(1, 0x100000), (4095, 0x100000)], [0, 1], id="4095 is not"),
            pytest.param({}, [(262144, 0x100000)] * 5, [0, 128, 256, 384, None], id="256 KiB fits a group"),
            pytest.param({}, [(262145, 0x100000)], [None], id="256 KiB and a byte never fits"),
            pytest.param({}, [(1, 0x100000), (262144, 0x100000)], [0, 128], id="a run stays in its group"),
            pytest.param({}, [(4096, 0x1007ff)], [0], id="the page offset is not kept"),
            pytest.param({"min_align": 0xFFF}, [(1, 0x1007FF)], [0x7FF / SLOT], id="but with min_align_mask"),
            pytest.param({"min_align": 0xFFF}, [(1, 0x100800)], [1], id="bit 11 chooses the slot"),
            pytest.param({"min_align": 0xFFF}, [(4096, 0x100001)], [1 / SLOT], id="size and offset: three slots"),
            pytest.param({"seg_boundary": 0xFFFF}, [(40960, 0x100000)] * 3, [0, 32, 64], id="64 KiB boundary"),
            pytest.param({"start": 0x3001000, "seg_boundary": 0xFFFF}, [(61440, 0x100000)] * 2, [0, 30],
                         id="a boundary of DMA addresses, not of slots"),
            pytest.param({"seg_boundary": 0xFFFF}, [(65537, 0x100000)], [None], id="longer than the boundary"),
        ],
    )
    def test_slots(self, facts, requests, slots):
        dev, pool = make(**facts)
        assert [take(dev, pool, size, orig) for size, orig in requests] == slots

    def test_next_fit_does_not_go_back(self):
        dev, pool = make()
        first = pool.map_single(dev, 0x100000, 1, 1, 0, DMA_TO_DEVICE)
        pool.unmap_single(dev, first, 1, DMA_TO_DEVICE)
        assert take(dev, pool, 1) == 1
        assert pool.area_index == (2,)

    def test_index_wraps_to_the_start_when_past_the_end(self):
        dev, pool = make()
        for _ in range(4):
            take(dev, pool, 262144)
        assert pool.area_index == (0,)
        assert pool.used == 512

    def test_areas_begin_with_the_cpu_and_go_round(self):
        dev, pool = make(nareas=4, nr_cpus=4)
        dev.machine.cpu = 2
        assert [take(dev, pool, 262144) for _ in range(5)] == [256, 384, 0, 128, None]

    def test_explicit_alignment(self):
        dev, pool = make()
        take(dev, pool, 1)
        assert take(dev, pool, 1, align=0xFFFF) == 32

    def test_zero_bytes_is_a_bug(self):
        dev, pool = make()
        with pytest.raises(KernelBug, match="!nslots"):
            take(dev, pool, 0)

    def test_a_boundary_that_is_no_power_of_two_is_a_bug(self):
        dev, pool = make(seg_boundary=0x2FFF)
        with pytest.raises(KernelBug):
            take(dev, pool, 1)

    @pytest.mark.parametrize("kernel", [601, 612])
    def test_search_that_steps_over_its_start(self, kernel):
        """All odd slots taken, an even start, an original with bit 11 set: 6.1 never comes back to where it began."""
        dev, pool = make(nslabs=128, kernel=kernel)
        held = [pool.map_single(dev, 0x100000, 1, 1, 0, DMA_TO_DEVICE) for _ in range(128)]
        for addr in held[::2]:
            pool.unmap_single(dev, addr, 1, DMA_TO_DEVICE)
        dev.min_align_mask = 0xFFF
        assert take(dev, pool, 1, 0x100000) == 0
        if kernel == 601:
            with pytest.raises(KernelHang):
                take(dev, pool, 1, 0x100800)
        else:
            assert take(dev, pool, 1, 0x100800) is None

    def test_fault_injection(self):
        dev, pool = make()
        dev.machine.fail("swiotlb")
        assert [take(dev, pool, 1), take(dev, pool, 1)] == [None, 0]
        assert dev.machine.dmesg == ["swiotlb buffer is full"]


class TestNewer:
    """What 6.12 does otherwise."""

    def test_no_page_alignment_beside_another(self):
        for kernel, expect in ((601, 4), (612, 2)):
            dev, pool = make(kernel=kernel, min_align=0xFFF)
            assert take(dev, pool, 1, 0x100000) == 0
            assert take(dev, pool, 4096, 0x100000) == expect

    def test_padding_slots(self):
        """min_align_mask over a granule: 6.12 keeps the offset in whole slots before the first one."""
        dev, pool = make(kernel=612, min_align=0xFFFF)
        addr = pool.map_single(dev, 0x105800, 100, 100, 0xFFFF, DMA_TO_DEVICE)
        assert addr == POOL + 0x5800
        assert pool.used == 32
        pool.unmap_single(dev, addr, 100, DMA_TO_DEVICE)
        assert pool.used == 0
        assert pool.free_runs() == make()[1].free_runs()

    def test_a_mapping_ends_skipped_syncs(self):
        dev, pool = make(kernel=612)
        dev.dma_skip_sync = True
        take(dev, pool, 1)
        assert not dev.dma_skip_sync


class TestCopies:
    @pytest.mark.parametrize("direction", [DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE])
    @pytest.mark.parametrize("cached", [False, True])
    def test_every_direction_copies_the_original_in(self, direction, cached):
        dev, pool = make(cached=cached)
        dev.machine.cpu_write(0x100010, b"original")
        addr = pool.map_single(dev, 0x100010, 8, 8, 0, direction)
        assert dev.machine.cpu_read(addr, 8) == b"original"

    @pytest.mark.parametrize(
        ("direction", "attrs", "back"),
        [(DMA_BIDIRECTIONAL, 0, True), (DMA_FROM_DEVICE, 0, True), (DMA_TO_DEVICE, 0, False),
         (DMA_FROM_DEVICE, 1 << 5, False)],
        ids=["bidirectional", "from-device", "to-device", "skip-cpu-sync"],
    )
    def test_unmap_copies_back(self, direction, attrs, back):
        dev, pool = make()
        addr = pool.map_single(dev, 0x100000, 5000, 5000, 0, direction)
        dev.dma_write(addr + 4990, b"0123456789")
        pool.unmap_single(dev, addr, 5000, direction, attrs)
        assert dev.machine.cpu_read(0x100000 + 4990, 10) == (b"0123456789" if back else bytes(10))

    def test_a_wrong_size_is_clamped(self):
        dev, pool = make()
        addr = pool.map_single(dev, 0x100000, 100, 100, 0, DMA_FROM_DEVICE)
        dev.dma_write(addr, b"x" * 200)
        pool.unmap_single(dev, addr, 200, DMA_FROM_DEVICE)
        assert dev.machine.cpu_read(0x100000, 200) == b"x" * 100 + bytes(100)
        assert any("Buffer overflow" in line for line in dev.machine.dmesg)


class TestRelease:
    def test_neighbours_merge_within_the_group_only(self):
        dev, pool = make()
        fresh = pool.free_runs()
        held = [pool.map_single(dev, 0x100000, SLOT, SLOT, 0, DMA_TO_DEVICE) for _ in range(130)]
        assert pool.free_runs()[:130] == [0] * 130
        for i in (1, 3, 2, 0, *range(129, 3, -1)):
            pool.unmap_single(dev, held[i], SLOT, DMA_TO_DEVICE)
        assert pool.free_runs() == fresh
        assert pool.used == 0

    def test_unmap_uses_the_mask_of_today(self):
        """A mapping with an offset is freed one slot short if min_align_mask was dropped before its unmap."""
        dev, pool = make(min_align=0xFFF)
        addr = pool.map_single(dev, 0x1007FF, SLOT, SLOT, 0, DMA_TO_DEVICE)
        assert pool.used == 2
        dev.min_align_mask = 0
        pool.unmap_single(dev, addr, SLOT, DMA_TO_DEVICE)
        assert pool.used == 1


class TestEdges:
    def test_what_the_pool_knows(self):
        """Each slot of a mapping remembers its part of the original, and how much of it follows."""
        dev, pool = make()
        addr = pool.map_single(dev, 0x100010, 5000, 5000, 0, DMA_TO_DEVICE)
        assert pool.live() == {0: (0x100010, 5000), 1: (0x100810, 2952), 2: (0x101010, 904)}
        assert repr(pool) == "<IoTlbMem 0x3000000-0x3100000: 3 of 512 slots used>"
        pool.unmap_single(dev, addr, 5000, DMA_TO_DEVICE)
        assert pool.live() == {} and pool.used == 0

    @pytest.mark.parametrize(
        ("kernel", "at", "size", "copied"),
        [(601, 0, 100, 100), (601, 0, 101, 100), (612, 0, 101, 100), (601, 200, 1, 0)],
        ids=["all of it", "a byte too many", "in 6.12 too", "behind the mapping"],
    )
    def test_no_more_comes_back_than_was_mapped(self, kernel, at, size, copied):
        dev, pool = make(kernel=kernel)
        addr = pool.map_single(dev, 0x100000, 100, 100, 0, DMA_TO_DEVICE)
        dev.machine.mem.poke(addr, b"x" * 300)
        pool.unmap_single(dev, addr + at, size, DMA_FROM_DEVICE)
        assert dev.machine.mem.peek(0x100000, 300) == b"x" * copied + bytes(300 - copied)
        assert dev.machine.dmesg == (["WARNING: swiotlb_bounce: Buffer overflow detected."] if at + size > 100 else [])
        assert pool.used == 0

    @pytest.mark.parametrize(("kernel", "mapped", "warnings"), [(601, False, ["Invalid sizes (mapping, alloc)"]),
                                                                (612, True, [])])
    def test_an_allocation_below_the_mapping(self, kernel, mapped, warnings):
        """6.12 does not take the size of the allocation from its callers."""
        dev, pool = make(kernel=kernel)
        assert (pool.map_single(dev, 0x100000, 100, 99, 0, DMA_TO_DEVICE) is not None) == mapped
        assert dev.machine.dmesg == warnings

    def test_a_pool_of_another_device(self):
        (dev, pool), (other, _) = make(), make()
        with pytest.raises(ValueError, match=r"^dev does not use this pool$"):
            pool.map_single(other, 0x100000, 1, 1, 0, DMA_TO_DEVICE)
        addr = pool.map_single(dev, 0x100000, 1, 1, 0, DMA_TO_DEVICE)
        for asked, wrong in ((other, addr), (dev, pool.end), (dev, pool.start - 1)):
            with pytest.raises(ValueError, match=rf"^{wrong:#x} is not in dev's pool$"):
                pool.unmap_single(asked, wrong, 1, DMA_TO_DEVICE)
        assert pool.used == 1


class TestInit:
    @pytest.mark.parametrize(
        ("size", "nareas", "ram", "kernel", "nslabs", "areas"),
        [
            (0, 0, 256 << 20, 601, 32768, 1),
            (1 << 20, 3, 256 << 20, 601, 512, 4),
            (1 << 20, 16, 256 << 20, 601, 2048, 16),
            (100 << 11, 1, 256 << 20, 601, 128, 1),
            (64 << 20, 64, 24 << 20, 601, 4096, 64),
            (64 << 20, 64, 24 << 20, 612, 4096, 32),
        ],
        ids=["default", "areas are a power of two", "128 slots for each area", "128 slots at least",
             "6.1 ignores its limit of areas", "6.12 obeys it"],
    )
    def test_sizes(self, size, nareas, ram, kernel, nslabs, areas):
        pool = swiotlb_init(Machine("m", ram=[(0, ram)], kernel=kernel), size, nareas)
        assert (pool.nslabs, pool.nareas) == (nslabs, areas)

    def test_below_4_gib(self):
        machine = Machine("m", ram=[(0, 2 << 30), (4 << 30, 8 << 30)])
        assert swiotlb_init(machine).end <= 2 << 30
        assert swiotlb_init(machine, anywhere=True).start >= 4 << 30

    def test_no_low_memory(self):
        machine = Machine("m", ram=[(4 << 30, 8 << 30)])
        assert swiotlb_init(machine) is None

    def test_the_pool_is_nobody_elses(self):
        machine = Machine("m", ram=[(0, 1 << 20)])
        pool = IoTlbMem(machine, 0x3000, 128 * 3)
        got = []
        with pytest.raises(MemoryError):
            while True:
                got.append(machine.alloc_ram(0))
        assert len(got) == 255 - 192
        assert not any(pool.start <= page < pool.end for page in got)

    @pytest.mark.parametrize(("start", "nslabs", "nareas"), [(0x800, 128, 1), (0, 128, 3), (0, 128, 0), (0, 0, 1)])
    def test_nonsense_is_refused(self, start, nslabs, nareas):
        with pytest.raises(ValueError, match=r"pool|slots"):
            IoTlbMem(Machine("m"), start, nslabs, nareas)


@settings(max_examples=150, deadline=None)
@given(
    min_align=st.sampled_from([0, 0x1FF, 0xFFF]),
    kernel=st.sampled_from([601, 612]),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("map"), st.integers(1, 300000), st.integers(0, 4095)),
            st.tuples(st.just("unmap"), st.integers(0, 1 << 20), st.just(0)),
        ),
        max_size=60,
    ),
)
def test_no_slot_belongs_to_two(min_align, kernel, steps):
    """Ownership, offset, bytes and the free count, by sets of slots instead of free lists."""
    dev, pool = make(nslabs=256, nareas=2, min_align=min_align, kernel=kernel)
    held = {}
    for verb, number, offset in steps:
        if verb == "map":
            orig = 0x1000000 + offset
            try:
                addr = pool.map_single(dev, orig, number, number, 0, DMA_TO_DEVICE)
            except KernelHang:
                assert kernel == 601 and min_align == 0xFFF
                return
            if addr is None:
                continue
            assert addr & min_align == orig & min_align
            mine = set(range((addr - pool.start) // SLOT, (addr + number - 1 - pool.start) // SLOT + 1))
            assert min(mine) // 128 == max(mine) // 128
            assert all(mine.isdisjoint(other) for other, _ in held.values())
            held[addr] = (mine, number)
        elif held:
            addr = sorted(held)[number % len(held)]
            pool.unmap_single(dev, addr, held.pop(addr)[1], DMA_TO_DEVICE)
        assert pool.used == sum(len(mine) for mine, _ in held.values())
    for addr, (_, size) in held.items():
        pool.unmap_single(dev, addr, size, DMA_TO_DEVICE)
    assert pool.free_runs() == make(nslabs=256)[1].free_runs()
