# SPDX-License-Identifier: MIT
"""Slips of the pen that any backend can make: a field left alone, arguments swapped, a range given back too early."""

from __future__ import annotations

from dma_ops import Device, DmaError, DmaMapOps
from dma_ops.pyops import SgView

from .base import Broken, is_error, planted_in
from .limits import U64, Believes, allocated
from .peers import Lists
from .targets import (
    ALLOCATORS,
    COUNTED_LISTS,
    DUMMY,
    ERRORS,
    FREED,
    LISTS,
    LONG,
    MAPS,
    NEIGHBOURS,
    REFUSING,
    SIZED,
    SIZED_AT_ONCE,
    ZEROED,
    without,
)


@planted_in(*LISTS, breaks=("DMA-06",))
class AddressUnset(Lists):
    """The last segment's dma_address is never written: it is what was there before."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        self.before = [entry.dma_address for entry in sg]
        return super().map_sg(dev, sg, dir, attrs)

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        sg[count - 1].dma_address = self.before[count - 1]
        return count


@planted_in(*LONG, breaks=("DMA-06", "DMA-07"))
class LengthUnset(Lists):
    """The last segment's dma_length is never written."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        sg[count - 1].dma_length = 0
        return count


@planted_in(*LONG, breaks=("DMA-06", "DMA-07"))
class StrangersMerged(Lists):
    """The last two segments become one, though the addresses do not follow one another."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        if count < 2:
            return count
        sg[count - 2].dma_length += sg[count - 1].dma_length
        return count - 1


@planted_in(*LISTS, breaks=("DMA-06",))
class SegmentsSwapped(Lists):
    """The first two segments have each other's address."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        if count > 1:
            sg[0].dma_address, sg[1].dma_address = sg[1].dma_address, sg[0].dma_address
        return count


@planted_in(*COUNTED_LISTS, breaks=("DMA-03", "DMA-05"))
class UnmapStopsAtTheCount(Broken):
    """dma_unmap_sg releases as many entries as there were segments but one: nents in place of orig_nents."""

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        self.inner_unmap_sg(dev, sg, dir, attrs, 1)


@planted_in(*SIZED, breaks=("DMA-02",))
class SwappedUnmapArguments(Broken):
    """dma_unmap_page releases the range of the mapping made before it, with this one's size."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.live: list[int] = []

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        if not is_error(dev, addr):
            self.live.append(addr)
        return addr

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        at = len(self.live) - 1 - self.live[::-1].index(addr)
        other = self.live[at - 1] if at else addr
        self.live[at] = other
        self.live.remove(other)
        self.inner_unmap_page(dev, other, size, dir, attrs)


@planted_in(*NEIGHBOURS, breaks=("DMA-02",))
class FreedTwice(Broken):
    """A range goes back to the allocator right after it was mapped, and once more, for nothing, at unmap."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.gone: dict[int, int] = {}

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        if not is_error(dev, addr):
            self.inner_unmap_page(dev, addr, size, dir, attrs)
        return addr

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        pass


@planted_in(*SIZED_AT_ONCE, breaks=("DMA-02",))
class TableEndOffByOne(Broken):
    """The last page of a mapping of more than one is given back at once: the end of the range is one too low."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        frame = dev.machine.page_size
        first = addr & ~(frame - 1)
        last = (addr + size - 1) & ~(frame - 1)
        if not is_error(dev, addr) and last > first:
            self.inner_unmap_page(dev, last, addr + size - last, dir, attrs)
        return addr

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        frame = dev.machine.page_size
        last = (addr + size - 1) & ~(frame - 1)
        self.inner_unmap_page(dev, addr, last - addr if last > addr else size, dir, attrs)


@planted_in(*MAPS, breaks=("DMA-02",))
class WindowBaseForgotten(Broken):
    """An address is one page beyond where it should be: the window's first page is counted twice."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        return addr if is_error(dev, addr) else (addr + dev.machine.page_size) & dev.machine.dma_addr_mask

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.inner_unmap_page(dev, (addr - dev.machine.page_size) & dev.machine.dma_addr_mask, size, dir, attrs)


@planted_in(*ERRORS, breaks=("DMA-16",))
class ErrorIsAddressZero(Broken):
    """dma_map_page answers 0 where it cannot map, which is a good address."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        return 0 if is_error(dev, addr) else addr


@planted_in(*LISTS, breaks=("DMA-06",))
class SuccessIsNegative(Broken):
    """dma_map_sg of more than two entries answers -EIO though it has mapped them."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        return -5 if count > 2 else count


@planted_in(*ZEROED, breaks=("DMA-31",))
class CoherentNotZeroed(Broken):
    """Coherent memory has what its last user left there."""

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        cpu, handle = allocated(self.inner_alloc(dev, size, attrs))
        dev.dma_write(handle, b"\xa5" * size)
        return cpu, handle


