# SPDX-License-Identifier: MIT
"""Arm LPAE stage-1 tables: bit patterns, blocks and their splitting, errors, other granules."""

import errno
import struct

import pytest

from dma_ops import Device, DmaError, DmaFault, Machine
from dma_ops.pgtable_lpae import LpaeDomain

K4, K64, M2, G1 = 1 << 12, 1 << 16, 1 << 21, 1 << 30
READ, WRITE, CACHE, NOEXEC, MMIO, PRIV = 1, 2, 4, 8, 16, 32


def build(ias=48, oas=44, **kw):
    m = Machine("m", table_base=1 << 38)
    return m, LpaeDomain(m, ias, oas, **kw), Device("dev", m)


def word(m, addr):
    return struct.unpack("<Q", m.mem.peek(addr, 8))[0]


@pytest.mark.parametrize(("size", "prot", "entry"), [
    (K4, READ, 0x1_4000_0ec3),
    (K4, WRITE, 0x1_4000_0e43),
    (K4, READ | WRITE, 0x1_4000_0e43),
    (K4, READ | WRITE | CACHE, 0x1_4000_0f47),
    (K4, READ | WRITE | MMIO, 0x1_4000_0e4b),
    (K4, READ | WRITE | MMIO | CACHE, 0x1_4000_0f4b),
    (K4, READ | WRITE | PRIV, 0x1_4000_0e03),
    (K4, READ | WRITE | NOEXEC, 0x60_0001_4000_0e43),
    (M2, READ | CACHE, 0x1_4000_0fc5),
    (G1, READ | WRITE, 0x1_4000_0e41),
], ids=["r", "w", "rw", "cache", "mmio", "mmio-cache", "priv", "noexec", "2M", "1G"])
def test_leaf_entry(size, prot, entry):
    _, domain, _ = build()
    domain.map(G1, 0x1_4000_0000, size, 1, prot)
    assert domain.table() == {G1: entry}


def test_context_descriptor():
    m, domain, _ = build()
    low = word(m, domain.context)
    assert low & 0x3f == 16 and low >> 6 & 3 == 0 and low >> 31 & 1 and low >> 32 & 7 == 4 and low >> 41 & 1
    assert word(m, domain.context + 8) == domain.root


def test_aarch32_has_a_four_entry_root():
    m, domain, dev = build(32, 40, aarch32=True)
    domain.map(0xffff_f000, 0xff_ffff_f000, K4)
    assert word(m, domain.root + 3 * 8) & 3 == 3 and domain.tables == 3
    assert domain.walker.lookup(dev, 0xffff_fff0) == (0xff_ffff_fff0, 16)
    assert domain.aperture_end == 0xffff_ffff


