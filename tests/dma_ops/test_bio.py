# SPDX-License-Identifier: MIT
"""Which pages share a bio_vec, a bio and a list entry (block/bio.c, blk.h, bio-integrity.c, Linux 6.12)."""

import errno

import pytest

from dma_ops import DmaError, Machine
from dma_ops.bio import (
    Bio,
    RequestQueue,
    bio_add_page,
    bio_integrity_add_page,
    bio_integrity_map_user,
    bio_iov_iter_get_pages,
    bio_release_pages,
    biovec_phys_mergeable,
    blk_rq_map_sg,
    pgmaps_of_tables,
)
from dma_ops.gup import AddressSpace
from dma_ops.p2pdma import pci_p2pdma_add_resource
from dma_ops.pci import PciTree

PAGE = 4096
A, B = 0x80000000, 0x80200000           # two providers whose BARs adjoin, right above RAM
RAM = A - 0x100000
TOP = A - PAGE


def queue(kernel=612, **limits):
    machine = Machine("test", ram=((0, A),), pci_p2pdma=True, kernel=kernel)
    root = PciTree(machine).add_host()
    for slot, start in ((1, A), (2, B)):
        provider = root.add(f"{slot:02x}.0", 0x1AF4, 0x1041)
        provider.add_bar(0, start, 2 << 20)
        pci_p2pdma_add_resource(provider, 0)
    return RequestQueue(machine, pci_p2pdma=True, **limits)


@pytest.mark.parametrize(
    ("kernel", "first", "second", "vecs", "added"),
    [
        pytest.param(612, RAM, RAM + PAGE, 1, True, id="RAM merges"),
        pytest.param(612, RAM, RAM + 2 * PAGE, 2, True, id="RAM with a hole"),
        pytest.param(612, A, A + PAGE, 1, True, id="one provider merges"),
        pytest.param(612, A + PAGE, A, 2, True, id="one provider, the wrong way round"),
        pytest.param(612, B - PAGE, B, 1, False, id="over the seam of two providers"),
        pytest.param(612, TOP, A, 1, False, id="over the seam of RAM and a provider"),
        pytest.param(612, A, RAM, 1, False, id="P2P and RAM"),
        pytest.param(612, RAM, A, 1, False, id="RAM and P2P"),
        pytest.param(602, B - PAGE, B, 2, True, id="6.2 keeps them apart in one bio"),
        pytest.param(602, TOP, A, 2, True, id="6.2 keeps RAM and P2P apart in one bio"),
        pytest.param(601, B - PAGE, B, 1, True, id="6.1 merges two providers"),
        pytest.param(601, TOP, A, 1, True, id="6.1 merges RAM and P2P"),
    ],
)
def test_add_page(kernel, first, second, vecs, added):
    bio = Bio(queue(kernel))
    assert bio_add_page(bio, first, PAGE) == PAGE
    assert bio_add_page(bio, second, PAGE) == (PAGE if added else 0)
    assert len(bio.vecs) == vecs
    assert bio.size == PAGE * (1 + added)


def test_a_full_bio_takes_what_merges():
    bio = Bio(queue(), max_vecs=1)
    assert bio_add_page(bio, RAM, 512) == 512
    assert bio_add_page(bio, RAM, 512, 512) == 512
    assert bio_add_page(bio, RAM, 512, 2048) == 0
    assert bio.vecs == [(RAM, 1024, 0)]


@pytest.mark.parametrize(
    ("kernel", "limits", "first", "second", "merges"),
    [
        pytest.param(612, {}, A, A + PAGE, True, id="one provider"),
        pytest.param(612, {}, B - PAGE, B, False, id="two providers"),
        pytest.param(601, {}, B - PAGE, B, True, id="two providers in 6.1"),
        pytest.param(612, {"seg_boundary_mask": 0xFFF}, RAM, RAM + PAGE, False, id="the boundary"),
        pytest.param(612, {}, RAM, RAM + 2 * PAGE, False, id="a hole"),
    ],
)
def test_entries_over_bios(kernel, limits, first, second, merges):
    q = queue(kernel, **limits)
    bios = Bio(q), Bio(q)
    bio_add_page(bios[0], first, PAGE)
    bio_add_page(bios[1], second, PAGE)
    assert biovec_phys_mergeable(q, bios[0].vecs[0], bios[1].vecs[0]) == merges
    assert len(blk_rq_map_sg(*bios)) == 2 - merges


def test_entries_end_at_the_longest_segment():
    q = queue(max_segment_size=PAGE)
    bios = Bio(q), Bio(q)
    bio_add_page(bios[0], RAM, PAGE)
    bio_add_page(bios[1], RAM + PAGE, PAGE)
    assert blk_rq_map_sg(*bios) == [(RAM, PAGE, 0), (RAM + PAGE, PAGE, 0)]


