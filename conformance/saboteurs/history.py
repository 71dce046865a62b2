# SPDX-License-Identifier: MIT
"""Bugs that Linux once had, put back in; those that cannot be are in history.toml, with the reason.

commit is Linux's fix. What is broken is done around the model, which has the fix: by another answer, other limits in
force during the call, or bytes put back.
"""

from __future__ import annotations

from collections.abc import Callable

from dma_ops import (
    DMA_ATTR_SKIP_CPU_SYNC,
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    Device,
    DmaIovaState,
    DmaMapOps,
    KernelBug,
    dma_get_max_seg_size,
)
from dma_ops.blk_dma import BlkDmaIter, Request, blk_rq_dma_unmap
from dma_ops.debug import DmaDebug, Entry, Kind, Row
from dma_ops.pyops import SgView

from .base import Broken, in_the_core, is_error, planted_in
from .limits import U64, Believes, allocated, pretending

FORCE = "dma_direct/x86_64-force"
DEBUGGED = ("alpha_pci_ops/tsunami-6g", "iommu_dma_ops/intel")         # where lists merge
SLOT = 2048                             # IO_TLB_SIZE


# -- bounce buffers --------------------------------------------------------------------------------------------

@planted_in(FORCE, breaks=("DMA-16",), name="hb-10-failed-bounce-is-an-address", bug="HB-10", commit="7e8702334841")
class FailedBounceIsAnAddress(Broken):
    """map_sg tests the translated address: a bounce buffer that was not to be had looks like a mapping."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count >= 0:
            return count
        for entry in sg:
            entry.dma_address, entry.dma_length = 0, entry.length
        return len(sg)


class Bounced(Broken):
    """Base: knows the original of each mapping."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.live: dict[int, tuple[int, int]] = {}

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        if not is_error(dev, addr):
            self.live[addr] = page + offset, size
        return addr

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.live.pop(addr, None)
        self.inner_unmap_page(dev, addr, size, dir, attrs)


@planted_in(FORCE, "iommu_dma_ops/intel-untrusted", breaks=("DMA-23",), name="hb-12-later-slots-unknown", bug="HB-12",
            commit="df336d1c7b6f")
class LaterSlotsUnknown(Bounced):
    """Only a mapping's first slot knows its original: a sync that begins in a later one copies nothing."""

    def first_slot(self, addr: int) -> bool:
        return not any(start + SLOT <= addr < start + size for start, (_, size) in self.live.items())

    def sync_single_for_cpu(self, dev: Device, addr: int, size: int, dir: int) -> None:
        if self.first_slot(addr):
            self.inner_sync_single_for_cpu(dev, addr, size, dir)

    def sync_single_for_device(self, dev: Device, addr: int, size: int, dir: int) -> None:
        if self.first_slot(addr):
            self.inner_sync_single_for_device(dev, addr, size, dir)


@planted_in(FORCE, "iommu_dma_ops/intel-untrusted", breaks=("DMA-23",), name="hb-17-part-from-the-start", bug="HB-17",
            commit="5f89468e2f06")
class PartFromTheStart(Bounced):
    """A sync of a part copies from the start of the original."""

    def sync_single_for_device(self, dev: Device, addr: int, size: int, dir: int) -> None:
        for start, (phys, length) in self.live.items():
            if start <= addr < start + length:
                dev.dma_write(addr, dev.machine.cpu_read(phys, size))


@planted_in(FORCE, breaks=("DMA-13",), name="hb-16-slot-beyond-the-mask-kept", bug="HB-16", commit="fba99fa38b02")
class SlotBeyondTheMaskKept(Broken):
    """A slot that the device does not reach is not given back."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count < 0 and sg[0].length:
            with pretending(dev, dma_mask=U64):
                self.inner_map_page(dev, sg[0].page, sg[0].offset, min(sg[0].length, 512), dir, attrs)
        return count


@planted_in(FORCE, "dma_direct/x86_64-bounce", breaks=("DMA-09",), name="hb-13-slots-across-the-boundary", bug="HB-13",
            commit="681cc5cd3efb")
class SlotsAcrossTheBoundary(Believes):
    """The search for slots does not look at the segment boundary."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"segment_boundary_mask": U64}


