# SPDX-License-Identifier: MIT
"""The IOVA allocator: recorded runs, the traps of the fact sheets by number, and a naive twin of the tree."""

from __future__ import annotations

import bisect
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dma_ops import DmaError, KernelBug
from dma_ops.iova import IovaDomain

LIMIT32 = 0xFFFFF
ANCHOR = 2**64 - 1


@pytest.mark.parametrize(
    ("sizes", "pfns"),
    [
        pytest.param([1, 1, 3], [0xFFFFF, 0xFFFFE, 0xFFFF8], id="top-down-size-aligned"),
        pytest.param([2, 17, 1000, 255], [1048574, 1048512, 1046528, 1046272], id="17-rounds-to-32-in-the-tree"),
        pytest.param([33, 48], [1048512, 1048448], id="33-is-aligned-to-64-but-not-rounded"),
    ],
)
def test_first_allocations(sizes: list[int], pfns: list[int]) -> None:
    space = IovaDomain()
    assert [space.alloc(size, LIMIT32) for size in sizes] == pfns


def test_page_0_is_never_given_out() -> None:
    space = IovaDomain(start_pfn=1)
    assert space.alloc(1, 1) == 1
    with pytest.raises(DmaError) as error:
        space.alloc(1, 1)
    assert error.value.retryable


def test_freed_pages_come_back_newest_first() -> None:
    space = IovaDomain()
    pfns = [space.alloc(1, LIMIT32) for _ in range(3)]
    for pfn in pfns:
        space.free(pfn, 1)
    assert [space.alloc(1, LIMIT32) for _ in range(3)] == pfns[::-1]


def test_a_cached_pfn_above_the_limit_is_passed_over() -> None:
    space = IovaDomain()
    high, low = space.alloc(1, LIMIT32), space.alloc(1, 0xFFF)
    space.free(low, 1)
    space.free(high, 1)
    assert space.alloc(1, 0xFFF) == low
    assert space.state()["rc0"] == "1/0/0"


def test_pop_fills_the_hole_with_the_newest() -> None:
    space = IovaDomain()
    low = space.alloc(1, 0x100)
    upper = [space.alloc(1, 0x100000 + i) for i in range(3)]
    for pfn in [low, *upper]:
        space.free(pfn, 1)
    assert space.alloc(1, 0x100) == low             # now [upper2, upper0, upper1]
    assert [space.alloc(1, ANCHOR >> 12) for _ in range(3)] == [upper[1], upper[0], upper[2]]


def test_a_low_limit_drags_the_32_bit_search_down() -> None:
    """observed.md, compiled set B, 17: i10_depot."""
    space = IovaDomain()
    assert space.alloc(1, 0x800) == 0x800
    assert space.alloc(1, 0xF0000) == 0x7FF


def test_a_failure_bars_larger_32_bit_requests_until_a_real_free() -> None:
    """observed.md: max32_alloc_size is the size of the last failed search, whatever its limit."""
    space = IovaDomain()
    kept = space.alloc(64, 0xFFF)
    with pytest.raises(DmaError):
        space.alloc(0x2000, 0x1FFF)
    assert space.state()["max32"] == 0x2000
    with pytest.raises(DmaError):
        space.alloc(0x2000, LIMIT32)                # there is room: 1 M pages
    space.free(kept, 64)
    assert space.state()["max32"] == 1 << 20
    assert space.alloc(0x2000, LIMIT32) > 0


def test_exhaustion_drains_the_magazines_once() -> None:
    space = IovaDomain()
    pfns = [space.alloc(1, 16) for _ in range(16)]
    for pfn in pfns:
        space.free(pfn, 1)
    with pytest.raises(DmaError):
        space.alloc(8, 16, False)
    assert space.alloc(8, 16) == 8
    assert space.state()["rc0"] == "0/0/0"


def test_magazines_are_per_cpu() -> None:
    space = IovaDomain(nr_cpus=2)
    pfn = space.alloc(1, LIMIT32, cpu=0)
    space.free(pfn, 1, cpu=0)
    assert space.alloc(1, LIMIT32, cpu=1) == pfn - 1
    assert space.alloc(1, LIMIT32, cpu=0) == pfn
    with pytest.raises(ValueError, match="CPU 2 of 2"):
        space.alloc(1, LIMIT32, cpu=2)


@pytest.mark.parametrize(("kernel", "depot", "nodes"), [(601, 32, 34 * 127), (607, 38, 40 * 127)], ids=["6.1", "6.7"])
def test_depot(kernel: int, depot: int, nodes: int) -> None:
    """6.1 keeps 32 magazines and gives the rest to the tree; 6.7 keeps all, and trims by time."""
    space = IovaDomain(kernel=kernel)
    pfns = [space.alloc(1, LIMIT32) for _ in range(40 * 127)]
    for pfn in pfns:
        space.free(pfn, 1)
    assert space.state()["rc0"] == f"127/127/{depot}"
    assert space.state()["nodes"] == nodes
    space.tick(100)
    assert space.state()["rc0"] == f"127/127/{depot - (kernel >= 607)}"
    space.tick(99 if kernel >= 607 else 0)
    space.tick(100 * 100)
    assert space.state()["rc0"] == f"127/127/{1 if kernel >= 607 else 32}"
    assert space.live_pages == 0
    space.flush()
    assert space.ranges() == []