class TestDirectIo:
    def test_a_queue_without_p2p_ends_before_it(self):
        q = queue()
        q.pci_p2pdma = False
        mm, bio = AddressSpace(q.machine), Bio(q)
        start = mm.mmap([RAM, A, RAM + PAGE])
        assert bio_iov_iter_get_pages(bio, mm, start + 512, 3 * PAGE - 512) == PAGE - 512
        assert bio.vecs == [(RAM, PAGE - 512, 512)]
        with pytest.raises(DmaError) as error:
            bio_iov_iter_get_pages(Bio(q), mm, start + PAGE, PAGE)
        assert error.value.errno == errno.EREMOTEIO
        bio_release_pages(bio, mm)
        assert sum(mm.pins.values()) == 0

    def test_6_12_puts_p2p_and_ram_into_one_bio(self):
        """bio_iov_add_folio() does not ask zone_device_pages_compatible(), as bio_add_page() does."""
        q = queue()
        mm, bio = AddressSpace(q.machine), Bio(q)
        start = mm.mmap([TOP, A, B - PAGE, B])
        assert bio_iov_iter_get_pages(bio, mm, start, 4 * PAGE) == 4 * PAGE
        assert bio.vecs == [(TOP, PAGE, 0), (A, PAGE, 0), (B - PAGE, PAGE, 0), (B, PAGE, 0)]

    def test_what_does_not_fit_is_unpinned(self):
        q = queue()
        mm, bio = AddressSpace(q.machine), Bio(q, max_vecs=2)
        start = mm.mmap([RAM, RAM + 2 * PAGE, RAM + 4 * PAGE])
        assert bio_iov_iter_get_pages(bio, mm, start, 3 * PAGE) == 2 * PAGE
        assert mm.pins == {RAM: 1, RAM + 2 * PAGE: 1, RAM + 4 * PAGE: 0}


class TestIntegrity:
    @pytest.mark.parametrize(
        ("kernel", "pages", "nomerge"),
        [(612, [RAM], False), (612, [A], True), (612, [RAM, A], True), (602, [A], False)],
    )
    def test_p2p_keeps_the_bio_from_merging(self, kernel, pages, nomerge):
        q = queue(kernel)
        mm, bio = AddressSpace(q.machine), Bio(q)
        bio_integrity_map_user(bio, mm, mm.mmap(pages) + 8, len(pages) * PAGE - 8)
        assert bio.nomerge == nomerge
        assert bio.integrity.vecs[0] == (pages[0], PAGE - 8, 8)
        with pytest.raises(DmaError) as error:
            bio_integrity_map_user(bio, mm, mm.mmap([RAM]), 8)
        assert error.value.errno == errno.EINVAL
        bio_release_pages(bio, mm)
        assert sum(mm.pins.values()) == 0

    def test_a_buffer_half_of_which_cannot_be_pinned(self):
        q = queue()
        q.pci_p2pdma = False
        mm, bio = AddressSpace(q.machine), Bio(q)
        with pytest.raises(DmaError) as error:
            bio_integrity_map_user(bio, mm, mm.mmap([RAM, A]), 2 * PAGE)
        assert error.value.errno == errno.EFAULT
        assert bio.integrity is None and sum(mm.pins.values()) == 0

    @pytest.mark.parametrize(
        ("limits", "second", "added", "vecs"),
        [
            pytest.param({}, RAM + PAGE, PAGE, 1, id="merges"),
            pytest.param({"seg_boundary_mask": 0xFFF}, RAM + PAGE, PAGE, 2, id="the boundary"),
            pytest.param({"max_segment_size": PAGE}, RAM + PAGE, PAGE, 2, id="the longest segment"),
            pytest.param({"max_integrity_segments": 1}, RAM + 2 * PAGE, 0, 1, id="no segment left"),
            pytest.param({}, A, 0, 1, id="P2P beside RAM"),
        ],
    )
    def test_add_page(self, limits, second, added, vecs):
        q = queue(**limits)
        mm, bio = AddressSpace(q.machine), Bio(q)
        bio_integrity_map_user(bio, mm, mm.mmap([RAM]), PAGE)
        bio.integrity.max_vecs = 4
        assert bio_integrity_add_page(bio, second, PAGE) == added
        assert len(bio.integrity.vecs) == vecs

    def test_without_a_payload(self):
        with pytest.raises(ValueError, match="no integrity payload"):
            bio_integrity_add_page(Bio(queue()), RAM, 8)


def test_tables_compare_pgmaps_since_6_2():
    assert pgmaps_of_tables(queue().machine) == [(A, 2 << 20), (B, 2 << 20)]
    assert pgmaps_of_tables(queue(601).machine) == []
