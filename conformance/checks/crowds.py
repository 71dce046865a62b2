# SPDX-License-Identifier: MIT
"""Where room is scarce: a small bounce pool, the addresses of a narrow mask."""

from __future__ import annotations

from contextlib import suppress

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DmaError, KernelBug
from dma_ops.swiotlb import IoTlbMem

from . import check
from .bench import Bench, NotTested

SIZES = (64, 600, 2052, 4096, 9000, 20000, 40000)
POOL = 1 << 19                          # bytes
PLACES, ROOM = 32, 1 << 16              # buffers, and the bytes that one of them has
STEPS = 160


def small_pool(b: Bench) -> bool:
    """Give a device that bounces a pool of two areas of 128 slots, which begins at an odd page: was there one? Xen's
    stays: the machine's frames behind a new one would not follow one another."""
    if b.device.io_tlb_mem is None or not (b.device.dma_ops is None or b.device.untrusted):
        return False
    start = b.machine.alloc_ram((2 * POOL // b.page - 1).bit_length(), 0xFFFFFFFF)
    b.machine.free_ram(start)
    b.device.io_tlb_mem = IoTlbMem(b.machine, start + b.page, POOL >> 11, 2, force_bounce=True)
    return True


def crowd(b: Bench) -> int:
    """Make room scarce, and take memory for the buffers: where it begins."""
    small_pool(b)
    with suppress(DmaError):
        dma_ops.dma_set_mask(b.device, (1 << (b.machine.page_shift + 6)) - 1)
    order = (PLACES * ROOM // b.page - 1).bit_length()
    try:
        return b.machine.alloc_ram(order, b.subject.reach[0])
    except MemoryError:
        raise NotTested(f"the machine has no {PLACES * ROOM} bytes in one piece") from None


@check
def crowded_mappings_keep_apart(b: Bench) -> None:
    """Mappings of all sizes come and go, some in vain; each has its own bytes as long as it lives, and in the end
    nothing is left."""
    start = crowd(b)
    before = b.counters()
    free = list(range(PLACES))
    live: list[tuple[int, int, int, int, bytes]] = []           # place, where, bus, size, what the device wrote

    def end(at: int) -> None:
        place, phys, bus, size, raw = live.pop(at)
        b.same(b.read([(bus, size, 0)]), raw, f"among {len(live) + 1} mappings one has another's bytes")
        dma_ops.dma_unmap_page(b.device, bus, size, DMA_BIDIRECTIONAL)
        b.same(b.machine.cpu_read(phys, size), raw, f"one of {len(live) + 1} mappings brought back other bytes")
        free.append(place)

    for _ in range(STEPS):
        if not free or (live and b.random.random() < 0.3):
            end(b.random.randrange(len(live)))
            continue
        size, offset = b.random.choice(SIZES), b.random.choice((0, 0, 4, 1000, 2040))
        phys = start + free[-1] * ROOM + offset
        if b.device.dma_ops is None:
            b.machine.cpu = b.random.randrange(2)               # whose area of the pool is looked at first
        try:
            bus = dma_ops.dma_map_page(b.device, phys & ~(b.page - 1), phys & (b.page - 1), size, DMA_BIDIRECTIONAL)
        except DmaError:
            for _ in range(min(3, len(live))):
                end(b.random.randrange(len(live)))
            continue
        except KernelBug as bug:
            if not live:
                raise
            raise NotTested(f"several mappings at once: {bug}") from None
        raw = b.random.randbytes(size)
        b.write([(bus, size, 0)], raw)
        live.append((free.pop(), phys, bus, size, raw))
    while live:
        end(-1)
    b.expect_counters(before, "after a crowd of mappings was unmapped")