def test_reserve_joins_overlaps() -> None:
    space = IovaDomain()
    space.reserve(0xFEE00, 0xFEEFF)
    space.reserve(0xFE000, 0xFEFFF)         # the range grows down, the part above becomes another
    assert space.ranges() == [(0xFEF00, 0xFEFFF), (0xFE000, 0xFEEFF)]
    assert space.live_pages == 0
    assert space.alloc(1, 0xFEFFF) == 0xFDFFF
    with pytest.raises(ValueError, match="cannot reserve"):
        space.reserve(1, 1 << 60)


def test_a_pfn_freed_twice_is_given_out_twice_and_warned_of() -> None:
    space = IovaDomain()
    pfn = space.alloc(1, LIMIT32)
    space.free(pfn, 1)
    space.free(pfn, 1)
    space.flush()
    assert (space.warnings, space.ranges()) == (1, [])


@pytest.mark.parametrize("granule", [3, 8192, 0])
def test_granule(granule: int) -> None:
    with pytest.raises(KernelBug, match="granule"):
        IovaDomain(granule)


class Twin:
    """The tree by a sorted list, without magazines: highest aligned hole below the cached node, then above it."""

    def __init__(self) -> None:
        self.held: list[tuple[int, int]] = [(ANCHOR, ANCHOR)]
        self.cached = {True: ANCHOR, False: ANCHOR}
        self.max32 = 1 << 20

    def search(self, size: int, top: int, floor: int, start: int, align: int) -> int | None:
        at = bisect.bisect_left(self.held, (start, 0))
        while at >= 0:
            top = min(top, self.held[at][0])
            at -= 1
            new = (top - size) // align * align
            if new < floor:
                return None
            if at < 0 or new > self.held[at][1]:
                return new
        return None

    def alloc(self, size: int, limit: int, aligned: bool = True) -> int | None:
        align = 1 << (size - 1).bit_length() if aligned else 1
        small = limit + 1 <= 1 << 20
        if small and size >= self.max32:
            return None
        start = self.cached[small]
        new = self.search(size, limit + 1, 1, start, align)
        if new is None:
            end = next(hi for lo, hi in self.held if lo == start)
            if end < limit + 1:
                new = self.search(size, limit + 1, end + 1, ANCHOR, align)
            if new is None:
                self.max32 = size
                return None
        bisect.insort(self.held, (new, new + size - 1))
        self.cached[new + size - 1 < 1 << 20] = new
        return new

    def free(self, pfn: int) -> None:
        at = bisect.bisect_left(self.held, (pfn, 0))
        lo, hi = self.held[at]
        above = self.held[at + 1][0]
        if lo == self.cached[True] or (hi < 1 << 20 and lo >= self.cached[True]):
            self.cached[True] = above
        if lo < 1 << 20:
            self.max32 = 1 << 20
        if lo >= self.cached[False]:
            self.cached[False] = above
        del self.held[at]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 90), st.sampled_from([300, 1000, LIMIT32, 1 << 21])),
                max_size=250))
def test_tree_against_its_twin(steps: list[tuple[int, int, int]]) -> None:
    space, twin = IovaDomain(), Twin()
    live: list[int] = []
    for what, size, limit in steps:
        if what == 0 and live:
            pfn = live.pop(size % len(live))
            space.free_tree(pfn)
            twin.free(pfn)
        else:
            expected = twin.alloc(size, limit)
            if expected is None:
                with pytest.raises(DmaError):
                    space.alloc_tree(size, limit)
            else:
                assert space.alloc_tree(size, limit) == expected
                live.append(expected)
        assert space.ranges()[::-1] == twin.held[:-1]
        assert all(space.find(hi) == (lo, hi) for lo, hi in twin.held[:-1])
    assert space.state()["cached32"] == twin.cached[True]


@pytest.mark.parametrize("aligned", [1.0, 0.5], ids=["aligned", "half aligned"])
def test_a_fragmented_space_against_its_twin(aligned: float) -> None:
    """Holes of all sizes: the tree must skip no subtree that has the highest one."""
    rng = random.Random(aligned)
    space, twin = IovaDomain(), Twin()
    live: list[int] = []
    for step in range(5000):
        if live and rng.random() < (0.25 if step < 1000 else 0.5):
            pfn = live.pop(rng.randrange(len(live)))
            space.free_tree(pfn)
            twin.free(pfn)
            continue
        size = rng.randint(1, 1 << rng.choice([0, 2, 3, 4, 5, 6, 7, 9, 17]))
        limit = rng.choice([LIMIT32 >> 2, LIMIT32, LIMIT32, (1 << 22) - 1])
        small = rng.random() < aligned
        pfn = twin.alloc(size, limit, small)
        if pfn is None:
            with pytest.raises(DmaError):
                space.alloc_tree(size, limit, small)
        else:
            assert space.alloc_tree(size, limit, small) == pfn, step
            live.append(pfn)
    assert space.ranges()[::-1] == twin.held[:-1]
    assert len(live) > 300


def test_many_ranges_in_and_out() -> None:
    """The tree stays one: every range is found and freed, whatever the order."""
    space = IovaDomain()
    pfns = [space.alloc_tree(40, 1 << 30) for _ in range(20000)]
    for step in (3, 7, 1):
        for pfn in pfns[::step]:
            space.free_tree(pfn)
        pfns = [pfn for i, pfn in enumerate(pfns) if i % step]
        assert all(space.find(pfn) == (pfn, pfn + 39) for pfn in pfns)
    assert space.live_pages == 0