@pytest.mark.parametrize(("kw", "size", "phys"), [
    (dict(granule=K64, oas=48), K64, 0x4321_0000),
    (dict(granule=K64, oas=52, ias=52), K64, 0xf_0000_4321_0000),
    (dict(granule=K64, oas=52, ias=52), 1 << 29, 0xa_0000_2000_0000),
    (dict(granule=1 << 14, oas=48), 1 << 14, 0x4321_0000),
    (dict(granule=1 << 14, oas=48), 1 << 25, 0x4200_0000),
], ids=["64K", "64K-52", "512M-52", "16K", "32M"])
def test_other_granules(kw, size, phys):
    _, domain, dev = build(**kw)
    count = 2100 if size <= K64 else 3
    done = 0
    while done < count * size:                      # across 4 KiB pieces of a table, and across tables
        done += domain.map(4 * size + done, phys + done, size, count - done // size)
    for k in (0, 1, 511, 512, 2047, 2048, count - 1):
        if k < count:
            assert domain.walker.lookup(dev, (4 + k) * size + 7) == (phys + k * size + 7, size - 7)
            assert domain.lookup((4 + k) * size + 7) == phys + k * size + 7
    assert domain.unmap(4 * size, size) == size
    with pytest.raises(DmaFault, match="not-present"):
        domain.walker.lookup(dev, 4 * size)
    assert domain.walker.lookup(dev, 5 * size)[0] == phys + size


@pytest.mark.parametrize(("iova", "phys", "size", "err"), [
    (0, 1 << 44, K4, errno.ERANGE),
    (1 << 48, 0, K4, errno.ERANGE),
    (0, 0, 1 << 16, errno.EINVAL),
    (0, 0, 0, errno.EINVAL),
], ids=["oas", "ias", "no-such-size", "zero"])
def test_refused(iova, phys, size, err):
    m, domain, _ = build()
    with pytest.raises(DmaError) as failure:
        domain.map(iova, phys, size)
    assert failure.value.errno == err and not failure.value.retryable
    assert len(m.dmesg) == 1 and domain.tables == 1


def test_last_address_within_oas():
    _, domain, dev = build()
    domain.map(0, (1 << 44) - K4, K4)
    assert domain.walker.lookup(dev, 1)[0] == (1 << 44) - K4 + 1


def test_one_call_stops_at_the_end_of_its_table():
    _, domain, _ = build()
    assert domain.map(M2 - 3 * K4, 0x8000_0000, K4, 10) == 3 * K4
    assert domain.map(M2, 0x8000_3000, K4, 7) == 7 * K4
    assert domain.unmap(M2 - 3 * K4, K4, 10) == 3 * K4


@pytest.mark.parametrize("warm", [False, True], ids=["walked", "remembered"])
def test_already_mapped(warm):
    m, domain, _ = build()
    domain.map(2 * K4, 0x8000_0000, K4)
    if not warm:
        domain.map(G1, 0x9000_0000, K4)             # the shortcut now points elsewhere
    with pytest.raises(DmaError) as failure:
        domain.map(K4, 0xa000_0000, K4, 3)
    assert failure.value.errno == errno.EEXIST and "already mapped" in m.dmesg[0]
    assert domain.lookup(K4) == 0                   # checked before anything is written
    assert domain.lookup(2 * K4) == 0x8000_0000


def test_page_in_a_block_is_refused_and_a_block_frees_the_table():
    _, domain, _ = build()
    domain.map(M2, 0x4000_0000, M2)
    with pytest.raises(DmaError) as failure:
        domain.map(M2 + K4, 0x8000_0000, K4)
    assert failure.value.errno == errno.EEXIST
    domain.map(2 * M2, 0x8000_0000, K4)
    tables = domain.tables
    domain.map(2 * M2, 0x4020_0000, M2)
    assert domain.tables == tables - 1 and domain.lookup(2 * M2 + K4) == 0x4020_1000


def test_unmap_splits_a_block():
    _, domain, dev = build()
    domain.map(M2, 0x4000_0000, M2, 1, READ | CACHE)
    assert domain.unmap(M2 + 3 * K4, K4, 2) == 2 * K4
    leaves = domain.table()
    assert len(leaves) == 510 and leaves[M2] == 0x4000_0fc7 and leaves[M2 + 5 * K4] == 0x4000_5fc7
    assert domain.walker.lookup(dev, M2 + 2 * K4)[0] == 0x4000_2000
    with pytest.raises(DmaFault, match="not-present"):
        domain.walker.lookup(dev, M2 + 3 * K4)


def test_unmap_splits_two_levels():
    _, domain, _ = build()
    domain.map(0, G1, G1)
    assert domain.unmap(M2 + K4, K4) == K4
    leaves = domain.table()
    assert len(leaves) == 511 + 511 and leaves[0] == 0x4000_0e41 and leaves[M2] == 0x4020_0e43


def test_split_without_memory_unmaps_nothing():
    m, domain, _ = build()
    domain.map(0, G1, M2)
    m.fail("table")
    assert domain.unmap(0, K4) == 0
    assert domain.lookup(0) == G1


@pytest.mark.parametrize("warm", [False, True], ids=["walked", "remembered"])
def test_unmap_of_a_hole_stops_with_a_warning(warm):
    m, domain, _ = build()
    domain.map(0, G1, K4, 2)
    if not warm:
        domain.map(G1, 0x9000_0000, K4)
    assert domain.unmap(0, K4, 5) == 2 * K4
    assert "not mapped" in m.dmesg[0]
    assert domain.unmap(4 * M2, K4) == 0


def test_software_sync_bit_without_a_coherent_walk():
    m, domain, dev = build(coherent_walk=False)
    domain.map(0, 0x8000_0000, K4)
    assert word(m, domain.root) >> 55 & 1
    assert domain.walker.lookup(dev, 0)[0] == 0x8000_0000


@pytest.mark.parametrize(("level", "entry", "write", "reason"), [
    (3, 0x8000_0ec3, True, "permission"),
    (3, 0x8000_0e03, False, "permission"),
    (3, 0x8000_0e42, False, "not-present"),
    (3, 0x8000_0e41, False, "malformed"),
    (3, 0x8000_0a43, False, "malformed"),
    (3, 1 << 45 | 0xe43, False, "malformed"),
    (2, 0x8010_0e41, False, "malformed"),
    (0, 0x8000_0e41, False, "malformed"),
    (3, 1 << 48 | 0xe43, False, "malformed"),
], ids=["read-only", "privileged", "absent", "type-1-page", "no-AF", "oas", "2M-unaligned", "512G", "RES0"])
def test_walker(level, entry, write, reason):
    m, domain, dev = build()
    domain.map(0, 0x8000_0000, K4)
    table = domain.root
    for _ in range(level):
        table = word(m, table) & 0xffff_ffff_f000
    m.mem.poke(table, struct.pack("<Q", entry))
    with pytest.raises(DmaFault) as fault:
        domain.walker.lookup(dev, 0, write)
    assert fault.value.reason == reason


def test_walker_table_attributes_and_privilege():
    m, domain, dev = build()
    domain.map(0, 0x8000_0000, K4, 1, READ | WRITE | PRIV)
    domain.map(K4, 0x9000_0000, K4)
    domain.walker.privileged = True
    assert domain.walker.lookup(dev, 0, True)[0] == 0x8000_0000
    m.mem.poke(domain.root, struct.pack("<Q", word(m, domain.root) | 1 << 62))
    assert domain.walker.lookup(dev, K4, False)[0] == 0x9000_0000
    with pytest.raises(DmaFault, match="permission"):
        domain.walker.lookup(dev, K4, True)


def test_walker_range():
    _, domain, dev = build(39, 40)
    with pytest.raises(DmaFault, match="out-of-range"):
        domain.walker.lookup(dev, 1 << 39)


@pytest.mark.parametrize(("kw", "words"), [
    (dict(oas=45), "oas"), (dict(granule=8192), "granule"), (dict(ias=48, oas=40, aarch32=True), "32-bit"),
    (dict(ias=60), "ias"), (dict(oas=36), "table memory"),
])
def test_impossible_geometry(kw, words):
    with pytest.raises(ValueError, match=words):
        build(**kw)