@planted_in(FORCE, breaks=("DMA-31",), name="hb-23-half-a-page-of-slots", bug="HB-23", commit="04867a7a3332")
class HalfAPageOfSlots(Bounced):
    """Coherent memory comes from slots that begin within a page, of which the page is handed out."""

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        frame = dev.machine.page_size
        for addr in list(self.live)[-1:]:
            if addr % frame < frame - SLOT:
                return addr & -frame, addr & -frame
        return allocated(self.inner_alloc(dev, size, attrs))


@planted_in(FORCE, "dma_direct/arm64-restricted", breaks=("DMA-21",), name="hb-19-stale-slot", bug="HB-19",
            commit="ddbd89deb7d3")
class StaleSlot(Broken):
    """A slot is not filled from the original of a FROM_DEVICE mapping: what the device leaves out is stale."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        if not is_error(dev, addr) and dir == DMA_FROM_DEVICE:
            dev.dma_write(addr, b"\xaa" * size)
        return addr


@planted_in(FORCE, "dma_direct/x86_64-bounce", breaks=("DMA-34",), name="hb-20-max-ignores-min-align", bug="HB-20",
            commit="82806744fd7d")
class MaxIgnoresMinAlign(Broken):
    """dma_max_mapping_size() does not subtract what min_align_mask takes."""

    def max_mapping_size(self, dev: Device) -> int:
        with pretending(dev, min_align_mask=0):
            return int(self.inner_max_mapping_size(dev))


@planted_in(FORCE, breaks=("DMA-36",), name="hb-25-offset-within-the-slot-only", bug="HB-25", commit="af133562d5af")
class OffsetWithinTheSlotOnly(Broken):
    """Of the bits of min_align_mask only those below the slot's size are kept."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        with pretending(dev, min_align_mask=dev.min_align_mask & 0x7FF):
            return int(self.inner_map_page(dev, page, offset, size, dir, attrs))


@planted_in(FORCE, "dma_direct/x86_64-bounce", breaks=("DMA-04", "DMA-20"), name="hb-26-sync-sg-of-the-original",
            bug="HB-26", commit="449fa54d6815")
class SyncSgOfTheOriginal(Broken):
    """sync_sg looks for the bounce buffer at the page's address, and never finds it."""

    def sync_sg_for_cpu(self, dev: Device, sg: SgView, dir: int) -> None:
        pass

    def sync_sg_for_device(self, dev: Device, sg: SgView, dir: int) -> None:
        pass


@planted_in("iommu_dma_ops/intel-untrusted", breaks=("DMA-04", "DMA-20"), name="hb-36-sync-sg-of-the-original",
            bug="HB-36", commit="08ae5d4a1ae9")
class IommuSyncSgOfTheOriginal(SyncSgOfTheOriginal):
    """sync_sg tests whether the original is a bounce slot, which it never is."""


# -- dma-direct ------------------------------------------------------------------------------------------------

@planted_in("dma_direct/x86_64-iommu-off", breaks=("DMA-26",), name="hb-15-mask-ends-a-byte-early", bug="HB-15",
            commit="ac2b3e67dd59")