@planted_in(*ZEROED, breaks=("DMA-31",))
class CoherentHandleOffByAPage(Broken):
    """The bus address of coherent memory is that of its second page."""

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        cpu, handle = allocated(self.inner_alloc(dev, size, attrs))
        return cpu, (handle + dev.machine.page_size) & dev.machine.dma_addr_mask

    def free(self, dev: Device, size: int, cpu_addr: int, addr: int, attrs: int) -> None:
        self.inner_free(dev, size, cpu_addr, (addr - dev.machine.page_size) & dev.machine.dma_addr_mask, attrs)


@planted_in(*ZEROED, breaks=("DMA-31",))
class CoherentHandedOutTwice(Broken):
    """Coherent memory is given out again while it is in use, if the next one is no larger."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.last: tuple[int, int, int] | None = None

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        if self.last is not None and size <= self.last[2]:
            return self.last[:2]
        cpu, handle = allocated(self.inner_alloc(dev, size, attrs))
        self.last = cpu, handle, -(-size // dev.machine.page_size) * dev.machine.page_size
        return cpu, handle

    def free(self, dev: Device, size: int, cpu_addr: int, addr: int, attrs: int) -> None:
        if self.last is not None and self.last[:2] == (cpu_addr, addr):
            self.last = None
        self.inner_free(dev, size, cpu_addr, addr, attrs)


@planted_in(*REFUSING, breaks=("DMA-31",))
class CoherentFreedTwice(Broken):
    """dma_free_coherent() of one allocation gives back the one before it as well."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.live: list[tuple[int, int, int]] = []

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        cpu, handle = allocated(self.inner_alloc(dev, size, attrs))
        self.live.append((size, cpu, handle))
        return cpu, handle

    def free(self, dev: Device, size: int, cpu_addr: int, addr: int, attrs: int) -> None:
        if (size, cpu_addr, addr) not in self.live:
            return
        at = self.live.index((size, cpu_addr, addr))
        for one in self.live[max(at - 1, 0) : at + 1]:
            self.inner_free(dev, *one, attrs)
        del self.live[max(at - 1, 0) : at + 1]


@planted_in(*ALLOCATORS, breaks=("DMA-09",))
class SinglesCrossTheBoundary(Believes):
    """The allocator does not look at the segment boundary."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"segment_boundary_mask": U64}


@planted_in(*LISTS, "sba_dma_ops/zx1-16k", breaks=("P2P-36",))
class MarkOutOfNowhere(Lists):
    """A segment of RAM carries SG_DMA_BUS_ADDRESS."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        sg[0].dma_flags |= 1
        return count


@planted_in("iommu_dma_ops/intel", "iommu_dma_ops/amd", "iommu_dma_ops/smmuv3", breaks=("DMA-02",))
class LargePagesUnaligned(Broken):
    """The page size is chosen by the length alone: what is not aligned to a large page is refused."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        large = 1 << 21
        if size >= large and (page + offset) % large:
            return dev.machine.dma_addr_mask
        return int(self.inner_map_page(dev, page, offset, size, dir, attrs))


@planted_in(*DUMMY, breaks=("DMA-02", "DMA-16"))
class RefusalIsAnAddress(Broken):
    """dma_map_page of a device that cannot do DMA answers the CPU's address."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        return page + offset


@planted_in(*DUMMY, breaks=("DMA-06", "DMA-07"))
class RefusalIsACount(Broken):
    """dma_map_sg of a device that cannot do DMA answers what it was given, with the CPU's addresses."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        return page + offset

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        for entry in sg:
            entry.dma_address, entry.dma_length = entry.phys, entry.length
        return len(sg)


@planted_in(*DUMMY, breaks=("DMA-26",))
class EveryMaskSupported(Broken):
    """dma_supported() says yes for a device that cannot do DMA."""

    def dma_supported(self, dev: Device, mask: int) -> bool:
        return True


@planted_in(*MAPS, breaks=("DMA-26",))
class NothingMaps(Broken):
    """Every map fails, though the mask was accepted."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        return dev.machine.dma_addr_mask


@planted_in(*FREED, breaks=("DMA-26",))
class NothingAllocates(Broken):
    """No coherent memory is to be had, though the mask was accepted."""

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        raise DmaError(12)


@planted_in(*without(COUNTED_LISTS, "vio_dma_mapping_ops"), breaks=("DMA-03",))
class UnmapReadsOn(Broken):
    """dma_unmap_sg releases whatever address and length stand in the entries behind the last segment, too."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.behind: dict[int, list[tuple[int, int]]] = {}

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        stale = [(entry.dma_address, entry.dma_length) for entry in sg]
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        self.behind[sg[0].phys] = [one for one in stale[-1:] if one[1] and count > 0]
        return count

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        self.inner_unmap_sg(dev, sg, dir, attrs)
        for addr, size in self.behind.pop(sg[0].phys, ()):
            self.inner_unmap_page(dev, addr, size, dir, attrs)
