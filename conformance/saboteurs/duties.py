# SPDX-License-Identifier: MIT
"""What watches over drivers and orchestrators, broken: dma-debug, pools, references, pins, bios."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dma_ops import DMA_ATTR_SKIP_CPU_SYNC, Device, DmaMapOps, KernelHang
from dma_ops.bio import Bio, RequestQueue, Vec
from dma_ops.debug import DmaDebug, Entry, Row
from dma_ops.dmapool import DmaPool
from dma_ops.gup import FOLL_LONGTERM, FOLL_PCI_P2PDMA, AddressSpace
from dma_ops.machine import Machine
from dma_ops.pci import PciDev
from dma_ops.pyops import SgView
from dma_ops.vfio_dmabuf import VfioDmaBuf

from .base import Broken, in_the_core, planted_in
from .core import ANY
from .peers import MENDED

Real = Callable[..., Any]
NEWER = ("dma_direct/x86_64-6.12", "iommu_dma_ops/intel-6.12")
PEERS = ("dma_direct/x86_64", "iommu_dma_ops/intel")
SHARED = ("alpha_pci_ops/tsunami-6g", "ccio_ops/c360-64", "sun4v_dma_ops/t2000", "vio_dma_mapping_ops/vio-4k")


# -- dma-debug -------------------------------------------------------------------------------------------------

@in_the_core("dma_ops.debug.enable", "dma_direct/x86_64", "alpha_pci_ops/tsunami-6g", breaks=("DMA-14",))
def debug_forgets_lists(real: Real, *devices: Device, all_errors: bool = False) -> DmaDebug:
    """dma-debug forgets a list when its driver asks for the same one again."""
    debug: DmaDebug = real(*devices, all_errors=all_errors)
    record = debug.map_sg

    def map_sg(dev: Device, rows: list[Row], mapped: int, direction: int, attrs: int) -> None:
        if not any(entry.phys == rows[0][0] + rows[0][1] for entry in debug.entries(dev)):
            record(dev, rows, mapped, direction, attrs)

    debug.map_sg = map_sg  # type: ignore[method-assign]
    return debug


@in_the_core("dma_ops.debug.enable", *ANY, breaks=("DMA-24",))
def debug_forgets_lines(real: Real, *devices: Device, all_errors: bool = False) -> DmaDebug:
    """dma-debug takes every mapping for one with DMA_ATTR_SKIP_CPU_SYNC, and says nothing of shared cache lines."""
    debug: DmaDebug = real(*devices, all_errors=all_errors)
    add = debug._add
    debug._add = lambda entry, attrs: add(entry, attrs | DMA_ATTR_SKIP_CPU_SYNC)  # type: ignore[method-assign]
    return debug


@in_the_core("dma_ops.debug.enable", *ANY, breaks=("DMA-24",))
def debug_complains_of_readers(real: Real, *devices: Device, all_errors: bool = False) -> DmaDebug:
    """dma-debug complains of two TO_DEVICE mappings in a cache line."""
    debug: DmaDebug = real(*devices, all_errors=all_errors)
    add = debug._add

    def add_as_written(entry: Entry, attrs: int) -> bool:
        direction, entry.direction = entry.direction, 0
        added = add(entry, attrs)
        entry.direction = direction
        return added

    debug._add = add_as_written  # type: ignore[method-assign]
    return debug


@in_the_core("dma_ops.debug.enable", *ANY, breaks=("DMA-25",))
def debug_blind_to_stacks(real: Real, *devices: Device, all_errors: bool = False) -> DmaDebug:
    """dma-debug does not look where the memory comes from."""
    debug: DmaDebug = real(*devices, all_errors=all_errors)
    debug._check_area = lambda dev, addr, size: None  # type: ignore[method-assign]
    return debug


@in_the_core("dma_ops.debug.enable", *ANY, breaks=("DMA-25",))
def debug_looks_at_first_bytes(real: Real, *devices: Device, all_errors: bool = False) -> DmaDebug:
    """dma-debug looks where a mapping's first byte comes from only."""
    debug: DmaDebug = real(*devices, all_errors=all_errors)
    look = debug._check_area
    debug._check_area = lambda dev, addr, size: look(dev, addr, 1)  # type: ignore[method-assign]
    return debug


