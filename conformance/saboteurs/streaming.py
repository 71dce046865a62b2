# SPDX-License-Identifier: MIT
"""Streaming maps: what is released, what the addresses and lengths say, what a failure leaves."""

from __future__ import annotations

import errno

from dma_ops import DMA_ATTR_SKIP_CPU_SYNC, DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, Device
from dma_ops.pyops import SgView

from .base import Broken, is_error, planted_in
from .targets import (
    CACHED,
    COUNTED,
    COUNTED_LISTS,
    FAILING,
    LISTS,
    LONG,
    MAPS,
    MERGING,
    NEIGHBOURS,
    PERMISSIONS,
    SIZED,
    UNWINDING,
    without,
)

SWAPPED = {DMA_BIDIRECTIONAL: DMA_BIDIRECTIONAL, DMA_TO_DEVICE: DMA_FROM_DEVICE, DMA_FROM_DEVICE: DMA_TO_DEVICE}


# -- unmap -----------------------------------------------------------------------------------------------------

@planted_in(*COUNTED, breaks=("DMA-01", "DMA-02"))
class UnmapForgotten(Broken):
    """dma_unmap_page does nothing."""

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        pass


@planted_in(*COUNTED_LISTS, breaks=("DMA-01", "DMA-03", "DMA-05"))
class UnmapSgForgotten(Broken):
    """dma_unmap_sg does nothing."""

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        pass


@planted_in(*SIZED, breaks=("DMA-02",))
class UnmapOffByOne(Broken):
    """dma_unmap_page forgets the last page of a mapping of more than one."""

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        page = dev.machine.page_size
        over = (addr + size - 1) % page + 1
        self.inner_unmap_page(dev, addr, size - over if size > over else size, dir, attrs)


@planted_in(*COUNTED_LISTS, breaks=("DMA-03", "DMA-05"))
class UnmapStopsEarly(Broken):
    """dma_unmap_sg leaves the list's last entry mapped."""

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        count = sum(1 for entry in sg if entry.dma_length)
        self.inner_unmap_sg(dev, sg, dir, attrs, max(min(len(sg), count) - 1, 1))


@planted_in(*NEIGHBOURS, breaks=("DMA-02",))
class UnmapTakesTheNeighbour(Broken):
    """dma_unmap_page releases the mapping that was made before this one as well."""

    def __init__(self, inner: Broken) -> None:
        super().__init__(inner)
        self.live: list[tuple[int, int, int]] = []

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        if not is_error(dev, addr):
            self.live.append((addr, size, dir))
        return addr

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        at = next((i for i, one in enumerate(self.live) if one[0] == addr), None)
        if at is None:
            return
        self.live.pop(at)
        self.inner_unmap_page(dev, addr, size, dir, attrs)
        if at:
            self.inner_unmap_page(dev, *self.live.pop(at - 1), attrs)


# -- addresses and lengths -------------------------------------------------------------------------------------

@planted_in(*without(MAPS, "vduse_dev_dma_ops"), breaks=("DMA-02", "DMA-19", "DMA-36"))
class WrongPageOffset(Broken):
    """The address of dma_map_page lacks the offset in the page."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        return addr if is_error(dev, addr) else addr & ~(dev.machine.page_size - 1)


@planted_in(*MAPS, breaks=("DMA-02",))
class OffsetCountedTwice(Broken):
    """The offset in the page is added to the address twice."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        return addr if is_error(dev, addr) else (addr + offset % dev.machine.page_size) & dev.machine.dma_addr_mask


@planted_in(*LISTS, breaks=("DMA-06", "DMA-07"))
class WrongPageOffsetInLists(Broken):
    """The addresses of a list's segments lack the offset in the page."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        for i in range(max(count, 0)):
            sg[i].dma_address &= ~(dev.machine.page_size - 1)
        return count


@planted_in(*without(LISTS, "gart_dma_ops", "iommu_ops", "s390_pci_dma_ops", "sba_ops"), breaks=("DMA-01",))
class OffsetBeyondThePageLost(Broken):
    """An offset of a page or more is cut to the part within the page."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        page = dev.machine.page_size
        was = [entry.offset for entry in sg]
        for entry in sg:
            entry.offset %= page
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        for entry, offset in zip(sg, was, strict=True):
            entry.offset = offset
        return count


