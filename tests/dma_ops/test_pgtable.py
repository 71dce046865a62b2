# SPDX-License-Identifier: MIT
"""Every I/O page-table format against a dict of 4 KiB pages, judged by its walker."""

import errno

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dma_ops import Device, DmaError, DmaFault, Machine
from dma_ops.pgtable_amd_v1 import AmdV1Domain
from dma_ops.pgtable_lpae import LpaeDomain
from dma_ops.pgtable_vtd import VtdDomain

READ, WRITE = 1, 2
K4, M2, G1 = 1 << 12, 1 << 21, 1 << 30
FORMATS = {
    "vtd-39": (lambda m: VtdDomain(m, 39), READ),
    "vtd-48": (lambda m: VtdDomain(m, 48), READ),
    "vtd-57": (lambda m: VtdDomain(m, 57), READ),
    "vtd-48-small": (lambda m: VtdDomain(m, 48, superpage=0), READ),
    "amd": (AmdV1Domain, 0),
    "lpae-48": (lambda m: LpaeDomain(m, 48, 44), READ),
    "lpae-39": (lambda m: LpaeDomain(m, 39, 40), READ),
    "lpae-aarch32": (lambda m: LpaeDomain(m, 32, 40, aarch32=True), READ),
}


def machine():
    return Machine("m", table_base=1 << 38)


@pytest.fixture(params=FORMATS)
def fmt(request):
    return request.param


def domain_of(fmt):
    m = machine()
    build, implied = FORMATS[fmt]
    return m, build(m), Device("dev", m), implied


def sizes_of(domain):
    return [s for s in (K4, M2, G1) if domain.pgsize_bitmap & s]


def map_all(domain, iova, phys, size, count, *, prot=READ | WRITE):
    """What iommu_map() does with a driver that may stop at the end of a table."""
    done = 0
    while count:
        n = domain.map(iova + done, phys + done, size, count, prot)
        done += n
        count -= n // size


def unmap_all(domain, iova, size, count):
    done = 0
    while done < size * count:
        n = domain.unmap(iova + done, size, count - done // size)
        if n == 0:
            break
        done += n
    return done


def reach(domain, dev, iova, write):
    try:
        return domain.walker.lookup(dev, iova, write)[0]
    except DmaFault as fault:
        return fault.reason


blocks = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1100), st.integers(1, 700),
                   st.sampled_from([READ, WRITE, READ | WRITE]), st.booleans())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ops=st.lists(blocks, min_size=1, max_size=12))
def test_against_a_dict_of_pages(fmt, ops):
    _, domain, dev, implied = domain_of(fmt)
    live = {}                                   # first page -> (size, count, phys, prot)
    sizes = sizes_of(domain)
    for kind, gig, slot, pages, prot, drop in ops:
        size = sizes[min(kind, len(sizes) - 1)]
        count = pages if size == K4 else pages % 4 + 1
        iova = (gig * G1 + slot * size) % (3 * G1) & ~(size - 1)
        end = iova + size * count
        if end > 1 << 32:
            continue
        clash = [(start, v) for start, v in live.items() if start < end and iova < start + v[0] * v[1]]
        if clash:
            start, (old_size, old_count, phys, _) = clash[0]
            if drop:
                assert unmap_all(domain, start, old_size, old_count) == old_size * old_count
                del live[start]
            continue
        phys = (0x9_0000_0000 + iova * 3) & ~(size - 1)
        map_all(domain, iova, phys, size, count, prot=prot)
        live[iova] = (size, count, phys, prot)
    checks = {}
    for start, (size, count, phys, prot) in live.items():
        for at in {0, size * count // 2 & ~(K4 - 1), size * count - K4}:
            checks[start + at] = (phys + at, prot)
        checks.setdefault(start + size * count, None)
    for iova, want in checks.items():
        hits = [(p + iova - s, r) for s, (z, c, p, r) in live.items() if s <= iova < s + z * c]
        covered = want or (hits[0] if hits else None)
        if iova >> 32 and domain.aperture_end < iova:
            continue
        if covered is None:
            assert reach(domain, dev, iova, False) == "not-present"
            assert domain.lookup(iova) == 0
            continue
        phys, prot = covered
        prot |= implied
        if fmt.startswith("lpae") and prot & WRITE:
            prot |= READ
        assert reach(domain, dev, iova + 5, False) == (phys + 5 if prot & READ else "permission")
        assert reach(domain, dev, iova + K4 - 1, True) == (phys + K4 - 1 if prot & WRITE else "permission")
        assert domain.lookup(iova + 9) == phys + 9
    for start, (size, count, _, _) in live.items():
        unmap_all(domain, start, size, count)
    assert domain.table() == {}


def test_tables_come_back(fmt):
    m, domain, _, _ = domain_of(fmt)
    map_all(domain, K4, 0x8000_0000, K4, 1500)
    before = domain.tables
    assert before > 3
    unmap_all(domain, K4, K4, 1500)
    domain.free()
    assert domain.tables == 0
    reused = FORMATS[fmt][0](m)
    assert reused.tables == 1 and reused.table() == {}


def test_no_memory_for_a_table(fmt):
    m, domain, _, _ = domain_of(fmt)
    m.fail("table")
    with pytest.raises(DmaError) as failure:
        domain.map(K4, 0x8000_0000, K4, 1)
    assert failure.value.errno == errno.ENOMEM and failure.value.retryable
    assert domain.map(K4, 0x8000_0000, K4, 1) == K4


def test_no_memory_for_the_root(fmt):
    m = machine()
    m.fail("table")
    with pytest.raises(DmaError, match="root"):
        FORMATS[fmt][0](m)


def test_no_permission_is_einval(fmt):
    _, domain, _, _ = domain_of(fmt)
    with pytest.raises(DmaError) as failure:
        domain.map(K4, 0x8000_0000, K4, 1, 0)
    assert failure.value.errno == errno.EINVAL
    assert domain.table() == {}


def test_a_cleared_context_stops_everything(fmt):
    m, domain, dev, _ = domain_of(fmt)
    domain.map(K4, 0x8000_0000, K4)
    m.mem.poke(domain.context, bytes(8))
    assert reach(domain, dev, K4, False) == "not-present"


def test_remembered_leaf_table_is_forgotten_with_it(fmt):
    """A shortcut to a freed table would write into whoever owns it next."""
    _, domain, dev, _ = domain_of(fmt)
    if M2 not in sizes_of(domain):
        pytest.skip("no 2 MiB pages")
    domain.map(0, 0x8000_0000, K4, 4)
    unmap_all(domain, 0, K4, 4)
    domain.map(0, 0x9000_0000, M2)
    assert domain.walker.lookup(dev, 0x1000)[0] == 0x9000_1000
    assert domain.lookup(0x1000) == 0x9000_1000
