# SPDX-License-Identifier: MIT
"""Invalidations that never arrive: map code, table and allocator are right, the hardware goes on as before."""

from __future__ import annotations

from dma_ops import DmaMapOps

from .base import Broken, planted_in
from .targets import FLUSHED, FLUSHED_BY_RANGE


class Forgetful(Broken):
    """Base: something is wrong on the way from the kernel's command to the TLB."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        if self.walker.iotlb is None:
            raise ValueError(f"{type(inner).__name__}: its hardware remembers nothing")


@planted_in(*FLUSHED, breaks=("DMA-21",))
class FlushDropped(Forgetful):
    """No invalidation of the IOTLB takes place."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.walker.iotlb.deaf = True  # type: ignore[union-attr]


@planted_in(*FLUSHED_BY_RANGE, breaks=("DMA-21",))
class FlushTooShort(Forgetful):
    """The range that is invalidated ends a page too early."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.walker.iotlb.short = True  # type: ignore[union-attr]
