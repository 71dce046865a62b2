# SPDX-License-Identifier: MIT
"""PCI peer-to-peer memory: providers, and how a client reaches a page (drivers/pci/p2pdma.c, 6.1)."""

from scatterlist.core cimport scatterlist
from scatterlist.types cimport page_t, phys_addr_t, u32, u64

from .device cimport Device

cdef enum:
    PCI_P2PDMA_MAP_UNKNOWN = 0
    PCI_P2PDMA_MAP_NOT_SUPPORTED = 1
    PCI_P2PDMA_MAP_BUS_ADDR = 2
    PCI_P2PDMA_MAP_THRU_HOST_BRIDGE = 3

# 6.16 and later: one more comes first, so the rest has other numbers
cdef enum:
    P2P_MAP_UNKNOWN = 0
    P2P_MAP_NONE = 1            # no P2P page
    P2P_MAP_NOT_SUPPORTED = 2
    P2P_MAP_BUS_ADDR = 3
    P2P_MAP_THRU_HOST_BRIDGE = 4

cdef struct pci_p2pdma_map_state:
    u32 pgmap                   # Machine.pgmaps[].pgmap of the last page, 0 at the start
    int map
    u64 bus_off

cdef int pci_p2pdma_map_segment(pci_p2pdma_map_state *state, Device dev, scatterlist *sg) except -9999 nogil
cdef int pci_p2pdma_map_type(Device dev, u32 provider) except -9999
cdef int pci_p2pdma_state(pci_p2pdma_map_state *state, Device dev, page_t page) except -9999 nogil

cdef inline u64 pci_p2pdma_bus_addr_map(const pci_p2pdma_map_state *state, phys_addr_t paddr) noexcept nogil:
    """6.16: what a device puts on the bus to reach paddr of the provider that state holds (Linux: state->mem)."""
    return paddr + state.bus_off
