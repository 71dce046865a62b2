# SPDX-License-Identifier: MIT
"""Intel VT-d second-level tables: bit patterns, superpages, and what Linux 6.1 does on misuse."""

import errno
import struct

import pytest

from dma_ops import Device, DmaError, DmaFault, KernelBug, Machine
from dma_ops.pgtable_vtd import VtdDomain, VtdWalker

K4, M2, G1 = 1 << 12, 1 << 21, 1 << 30


def build(width=48, **kw):
    m = Machine("m", table_base=1 << 38)
    return m, VtdDomain(m, width, **kw), Device("dev", m)


def word(m, addr):
    return struct.unpack("<Q", m.mem.peek(addr, 8))[0]


@pytest.mark.parametrize(("size", "prot", "snoop", "entry"), [
    (K4, 1, False, 0x1_4000_0001),
    (K4, 2, False, 0x1_4000_0003),          # write-only is readable too
    (K4, 3, False, 0x1_4000_0003),
    (K4, 3 | 4, False, 0x1_4000_0003),      # IOMMU_CACHE is not looked at
    (K4, 3, True, 0x1_4000_0803),
    (M2, 1, False, 0x1_4000_0081),
    (G1, 3, True, 0x1_4000_0883),
], ids=["r", "w", "rw", "cache", "snoop", "2M", "1G"])
def test_leaf_entry(size, prot, snoop, entry):
    _, domain, _ = build(snoop=snoop)
    domain.map(G1, 0x1_4000_0000, size, 1, prot)
    assert domain.table() == {G1: entry}


@pytest.mark.parametrize(("width", "levels", "aw"), [(39, 3, 1), (48, 4, 2), (57, 5, 3)])
def test_levels_and_context_entry(width, levels, aw):
    m, domain, _ = build(width)
    assert word(m, domain.context) == domain.root | 1
    assert word(m, domain.context + 8) & 7 == aw
    domain.map(0, 0x8000_0000, K4)
    assert domain.tables == levels
    table = domain.root
    for _ in range(levels - 1):
        entry = word(m, table)
        assert entry & 0xfff == 3
        table = entry & ~0xfff
    assert word(m, table) == 0x8000_0003


def test_bitmap():
    assert [build(superpage=s)[1].pgsize_bitmap for s in (0, 1, 2)] == [0x1000, 0x201000, 0x40201000]


def test_many_small_pages_become_a_superpage():
    """hardware_largepage_caps() looks at the addresses, not at the page size it was called with."""
    _, domain, dev = build()
    assert domain.map(M2, 0x4000_0000, K4, 513) == 513 * K4
    assert domain.table() == {M2: 0x4000_0083, 2 * M2: 0x4020_0003}
    assert domain.walker.lookup(dev, M2 + 0x1234) == (0x4000_1234, M2 - 0x1234)


def test_superpage_limit():
    _, domain, _ = build(superpage=1)
    domain.map(0, G1, K4, 2 << 18)
    assert len(domain.table()) == 1024          # 2 GiB in 2 MiB pages


def test_superpage_replaces_tables_and_superpages():
    m, domain, _ = build()
    domain.map(0, 0x8000_0000, K4, 3)
    tables = domain.tables
    domain.map(0, 0xc000_0000, M2)
    assert domain.table() == {0: 0xc000_0083} and domain.tables == tables - 1
    domain.map(0, 0x1_0000_0000, M2)
    assert domain.table() == {0: 0x1_0000_0083} and m.dmesg == []


def test_already_set_keeps_the_old_entry_and_succeeds():
    m, domain, _ = build()
    domain.map(K4, 0x8000_0000, K4)
    assert domain.map(K4, 0x9000_0000, K4) == K4
    assert domain.table() == {K4: 0x8000_0003}
    assert "already set" in m.dmesg[0]


def test_small_page_in_a_superpage_is_written_into_its_memory():
    m, domain, dev = build()
    domain.map(M2, 0x4000_0000, M2)
    assert domain.map(M2 + 5 * K4, 0x8000_0000, K4) == K4
    assert word(m, 0x4000_0000 + 5 * 8) == 0x8000_0003
    assert domain.walker.lookup(dev, M2 + 5 * K4)[0] == 0x4000_5000