class MaskEndsAByteEarly(Believes):
    """The end of a buffer, one byte behind its last, is compared with the mask."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"dma_mask": dev.dma_mask - 1}


@planted_in("dma_direct/x86_64", "dma_direct/x86_64-bounce", breaks=("DMA-44",), name="hb-28-required-mask-cut-off",
            bug="HB-28", commit="d8ad55538abe")
class RequiredMaskCutOff(Broken):
    """The required mask is cut off at what the bus can carry."""

    def get_required_mask(self, dev: Device) -> int:
        return int(self.inner_get_required_mask(dev)) & (dev.bus_dma_limit or U64)


@planted_in("dma_direct/x86_64-bounce", "dma_direct/x86_64-iommu-off", breaks=("DMA-44",),
            name="hb-29-required-mask-in-32-bits", bug="HB-29", commit="cdcda0d1f8f4")
class RequiredMaskIn32Bits(Broken):
    """The address of the last page is computed in 32 bits."""

    def get_required_mask(self, dev: Device) -> int:
        return int(self.inner_get_required_mask(dev)) & 0xFFFFFFFF


# -- iommu-dma and its allocator -------------------------------------------------------------------------------

@planted_in("iommu_dma_ops/smmuv3-noncoherent", breaks=("DMA-21", "DMA-37"),
            name="hb-33-skip-sync-inverted", bug="HB-33", commit="1b961423158c")
class SkipSyncInverted(Broken):
    """unmap_sg syncs only if it is asked not to."""

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        self.inner_unmap_sg(dev, sg, dir, attrs ^ DMA_ATTR_SKIP_CPU_SYNC)


@planted_in("iommu_dma_ops/intel", "iommu_dma_ops/smmuv3", breaks=("DMA-16",), name="hb-34-errno-is-a-size",
            bug="HB-34", commit="a3884774d731")
class ErrnoIsASize(FailedBounceIsAnAddress):
    """iommu_map_sg's errno, compared with a size without a sign, counts as success."""


@planted_in("iommu_dma_ops/intel", "iommu_dma_ops/amd", "iommu_dma_ops/smmuv3", breaks=("DMA-08",),
            name="hb-31-merged-length-wraps", bug="HB-31", commit="ab2cbeb0ed30")
class MergedLengthWraps(Broken):
    """The length of a merged segment is added up in 32 bits, so that it never exceeds the limit."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        total = sum(sg[i].dma_length for i in range(max(count, 0)))
        if total > 0xFFFFFFFF:
            sg[0].dma_length = total & 0xFFFFFFFF
            return 1
        return count


@planted_in("iommu_dma_ops/intel", "iommu_dma_ops/amd", breaks=("DMA-02",), name="hb-41-range-not-inserted",
            bug="HB-41", commit="a15a519ed6e5")
class RangeNotInserted(Bounced):
    """A range is handed out without being noted, so that the next caller gets it too."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        for addr, (_, length) in list(self.live.items())[-1:]:
            self.inner_unmap_page(dev, addr, length, dir, attrs)
        return super().map_page(dev, page, offset, size, dir, attrs)

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        if list(self.live)[-1:] == [addr]:
            self.inner_unmap_page(dev, addr, size, dir, attrs)
        self.live.pop(addr, None)


@planted_in("iommu_dma_ops/intel", "iommu_dma_ops/smmuv3", breaks=("DMA-26",), name="hb-39-search-goes-down-only",
            bug="HB-39", commit="4e89dce72521")
class SearchGoesDownOnly(Broken):
    """The search for addresses goes on below the lowest that was given out, and does not begin again at the top."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.lowest = U64

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        if self.lowest <= 2 * dev.machine.page_size:
            return dev.machine.dma_addr_mask
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        self.lowest = min(self.lowest, addr)
        return addr

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.lowest = U64
        self.inner_unmap_page(dev, addr, size, dir, attrs)


# -- a caller of the newer API, and dma-debug ------------------------------------------------------------------

@in_the_core("dma_ops.blk_dma.blk_rq_dma_map_iter_start", "iommu_dma_ops/intel", "iommu_dma_ops/smmuv3",
             breaks=("NEW-20",), bug="HB-46", commit="a0750fae73c5")
def hb_46_state_of_the_last_request(
    real: Callable[..., bool], req: Request, dev: Device, state: DmaIovaState, it: BlkDmaIter
) -> bool:
    """A request without a range leaves its driver's state as the last request did."""
    own = DmaIovaState()
    started = real(req, dev, own, it) if state else False
    if own:
        blk_rq_dma_unmap(req, dev, own, req.payload, it.map, it.attrs)
    return started if state and not own else real(req, dev, state, it)


