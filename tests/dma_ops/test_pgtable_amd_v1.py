# SPDX-License-Identifier: MIT
"""AMD IOMMU v1 page tables: bit patterns, encoded sizes, growth, and what Linux 6.1 does on misuse."""

import errno
import struct

import pytest

from dma_ops import Device, DmaError, DmaFault, KernelBug, Machine
from dma_ops.pgtable_amd_v1 import AmdV1Domain

K4, M2, G1 = 1 << 12, 1 << 21, 1 << 30
PRFC = 0x1000_0000_0000_0001


def build(mode=3):
    m = Machine("m", table_base=1 << 38)
    return m, AmdV1Domain(m, mode), Device("dev", m)


def word(m, addr):
    return struct.unpack("<Q", m.mem.peek(addr, 8))[0]


@pytest.mark.parametrize(("size", "prot", "first", "times"), [
    (K4, 1, 0x3000_0001_4000_0001, 1),
    (K4, 2, 0x5000_0001_4000_0001, 1),
    (K4, 3, 0x7000_0001_4000_0001, 1),
    (2 * K4, 3, 0x7000_0001_4000_0e01, 2),
    (1 << 16, 3, 0x7000_0001_4000_7e01, 16),
    (1 << 20, 3, 0x7000_0001_4007_fe01, 256),
    (M2, 3, 0x7000_0001_4000_0001, 1),
    (1 << 25, 3, 0x7000_0001_40ff_fe01, 16),
    (G1, 1, 0x3000_0001_4000_0001, 1),
], ids=["r", "w", "rw", "8K", "64K", "1M", "2M", "32M", "1G"])
def test_leaf_entry(size, prot, first, times):
    _, domain, dev = build()
    domain.map(G1, 0x1_4000_0000, size, 1, prot)
    leaves = domain.table()
    assert set(leaves.values()) == {first} and len(leaves) == times
    assert domain.walker.lookup(dev, G1 + size - 8, prot == 2) == (0x1_4000_0000 + size - 8, 8)
    assert domain.lookup(G1 + size - 8) == 0x1_4000_0000 + size - 8
    assert domain.unmap(G1, size) == size and domain.table() == {}


def test_bitmap():
    _, domain, _ = build()
    assert domain.pgsize_bitmap == 0xffff_ffff_ffff_f000 & ~(1 << 39)


def test_growth_and_device_table_entry():
    m, domain, dev = build()
    domain.map(K4, 0x8000_0000, K4)
    assert domain.mode == 3 and word(m, domain.context) == domain.root | 0x6000_0000_0000_0603
    old = domain.root
    domain.map(1 << 48, 0x9000_0000, K4)            # needs five levels
    assert domain.mode == 5 and word(m, domain.context) == domain.root | 0x6000_0000_0000_0a03
    four = word(m, domain.root)
    assert four & 0xfff == 4 << 9 | 1 and word(m, four & 0xf_ffff_ffff_f000) == old | 0x6000_0000_0000_0601
    assert domain.walker.lookup(dev, K4)[0] == 0x8000_0000
    assert domain.walker.lookup(dev, 1 << 48)[0] == 0x9000_0000
    domain.map(0xffff_ffff_ffff_f000, 0xa000_0000, K4)
    assert domain.mode == 6 and domain.walker.lookup(dev, 2**64 - 1) == (0xa000_0fff, 1)


def test_mapping_over_a_mapping_replaces_it():
    m, domain, _ = build()
    domain.map(0, 0x8000_0000, K4, 2)
    domain.map(0, 0x9000_0000, K4)
    assert domain.lookup(0) == 0x9000_0000 and m.dmesg == []
    tables = domain.tables
    domain.map(0, 0x4000_0000, M2)
    assert domain.tables == tables - 1 and domain.lookup(K4) == 0x4000_1000
    domain.map(K4, 0xb000_0000, K4)                 # and a small page takes the whole large one away
    assert domain.lookup(0) == 0 and domain.lookup(K4) == 0xb000_0000


