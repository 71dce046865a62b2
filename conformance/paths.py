# SPDX-License-Identifier: MIT
"""The ways in which a driver can get a list mapped: the legacy API, the three designs of 2021 with what they fall back
to, and what Linux has had since 6.16. Each takes rows of (page, offset, length) and answers bus addresses, and how to
undo it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import dma_ops
from dma_ops import Device, DmaError, DmaIovaState
from dma_ops.blk_dma import (
    BlkDmaIter,
    BlkStatus,
    Request,
    blk_rq_dma_map_coalesce,
    blk_rq_dma_map_iter_next,
    blk_rq_dma_map_iter_start,
    blk_rq_dma_unmap,
)
from dma_ops.candidates import (
    DmaVector,
    dma_map_new,
    dma_map_p2p_sg,
    dma_unmap_new,
    dma_unmap_p2p_sg,
    mark,
)
from scatterlist.bvec import BioVecs
from scatterlist.core import SgTable
from scatterlist.entry import for_each_sgtable_dma_sg, sg_dma_address, sg_dma_len

Row = tuple[int, int, int]                  # (page, offset, length)
Extent = tuple[int, int]                    # (bus address, bytes): what a driver puts into its descriptors
Place = Literal["dma_flags", "page_link"]
NewPath = Literal["native", "per-segment", "dma_map_sg"]


@dataclass(slots=True)
class Mapping:
    """A mapped list. how: the path that was really taken; what the driver was given is one of table, vector and
    requests."""

    how: str
    undo: Callable[[], None]
    table: SgTable | None = None
    vector: DmaVector | None = None
    requests: Sequence[MappedRequest] = ()

    def extents(self) -> list[Extent]:
        """What the driver reads from what it was given."""
        if self.table is not None:
            return from_table(self.table)
        if self.vector is not None:
            return from_vector(self.vector)
        return [extent for request in self.requests for extent in request.extents()]


def from_table(sgt: SgTable) -> list[Extent]:
    """A driver's walk over a mapped scatterlist."""
    return [(sg_dma_address(sg), sg_dma_len(sg)) for sg in for_each_sgtable_dma_sg(sgt)]


def from_vector(vector: DmaVector) -> list[Extent]:
    """A driver's walk over a DMA vector."""
    return [(address, length) for address, length, _ in vector]


def from_state(state: DmaIovaState) -> list[Extent]:
    """A driver's look at a range of dma_iova_try_alloc(): all of it is one."""
    return [(state.addr, state.size)]


def entries(sgt: SgTable) -> list[Row]:
    return [(page, offset, length) for page, offset, length, *_ in sgt.entries()]


def table(device: Device, rows: Iterable[Row], *, p2pdma_bit: bool = False) -> SgTable:
    machine = device.machine
    return SgTable(
        rows, page_shift=machine.page_shift, dma_length=machine.need_sg_dma_length,
        chaining=not machine.arch_no_sg_chain, p2pdma_bit=p2pdma_bit,
    )


class Path:
    """One way. name: as reports show it; design: whose it is."""

    name: str
    design: str

    def prepare(self, device: Device, rows: Sequence[Row]) -> SgTable | list[Extent]:
        """What the driver hands over, made before the call so that a refusal can be compared with it."""
        return table(device, rows)

    def call(self, device: Device, given: SgTable | list[Extent], direction: int) -> Mapping:
        """The mapping call. Raises DmaError, KernelBug."""
        raise NotImplementedError

    def map(self, device: Device, rows: Sequence[Row], direction: int) -> Mapping:
        return self.call(device, self.prepare(device, rows), direction)


class Legacy(Path):
    name = design = "legacy"

    def call(self, device: Device, given: SgTable | list[Extent], direction: int) -> Mapping:
        assert isinstance(given, SgTable)
        dma_ops.dma_map_sgtable(device, given, direction)
        return Mapping("dma_map_sg", lambda: dma_ops.dma_unmap_sgtable(device, given, direction), given)


class Marked(Path):
    """Design A."""

    design = "A"

    def __init__(self, place: Place) -> None:
        self.place: Place = place
        self.name = f"A/{place}"

    def prepare(self, device: Device, rows: Sequence[Row]) -> SgTable:
        return table(device, rows, p2pdma_bit=self.place == "page_link" and device.machine.bits == 64)

    def call(self, device: Device, given: SgTable | list[Extent], direction: int) -> Mapping:
        assert isinstance(given, SgTable)
        mark.dma_map_sg(device, given, direction, mark=self.place)
        return Mapping("dma_map_sg", lambda: mark.dma_unmap_sg(device, given, direction, mark=self.place), given)