@in_the_core("dma_ops.debug.enable", *DEBUGGED, breaks=("DMA-25",), bug="HB-49", commit="f39d1b979288")
def hb_49_overlap(real: Callable[..., DmaDebug], *devices: Device, all_errors: bool = False) -> DmaDebug:
    """dma-debug takes what ends where kernel text begins for an overlap, and what ends with the text for none."""
    debug = real(*devices, all_errors=all_errors)
    look = debug._check_area

    def check_area(dev: Device, addr: int, size: int) -> None:
        last, text = addr + size, debug.text
        overlaps = any(a <= addr < b or a <= last < b or (addr < a and last > b) for a, b in text)
        debug.text = [(addr, last)] if overlaps else []
        look(dev, addr, size)
        debug.text = text

    debug._check_area = check_area  # type: ignore[method-assign]
    return debug


@in_the_core("dma_ops.debug.enable", *DEBUGGED, breaks=("DMA-04",), bug="HB-51", commit="88f3907f6f44")
def hb_51_sync_by_nents(real: Callable[..., DmaDebug], *devices: Device, all_errors: bool = False) -> DmaDebug:
    """dma-debug looks for as many segments of a synced list as there are entries, also if they were merged."""
    debug = real(*devices, all_errors=all_errors)

    def sync_sg(dev: Device, rows: list[Row], nents: int, direction: int, for_cpu: bool) -> None:
        for page, offset, _, address, length, _ in rows:
            debug._check_sync(Entry(Kind.SG, dev, address, length, direction, page + offset, nents), for_cpu)

    debug.sync_sg = sync_sg  # type: ignore[method-assign]
    return debug


@in_the_core("dma_ops.debug.enable", *DEBUGGED, breaks=("DMA-20",), bug="HB-52", commit="42d53b4ff7d6")
def hb_52_half_syncs_reported(real: Callable[..., DmaDebug], *devices: Device, all_errors: bool = False) -> DmaDebug:
    """dma-debug compares the directions of a sync and its mapping also where that is BIDIRECTIONAL."""
    debug = real(*devices, all_errors=all_errors)
    check = debug._check_sync

    def check_sync(ref: Entry, for_cpu: bool) -> None:
        entry = debug._find_containing(ref)
        if entry is not None and entry.direction == DMA_BIDIRECTIONAL != ref.direction:
            debug._report(11, ref.dev, entry, "device driver syncs DMA memory with different direction")
        check(ref, for_cpu)

    debug._check_sync = check_sync  # type: ignore[method-assign]
    return debug


# -- the architectures -----------------------------------------------------------------------------------------

@planted_in("sbus_iommu_dma_gflush_ops/ss20", "sbus_iommu_dma_pflush_ops/ss5", "iounit_dma_ops/sparcserver1000",
            breaks=("DMA-06", "DMA-07"), name="hb-55-offset-not-added", bug="HB-55", commit="dbc1333a3477")
class OffsetNotAdded(Broken):
    """The segments of a list begin at their pages."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        for i in range(max(count, 0)):
            sg[i].dma_address &= ~(dev.machine.page_size - 1)
        return count


@planted_in("sun4u_dma_ops/psycho", "sun4v_dma_ops/t2000", breaks=("DMA-31",), name="hb-57-absolute-index", bug="HB-57",
            commit="012d64ff68f3")
class AbsoluteIndex(Broken):
    """free_consistent clears bits beyond the arena's bitmap: the range stays taken, the pages go back."""

    def free(self, dev: Device, size: int, cpu_addr: int, addr: int, attrs: int) -> None:
        dev.machine.free_ram(cpu_addr)


@planted_in("gart_dma_ops/opteron-force", breaks=("DMA-05",), name="hb-61-whole-entries-copied", bug="HB-61",
            commit="e88a39dee10d")
