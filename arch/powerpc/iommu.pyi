# SPDX-License-Identifier: MIT
from typing import final

from dma_ops.machine import Machine

@final
class IommuTable:
    machine: Machine
    it_offset: int
    it_size: int
    it_page_shift: int
    it_blocksize: int
    it_base: int
    nr_pools: int
    poolsize: int
    novmerge: bool
    def __init__(self, machine: Machine, *, size: int, window: int = ..., page_shift: int = ..., blocksize: int = ...,
                 format: str = ..., ioid: int = ..., reserved: tuple[int, int] = ..., dummy_page: bool = ...,
                 reserve_last: bool = ..., pad_page: bool = ..., novmerge: bool = ...) -> None: ...
    @property
    def pages_used(self) -> int: ...
    @property
    def hints(self) -> list[int]: ...
    def entries(self) -> dict[int, int]: ...
