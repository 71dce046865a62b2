# SPDX-License-Identifier: MIT
"""Two devices and one buffer."""

from __future__ import annotations

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DmaFault

from . import check
from .bench import Bench, Violation


@check
def devices_have_their_own_mappings(b: Bench) -> None:
    """A buffer that two devices have mapped: each reaches it at its own address, also after the other has unmapped it,
    and what the last one writes arrives. In a domain of its own a device reaches nothing of the other's."""
    other = b.sibling()
    before = b.counters()
    pages = [row[0] for row in b.rows("pages")] + b.frames(3)
    for turn, page in enumerate(pages[:4]):
        lot = b.lot([(page, 64 * turn, b.page // 2)])
        row = lot.rows[0]
        for first, second in ((b.device, other), (other, b.device)):
            b.refill(lot)
            one = dma_ops.dma_map_page(first, *row, DMA_TO_DEVICE)
            phys = b.reach(one, device=first)
            alone = b.config.sibling is not None and phys is not None and phys != b.window(one)
            if alone and b.reach(one, device=second) == phys:
                raise Violation("a device in a domain of its own reaches what another has mapped", bus=one)
            two = dma_ops.dma_map_page(second, *row, DMA_BIDIRECTIONAL)
            for dev, address in ((first, one), (second, two)):
                if b.read_by(dev, address, row[2]) != lot.content:
                    raise Violation("a device reads other bytes in a shared buffer", device=dev.name, bus=address)
            dma_ops.dma_unmap_page(first, one, row[2], DMA_TO_DEVICE)
            try:
                seen = b.read_by(second, two, row[2])
                raw = b.random.randbytes(row[2])
                second.dma_write(two, raw)
            except DmaFault as fault:
                raise Violation(f"a device loses its mapping when another unmaps the buffer: {fault}") from None
            b.same(seen, lot.content, "a device reads other bytes once another has unmapped the buffer")
            dma_ops.dma_unmap_page(second, two, row[2], DMA_BIDIRECTIONAL)
            b.same(b.cpu(lot), raw, "the CPU reads other bytes than the second device wrote")
            b.expect_guards(lot)
    b.expect_counters(before, "after two devices unmapped a shared buffer")