@planted_in(*LONG, breaks=("DMA-07",))
class LengthOffByOne(Broken):
    """The last segment is one byte too short."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count > 0:
            sg[count - 1].dma_length -= 1
        return count

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        last = next((i for i, entry in reversed(list(enumerate(sg))) if entry.dma_length), None)
        if last is not None:
            sg[last].dma_length += 1
        self.inner_unmap_sg(dev, sg, dir, attrs)


@planted_in(*LONG, breaks=("DMA-07",))
class LengthOfTheHead(Broken):
    """Each segment gets the first one's length: the head of the list in place of the iterator."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        for i in range(1, count):
            sg[i].dma_length = sg[0].dma_length
        return count


@planted_in(*LISTS, breaks=("DMA-06", "DMA-07"))
class CountOffByOne(Broken):
    """dma_map_sg answers one segment less than it made."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        return count - 1 if count > 1 else count


@planted_in(*MERGING, breaks=("DMA-06", "DMA-07"))
class NentsAnswered(Broken):
    """dma_map_sg answers the entries it was given, not the segments it made."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        return len(sg) if count > 0 else count


@planted_in(*MERGING, breaks=("DMA-10",))
class EntrySplit(Broken):
    """A merged segment is cut in two in the middle of an entry."""

    def __init__(self, inner: Broken) -> None:
        super().__init__(inner)
        self.whole: dict[int, list[tuple[int, int]]] = {}

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if not 0 < count < len(sg):
            return count
        made = [(sg[i].dma_address, sg[i].dma_length) for i in range(count)]
        self.whole[sg[0].phys] = made + [(sg[i].dma_address, sg[i].dma_length) for i in range(count, len(sg))]
        longest = max(range(count), key=lambda i: made[i][1])
        address, length = made[longest]
        cut = length // 2 + 12
        made[longest : longest + 1] = [(address, cut), (address + cut, length - cut)]
        for i, (address, length) in enumerate(made):
            sg[i].dma_address, sg[i].dma_length = address, length
        return count + 1

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        for entry, (address, length) in zip(sg, self.whole.pop(sg[0].phys, ()), strict=False):
            entry.dma_address, entry.dma_length = address, length
        self.inner_unmap_sg(dev, sg, dir, attrs)


@planted_in(*LISTS, breaks=("DMA-05",))
class ListPaddedForGood(Broken):
    """The CPU's side of the list keeps the padding that the mapping took: the length is that of whole pages."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count > 0:
            last = sg[len(sg) - 1]
            last.length = -(-last.length // dev.machine.page_size) * dev.machine.page_size + 8
        return count


# -- failures --------------------------------------------------------------------------------------------------

@planted_in(*FAILING, breaks=("DMA-11",))
class WrongErrno(Broken):
    """A failed dma_map_sg answers -EAGAIN."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        return -errno.EAGAIN if count < 0 else count


@planted_in(*FAILING, breaks=("DMA-11",))
class FailureIsZeroEntries(Broken):
    """A failed dma_map_sg answers 0, which is no errno, as it did before Linux 5.15."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        return max(count, 0)


@planted_in(*UNWINDING, breaks=("DMA-13",))
class UnwindForgotten(Broken):
    """A failed dma_map_sg leaves the first entry mapped."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count < 0 and sg[0].length:
            self.inner_map_page(dev, sg[0].page, sg[0].offset, sg[0].length, dir, attrs)
        return count


