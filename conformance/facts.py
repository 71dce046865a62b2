# SPDX-License-Identifier: MIT
"""Facts about a backend on a machine, over which a rule says where it applies.

A fact is a name of FACTS, "has MEMBER" (the backend fills that member of dma_map_ops), or "kernel >= 6.12";
"not " before it turns it round.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import dma_ops
from dma_ops import Device, DmaError, DmaIovaState, DmaMapOps, KernelBug
from dma_ops.device import OPS
from dma_ops.direct import DirectWalker

if TYPE_CHECKING:
    from arch import BackendRecord, MachineConfig

#: Where buffers are tried, highest first: above all limits, then what 32, 31, 29 and 24 address bits reach.
LIMITS = (None, 0xFFFFFFFF, 0x7FFFFFFF, 0x1FFFFFFF, 0xFFFFFF)

#: lib/scatterlist.c is no backend's own: the machines on which it is judged, for Linux 6.1 and for 6.12.
LIST_LIBRARY = frozenset({("dma_direct", "x86_64"), ("dma_direct", "x86_64-6.12")})

#: Machine.arch of those that select ARCH_HAS_SYNC_DMA_FOR_DEVICE, as far as their devices can have P2P memory.
SYNC_DMA = frozenset({"arm", "arm64", "mips", "mips64", "parisc", "sparc32"})


class UnknownFact(ValueError):
    """A predicate that cannot be evaluated."""


class Subject:
    """A backend on a machine, as the predicates see it; what has to be tried is tried once, on a device of its own."""

    def __init__(self, record: BackendRecord, config: MachineConfig) -> None:
        self.record = record
        self.config = config
        self.device: Device = config.build()
        self.machine = self.device.machine
        self.ops: DmaMapOps = self.device.dma_ops if self.device.dma_ops is not None else self.device.direct

    def has(self, member: str) -> bool:
        """Does the core reach this member of dma_map_ops? dma-direct stands in Linux's own code for all of them."""
        if self.device.dma_ops is None:
            return member not in ("get_merge_boundary", "opt_mapping_size", "cache_sync")
        return member in self.ops.ops

    @property
    def translates(self) -> bool:
        """Is there a table between the bus and memory?"""
        return self.device.dma_ops is not None and not isinstance(self.ops.walker, DirectWalker)

    @property
    def may_not_snoop(self) -> bool:
        """Can a device of such a machine be non-coherent? Elsewhere dev_is_dma_coherent() is the constant true."""
        return self.machine.arch in SYNC_DMA

    @cached_property
    def reach(self) -> tuple[int | None, ...]:
        """The limits of LIMITS below which a page of RAM can be mapped for the device, highest first."""
        reached: list[int | None] = []
        last = None
        for limit in LIMITS:
            device = self.config.build()
            try:
                page = device.machine.alloc_ram(0, limit)
            except MemoryError:
                break
            if page == last:
                continue
            last = page
            try:
                dma_ops.dma_map_page(device, page, 0, device.machine.page_size, dma_ops.DMA_BIDIRECTIONAL)
            except (DmaError, KernelBug):
                continue
            reached.append(limit)
        return tuple(reached)

    @cached_property
    def allocates(self) -> bool:
        device = self.config.build()
        try:
            dma_ops.dma_alloc_attrs(device, device.machine.page_size)
        except (DmaError, KernelBug):
            return False
        return True

    @cached_property
    def two_step(self) -> bool:
        """Does dma_iova_try_alloc() give this device a range?"""
        return dma_ops.dma_iova_try_alloc(self.config.build(), DmaIovaState(), 0, self.machine.page_size)


FACTS: dict[str, Callable[[Subject], bool]] = {
    "maps": lambda s: bool(s.reach),
    "allocates": lambda s: s.allocates,
    "p2pdma": lambda s: s.record.p2pdma,
    "pci_p2pdma machine": lambda s: s.machine.pci_p2pdma,
    "iommu": lambda s: s.translates,
    "two-step iova": lambda s: s.two_step,
    "list library": lambda s: (s.record.id, s.config.name) in LIST_LIBRARY,
    "untrusted": lambda s: s.device.untrusted,
    "dma_parms": lambda s: s.device.has_dma_parms,
    "pci device": lambda s: s.device.is_pci,
    "coherent device": lambda s: s.device.dma_coherent,
    "finite max_mapping_size": lambda s: dma_ops.dma_max_mapping_size(s.device) < s.machine.ulong_mask >> 1,
    "merge boundary": lambda s: dma_ops.dma_get_merge_boundary(s.device) != 0,
    "faults after unmap": lambda s: not s.record.stale,
}


def parse_fact(text: str) -> Callable[[Subject], bool]:
    """The predicate that a fact's text stands for. Raises UnknownFact."""
    if text.startswith("not "):
        inner = parse_fact(text.removeprefix("not "))
        return lambda subject: not inner(subject)
    if text in FACTS:
        return FACTS[text]
    first, _, rest = text.partition(" ")
    if first == "has" and rest in OPS:
        return lambda subject: subject.has(rest)
    if first == "kernel" and rest.startswith((">= ", "< ")):
        operator, version = rest.split(" ", 1)
        number = kernel_number(version)
        if operator == ">=":
            return lambda subject: subject.machine.kernel >= number
        return lambda subject: subject.machine.kernel < number
    raise UnknownFact(f"{text!r} is no fact that can be evaluated")


def kernel_number(version: str) -> int:
    """"6.12" or "6.1.192" as Machine.kernel has it: 612, 601. Raises UnknownFact."""
    parts = version.split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts):
        raise UnknownFact(f"{version!r} is no kernel version")
    return int(parts[0]) * 100 + int(parts[1])