@in_the_core("dma_ops.debug.enable", *PEERS, breaks=("P2P-54",))
def debug_records_the_page(real: Real, *devices: Device, all_errors: bool = False) -> DmaDebug:
    """dma-debug records a bus segment by the physical address of its page."""
    debug: DmaDebug = real(*devices, all_errors=all_errors)
    record = debug.map_sg

    def map_sg(dev: Device, rows: list[Row], mapped: int, direction: int, attrs: int) -> None:
        rows = [
            (page, offset, length, page + offset if flags & 1 else address, size, flags)
            for page, offset, length, address, size, flags in rows
        ]
        record(dev, rows, mapped, direction, attrs)

    debug.map_sg = map_sg  # type: ignore[method-assign]
    return debug


# -- backends --------------------------------------------------------------------------------------------------

@planted_in("dma_direct/x86_64", "dma_direct/x86_64-bounce", breaks=("DMA-14",))
class StaleOffsetsAdded(Broken):
    """A failed map adds what an earlier mapping left in an entry to its offset."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        stale = [entry.dma_length for entry in sg]
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count < 0:
            for entry, length in zip(sg, stale, strict=True):
                entry.offset += length
        return count


@planted_in("dma_direct/x86_64-force", "iommu_dma_ops/smmuv3-noncoherent", "iommu_ops/rcar-h2", breaks=("DMA-33",))
class ResourceMappedAsPage(Broken):
    """dma_map_resource() maps a resource as if it were RAM."""

    def map_resource(self, dev: Device, phys: int, size: int, dir: int, attrs: int) -> int:
        page = phys & ~(dev.machine.page_size - 1)
        return int(self.inner_map_page(dev, page, phys - page, size, dir, attrs))


@planted_in("iommu_dma_ops/intel", "iommu_ops/rcar-h2", breaks=("DMA-33",))
class ResourceNotUnmapped(Broken):
    """dma_unmap_resource() does nothing."""

    def unmap_resource(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        pass


@planted_in(*SHARED, breaks=("DMA-50",))
class MappingSharedByDevices(Broken):
    """A buffer that another device has mapped is not mapped once more."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.live: dict[tuple[int, int, int], tuple[Device, int]] = {}

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        owner, addr = self.live.get((page, offset, size), (dev, 0))
        if owner is dev:
            addr = self.inner_map_page(dev, page, offset, size, dir, attrs)
            self.live[page, offset, size] = dev, addr
        return addr


@planted_in("dma_direct/x86_64-force", "dma_direct/arm64-windows", breaks=("P2P-30",))
class PeersPagesMapped(Broken):
    """dma_map_page() takes a peer's page though it can neither bounce nor reach it."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        if dev.machine.is_p2p_page(page):
            return page + offset
        return int(self.inner_map_page(dev, page, offset, size, dir, attrs))


@planted_in(f"{MENDED}:IOMMU_MASKED/intel", f"{MENDED}:IOMMU_MASKED/smmuv3", breaks=("P2P-46",))
class MaskOfBusAddressesDropped(Broken):
    """Bus addresses are handed out whatever the mask."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        was, dev.dma_mask = dev.dma_mask, (1 << 64) - 1
        try:
            return int(self.inner_map_sg(dev, sg, dir, attrs))
        finally:
            dev.dma_mask = was


