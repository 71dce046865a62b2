# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from typing import Any

from scatterlist.memory import PhysMem

from .pci import PciDev

class Machine:
    name: str
    arch: str
    bits: int
    big_endian: bool
    page_shift: int
    page_size: int
    dma_addr_mask: int
    phys_addr_mask: int
    ulong_mask: int
    need_sg_dma_length: bool
    arch_no_sg_chain: bool
    pci_p2pdma: bool
    zone_dma_bits: int
    has_zone_dma: bool
    bounce_unaligned_kmalloc: bool
    kernel: int
    nr_cpus: int
    cpu: int
    mem: PhysMem
    providers: list[PciDev]
    dmesg: list[str]
    events: list[tuple[Any, ...]] | None
    def __init__(
        self,
        name: str,
        *,
        arch: str = "",
        bits: int = 64,
        big_endian: bool = False,
        page_shift: int = 12,
        ram: Iterable[tuple[int, int]] = ...,
        dma_addr_bits: int = 0,
        phys_addr_bits: int = 0,
        need_sg_dma_length: bool = True,
        arch_no_sg_chain: bool = False,
        pci_p2pdma: bool = False,
        zone_dma_bits: int = 24,
        has_zone_dma: bool = True,
        kernel: int = 601,
        nr_cpus: int = 1,
        cached: bool = False,
        table_base: int = ...,
    ) -> None: ...
    @property
    def ram_ranges(self) -> list[tuple[int, int]]: ...
    def feed_alloc(self, *addresses: int) -> None: ...
    def vmap(self, pages: Iterable[int]) -> int: ...
    def vunmap(self, addr: int) -> list[int]: ...
    def vmap_pages(self, addr: int) -> list[int] | None: ...
    def alloc_ram(self, order: int, limit: int | None = None) -> int: ...
    def reserve_ram(self, start: int, order: int) -> None: ...
    def free_ram(self, start: int) -> None: ...
    @property
    def pages_allocated(self) -> int: ...
    def add_pgmap(self, start: int, end: int, bus_offset: int, provider: int) -> int: ...
    @property
    def pgmap_ranges(self) -> list[tuple[int, int, int]]: ...
    def pgmap_of(self, page: int) -> int: ...
    def remove_pgmap(self, pgmap: int) -> None: ...
    def is_p2p_page(self, page: int) -> bool: ...
    def fail(self, kind: str, nth: int = 1) -> None: ...
    def fails(self, kind: str) -> bool: ...
    def cpu_write(self, addr: int, data: bytes | bytearray | memoryview) -> None: ...
    def cpu_read(self, addr: int, n: int) -> bytes: ...
    def snoop(self, addr: int, size: int) -> None: ...
    def _should_fail(self, kind: bytes) -> bool: ...
