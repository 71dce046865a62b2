# SPDX-License-Identifier: MIT
"""Faults of Linux that programs meet, and where exactly each may show, so that none of them hides anything else.

Each is one that a record names as Known, or is told here with its place in Linux's source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dma_ops import DMA_FROM_DEVICE, dma_get_seg_boundary

if TYPE_CHECKING:
    from .memory import Span
    from .oracle import Live, Oracle


@dataclass(slots=True)
class Sight:
    """What the oracle saw: text and the mapping that it saw it on, if any; seen and meant bytes, where it is those, and
    the physical addresses that they have; what a violation tells besides."""

    world: Oracle
    clause: str
    text: str
    live: Live | None = None
    seen: bytes = b""
    meant: bytes = b""
    spans: Sequence[Span] = ()
    evidence: Mapping[str, object] = field(default_factory=dict)

    @property
    def changed(self) -> list[int]:
        """The physical addresses of the bytes that differ."""
        where = (at for start, end in self.spans for at in range(start, end))
        return [at for at, seen, meant in zip(where, self.seen, self.meant, strict=False) if seen != meant]


Where = Callable[[Sight], bool]


@dataclass(frozen=True, slots=True)
class Explained:
    """A fault: on which backends ("" is all), which clauses the oracle sees broken, and where."""

    backends: str
    clauses: str
    what: str
    where: Where
    machines: str = ""
    tables: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", frozenset(self.backends.split()))

    def fits(self, sight: Sight) -> bool:
        return (
            (not self.backends or sight.world.record.id in self.tables)
            and sight.clause in self.clauses.split()
            and (not self.machines or sight.world.bench.config.name in self.machines.split())
            and self.where(sight)
        )


def says(*parts: str) -> Where:
    """The oracle's sentence, or the dead kernel's."""
    return lambda s: any(part in s.text for part in parts)


def mapping(*kinds: str) -> Where:
    return lambda s: s.live is not None and s.live.kind in kinds


def leads_into_refused(s: Sight) -> bool:
    """An unmapped bus address leads into a list that failed."""
    phys = s.evidence.get("phys")
    return isinstance(phys, int) and "still gets through" in s.text and any(
        page <= phys < page + offset + length for page, offset, length in s.world.refused_rows)


def after_failed(*kinds: str) -> Where:
    """A leak, once such a call has failed: in the counters, or an entry that is left."""
    return lambda s: any(kind in s.world.failures for kind in kinds) and (
        leads_into_refused(s) or ("counters" in s.text and s.clause == "DMA-13"))


def after(*kinds: str) -> Where:
    """A leak, once such a mapping was made."""
    return lambda s: "counters" in s.text and any(live.kind in kinds for live in s.world.history)


def suspects(s: Sight) -> list[Live]:
    """The mapping at hand; where it is seen later only, any that was ever made."""
    return [s.live] if s.live is not None and "after unmap and flush" not in s.text else s.world.history


def refused_beyond_page(s: Sight) -> bool:
    """A list with an offset of a page or more failed; what it took or gave back on the way is not known."""
    return any(offset >= s.world.page for _, offset, _ in s.world.refused_rows)


def beyond_page(s: Sight) -> bool:
    """A list with an offset of a page or more is at work."""
    if refused_beyond_page(s) and ("counters" in s.text or leads_into_refused(s)):
        return True
    return any(live.kind == "sg" and max(live.offsets) >= s.world.page for live in suspects(s))


def moved(s: Sight) -> bool:
    """A list's address lies pages behind its data, in what is others' and is released with it: it shows on the list, on
    who has such a bus page, in memory that is mapped there, and in the counters."""
    page = s.world.page

    def pages(live: Live) -> set[int]:
        own = {start for start, _ in live.spans}            # not mapped, but given as it is
        return {at for address, length, _ in live.segments if address not in own
                for at in range(address // page, (address + length - 1) // page + 1)}

    if refused_beyond_page(s):
        return True
    made = [*s.world.history, *([s.live] if s.live is not None else [])]    # what is being mapped is not yet history
    behind: set[int] = set()
    for live in made:
        if live.kind == "sg" and max(live.offsets) >= page:
            behind |= pages(live)
    if s.live is None and not s.seen:
        return bool(behind)
    struck = [live for live in made if pages(live) & behind]
    frames = {at for live in struck for start, end in live.spans for at in range(start // page, (end - 1) // page + 1)}
    return s.live in struck or (bool(s.changed) and all(at // page in frames for at in s.changed))


def unwritten(s: Sight) -> bool:
    """Only bytes differ that the device did not write, of a mapping that it may only write."""
    if s.live is None or s.live.direction != DMA_FROM_DEVICE:
        return False
    return all(a == b or not s.live.wrote[i] for i, (a, b) in enumerate(zip(s.seen, s.meant, strict=True)))


def zeroed(s: Sight) -> bool:
    """A map failed: of what it had in a bounce buffer, zeros were copied back."""
    return "changed" in s.text and not {"map_sg", "map_page", "map_phys"}.isdisjoint(s.world.failures) and all(
        a in (0, b) for a, b in zip(s.seen, s.meant, strict=True))


def odd_segment(s: Sight) -> bool:
    """A list is at work in which a row begins at an odd address; beside buffers only the byte before such a row."""
    if s.clause == "DMA-22":
        before = {start - 1 for live in s.world.history if live.kind == "sg" for start, _ in live.spans if start & 1}
        return before.issuperset(s.changed)
    return any(live.kind == "sg" and any(start & 1 for start, _ in live.spans) for live in suspects(s))


def small_boundary(s: Sight) -> bool:
    return "larger than the segment boundary" in s.text and dma_get_seg_boundary(s.world.device) < 1 << 28


def oversized(s: Sight) -> bool:
    """There was a mapping of more pages than a word of the machine has bits."""
    return any(length > s.world.machine.bits * s.world.page
               for live in [*s.world.history, *suspects(s)] for _, length, _ in live.segments)


def comes_back(s: Sight) -> bool:
    """The mapping has I/O pages of one that is gone."""
    if s.live is None:
        return False
    page = s.world.page

    def pages(live: Live) -> set[int]:
        return {at for address, length, _ in live.segments
                for at in range(address // page, (address + length - 1) // page + 1)}

    mine = pages(s.live)
    return any(live is not s.live and not mine.isdisjoint(pages(live)) for live in s.world.history)


def at_zero(s: Sight) -> bool:
    """The mapping has bus address 0, or such a one is gone."""
    return any(address < s.world.page for live in suspects(s) for address, _, _ in live.segments)


def at_zero_unsynced(s: Sight) -> bool:
    """So it is, or the bytes lie in frames that such a one had, of which the CPU's cache was told nothing."""
    page = s.world.page
    frames = {at for live in s.world.history if any(address < page for address, _, _ in live.segments)
              for start, end in live.spans for at in range(start // page, (end - 1) // page + 1)}
    return at_zero(s) or (bool(s.changed) and all(at // page in frames for at in s.changed))


def always(s: Sight) -> bool:
    return True


LEFT = "DMA-13 DMA-02 DMA-03 DMA-31"
CAN_WRITE = says("the device can write what is mapped TO_DEVICE")

FAULTS = (
    Explained("alpha_pci_ops ccio_ops sba_ops gart_dma_ops ibmebus_dma_ops iounit_dma_ops jazz_dma_ops "
              "ps3_ioc0_dma_ops ps3_sb_dma_ops sba_dma_ops sbus_iommu_dma_gflush_ops sbus_iommu_dma_pflush_ops "
              "vduse_dev_dma_ops", "DMA-18", "no permission bits: the direction is ignored", CAN_WRITE),
    Explained("dma_iommu_ops", "DMA-18", "entries have no permission bits", CAN_WRITE, "g5-u3 g5-u4 pasemi"),
    Explained("iommu_ops s390_pci_dma_ops iounit_dma_ops jazz_dma_ops sbus_iommu_dma_gflush_ops sun4v_dma_ops "
              "sbus_iommu_dma_pflush_ops vdpasim_dma_ops vduse_dev_dma_ops gart_dma_ops", "DMA-27 DMA-28",
              "the mask is never looked at, or not when memory is mapped", always),
    Explained("ibmebus_dma_ops", "DMA-27 DMA-28", "addresses of 64 bits go to a device whose masks have 32", always),
    Explained("alpha_pci_ops", "DMA-27", "without scatter-gather hardware lists are mapped whatever the mask",
              mapping("sg"), "irongate polaris"),
    Explained("alpha_pci_ops", "DMA-28", "coherent memory is held against the streaming mask", always),
    Explained("alpha_pci_ops dma_iommu_ops vio_dma_mapping_ops iommu_ops jazz_dma_ops s390_pci_dma_ops sun4u_dma_ops "
              "sun4v_dma_ops xen_grant_dma_ops", "DMA-09", "the boundary binds single allocations, or nothing",
              says("a merged segment crosses the boundary")),
    Explained("", "DMA-11 DMA-09", "lib/iommu-helper.c: iommu_area_alloc: searches for ever for what is larger than "
              "the segment boundary", small_boundary),
    Explained("ccio_ops sba_ops", "DMA-11", "running out of bus addresses is a panic", says("panic")),
    Explained("ccio_ops sba_ops", "DMA-11", "drivers/parisc: *_alloc_range: more than DMA_CHUNK_SIZE at a time is a "
              "BUG", says("DMA_CHUNK_SIZE")),
    Explained("ps3_ioc0_dma_ops ps3_sb_dma_ops", "DMA-11", "lists are a BUG", says("ioc0_map_sg", "sb_map_sg")),
    Explained("ps3_ioc0_dma_ops ps3_sb_dma_ops", "DMA-11", "arch/powerpc/platforms/ps3/system-bus.c: "
              "ps3_alloc_coherent: BUG_ON of a string, where memory cannot be mapped", says("check region type")),
    Explained("ps3_ioc0_dma_ops", "DMA-11", "a second mapping of an I/O page is a BUG", says("dma_ioc0_map_area")),
    Explained("ps3_ioc0_dma_ops ps3_sb_dma_ops", "DMA-21 DMA-18 DMA-01 DMA-02 DMA-31",
              "what lv1 refuses gets address 0", at_zero),
    Explained("ps3_ioc0_dma_ops ps3_sb_dma_ops", "DMA-11", "arch/powerpc/platforms/ps3/mm.c: dma_find_chunk: a range "
              "that lies in a chunk in part is a BUG", says("dma_find_chunk")),
    Explained("dma_iommu_ops", "DMA-21 DMA-18 DMA-27 DMA-31", "window 0 was rewritten to map RAM, for good", lambda s:
              s.world.lowered, "powernv-phb3"),
    Explained("gart_dma_ops", "DMA-01 DMA-04 DMA-13 DMA-16 DMA-18 DMA-19 DMA-20 DMA-21 DMA-22 DMA-31",
              "a head's offset of a page or more moves the address, and what is released", moved),
    Explained("iommu_ops s390_pci_dma_ops sba_ops", "DMA-01 DMA-13 DMA-02 DMA-03 DMA-31",
              "pages that an offset skips are never unmapped", beyond_page),
    Explained("iommu_ops", "DMA-01 DMA-02 DMA-03 DMA-13 DMA-19 DMA-20 DMA-22 DMA-21 DMA-04 DMA-31",
              "a mapping at address 0 is neither unmapped nor synced", at_zero_unsynced, "default"),
    Explained("iommu_ops", "DMA-31", "only the first page of coherent memory is mapped", mapping("coherent"),
              "coherent"),
    Explained("sba_dma_ops", "DMA-21 DMA-04 DMA-16 DMA-01 DMA-13 DMA-22",
              "bit 0 of an address is also PIDE_FLAG: one byte too low", odd_segment),
    Explained("sba_ops", "DMA-01 DMA-02 DMA-03 DMA-13 DMA-16 DMA-18 DMA-19 DMA-20 DMA-21 DMA-22",
              "drivers/parisc/sba_iommu.c: sba_search_bitmap: a range of more pages than a word has bits takes one "
              "word", oversized),
    Explained("sun4u_dma_ops", "DMA-21 DMA-19 DMA-20", "arch/sparc/kernel/iommu-common.c: iommu_tbl_range_alloc: "
              "flushes where the search wraps, and not for what was freed ahead of it since", comes_back),
    Explained("iommu_dma_ops", "DMA-08", "behind an entry longer than max_seg everything is joined", lambda s:
              s.live is not None and max(s.live.sizes) > s.world.device.max_segment_size),
    Explained("iommu_dma_ops", "DMA-13 DMA-01", "drivers/dma-buf/dma-buf-mapping.c: dma_buf_phys_vec_to_sgt: if the "
              "first link fails, the IOVA is lost", after_failed("map_buf")),
    Explained("iommu_dma_ops", "P2P-36", "an untrusted device's P2P pages are mapped as RAM", always,
              "intel-untrusted"),
    Explained("iommu_dma_ops", "DMA-21 DMA-19 DMA-04 DMA-22", "a bounce buffer is zeroed, or stale, for FROM_DEVICE",
              unwritten, "intel-untrusted"),
    Explained("iommu_dma_ops", "DMA-22", "drivers/iommu/dma-iommu.c: iommu_dma_map_page: zeroes the bounce buffer for "
              "FROM_DEVICE, and a map that fails copies that back", zeroed, "intel-untrusted"),
    Explained("vduse_dev_dma_ops", "DMA-21 DMA-19", "drivers/vdpa/vdpa_user/iova_domain.c: vduse_domain_unmap_page: "
              "copies back what another mapping left in the bounce page", unwritten),
    Explained("vduse_dev_dma_ops", "DMA-19 DMA-20", "a bounce buffer without sync", says("after the sync")),
    Explained("ibmebus_dma_ops", "DMA-31", "coherent memory is not zeroed", says("is not zero")),
    Explained("dma_direct", "DMA-21 DMA-18", "kernel/dma/direct.c: dma_direct_map_resource: does not look at the "
              "dma_range_map", lambda s: s.live is not None and s.live.kind == "resource" and bool(
                  s.world.device.dma_ranges)),
    Explained("iounit_dma_ops", "DMA-01 DMA-13", "coherent memory is never freed", after("coherent")),
    Explained("sbus_iommu_dma_gflush_ops sbus_iommu_dma_pflush_ops", "DMA-31", "dies unless the size is whole pages",
              says("(len & ~PAGE_MASK) != 0")),
    Explained("sbus_iommu_dma_gflush_ops sbus_iommu_dma_pflush_ops", "DMA-01 DMA-13 DMA-31",
              "frees the page of a DVMA address", after("coherent")),
    Explained("sbus_iommu_dma_gflush_ops sbus_iommu_dma_pflush_ops jazz_dma_ops", LEFT,
              "a list that fails leaves the entries before the failing one mapped", after_failed("map_sg")),
    Explained("sba_dma_ops", LEFT, "a list that fails leaks, and so do pages that cannot be mapped",
              after_failed("map_sg", "coherent")),
    Explained("sun4u_dma_ops", "DMA-13", "a list that fails keeps its context", after_failed("map_sg"),
              "schizo tomatillo"),
    Explained("dma_iommu_ops vio_dma_mapping_ops", "DMA-13", "if the hypervisor runs out, the entry's pages leak",
              after_failed("map_sg")),
    Explained("iommu_ops", "DMA-13", "memory that cannot be mapped is lost", after_failed("coherent"), "coherent"),
)


def explanation(sight: Sight) -> str:
    """The fault of Linux that this is, or ""."""
    for fault in FAULTS:
        if fault.fits(sight):
            return fault.what
    return ""
