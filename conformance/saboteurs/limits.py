# SPDX-License-Identifier: MIT
"""Limits: the backend believes another one than the device has said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dma_ops import Device, DmaError, DmaMapOps, dma_get_max_seg_size, dma_get_seg_boundary
from dma_ops.pyops import SgView

from .base import Broken, planted_in
from .targets import (
    ALIGNED,
    BOUNDED,
    COHERENT_MASKED,
    FREED,
    FREED_BY_SIZE,
    HONEST_BOUNDARY,
    LIMITED,
    LISTS,
    MAPS,
    MASKED,
    without,
)

U32, U64 = (1 << 32) - 1, (1 << 64) - 1


@contextmanager
def pretending(dev: Device, **fields: int) -> Iterator[None]:
    """The device says something else in here."""
    was = {name: getattr(dev, name) for name in fields}
    try:
        for name, value in fields.items():
            setattr(dev, name, value)
        yield
    finally:
        for name, value in was.items():
            setattr(dev, name, value)


class Believes(Broken):
    """Base: maps with the limits of believed()."""

    def believed(self, dev: Device) -> dict[str, int]:
        raise NotImplementedError

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        with pretending(dev, **self.believed(dev)):
            return int(self.inner_map_page(dev, page, offset, size, dir, attrs))

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        with pretending(dev, **self.believed(dev)):
            return int(self.inner_map_sg(dev, sg, dir, attrs))


@planted_in(*LIMITED, breaks=("DMA-08",))
class MergeTooFar(Believes):
    """max_seg_size is ignored when entries are merged."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"max_segment_size": U32}


@planted_in(*LIMITED, breaks=("DMA-08",))
class MaxSegOffByOne(Believes):
    """One page more than max_seg_size is let through."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"max_segment_size": min(dma_get_max_seg_size(dev) + dev.machine.page_size, U32)}


@planted_in(*LIMITED, breaks=("DMA-08",))
class MaxSegOffByOneByte(Believes):
    """The length of a merged segment is compared with max_seg_size plus 4 bytes."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"max_segment_size": min(dma_get_max_seg_size(dev) + 4, U32)}


@planted_in(*BOUNDED, breaks=("DMA-09",))
class BoundaryDropped(Believes):
    """The segment boundary is not looked at."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"segment_boundary_mask": U64}


@planted_in(*BOUNDED, breaks=("DMA-09",))
class BoundaryOffByOneBit(Believes):
    """The segment boundary is taken for one of twice the distance."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"segment_boundary_mask": (dma_get_seg_boundary(dev) << 1 | 1) & U64}


@planted_in(*MASKED, breaks=("DMA-27",))
class MaskDropped(Believes):
    """The DMA mask is not looked at."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"dma_mask": U64, "bus_dma_limit": 0}


@planted_in(*MASKED, breaks=("DMA-27",))
class MaskOffByOneBit(Believes):
    """The DMA mask is taken for one of a bit more."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"dma_mask": (dev.dma_mask << 1 | 1) & U64, "bus_dma_limit": (dev.bus_dma_limit << 1) & U64}


@planted_in("dma_direct/x86_64-force", "dma_direct/arm64-restricted", breaks=("DMA-36",))
class MinAlignMaskDropped(Believes):
    """min_align_mask is not looked at."""

    def believed(self, dev: Device) -> dict[str, int]:
        return {"min_align_mask": 0}


@planted_in("dma_direct/x86_64-force", "dma_direct/x86_64-bounce", breaks=("DMA-34",))
class MaxMappingTooLarge(Broken):
    """dma_max_mapping_size() is a page too large."""

    def max_mapping_size(self, dev: Device) -> int:
        return int(self.inner_max_mapping_size(dev)) + dev.machine.page_size


@planted_in(*without(MAPS, "dma_direct"), breaks=("DMA-35",))
class OptMappingIsNothing(Broken):
    """dma_opt_mapping_size() is 0."""

    adds = ("opt_mapping_size",)

    def opt_mapping_size(self, dev: Device) -> int:
        return 0


@planted_in(*HONEST_BOUNDARY, breaks=("DMA-42",))
class MergeBoundaryLies(Broken):
    """dma_get_merge_boundary() promises merging where nothing merges, and denies it where entries do."""

    adds = ("get_merge_boundary",)
    honest = False

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.honest = "get_merge_boundary" in inner.ops

    def get_merge_boundary(self, dev: Device) -> int:
        return 0 if self.honest else dev.machine.page_size - 1


@planted_in(*without(MAPS, "dma_direct"), "dma_direct/x86_64", breaks=("DMA-44",))
class RequiredMaskSetsTheMask(Broken):
    """dma_get_required_mask() stores its answer as the device's mask."""

    adds = ("get_required_mask",)

    def get_required_mask(self, dev: Device) -> int:
        dev.dma_mask = 0xFFFFFFF
        return 0xFFFFFFF


@planted_in(*MAPS, breaks=("DMA-44",))
class RequiredMaskIsNoMask(Broken):
    """dma_get_required_mask() answers the last address of RAM."""

    adds = ("get_required_mask",)

    def get_required_mask(self, dev: Device) -> int:
        return max(end for _, end in dev.machine.ram_ranges) - 2


@planted_in(*LISTS, breaks=("DMA-26",))
class RefusedMaskTaken(Broken):
    """dma_supported() says no, after it has stored the mask."""

    adds = ("dma_supported",)

    def dma_supported(self, dev: Device, mask: int) -> bool:
        if mask < 1 << 31:
            dev.dma_mask = mask
            return False
        return bool(self.inner_dma_supported(dev, mask)) if "dma_supported" in self.real.ops else True


@planted_in(*COHERENT_MASKED, breaks=("DMA-28",))
class CoherentMaskDropped(Broken):
    """Coherent memory is allocated with the streaming mask."""

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        with pretending(dev, coherent_dma_mask=U64, bus_dma_limit=0):
            return allocated(self.inner_alloc(dev, size, attrs))


@planted_in(*ALIGNED, breaks=("DMA-30",))
class AlignmentDropped(Broken):
    """Coherent memory begins one page behind what its alignment asks for."""

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        page = dev.machine.page_size
        cpu, handle = allocated(self.inner_alloc(dev, size + page, attrs))
        return cpu + page, handle + page

    def free(self, dev: Device, size: int, cpu_addr: int, addr: int, attrs: int) -> None:
        page = dev.machine.page_size
        self.inner_free(dev, size + page, cpu_addr - page, addr - page, attrs)


@planted_in(*FREED, breaks=("DMA-31",))
class FreeForgotten(Broken):
    """dma_free_coherent() does nothing."""

    def free(self, dev: Device, size: int, cpu_addr: int, addr: int, attrs: int) -> None:
        pass


@planted_in(*FREED_BY_SIZE, breaks=("DMA-31",))
class FreeOffByOne(Broken):
    """dma_free_coherent() forgets the last page of more than one."""

    def free(self, dev: Device, size: int, cpu_addr: int, addr: int, attrs: int) -> None:
        page = dev.machine.page_size
        pages = -(-size // page)
        self.inner_free(dev, (pages // 2 or 1) * page, cpu_addr, addr, attrs)


def allocated(answer: tuple[int, int, int]) -> tuple[int, int]:
    code, cpu, handle = answer
    if code:
        raise DmaError(-code)
    return cpu, handle