def test_small_page_over_an_encoded_one_removes_all_copies():
    _, domain, _ = build()
    domain.map(4 * M2, 0x4000_0000, 4 * M2)
    domain.map(6 * M2 + K4, 0x8000_0000, K4)
    assert list(domain.table()) == [6 * M2 + K4]


def test_page_larger_than_the_levels():
    """A 1 TiB page on a 3-level table: two entries at the 1 GiB level, which the hardware refuses."""
    _, domain, dev = build()
    domain.map(0, 0, 1 << 40)
    assert list(domain.table()) == [0, G1]
    with pytest.raises(DmaFault, match="malformed"):
        domain.walker.lookup(dev, 0)


def test_unmap_counts_absent_pages_and_keeps_tables():
    _, domain, _ = build()
    domain.map(0, 0x8000_0000, K4)
    tables = domain.tables
    assert domain.unmap(0, K4, 4) == 4 * K4
    assert domain.unmap(0, K4, 4) == 4 * K4
    assert domain.unmap(M2 - K4, K4, 4) == K4       # and then a table is missing
    assert domain.unmap(1 << 39, K4) == 0           # beyond what three levels reach
    assert domain.tables == tables


def test_unmap_of_part_takes_the_large_page():
    _, domain, _ = build()
    domain.map(0, 0, 1 << 16)
    assert domain.unmap(0x3000, K4) == 1 << 16
    assert domain.table() == {}


@pytest.mark.parametrize(("iova", "phys"), [(K4, 0), (0, K4)])
def test_unaligned_is_a_bug(iova, phys):
    _, domain, _ = build()
    with pytest.raises(KernelBug, match="ALIGNED"):
        domain.map(iova, phys, M2)


def test_enomem_says_what_was_done():
    m, domain, _ = build()
    domain.map(M2 - K4, 0x8000_0000, K4)
    m.fail("table")
    with pytest.raises(DmaError) as failure:
        domain.map(M2 - 2 * K4, 0x8000_0000, K4, 4)
    assert failure.value.errno == errno.ENOMEM and "0x2000 done" in str(failure.value)


@pytest.mark.parametrize(("level", "entry", "write", "reason"), [
    (0, PRFC | 1 << 61, True, "permission"),
    (0, PRFC | 1 << 62, False, "permission"),
    (0, 3 << 61, False, "not-present"),
    (0, PRFC | 3 << 61 | 1 << 52, False, "malformed"),
    (1, PRFC | 3 << 61 | 2 << 9, False, "malformed"),
    (1, PRFC | 3 << 61 | 0x1000, False, "malformed"),
    (1, PRFC | 3 << 61 | 7 << 9 | 0x1000, False, "malformed"),
    (2, PRFC | 1 << 61 | 2 << 9, True, "permission"),
], ids=["read-only", "write-only", "absent", "reserved", "upwards", "2M-unaligned", "encoded-16K", "table"])
def test_walker(level, entry, write, reason):
    m, domain, dev = build()
    domain.map(0, 0x8000_0000, K4)
    table = domain.root
    for _ in range(2 - level):
        table = word(m, table) & 0xf_ffff_ffff_f000
    m.mem.poke(table, struct.pack("<Q", entry))
    with pytest.raises(DmaFault) as fault:
        domain.walker.lookup(dev, 0, write)
    assert fault.value.reason == reason


def test_walker_skips_levels():
    """Which the hardware can and Linux never asks for: the skipped address bits must be zero."""
    m, domain, dev = build()
    domain.map(0, 0x8000_0000, K4)
    leaf = domain.root
    for _ in range(2):
        leaf = word(m, leaf) & 0xf_ffff_ffff_f000
    m.mem.poke(domain.root, struct.pack("<Q", leaf | 3 << 61 | 1 << 9 | 1))
    assert domain.walker.lookup(dev, 0x10)[0] == 0x8000_0010
    with pytest.raises(DmaFault, match="not-present"):
        domain.walker.lookup(dev, M2)


def test_walker_range():
    _, domain, dev = build()
    with pytest.raises(DmaFault, match="out-of-range"):
        domain.walker.lookup(dev, 1 << 39)
