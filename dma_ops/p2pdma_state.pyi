# SPDX-License-Identifier: MIT
from enum import IntEnum

from .device import Device
from .pci import PciDev

class P2pMapType(IntEnum):
    UNKNOWN = 0
    NONE = 1
    NOT_SUPPORTED = 2
    BUS_ADDR = 3
    THRU_HOST_BRIDGE = 4

class P2pdmaMapState:
    @property
    def map(self) -> P2pMapType: ...
    @property
    def dma_mapping_flags(self) -> int: ...
    def bus_addr(self, paddr: int) -> int: ...

class P2pdmaProvider:
    __slots__ = ("bus_offset", "owner")
    owner: PciDev
    bus_offset: int
    dma_mapping_flags: int
    def __init__(self, owner: PciDev, bus_offset: int) -> None: ...

def pci_p2pdma_state(state: P2pdmaMapState, dev: Device, page: int) -> P2pMapType: ...
def pcim_p2pdma_provider(pdev: PciDev, bar: int) -> P2pdmaProvider | None: ...
def pci_p2pdma_map_type(provider: P2pdmaProvider, dev: Device) -> P2pMapType: ...
def pci_p2pdma_bus_addr_map(provider: P2pdmaProvider, paddr: int) -> int: ...
