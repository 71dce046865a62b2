# SPDX-License-Identifier: MIT
"""P2PDMA as callers of the newer DMA API see it (include/linux/pci-p2pdma.h, Linux 6.16 and later), for Python.

The DMA layer no longer decides what a peer's memory is; whoever maps does, with one cached answer per provider:
BUS_ADDR is put on the bus as it is and neither mapped nor unmapped, THRU_HOST_BRIDGE is mapped with the provider's
attributes (DMA_ATTR_MMIO), NONE is RAM, and anything else fails.
"""

from enum import IntEnum

from scatterlist.types cimport u64

from .device cimport DMA_ATTR_MMIO, Device
from .p2pdma cimport (
    P2P_MAP_BUS_ADDR,
    P2P_MAP_NONE,
    P2P_MAP_NOT_SUPPORTED,
    P2P_MAP_THRU_HOST_BRIDGE,
    P2P_MAP_UNKNOWN,
    pci_p2pdma_bus_addr_map as c_bus_addr_map,
    pci_p2pdma_map_type as c_map_type,
    pci_p2pdma_state as c_state,
)

import errno

from .errors import DmaError
from .p2pdma import P2pdma
from .pci import PciDev


class P2pMapType(IntEnum):
    """enum pci_p2pdma_map_type of 6.16: NONE comes second, so the rest has other numbers than in 6.1."""

    UNKNOWN = P2P_MAP_UNKNOWN
    NONE = P2P_MAP_NONE
    NOT_SUPPORTED = P2P_MAP_NOT_SUPPORTED
    BUS_ADDR = P2P_MAP_BUS_ADDR
    THRU_HOST_BRIDGE = P2P_MAP_THRU_HOST_BRIDGE


cdef class P2pdmaMapState:
    """struct pci_p2pdma_map_state: what the last P2P page's provider means for one device. One per list or request."""

    @property
    def map(self):
        return P2pMapType(self.state.map)

    @property
    def dma_mapping_flags(self):
        """Attributes with which the provider's memory is mapped: it has no cache lines and cannot be bounced."""
        return DMA_ATTR_MMIO

    def bus_addr(self, u64 paddr):
        """pci_p2pdma_bus_addr_map() of the provider in this state."""
        return c_bus_addr_map(&self.state, paddr)


def pci_p2pdma_state(P2pdmaMapState state not None, Device dev not None, u64 page):
    """How dev reaches a page, any page."""
    if dev.machine is None:
        raise ValueError("the device was made without __init__, so it is on no machine")
    return P2pMapType(c_state(&state.state, dev, page))


class P2pdmaProvider:
    """struct p2pdma_provider: the memory of one BAR, with or without struct pages."""

    __slots__ = ("owner", "bus_offset")

    dma_mapping_flags = DMA_ATTR_MMIO

    def __init__(self, owner, bus_offset):
        self.owner = owner
        self.bus_offset = bus_offset & ((1 << 64) - 1)


def pcim_p2pdma_provider(pdev, int bar):
    """The provider of a memory BAR, None for another BAR. Raises DmaError(EOPNOTSUPP) without CONFIG_PCI_P2PDMA."""
    if not isinstance(pdev, PciDev):
        raise TypeError(f"{type(pdev).__name__} is no PciDev")
    machine = pdev.tree.machine
    if not machine.pci_p2pdma:
        raise DmaError(errno.EOPNOTSUPP, f"{pdev.name}: machine {machine.name} has no CONFIG_PCI_P2PDMA")
    region = pdev.bars.get(bar)
    if region is None or region.io:
        return None
    if pdev.p2pdma is None:
        pdev.p2pdma = P2pdma(machine, pdev)
    return P2pdmaProvider(pdev, region.bus - region.start)


def pci_p2pdma_map_type(provider, Device dev not None):
    """How dev reaches a provider, whether or not it has pages."""
    if dev.machine is None:
        raise ValueError("the device was made without __init__, so it is on no machine")
    if provider.owner.p2pdma is None:
        return P2pMapType.NOT_SUPPORTED
    return P2pMapType(c_map_type(dev, provider.owner.p2pdma.index) + 1)


def pci_p2pdma_bus_addr_map(provider, u64 paddr):
    """What a device puts on the bus to reach paddr of a provider."""
    cdef u64 offset = provider.bus_offset
    return paddr + offset