class Dedicated(Path):
    """Design B: the driver looks for P2P memory and takes the op for it; all else goes the old way."""

    name = design = "B"

    def call(self, device: Device, given: SgTable | list[Extent], direction: int) -> Mapping:
        assert isinstance(given, SgTable)
        if not any(device.machine.is_p2p_page(page) for page, _, _ in entries(given)):
            return Legacy().call(device, given, direction)
        dma_map_p2p_sg(device, given, direction)
        return Mapping("dma_map_p2p_sg", lambda: dma_unmap_p2p_sg(device, given, direction), given)


class New(Path):
    """Design C. path: None for the one that dma_map_new takes by itself."""

    design = "C"

    def __init__(self, path: NewPath | None = None) -> None:
        self.path: NewPath | None = path
        self.name = f"C/{path}" if path else "C"

    def prepare(self, device: Device, rows: Sequence[Row]) -> list[Extent]:
        return [(page + offset, length) for page, offset, length in rows]

    def call(self, device: Device, given: SgTable | list[Extent], direction: int) -> Mapping:
        assert isinstance(given, list)
        vector = dma_map_new(device, given, direction, path=self.path)
        return Mapping(vector.path, lambda: dma_unmap_new(device, vector, direction), vector=vector)


@dataclass(slots=True)
class MappedRequest:
    """A request of the block layer in the course of its mapping."""

    device: Device
    request: Request
    state: DmaIovaState = field(default_factory=DmaIovaState)
    it: BlkDmaIter = field(default_factory=BlkDmaIter)
    segments: list[Extent] = field(default_factory=list)

    def extents(self) -> list[Extent]:
        return from_state(self.state) if self.state else self.segments

    @property
    def bus(self) -> bool:
        return self.it.map.name == "BUS_ADDR"

    def map(self) -> None:
        """Raises DmaError with the errno of the request's status, nothing being mapped."""
        more = blk_rq_dma_map_iter_start(self.request, self.device, self.state, self.it)
        while more:
            self.segments.append((self.it.addr, self.it.len))
            if blk_rq_dma_map_coalesce(self.state):
                break
            more = blk_rq_dma_map_iter_next(self.request, self.device, self.it)
        if self.it.status != BlkStatus.OK:
            self.state.clear()
            self.unmap()
            code = {BlkStatus.INVAL: errno.EINVAL, BlkStatus.RESOURCE: errno.ENOMEM}.get(self.it.status, errno.EIO)
            raise DmaError(code, f"{self.device.name}: the request's status is {self.it.status.name}")

    def unmap(self) -> None:
        request, attrs = self.request, self.it.attrs
        if blk_rq_dma_unmap(request, self.device, self.state, request.payload, self.it.map, attrs):
            return
        for address, length in self.segments:
            dma_ops.dma_unmap_phys(self.device, address, length, request.dir, attrs)


class Iova(Path):
    """Linux 6.16 and later, as the block layer uses it: a request is of one kind of memory, and its first segment
    decides; one range where the IOMMU can, else dma_map_phys() for each segment. Bus addresses are the caller's."""

    name = design = "new"

    def prepare(self, device: Device, rows: Sequence[Row]) -> list[Extent]:
        return [(page + offset, length) for page, offset, length in rows]

    def call(self, device: Device, given: SgTable | list[Extent], direction: int) -> Mapping:
        assert isinstance(given, list)
        mask = device.machine.page_size - 1
        done: list[MappedRequest] = []
        for _, part in groupby(given, lambda extent: provider(device, extent[0])):
            rows = [(phys & ~mask, length, phys & mask) for phys, length in part]
            bios = [BioVecs(rows, page_shift=device.machine.page_shift)]
            one = MappedRequest(device, Request(
                bios, direction, max_segment_size=dma_ops.dma_get_max_seg_size(device),
                seg_boundary_mask=dma_ops.dma_get_seg_boundary(device),
            ))
            try:
                one.map()
            except DmaError:
                undo(done)
                raise
            done.append(one)
        native = device.dma_ops is None or all(one.bus or one.state for one in done)
        return Mapping("native" if native else "per-segment", lambda: undo(done), requests=done)


def undo(requests: Iterable[MappedRequest]) -> None:
    for request in requests:
        request.unmap()


def provider(device: Device, phys: int) -> int:
    """Whose memory this is: -1 for RAM."""
    for number, pdev in enumerate(device.machine.providers):
        if any(bar.start <= phys < bar.start + bar.size for bar in pdev.bars.values()):
            return number
    return -1


#: What a driver calls under each design.
DESIGNS: dict[str, Path] = {
    "legacy": Legacy(), "A": Marked("page_link"), "B": Dedicated(), "C": New(), "new": Iova(),
}
#: Every path there is, the fallbacks of C one by one.
PATHS: dict[str, Path] = {
    path.name: path
    for path in (
        Legacy(), Marked("page_link"), Marked("dma_flags"), Dedicated(),
        New("native"), New("per-segment"), New("dma_map_sg"), Iova(),
    )
}
