# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from typing import Any, Protocol

from .debug import DmaDebug
from .iotlb import Iotlb
from .machine import Machine
from .pci import PciDev

OPS: dict[str, int]

class _CoherentPool(Protocol):
    def alloc(self, size: int, /) -> tuple[int, int] | None: ...
    def free(self, cpu_addr: int, size: int, /) -> bool: ...

class Walker:
    iotlb: Iotlb | None
    def lookup(self, dev: Device, addr: int, write: bool = False) -> tuple[int, int]: ...
    def prefetch(self, dev: Device, addr: int, size: int = 1, write: bool = False) -> tuple[int, int]: ...

class IoTlbMemBase: ...

class Device:
    name: str
    machine: Machine
    dma_ops: DmaMapOps | None
    direct: DmaMapOps
    io_tlb_mem: IoTlbMemBase | None
    pci: PciDev | None
    coherent_pool: _CoherentPool | None
    debug: DmaDebug | None
    has_dma_mask: bool
    dma_mask: int
    coherent_dma_mask: int
    bus_dma_limit: int
    has_dma_parms: bool
    max_segment_size: int
    min_align_mask: int
    segment_boundary_mask: int
    dma_offset: int
    is_pci: bool
    dma_coherent: bool
    untrusted: bool
    dma_ops_bypass: bool
    dma_skip_sync: bool
    pci_32bit_workaround: bool
    def __init__(
        self,
        name: str,
        machine: Machine,
        *,
        pci: bool = True,
        dma_parms: bool = True,
        dma_ops: DmaMapOps | None = None,
        mask: int = 0xFFFFFFFF,
        coherent: bool = True,
        bus_dma_limit: int = 0,
        dma_ranges: Iterable[tuple[int, int, int]] = (),
    ) -> None: ...
    @property
    def dma_ranges(self) -> list[tuple[int, int, int]]: ...
    def resources(self) -> dict[str, int]: ...
    def dma_read(self, addr: int, n: int) -> bytes: ...
    def dma_write(self, addr: int, data: bytes | bytearray | memoryview) -> None: ...

class DmaMapOps:
    flags: int
    filled: int
    walker: Walker
    @property
    def ops(self) -> tuple[str, ...]: ...
    def resources(self) -> dict[str, int]: ...
    def flush(self) -> None: ...
    def table(self) -> dict[Any, Any]: ...