@planted_in(*FAILING, breaks=("DMA-12",))
class RestoreForgotten(Broken):
    """A failed dma_map_sg leaves offset and length of the list as it padded them to whole pages."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count < 0:
            over = sg[0].offset % dev.machine.page_size
            sg[0].length, sg[0].offset = sg[0].length + over, sg[0].offset - over
            if not over:
                sg[0].length += dev.machine.page_size
        return count


@planted_in(*without(FAILING, "jazz_dma_ops"), breaks=("DMA-16",))
class UnwindTooFar(Broken):
    """A failed dma_map_sg unmaps the last mapping that succeeded too: the unwind works on stale fields."""

    def __init__(self, inner: Broken) -> None:
        super().__init__(inner)
        self.last: tuple[int, int] | None = None

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count > 0:
            self.last = sg[0].dma_address, sg[0].dma_length if dev.machine.need_sg_dma_length else sg[0].length
        elif self.last is not None:
            self.inner_unmap_page(dev, *self.last, dir, attrs)
            self.last = None
        return count

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        self.last = None
        self.inner_unmap_sg(dev, sg, dir, attrs)


# -- directions, attributes, empty entries ---------------------------------------------------------------------

@planted_in(*PERMISSIONS, breaks=("DMA-18",))
class WrongDirectionBits(Broken):
    """Everything is mapped for reading and writing."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        return int(self.inner_map_page(dev, page, offset, size, DMA_BIDIRECTIONAL, attrs))

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        return int(self.inner_map_sg(dev, sg, DMA_BIDIRECTIONAL, attrs))


@planted_in(*PERMISSIONS, breaks=("DMA-18",))
class DirectionsSwapped(Broken):
    """TO_DEVICE is taken for FROM_DEVICE and the other way round."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        return int(self.inner_map_page(dev, page, offset, size, SWAPPED[dir], attrs))

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        return int(self.inner_map_sg(dev, sg, SWAPPED[dir], attrs))


@planted_in(*PERMISSIONS, breaks=("DMA-18",))
class WrongDirectionBitsInLists(Broken):
    """Lists are mapped for reading and writing, single pages as they should be."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        return int(self.inner_map_sg(dev, sg, DMA_BIDIRECTIONAL, attrs))


@planted_in(*LISTS, breaks=("DMA-39",))
class UnknownAttributesRefused(Broken):
    """An attribute that the backend does not know is -EINVAL."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        if attrs & ~DMA_ATTR_SKIP_CPU_SYNC:
            return -errno.EINVAL
        return int(self.inner_map_sg(dev, sg, dir, attrs))


@planted_in(*LONG, breaks=("DMA-39",))
class UnknownAttributesObeyed(Broken):
    """WEAK_ORDERING and its like shorten the first segment."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        if attrs & ~DMA_ATTR_SKIP_CPU_SYNC:
            count: int = self.inner_map_sg(dev, sg, dir, 0)
            if count > 0:
                sg[0].dma_length -= 1
            return count
        return int(self.inner_map_sg(dev, sg, dir, attrs))


@planted_in(*CACHED, "dma_direct/x86_64-force", breaks=("DMA-37",))
class SkipCpuSyncIgnored(Broken):
    """DMA_ATTR_SKIP_CPU_SYNC syncs all the same."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        return int(self.inner_map_page(dev, page, offset, size, dir, attrs & ~DMA_ATTR_SKIP_CPU_SYNC))

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.inner_unmap_page(dev, addr, size, dir, attrs & ~DMA_ATTR_SKIP_CPU_SYNC)

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        return int(self.inner_map_sg(dev, sg, dir, attrs & ~DMA_ATTR_SKIP_CPU_SYNC))

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        self.inner_unmap_sg(dev, sg, dir, attrs & ~DMA_ATTR_SKIP_CPU_SYNC)


@planted_in(
    "ibmebus_dma_ops/ibmebus-64k", "iounit_dma_ops/sparcserver1000", "jazz_dma_ops/pica61",
    "sbus_iommu_dma_gflush_ops/ss20", "sbus_iommu_dma_pflush_ops/ss5", "dma_direct/x86_64", breaks=("DMA-41",),
)
class EmptyEntriesEndTheList(Broken):
    """A list with an empty entry is mapped up to it, and said to be mapped."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        before = next((i for i, entry in enumerate(sg) if not entry.length), len(sg))
        if before == 0:
            return -errno.EINVAL
        return int(self.inner_map_sg(dev, sg, dir, attrs, before))
