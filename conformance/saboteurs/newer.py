# SPDX-License-Identifier: MIT
"""The newer DMA API: mappings by physical address, ranges in two steps, and who builds on them.

Where Linux itself does not keep a rule, its own code is the saboteur, and the mended one what it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from dma_ops import (
    DMA_ATTR_MMIO,
    DMA_ATTR_REQUIRE_COHERENT,
    Device,
    DmaError,
    DmaIovaState,
    DmaMapOps,
    dma_get_merge_boundary,
    dma_iova_link,
    dma_iova_sync,
    dma_iova_try_alloc,
)
from dma_ops.dma_buf import DmaBufTable
from dma_ops.p2pdma_state import P2pMapType

from .base import Broken, Saboteur, add, in_the_core, is_error, planted_in
from .mended import EXPORTER, START
from .targets import IOMMUS, STRICT, without

DIRECT = ("dma_direct/x86_64", "dma_direct/arm64-windows")
UNTRUSTED = "iommu_dma_ops/intel-untrusted"
TABLES = without(STRICT, "iommu_dma_ops", "vio_dma_mapping_ops")        # mapped by map_page, one per segment


# -- by physical address ---------------------------------------------------------------------------------------

@planted_in(*IOMMUS, *DIRECT, breaks=("NEW-01",))
class PhysOneByteFurther(Broken):
    """dma_map_phys answers an address one byte too high."""

    def map_phys(self, dev: Device, phys: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_phys(dev, phys, size, dir, attrs)
        return addr if is_error(dev, addr) else addr + 1

    def unmap_phys(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.inner_unmap_phys(dev, addr - 1, size, dir, attrs)


@planted_in(*IOMMUS, breaks=("NEW-01",))
class PhysNotUnmapped(Broken):
    """dma_unmap_phys does nothing."""

    def unmap_phys(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        pass


@planted_in(*TABLES, breaks=("NEW-01", "NEW-20"))
class SegmentNotUnmapped(Broken):
    """A table of 6.1 under the newer API: the unmap call for a segment does nothing."""

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        pass


@planted_in("dma_direct/arm64-noncoherent", breaks=("NEW-01",))
class SmallBuffersInPlace(Broken):
    """What kmalloc gives out for less than a cache line is mapped where it is, for a device that does not snoop."""

    def map_phys(self, dev: Device, phys: int, size: int, dir: int, attrs: int) -> int:
        return self.inner_map_phys(dev, phys, size, 1, attrs)

    def unmap_phys(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.inner_unmap_phys(dev, addr, size, dir, attrs)


@planted_in("dma_direct/arm", "dma_direct/mips", "dma_direct/parisc", breaks=("NEW-02",))
class MmioAsRam(Broken):
    """DMA_ATTR_MMIO is ignored: device memory gets cache maintenance."""

    def map_phys(self, dev: Device, phys: int, size: int, dir: int, attrs: int) -> int:
        return self.inner_map_phys(dev, phys, size, dir, attrs & ~DMA_ATTR_MMIO)

    def unmap_phys(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.inner_unmap_phys(dev, addr, size, dir, attrs & ~DMA_ATTR_MMIO)


@planted_in("dma_direct/x86_64-force", "iommu_dma_ops/intel-untrusted", breaks=("NEW-03",))
class CoherenceForgotten(Broken):
    """DMA_ATTR_REQUIRE_COHERENT is ignored: what must not be copied is bounced."""

    def map_phys(self, dev: Device, phys: int, size: int, dir: int, attrs: int) -> int:
        return self.inner_map_phys(dev, phys, size, dir, attrs & ~DMA_ATTR_REQUIRE_COHERENT)

    def unmap_phys(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.inner_unmap_phys(dev, addr, size, dir, attrs & ~DMA_ATTR_REQUIRE_COHERENT)


@in_the_core("dma_ops.phys_api.dma_need_unmap", *IOMMUS, "sun4u_dma_ops/psycho", breaks=("NEW-04",))
def unmap_said_to_be_needless(real: Callable[..., bool], dev: Device) -> bool:
    """dma_need_unmap() is False for every device."""
    return False


# -- ranges in two steps ---------------------------------------------------------------------------------------

@planted_in(*IOMMUS, breaks=("NEW-10",))
class RangeAtTheGranule(Broken):
    """dma_iova_try_alloc forgets the memory's offset into a granule."""

    def iova_try_alloc(self, dev: Device, state: DmaIovaState, phys: int, size: int) -> bool:
        return self.inner_iova_try_alloc(dev, state, 0, size)