@pytest.mark.parametrize(("iova", "phys", "size", "err"), [
    (0xffff_ffff_e000, 0, K4, None),
    (0xffff_ffff_f000, 0, K4, None),                # recorded: iommu.forcedac begins there
    (1 << 48, 0, K4, errno.EFAULT),
    (K4, 0, M2, errno.EINVAL),
    (0, K4, M2, errno.EINVAL),
    (0, 0, 1 << 16, errno.EINVAL),
], ids=["last-but-one", "last", "beyond", "iova-unaligned", "phys-unaligned", "no-such-size"])
def test_refused(iova, phys, size, err):
    _, domain, _ = build()
    if err is None:
        assert domain.map(iova, phys, size) == size
        return
    with pytest.raises(DmaError) as failure:
        domain.map(iova, phys, size)
    assert failure.value.errno == err and domain.table() == {}


def test_enomem_keeps_what_was_written():
    m, domain, _ = build()
    domain.map(0, 0x8000_0000, K4)
    m.fail("table")
    with pytest.raises(DmaError) as failure:
        domain.map(M2 - K4, 0x9000_0000, K4, 2)
    assert failure.value.errno == errno.ENOMEM
    assert M2 - K4 in domain.table()


def test_unmap_frees_covered_tables():
    _, domain, _ = build()
    domain.map(M2 - K4, 0x8000_1000, K4, 514)
    tables = domain.tables
    assert domain.unmap(M2 - K4, K4, 514) == 514 * K4
    assert domain.tables == tables - 1              # the middle one of three leaf tables
    assert domain.table() == {}


def test_unmap_of_part_of_a_superpage_takes_all_of_it():
    _, domain, _ = build()
    domain.map(M2, 0x4000_0000, M2)
    assert domain.unmap(M2, K4) == M2
    assert domain.table() == {}


def test_unmap_of_a_hole_clears_as_much_as_the_empty_entry_spans():
    _, domain, _ = build()
    domain.map(M2, 0x8000_1000, K4, 3)
    assert domain.unmap(M2 - 2 * K4, K4) == M2      # 2 MiB, from an address in its middle
    assert domain.table() == {}


@pytest.mark.parametrize("iova", [1 << 48, (1 << 48) - K4], ids=["start", "end"])
def test_unmap_out_of_range_is_a_bug(iova):
    _, domain, _ = build()
    with pytest.raises(KernelBug):
        domain.unmap(iova, K4)


def test_unmap_of_everything_frees_the_root():
    _, domain, _ = build(39)
    domain.map(0, 0x8000_0000, K4)
    domain.unmap(0, G1, 512)
    assert domain.tables == 0 and domain.root == 0
    with pytest.raises(KernelBug, match="pgd"):
        domain.map(0, 0x8000_0000, K4)


@pytest.mark.parametrize(("level", "entry", "write", "reason"), [
    (0, 0x8000_0001, True, "permission"),
    (0, 0x8000_0002, False, "permission"),
    (0, 0x8000_0800, False, "not-present"),
    (0, 1 << 46 | 3, False, "malformed"),
    (1, 0x8010_0083, False, "malformed"),
    (2, 0x8020_0083, False, "malformed"),
    (3, 0x8000_0083, False, "malformed"),
    (1, 0x4000_0001, True, "permission"),
], ids=["read-only", "write-only", "absent", "haw", "2M-unaligned", "1G-unaligned", "512G", "table"])
def test_walker(level, entry, write, reason):
    m, domain, dev = build()
    domain.map(0, 0x8000_0000, K4)
    table = domain.root
    for _ in range(3 - level):
        table = word(m, table) & ~0xfff
    m.mem.poke(table, struct.pack("<Q", entry))
    with pytest.raises(DmaFault) as fault:
        VtdWalker(m, domain.context, 46).lookup(dev, 0, write)
    assert fault.value.reason == reason


def test_walker_range():
    _, domain, dev = build(39)
    with pytest.raises(DmaFault, match="out-of-range"):
        domain.walker.lookup(dev, 1 << 39)


def test_device_bytes():
    m, domain, dev = build()
    domain.map(0x7000, 0x12000, K4, 1, 1)
    domain.map(0x8000, 0x10000, K4, 1, 1)
    m.mem.poke(0x12ffe, b"ab")
    m.mem.poke(0x10000, b"cd")
    assert domain.walker.lookup(dev, 0x7ffe) == (0x12ffe, 2)
    assert domain.walker.lookup(dev, 0x8000) == (0x10000, K4)
