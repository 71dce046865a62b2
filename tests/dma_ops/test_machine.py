# SPDX-License-Identifier: MIT
"""Machine: its page allocator against a brute one, kernel addresses beside the linear map, P2P ranges, failures."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dma_ops import KernelBug, Machine

PAGE = 4096
RAM = ((0, 16 * PAGE), (20 * PAGE, 53 * PAGE))


# -- RAM -------------------------------------------------------------------------------------------------------

def highest(live: dict[int, int], order: int, limit: int) -> int | None:
    """The highest free place of 2^order naturally aligned pages; frame 0 is never given out."""
    size = PAGE << order
    taken = {start + i for start, n in live.items() for i in range(0, PAGE << n, PAGE)}
    for first, end in reversed(RAM):
        for start in range((end - size) // size * size, max(first, PAGE) - 1, -size):
            if start + size - 1 <= limit and not any(start + i in taken for i in range(0, size, PAGE)):
                return start
    return None


@given(steps=st.lists(st.tuples(st.sampled_from([0, 0, 1, 2, 3, 5]), st.sampled_from([None, 7, 15, 30]),
                                st.integers(0, 99)), max_size=40))
def test_pages_are_the_highest_that_fit(steps) -> None:
    machine, live = Machine("test", ram=RAM), {}
    for order, pages, roll in steps:
        if roll < 30 and live:
            start = sorted(live)[roll % len(live)]
            machine.mem.poke(start, b"dirt")
            machine.free_ram(start)
            del live[start]
            continue
        limit = None if pages is None else pages * PAGE - 1
        expected = highest(live, order, 2**64 - 1 if limit is None else limit)
        if expected is None:
            with pytest.raises(MemoryError, match=f"^machine test has no {1 << order} free pages$"):
                machine.alloc_ram(order, limit)
            continue
        assert machine.alloc_ram(order, limit) == expected
        assert machine.mem.peek(expected, 4) == bytes(4)
        live[expected] = order
    assert machine.pages_allocated == sum(1 << order for order in live.values())


@pytest.mark.parametrize("order", [6, 51, 52, 63, 64, 2**32 - 1])
def test_no_order_is_too_large_to_be_refused(order) -> None:
    machine = Machine("test", ram=RAM)
    with pytest.raises(MemoryError, match="free pages"):
        machine.alloc_ram(order)
    assert machine.pages_allocated == 0


def test_a_replay_says_what_is_allocated() -> None:
    machine = Machine("test", ram=RAM)
    machine.feed_alloc(0x5000, 0x9000)
    assert [machine.alloc_ram(0) for _ in range(3)] == [0x5000, 0x9000, 52 * PAGE]
    machine.feed_alloc(0x6000)
    machine.feed_alloc()                                    # forgets the earlier ones
    assert machine.alloc_ram(0) == 51 * PAGE
    machine.reserve_ram(50 * PAGE, 0)
    assert machine.alloc_ram(0) == 49 * PAGE and machine.pages_allocated == 6


def test_the_nth_allocation_fails() -> None:
    machine = Machine("test", ram=RAM)
    machine.fail("pages", 2)
    machine.fail("table")
    assert machine.alloc_ram(0) == 52 * PAGE
    with pytest.raises(MemoryError):
        machine.alloc_ram(0)
    assert machine.alloc_ram(0) == 51 * PAGE
    assert [machine.fails("own"), machine.fails("table"), machine.fails("table")] == [False, True, False]


def test_free_of_what_is_not_allocated() -> None:
    machine = Machine("test", ram=RAM)
    start = machine.alloc_ram(1)
    with pytest.raises(ValueError, match=f"^{start + PAGE:#x} is not the start of an allocation$"):
        machine.free_ram(start + PAGE)
    machine.free_ram(start)
    with pytest.raises(ValueError, match=f"^{start:#x} is not the start of an allocation$"):
        machine.free_ram(start)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"bits": 31}, ValueError, "machine test: bits is 31, not 32 or 64"),
        ({"page_shift": 11}, ValueError, "machine test: page_shift is 11, not 12 to 16"),
        ({"page_shift": 17}, ValueError, "machine test: page_shift is 17, not 12 to 16"),
        ({"dma_addr_bits": 65}, ValueError, "machine test: dma_addr_bits is 65, not 1 to 64"),
        ({"phys_addr_bits": 99}, ValueError, "machine test: phys_addr_bits is 99, not 1 to 64"),
        ({"ram": ()}, ValueError, "machine test: no RAM"),
        ({"ram": ((0, 5), (4, 9))}, ValueError, "machine test: RAM range 0x4-0x9 is empty or overlaps another"),
        ({"ram": ((8, 8),)}, ValueError, "machine test: RAM range 0x8-0x8 is empty or overlaps another"),
    ],
)
def test_refused(options, error, sentence) -> None:
    with pytest.raises(error, match="^" + re.escape(sentence) + "$"):
        Machine("test", **options)


def test_masks_and_repr() -> None:
    machine = Machine("test", arch="mips", bits=32, page_shift=14, dma_addr_bits=24, phys_addr_bits=36)
    assert (machine.dma_addr_mask, machine.phys_addr_mask, machine.ulong_mask) == (2**24 - 1, 2**36 - 1, 2**32 - 1)
    assert repr(machine) == "<Machine test: 32-bit mips, 16 KiB pages>"
    with pytest.raises(TypeError, match=r"^a Machine is initialised once$"):
        machine.__init__("again")                           # type: ignore[misc]


# -- vmap ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("bits", "start"), [(64, 0xffffc90000000000), (32, 0xf8000000)])
@pytest.mark.parametrize("cached", [False, True])
def test_scattered_pages_behind_one_address(bits, start, cached) -> None:
    machine = Machine("test", bits=bits, ram=RAM, cached=cached)
    one, two = [0x9000, 0x3000, 0x4000], [0x7000]
    first, second = machine.vmap(one), machine.vmap(two)
    assert (first, second) == (start, start + 4 * PAGE)     # a guard page is between them
    data = bytes(i % 251 for i in range(9000))
    machine.cpu_write(first + 100, data)
    assert machine.cpu_read(first + 100, 9000) == data
    linear = b"".join(machine.cpu_read(page, PAGE) for page in one)
    assert linear[100:9100] == data and linear[:100] == bytes(100)
    assert machine.cpu_read(first + 2 * PAGE, 8) == machine.cpu_read(0x4000, 8)
    machine.cpu_write(0x7008, b"linear")
    assert machine.cpu_read(second + 8, 6) == b"linear"
    assert machine.vmap_pages(first) == one and machine.vmap_pages(first + PAGE) is None
    assert machine.vmap_pages(0x9000) is None
    assert machine.vunmap(first) == one and machine.vmap_pages(first) is None
    assert machine.cpu_read(second + 8, 6) == b"linear"
    for addr in (first, second + PAGE):
        with pytest.raises(KernelBug, match=rf"^Trying to vunmap\(\) nonexistent vm area \({addr:#x}\)$"):
            machine.vunmap(addr)


# -- P2P memory ------------------------------------------------------------------------------------------------

@given(ranges=st.lists(st.tuples(st.integers(0, 60), st.integers(-1, 12)), max_size=12), data=st.data())
def test_p2p_ranges(ranges, data) -> None:
    machine, known = Machine("test", ram=RAM, pci_p2pdma=True), {}
    base = 1 << 40
    for first, n in ranges:
        start, end = base + first * PAGE, base + (first + n) * PAGE
        if n < 1 or any(start < b and a < end for a, b in known.values()):
            with pytest.raises(ValueError, match=r"^P2P range 0x[0-9a-f]+-0x[0-9a-f]+ (is empty|overlaps another)$"):
                machine.add_pgmap(start, end, 0, 0)
            continue
        number = machine.add_pgmap(start, end, 0, 0)
        assert number not in known and number > 0
        known[number] = start, end
        if data.draw(st.booleans()) and len(known) > 2:
            gone = data.draw(st.sampled_from(sorted(known)))
            machine.remove_pgmap(gone)
            del known[gone]
            with pytest.raises(ValueError, match=f"^machine test has no P2P range number {gone}$"):
                machine.remove_pgmap(gone)
    assert machine.pgmap_ranges == sorted((start, end, number) for number, (start, end) in known.items())
    for frame in range(-1, 74):
        page = base + frame * PAGE
        numbers = [number for number, (start, end) in known.items() if start <= page < end]
        assert machine.pgmap_of(page) == (numbers[0] if numbers else 0)
        assert machine.is_p2p_page(page) == bool(numbers)


def test_without_p2pdma_there_are_no_ranges() -> None:
    machine = Machine("test", ram=RAM)
    with pytest.raises(ValueError, match=r"^machine test has no CONFIG_PCI_P2PDMA$"):
        machine.add_pgmap(1 << 40, 1 << 41, 0, 0)
    assert not machine.is_p2p_page(1 << 40)