@planted_in(*IOMMUS, breaks=("NEW-11", "NEW-30"))
class LinkOneGranuleFurther(Broken):
    """dma_iova_link links the granule behind the memory."""

    def iova_link(self, dev: Device, state: DmaIovaState, phys: int, offset: int, size: int, dir: int,
                  attrs: int) -> int:
        further = phys + dma_get_merge_boundary(dev) + 1
        return self.inner_iova_link(dev, state, further, offset, size, dir, attrs)


@planted_in(*IOMMUS[1:], UNTRUSTED, breaks=("NEW-12",))
class UnwindsFromTheStart(Broken):
    """A link that fails unlinks from the range's start, as before the fix of 2026, not from where it began."""

    def iova_link(self, dev: Device, state: DmaIovaState, phys: int, offset: int, size: int, dir: int,
                  attrs: int) -> int:
        ret: int = self.inner_iova_link(dev, state, phys, offset, size, dir, attrs)
        if ret and offset:
            self.inner_iova_unlink(dev, state, 0, dma_get_merge_boundary(dev) + 1, dir, attrs)
        return ret


@planted_in(UNTRUSTED, breaks=("NEW-13",))
class EdgesNotBounced(Broken):
    """dma_iova_link takes an untrusted device for a trusted one: it sees its buffers' neighbours."""

    def iova_link(self, dev: Device, state: DmaIovaState, phys: int, offset: int, size: int, dir: int,
                  attrs: int) -> int:
        dev.untrusted = False
        try:
            return self.inner_iova_link(dev, state, phys, offset, size, dir, attrs)
        finally:
            dev.untrusted = True


class _Linked(Broken):
    """Remembers how much is linked into each range."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.linked: dict[int, int] = {}

    def iova_link(self, dev: Device, state: DmaIovaState, phys: int, offset: int, size: int, dir: int,
                  attrs: int) -> int:
        ret: int = self.inner_iova_link(dev, state, phys, offset, size, dir, attrs)
        if ret == 0:
            self.linked[state.addr] = max(self.linked.get(state.addr, 0), offset + size)
        return ret


@planted_in(*IOMMUS, breaks=("NEW-14",))
class DestroyKeepsAPrefix(_Linked):
    """Where less was linked than the range has, it is not given back: up to 6.19, destroy freed that much only."""

    def iova_free(self, dev: Device, state: DmaIovaState) -> None:
        if self.linked.pop(state.addr, state.size) >= state.size:
            self.inner_iova_free(dev, state)


@planted_in("iommu_dma_ops/intel-lazy", "iommu_dma_ops/smmuv3-lazy", breaks=("NEW-16",))
class DestroyQueued(Broken):
    """dma_iova_destroy gives the range back when the flush queue is emptied, as up to 6.19."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.queue: list[Callable[[], None]] = []

    def iova_free(self, dev: Device, state: DmaIovaState) -> None:
        self.queue.append(lambda: self.inner_iova_free(dev, state))

    def flush(self) -> None:
        while self.queue:
            self.queue.pop()()
        super().flush()


@planted_in(*IOMMUS, breaks=("NEW-15",))
class RangeFreedTwice(Broken):
    """dma_iova_free frees a range twice, so that two later owners get it."""

    def iova_free(self, dev: Device, state: DmaIovaState) -> None:
        self.inner_iova_free(dev, state)
        self.inner_iova_free(dev, state)


@planted_in(*IOMMUS, breaks=("DMA-47",))
class OffsetInAGranuleTaken(Broken):
    """A link that begins inside a granule, behind another, links from the granule's start."""

    def iova_link(self, dev: Device, state: DmaIovaState, phys: int, offset: int, size: int, dir: int,
                  attrs: int) -> int:
        pad = phys & dma_get_merge_boundary(dev) if offset else 0
        return self.inner_iova_link(dev, state, phys - pad, offset, size + pad, dir, attrs)


