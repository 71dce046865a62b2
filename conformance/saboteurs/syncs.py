# SPDX-License-Identifier: MIT
"""Syncs and bounce buffers: bytes that do not go where they should, or go where they should not."""

from __future__ import annotations

from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, Device
from dma_ops.pyops import SgView

from .base import Broken, planted_in
from .targets import BOUNCING, CACHED, FOR_CPU, FOR_DEVICE, PREFETCHING


@planted_in(*FOR_CPU, breaks=("DMA-19", "DMA-20", "DMA-22", "DMA-23"))
class SyncForCpuSkipped(Broken):
    """dma_sync_single_for_cpu() does nothing."""

    def sync_single_for_cpu(self, dev: Device, addr: int, size: int, dir: int) -> None:
        pass


@planted_in(*FOR_DEVICE, breaks=("DMA-19", "DMA-20", "DMA-22", "DMA-23"))
class SyncForDeviceSkipped(Broken):
    """dma_sync_single_for_device() does nothing."""

    def sync_single_for_device(self, dev: Device, addr: int, size: int, dir: int) -> None:
        pass


@planted_in(*FOR_CPU, breaks=("DMA-04", "DMA-05", "DMA-20"))
class SyncSgForCpuSkipped(Broken):
    """dma_sync_sg_for_cpu() does nothing."""

    def sync_sg_for_cpu(self, dev: Device, sg: SgView, dir: int) -> None:
        pass


@planted_in(*FOR_DEVICE, breaks=("DMA-04", "DMA-20"))
class SyncSgForDeviceSkipped(Broken):
    """dma_sync_sg_for_device() does nothing."""

    def sync_sg_for_device(self, dev: Device, sg: SgView, dir: int) -> None:
        pass


@planted_in(*FOR_CPU, breaks=("DMA-04",))
class SyncSgStopsEarly(Broken):
    """dma_sync_sg_for_cpu() leaves out the last entry."""

    def sync_sg_for_cpu(self, dev: Device, sg: SgView, dir: int) -> None:
        self.inner_sync_sg_for_cpu(dev, sg, dir, max(len(sg) - 1, 1))


@planted_in(*FOR_DEVICE, breaks=("DMA-19", "DMA-23"))
class SyncOffByOne(Broken):
    """Single syncs end a cache line early."""

    def sync_single_for_cpu(self, dev: Device, addr: int, size: int, dir: int) -> None:
        self.inner_sync_single_for_cpu(dev, addr, max(size - 64, 1), dir)

    def sync_single_for_device(self, dev: Device, addr: int, size: int, dir: int) -> None:
        self.inner_sync_single_for_device(dev, addr, max(size - 64, 1), dir)


@planted_in(*FOR_CPU, breaks=("DMA-20",))
class BidirectionalSyncsHalf(Broken):
    """A BIDIRECTIONAL sync for the CPU is taken for one TO_DEVICE."""

    def sync_single_for_cpu(self, dev: Device, addr: int, size: int, dir: int) -> None:
        self.inner_sync_single_for_cpu(dev, addr, size, DMA_TO_DEVICE if dir == DMA_BIDIRECTIONAL else dir)

    def sync_sg_for_cpu(self, dev: Device, sg: SgView, dir: int) -> None:
        self.inner_sync_sg_for_cpu(dev, sg, DMA_TO_DEVICE if dir == DMA_BIDIRECTIONAL else dir)


@planted_in(*CACHED, breaks=("DMA-23",))
class SyncWholePages(Broken):
    """A sync for the CPU takes whole pages."""

    def sync_single_for_cpu(self, dev: Device, addr: int, size: int, dir: int) -> None:
        page = dev.machine.page_size
        start = addr & ~(page - 1)
        self.inner_sync_single_for_cpu(dev, start, -(-(addr + size) // page) * page - start, dir)


@planted_in("dma_direct/x86_64-force", "dma_direct/arm64-restricted", *PREFETCHING, breaks=("DMA-21",))
class UnmapWithoutSync(Broken):
    """Unmap does not give the bytes to the CPU."""

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.inner_unmap_page(dev, addr, size, DMA_TO_DEVICE, attrs)

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        self.inner_unmap_sg(dev, sg, DMA_TO_DEVICE, attrs)


@planted_in(*CACHED, breaks=("DMA-21",))
class MapWithoutSync(Broken):
    """Map does not give the bytes to the device."""

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        return int(self.inner_map_page(dev, page, offset, size, dir, attrs | 32))

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        return int(self.inner_map_sg(dev, sg, dir, attrs | 32))


@planted_in(
    "dma_direct/x86_64-force", "dma_direct/arm64-restricted", "dma_direct/arm64-noncoherent", breaks=("DMA-43",),
)
class NeedSyncLies(Broken):
    """dma_need_sync() is false for whatever is asked."""

    def need_sync(self, dev: Device, addr: int) -> bool:
        return False


@planted_in(*BOUNCING, breaks=("DMA-20", "DMA-22"))
class FromDeviceOnly(Broken):
    """A sync for the device of a BIDIRECTIONAL mapping carries nothing."""

    def sync_single_for_device(self, dev: Device, addr: int, size: int, dir: int) -> None:
        self.inner_sync_single_for_device(dev, addr, size, DMA_FROM_DEVICE if dir == DMA_BIDIRECTIONAL else dir)
