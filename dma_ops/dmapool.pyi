# SPDX-License-Identifier: MIT
from .device import Device

class DmaPage:
    cpu_addr: int
    dma: int
    in_use: int
    offset: int

class DmaPool:
    name: str
    dev: Device
    size: int
    allocation: int
    boundary: int
    pages: list[DmaPage]
    destroyed: bool
    def __init__(self, name: str, dev: Device, size: int, align: int, boundary: int) -> None: ...
    @property
    def in_use(self) -> int: ...

def dma_pool_create(name: str, dev: Device, size: int, align: int = 0, boundary: int = 0) -> DmaPool: ...
def dma_pool_alloc(pool: DmaPool) -> tuple[int, int]: ...
def dma_pool_zalloc(pool: DmaPool) -> tuple[int, int]: ...
def dma_pool_free(pool: DmaPool, cpu_addr: int, dma: int) -> None: ...
def dma_pool_destroy(pool: DmaPool) -> None: ...
