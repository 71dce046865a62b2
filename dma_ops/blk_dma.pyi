# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from enum import IntEnum
from typing import Self

from scatterlist.bvec import BioVecs

from .device import Device
from .dma_iova import DmaIovaState
from .p2pdma_state import P2pMapType

class BlkStatus(IntEnum):
    OK = 0
    NOTSUPP = 1
    TARGET = 5
    RESOURCE = 9
    IOERR = 10
    AGAIN = 12
    INVAL = 19

class Request:
    bios: tuple[BioVecs, ...]
    dir: int
    payload: int
    max_segment_size: int
    seg_boundary_mask: int
    phys_gap_mask: int
    def __new__(
        cls,
        bios: Iterable[BioVecs],
        dir: int,
        *,
        max_segment_size: int = 0xFFFFFFFF,
        seg_boundary_mask: int = ...,
        phys_gap_mask: int | None = None,
    ) -> Self: ...

class BlkDmaIter:
    addr: int
    len: int
    attrs: int
    @property
    def status(self) -> BlkStatus: ...
    @property
    def map(self) -> P2pMapType: ...

def blk_rq_dma_map_iter_start(req: Request, dev: Device, state: DmaIovaState, it: BlkDmaIter) -> bool: ...
def blk_rq_dma_map_iter_next(req: Request, dev: Device, it: BlkDmaIter) -> bool: ...
def blk_rq_dma_map_coalesce(state: DmaIovaState) -> bool: ...
def blk_rq_dma_unmap(
    req: Request, dev: Device, state: DmaIovaState, mapped_len: int, map: int, attrs: int = 0
) -> bool: ...
