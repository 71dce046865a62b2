# SPDX-License-Identifier: MIT
"""Real backends without a fault of Linux's own, so that a rule that no backend keeps can be seen to work.

A target is "py:conformance.saboteurs.mended:NAME/machine".
"""

from __future__ import annotations

import errno
from dataclasses import replace
from functools import partial

from arch.record import BackendRecord, MachineConfig
from dma_ops import Device
from dma_ops.pyops import SgView

from ..selection import backend
from .base import Broken, Saboteur


class QuietOnPeers(Broken):
    """No cache maintenance on P2P memory: what P2P-45 asks for, and neither dma-direct nor iommu-dma does."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        n = len(dev.machine.events or ())
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        self.forget(dev, n)
        return count

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        n = len(dev.machine.events or ())
        self.inner_unmap_sg(dev, sg, dir, attrs)
        self.forget(dev, n)

    def sync_sg_for_cpu(self, dev: Device, sg: SgView, dir: int) -> None:
        n = len(dev.machine.events or ())
        self.inner_sync_sg_for_cpu(dev, sg, dir)
        self.forget(dev, n)

    def sync_sg_for_device(self, dev: Device, sg: SgView, dir: int) -> None:
        n = len(dev.machine.events or ())
        self.inner_sync_sg_for_device(dev, sg, dir)
        self.forget(dev, n)

    def forget(self, dev: Device, n: int) -> None:
        """Strike out what concerns P2P memory from the n-th event on."""
        events = dev.machine.events
        if events is not None:
            events[n:] = [event for event in events[n:] if not dev.machine.is_p2p_page(event[1])]


class MasksBusAddresses(Broken):
    """A list with a bus address beyond the device's mask is refused: what P2P-46 asks for, and Linux does not do."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        for entry in [sg[i] for i in range(max(count, 0))]:
            if entry.bus_address and entry.dma_address + entry.dma_length - 1 > dev.dma_mask:
                self.inner_unmap_sg(dev, sg, dir, attrs)
                return -errno.EREMOTEIO
        return count


def mended(name: str, ops: type[Broken]) -> BackendRecord:
    real = backend(name)
    saboteur = Saboteur("", "", (), (), ops)
    machines = tuple(
        MachineConfig(config.name, config.facts, partial(saboteur.build, config.build), config.sibling)
        for config in real.machines
    )
    return replace(real, machines=machines, known=())


IOMMU_DMA = mended("iommu_dma_ops", QuietOnPeers)
IOMMU_MASKED = mended("iommu_dma_ops", MasksBusAddresses)