@in_the_core("dma_ops.phys_api.dma_iova_sync", *IOMMUS, breaks=("DMA-48",))
def sync_forgotten(real: Callable[..., None], *given: Any) -> None:
    """HMM and dma-buf exporters never call dma_iova_sync."""


@planted_in(*IOMMUS, breaks=("DMA-49",))
class UnlinkForgotten(Broken):
    """dma_iova_unlink leaves the entries in the table."""

    def iova_unlink(self, dev: Device, state: DmaIovaState, offset: int, size: int, dir: int, attrs: int) -> None:
        pass


@planted_in(*IOMMUS, breaks=("DMA-49",))
class UnlinkTakesTheNeighbour(Broken):
    """dma_iova_unlink unlinks one granule more than it was told."""

    def iova_unlink(self, dev: Device, state: DmaIovaState, offset: int, size: int, dir: int, attrs: int) -> None:
        more = dma_get_merge_boundary(dev) + 1 if offset + size < state.size else 0
        self.inner_iova_unlink(dev, state, offset, size + more, dir, attrs)


# -- requests --------------------------------------------------------------------------------------------------

@in_the_core("dma_ops.blk_dma.blk_rq_dma_map_iter_next", "dma_direct/x86_64", *TABLES, breaks=("NEW-20",))
def only_the_first_segment(real: Callable[..., bool], *given: Any) -> bool:
    """A request that is mapped segment by segment ends after the first one."""
    return False


@in_the_core("dma_ops.blk_dma.blk_rq_dma_unmap", "iommu_dma_ops/intel-untrusted", *TABLES,
             breaks=("NEW-20", "NEW-21"))
def segments_left_mapped(real: Callable[..., bool], *given: Any) -> bool:
    """blk_rq_dma_unmap says that nothing is left to do, and does nothing."""
    return True


@in_the_core("dma_ops.blk_dma.blk_rq_dma_map_iter_start", *IOMMUS, breaks=("NEW-21",))
def failed_start_keeps_its_range(
    real: Callable[..., bool], req: Any, dev: Device, state: DmaIovaState, it: Any
) -> bool:
    """Where a link fails, the request's range is not given back."""
    started = real(req, dev, state, it)
    if not started:
        dma_iova_try_alloc(dev, DmaIovaState(), 0, req.payload)
    return started


@in_the_core("dma_ops.blk_dma.blk_rq_dma_map_iter_start", *IOMMUS, breaks=("NEW-21",))
def failing_link_forgotten(real: Callable[..., bool], req: Any, dev: Device, state: DmaIovaState, it: Any) -> bool:
    """A link that fails is forgotten, since the sync behind it succeeds: the request counts as mapped, with a hole.
    So it was in 6.17 to 6.19."""
    rows = [(page + offset, length) for vecs in req.bios for page, length, offset in vecs.rows()]
    if not dma_iova_try_alloc(dev, state, rows[0][0], req.payload):
        return real(req, dev, state, it)
    linked = 0
    with suppress(DmaError):
        for phys, length in rows:
            dma_iova_link(dev, state, phys, linked, length, req.dir)
            linked += length
    dma_iova_sync(dev, state, 0, linked)
    return True


@in_the_core("dma_ops.blk_dma.blk_rq_dma_unmap", *IOMMUS, breaks=("NEW-22",))
def map_type_lost(real: Callable[..., bool], req: Any, dev: Device, state: DmaIovaState, length: int, map: Any,
                  attrs: int = 0) -> bool:
    """What kind of memory a request has is forgotten until it is unmapped, as in 6.17 and 6.18."""
    return real(req, dev, state, length, P2pMapType.NONE, attrs)


@in_the_core("dma_ops.phys_api.dma_map_phys", "dma_direct/x86_64-force", breaks=("NEW-30",))
def attributes_lost_in_the_fallback(
    real: Callable[..., int], dev: Device, phys: int, size: int, dir: int, attrs: int = 0
) -> int:
    """Where there is no range, HMM maps without its attributes: pages are bounced, as in its first version."""
    return real(dev, phys, size, dir)


