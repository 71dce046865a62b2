# SPDX-License-Identifier: MIT
"""What a backend says of itself, so that the suite can choose, run and judge it without knowing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from dma_ops import Device, DmaMapOps


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """One machine that a backend is run on; build() makes a new machine and answers the device under test on it.

    sibling(device): a second device on that device's machine, in a domain of its own. Without it a second device shares
    the backend, as devices behind one bridge or IOMMU window do.
    newer: the same with the kernel that has the newer DMA API, 7.x; the same function where that changes nothing.
    """

    name: str
    facts: str
    build: Callable[[], Device]
    sibling: Callable[[Device], Device] | None = None
    newer: Callable[[], Device] | None = None

    def of(self, api: str) -> MachineConfig:
        """The machine as a case of the "legacy" or the "new" API builds it."""
        return replace(self, build=self.newer) if api == "new" and self.newer is not None else self


@dataclass(frozen=True, slots=True)
class Known:
    """A documented fault of Linux itself that the model keeps: what it breaks, where it is, and what happens.

    rule: an id, or several if one fault breaks several rules; "route/NAME" for a route of the P2PDMA axis.
    source: file, function, and tree where that is not the record's kernel. checks: of the rule's checks those that see
    it; what another one of them sees is another fault, and no excuse is made for it. reproducer: a few lines of Python
    that end with what goes wrong, run with `device` on one of the machines (conformance.faults).
    """

    rule: str | tuple[str, ...]
    source: str
    what: str
    machines: tuple[str, ...] = ()      # empty: on all of the backend's machines
    checks: tuple[str, ...] = ()        # empty: any of them
    reproducer: str = ""

    @property
    def rules(self) -> tuple[str, ...]:
        return (self.rule,) if isinstance(self.rule, str) else self.rule

    def on(self, *machines: str) -> Known:
        """The same fault, on these machines only."""
        return replace(self, machines=machines)


#: Faults that several backends share.
MERGES_UNASKED = Known(
    "DMA-42", "kernel/dma/mapping.c: dma_get_merge_boundary",
    "without the callback the core answers 0, no merging, though map_sg merges",
)
COHERENT_MASK_UNREAD = Known(
    "DMA-28", "kernel/dma/mapping.c: dma_alloc_attrs",
    "nobody compares what alloc returns with the coherent mask: the core leaves it to the backend, which does not",
)
BOUNDARY_HANGS_ALLOC = Known(
    "DMA-31", "lib/iommu-helper.c: iommu_area_alloc",
    "coherent memory that is larger than the segment boundary, which is one of lists, is searched for ever, with the "
    "lock held", checks=("coherent_memory_beyond_the_boundary",),
)
PARTIAL_SYNC_REFUSED = Known(
    "DMA-23", "kernel/dma/swiotlb.c: swiotlb_bounce",
    "with a min_align_mask, a partial sync at the first bytes of a further slot is refused with a WARN, and copies "
    "nothing", checks=("aligned_partial_syncs",),
)
SLOT_SEARCH_HANGS = Known(
    "DMA-40", "kernel/dma/swiotlb.c: swiotlb_do_find_slots",
    "with a min_align_mask, a search in a crowded pool can step over its start and never end, with the area's lock "
    "held",
)
PEERS_PAGES_UNASKED = Known(
    "P2P-30", "kernel/dma/mapping.c: dma_map_page_attrs",
    "a peer's page is mapped as if it were RAM, whatever the route; 6.17 and later warn with dma-debug, and refuse",
)
TABLES_JOIN_PROVIDERS = Known(
    "P2P-64", "lib/scatterlist.c: sg_alloc_append_table_from_pages",
    "compares frame numbers only: pages of two providers whose BARs adjoin become one entry, all of which gets the "
    "first one's bus offset; 6.2 and later compare the pgmaps",
)


@dataclass(frozen=True, slots=True)
class BackendRecord:
    """A backend's plug-in record.

    id: the name of Linux's own table, or dma_direct. source: "file: functions" in the Linux version named by kernel.
    p2pdma: the capability that the kernel reports (policy). proof: "recorded" (runs of real kernels), "compiled"
    (compared with Linux's own C) or "read" (by reading only). stale: why an access may still succeed after unmap and
    flush in Linux ("" if it must fault).
    """

    id: str
    ops: type[DmaMapOps]
    source: tuple[str, ...]
    machines: tuple[MachineConfig, ...]
    p2pdma: bool
    walker: str
    proof: Literal["recorded", "compiled", "read"]
    kernel: str = "6.1.192"
    known: tuple[Known, ...] = field(default=())
    stale: str = ""

    @property
    def summary(self) -> str:
        """The first sentence of the backend's docstring."""
        return (self.ops.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