class WholeEntriesCopied(Broken):
    """Merging copies whole entries, the CPU's side too, to the output's place."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if 1 < count < len(sg):
            last = sg[len(sg) - 1]
            sg[count - 1].page, sg[count - 1].offset, sg[count - 1].length = last.page, last.offset, last.length
        return count


@planted_in("gart_dma_ops/opteron-force", breaks=("DMA-16",), name="hb-63-unwind-by-nents", bug="HB-63",
            commit="5336940dd8b1")
class UnwindByNents(Broken):
    """The unwind takes the old dma fields of all entries for its own."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.stale: list[tuple[int, int]] = []

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count > 0:
            self.stale = [(sg[i].dma_address, sg[i].dma_length) for i in range(count)]
        else:
            while self.stale:
                self.inner_unmap_page(dev, *self.stale.pop(), dir, attrs)
        return count

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        self.stale = []
        self.inner_unmap_sg(dev, sg, dir, attrs)


@planted_in("alpha_pci_ops/tsunami-6g", breaks=("DMA-09",), name="hb-65-boundary-is-max-seg", bug="HB-65",
            commit="ab875cf67e89")
class BoundaryIsMaxSeg(Believes):
    """The allocator takes max_seg_size for the boundary."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"segment_boundary_mask": dma_get_max_seg_size(dev) - 1}


@planted_in("dma_iommu_ops/powernv", breaks=("DMA-08",), name="hb-66-max-seg-ignored",
            bug="HB-66", commit="740c3ce66700")
class MaxSegIgnored(Believes):
    """Neighbours are joined whatever max_seg_size says."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"max_segment_size": (1 << 32) - 1}


@planted_in("dma_iommu_ops/pseries", breaks=("DMA-30",), name="hb-69-aligned-to-iommu-pages", bug="HB-69",
            commit="59cc84c802eb")
class AlignedToIommuPages(Broken):
    """Coherent memory is aligned to pages of the IOMMU, which are smaller than the CPU's."""

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        cpu, handle = allocated(self.inner_alloc(dev, size + 0x1000, attrs))
        return cpu + 0x1000, handle + 0x1000

    def free(self, dev: Device, size: int, cpu_addr: int, addr: int, attrs: int) -> None:
        self.inner_free(dev, size + 0x1000, cpu_addr - 0x1000, addr - 0x1000, attrs)


@planted_in("xen_grant_dma_ops/hvm", breaks=("DMA-02",), name="hb-78-pages-without-the-offset", bug="HB-78",
            commit="e433715b1165")
class PagesWithoutTheOffset(Broken):
    """The number of grants ignores the offset in the page."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        room = dev.machine.page_size - offset % dev.machine.page_size
        return int(self.inner_map_page(dev, page, offset, min(size, room), dir, attrs))


@planted_in("sun4v_dma_ops/t2000", breaks=("DMA-02",), name="hb-60-offset-in-the-entry", bug="HB-60",
            commit="d5b5e8149af0")
class OffsetInTheEntry(Broken):
    """The hypervisor is given the buffer's address instead of its page's, and refuses what is not aligned."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        if (page + offset) % dev.machine.page_size:
            return dev.machine.dma_addr_mask
        return int(self.inner_map_page(dev, page, offset, size, dir, attrs))


@planted_in("sba_ops/c3000-32", "ccio_ops/c200-32", breaks=("DMA-26",), name="hb-71-boundary-wraps", bug="HB-71",
            commit="4a0d3f3afddf", dies=True)
class BoundaryWraps(Broken):
    """On 32-bit machines the default boundary and 1 are 0, which is no power of two."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        if not (dev.segment_boundary_mask or 0xFFFFFFFF) + 1 & 0xFFFFFFFF:
            raise KernelBug("kernel BUG at lib/iommu-helper.c: !is_power_of_2(boundary_size)")
        return int(self.inner_map_page(dev, page, offset, size, dir, attrs))


@planted_in("sba_dma_ops/zx1-16k", breaks=("DMA-11",), name="hb-74-no-addresses-is-a-panic", bug="HB-74",
            commit="e2a465675dc0", dies=True)
class NoAddressesIsAPanic(Broken):
    """Without addresses for a list the kernel panics."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count < 0:
            raise KernelBug("Kernel panic - not syncing: sba_iommu.c: I/O MMU is out of mapping resources")
        return count