@planted_in("iommu_dma_ops/smmuv3-noncoherent", breaks=("NEW-22",))
class PeersLinkedAsRam(Broken):
    """dma_iova_link ignores DMA_ATTR_MMIO: a peer's memory gets cache maintenance."""

    def iova_link(self, dev: Device, state: DmaIovaState, phys: int, offset: int, size: int, dir: int,
                  attrs: int) -> int:
        return self.inner_iova_link(dev, state, phys, offset, size, dir, attrs & ~DMA_ATTR_MMIO)


@planted_in("dma_direct/x86_64", "dma_direct/arm64-windows", breaks=("NEW-24",))
class OddSizesRefused(Broken):
    """dma_map_phys takes whole pages only, or less than one."""

    def map_phys(self, dev: Device, phys: int, size: int, dir: int, attrs: int) -> int | None:
        if size > dev.machine.page_size and size % dev.machine.page_size:
            return None
        return self.inner_map_phys(dev, phys, size, dir, attrs)


# -- HMM and dma-buf -------------------------------------------------------------------------------------------

@in_the_core("dma_ops.p2pdma_state.pci_p2pdma_state", "dma_direct/x86_64", *IOMMUS, breaks=("NEW-31",))
def every_page_is_ram(real: Callable[..., P2pMapType], *given: Any) -> P2pMapType:
    """HMM takes a peer's pages for RAM."""
    return P2pMapType.NONE


def _with_pages(made: DmaBufTable) -> DmaBufTable:
    assert made.sgt is not None
    made.sgt.orig_nents = made.sgt.nents
    return made


@in_the_core("dma_ops.dma_buf.dma_buf_phys_vec_to_sgt", "dma_direct/x86_64", *IOMMUS, breaks=("P2P-72",))
def exporter_counts_pages(real: Callable[..., DmaBufTable], *given: Any) -> DmaBufTable:
    """An exporter of device memory leaves orig_nents set: importers look for pages."""
    return _with_pages(real(*given))


@in_the_core("dma_ops.dma_buf.dma_buf_phys_vec_to_sgt", "dma_direct/x86_64", breaks=("NEW-40",))
def ranges_reversed(
    real: Callable[..., DmaBufTable], dev: Device, provider: Any, ranges: Iterable[tuple[int, int]], *given: Any
) -> DmaBufTable:
    """An exporter maps the last range first."""
    return real(dev, provider, list(ranges)[::-1], *given)


@in_the_core("dma_ops.dma_buf.dma_buf_phys_vec_to_sgt", "iommu_dma_ops/intel", breaks=("NEW-41",), mends=EXPORTER)
def exporter_forgets_its_range(real: Callable[..., DmaBufTable], dev: Device, *given: Any) -> DmaBufTable:
    """An exporter whose mapping fails keeps a range of bus addresses."""
    try:
        return real(dev, *given)
    except DmaError:
        dma_iova_try_alloc(dev, DmaIovaState(), 0, dev.machine.page_size)
        raise


# -- Linux's own faults, against the mended code ---------------------------------------------------------------

for _name, _what, _rule, _mends in (
    ("start-not-cleared", "A start that fails frees the request's range and leaves it in the state.", "NEW-23", START),
    ("ranges-linked-at-0", "An exporter links every range at offset 0.", "NEW-40", EXPORTER),
    ("first-link-leaks", "An exporter whose first link fails keeps the range of bus addresses.", "NEW-41", EXPORTER),
    ("pieces-of-uint-max", "Entries of a long range are UINT_MAX bytes long.", "NEW-42", EXPORTER),
    ("counted-in-32-bits", "An exporter counts what it linked in 32 bits.", "NEW-43", EXPORTER),
    ("zero-entries-unmapped", "An exporter that fails unmaps entries that never were mapped.", "NEW-45", EXPORTER),
    ("size-not-compared", "An exporter unmaps by a size that is not that of the ranges.", "NEW-44", EXPORTER),
):
    # a virtio IOMMU unmaps whole mappings: there is no rest behind a size that is too small
    _targets = IOMMUS if _rule != "NEW-44" else tuple(one for one in IOMMUS if "virtio" not in one)
    add(Saboteur(_name, _what, (_rule,), _targets, mends=_mends))