@planted_in("alpha_pci_ops/tsunami-6g", "dma_direct/x86_64", "iommu_dma_ops/intel", breaks=("DMA-40",), dies=True)
class FullTableSearchedForEver(Broken):
    """A mapping that finds half of 512 places taken searches for ever."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.live = 0
        self.most = 0

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        if self.most >= 512 and self.live >= 256:
            raise KernelHang("the search steps over its start")
        self.live += 1
        self.most = max(self.most, self.live)
        return int(self.inner_map_page(dev, page, offset, size, dir, attrs))

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.live -= 1
        self.inner_unmap_page(dev, addr, size, dir, attrs)


@planted_in("dma_direct/x86_64", "dma_direct/x86_64-6.12", breaks=("P2P-40",), bug="HB-27", commit="560000d619ef",
            name="hb-27-no-address-through-the-host-bridge")
class NoAddressThroughTheHostBridge(Broken):
    """A segment through the host bridge is counted as mapped, and keeps whatever address it had."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        stale = [entry.dma_address for entry in sg]
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        for entry, address in zip(sg, stale, strict=True):
            if count > 0 and dev.machine.is_p2p_page(entry.page) and not entry.bus_address:
                entry.dma_address = address
        return count


@in_the_core("dma_ops.phys_api.dma_unmap_phys", "dma_direct/arm64-noncoherent", "iommu_dma_ops/smmuv3-noncoherent",
             breaks=("DMA-38",))
def attributes_dropped_at_unmap(real: Real, dev: Device, addr: int, size: int, dir: int, attrs: int = 0) -> None:
    """dma_unmap_phys() knows no attributes."""
    real(dev, addr, size, dir)


@in_the_core("dma_ops.dma_free_attrs", "dma_direct/arm64-noncoherent", "iommu_ops/rcar-h2", "iommu_dma_ops/intel",
             breaks=("DMA-38",))
def attributes_keep_memory(
    real: Real, dev: Device, size: int, cpu_addr: int, handle: int, attrs: int = 0
) -> None:
    """dma_free_attrs() frees nothing that has an attribute."""
    if not attrs:
        real(dev, size, cpu_addr, handle)


# -- pools -----------------------------------------------------------------------------------------------------

@in_the_core("dma_ops.dmapool.dma_pool_create", *ANY, breaks=("DMA-45",))
def pool_boundary_ignored(real: Real, name: str, dev: Device, size: int, align: int = 0, boundary: int = 0) -> DmaPool:
    """dma_pool_create() forgets the boundary."""
    pool: DmaPool = real(name, dev, size, align)
    return pool


@in_the_core("dma_ops.dmapool.dma_pool_create", *ANY, breaks=("DMA-45",))
def pool_alignment_ignored(real: Real, name: str, dev: Device, size: int, align: int = 0, boundary: int = 0) -> DmaPool:
    """dma_pool_create() aligns blocks to 4 bytes, whatever was asked for."""
    pool: DmaPool = real(name, dev, size, 4, boundary)
    return pool


@in_the_core("dma_ops.dmapool.dma_pool_destroy", *ANY, breaks=("DMA-45",))
def pool_destroyed_silently(real: Real, pool: DmaPool) -> None:
    """dma_pool_destroy() says nothing of blocks in use."""
    log = pool.dev.machine.dmesg
    said = len(log)
    real(pool)
    del log[said:]


# -- the life of P2P memory ------------------------------------------------------------------------------------

@in_the_core("dma_ops.p2pdma.pci_p2pdma_remove", *PEERS, breaks=("P2P-06",))
def removal_does_not_wait(real: Real, pdev: PciDev) -> None:
    """A provider's removal forgets the references to its memory."""
    for chunk in pdev.p2pdma.pool.chunks if pdev.p2pdma is not None else ():
        chunk.refs = 0
    real(pdev)


@in_the_core("dma_ops.p2pdma.pci_p2pdma_remove", *PEERS, breaks=("P2P-06",))
def removed_provider_gives_out(real: Real, pdev: PciDev) -> None:
    """A provider goes on giving out memory while its removal waits."""
    try:
        real(pdev)
    except KernelHang:
        for chunk in pdev.p2pdma.pool.chunks if pdev.p2pdma is not None else ():
            chunk.dead = False
        raise


@in_the_core("dma_ops.vfio_dmabuf.dma_buf_invalidate_mappings", *PEERS, breaks=("P2P-07",))
def last_importer_not_told(real: Real, buf: VfioDmaBuf) -> None:
    """The importer that attached last is not told of a revocation."""
    last = buf.attachments.pop()
    real(buf)
    buf.attachments.append(last)


@in_the_core("dma_ops.vfio_dmabuf.vfio_pci_dma_buf_move", *PEERS, breaks=("P2P-07",))
def revocation_does_not_wait(real: Real, buf: VfioDmaBuf, revoked: bool) -> None:
    """A revocation ends while importers still have mappings."""
    with suppress(KernelHang):
        real(buf, revoked)


@in_the_core("dma_ops.pci.pci_dev_put", *PEERS, breaks=("P2P-15",))
def references_never_put(real: Real, dev: PciDev) -> None:
    """pci_dev_put() does nothing."""


@in_the_core("conformance.drivers.nvmet.nvme_queue", "gart_dma_ops/opteron", "dma_iommu_ops/pseries",
             breaks=("P2P-32",))
def queue_always_advertises(real: Real, device: Device) -> RequestQueue:
    """NVMe's queue advertises P2P whatever the DMA layer below it can do."""
    return RequestQueue(device.machine, pci_p2pdma=True)


# -- pins and bios ---------------------------------------------------------------------------------------------

@in_the_core("dma_ops.gup.try_grab_folio", *NEWER, breaks=("P2P-61",))
def slow_path_pins_all(real: Real, mm: AddressSpace, page: int, flags: int) -> int:
    """The slow path of GUP does not look for P2P pages."""
    return int(real(mm, page, flags | FOLL_PCI_P2PDMA))


@in_the_core("dma_ops.gup.try_grab_folio_fast", *NEWER, breaks=("P2P-61",))
def fast_path_pins_all(real: Real, mm: AddressSpace, page: int, flags: int) -> bool:
    """The fast path of GUP does not look for P2P pages."""
    return bool(real(mm, page, flags | FOLL_PCI_P2PDMA))


@in_the_core("dma_ops.gup.is_valid_gup_args", *NEWER, breaks=("P2P-62",))
def long_term_pins_taken(real: Real, mm: AddressSpace, flags: int, to_set: int) -> int:
    """FOLL_LONGTERM may be combined with FOLL_PCI_P2PDMA."""
    if not flags & FOLL_LONGTERM:
        return int(real(mm, flags, to_set))
    return int(real(mm, flags & ~FOLL_PCI_P2PDMA, to_set)) | flags & FOLL_PCI_P2PDMA


@in_the_core("dma_ops.bio.blk_queue_extraction_flags", *NEWER, breaks=("P2P-63",))
def queue_unasked(real: Real, queue: RequestQueue) -> int:
    """Direct I/O lets P2P pages in without asking the queue."""
    return 1


@in_the_core("dma_ops.bio.pgmaps_of_tables", *NEWER, breaks=("P2P-64",))
def pgmaps_not_compared(real: Real, machine: Machine) -> list[tuple[int, int]]:
    """Tables are made from pages without a look at their pgmaps, as in 6.1."""
    return []


@in_the_core("dma_ops.bio.zone_device_pages_compatible", *NEWER, breaks=("P2P-65",))
def pages_of_any_owner_compatible(real: Real, machine: Machine, a: int, b: int) -> bool:
    """Any two pages may share a bio."""
    return True


@in_the_core("dma_ops.bio.zone_device_pages_have_same_pgmap", *NEWER, breaks=("P2P-65",))
def pages_of_any_owner_merge(real: Real, machine: Machine, a: int, b: int) -> bool:
    """Any two pages count as of one pgmap."""
    return True


@in_the_core("dma_ops.bio.biovec_phys_mergeable", *NEWER, breaks=("P2P-65",))
def bios_of_any_owner_merge(real: Real, queue: RequestQueue, a: Vec, b: Vec) -> bool:
    """Where one bio ends and the next begins, a driver's list asks for addresses only."""
    return a[0] + a[2] + a[1] == b[0] + b[2]


@in_the_core("dma_ops.bio.bio_integrity_map_user", *NEWER, breaks=("P2P-66",))
def integrity_forgets_p2p(real: Real, bio: Bio, mm: AddressSpace, address: int, length: int) -> None:
    """A bio's integrity data lose their P2P property."""
    real(bio, mm, address, length)
    bio.nomerge = False
