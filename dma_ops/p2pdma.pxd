# SPDX-License-Identifier: MIT
"""PCI peer-to-peer memory: providers, and how a client reaches a page (drivers/pci/p2pdma.c, 6.1)."""

from scatterlist.core cimport scatterlist
from scatterlist.types cimport u32, u64

from .device cimport Device

cdef enum:
    PCI_P2PDMA_MAP_UNKNOWN = 0
    PCI_P2PDMA_MAP_NOT_SUPPORTED = 1
    PCI_P2PDMA_MAP_BUS_ADDR = 2
    PCI_P2PDMA_MAP_THRU_HOST_BRIDGE = 3

cdef struct pci_p2pdma_map_state:
    u32 pgmap                   # Machine.pgmaps[].pgmap of the last page, 0 at the start
    int map
    u64 bus_off

cdef int pci_p2pdma_map_segment(pci_p2pdma_map_state *state, Device dev, scatterlist *sg) except -9999 nogil
cdef int pci_p2pdma_map_type(Device dev, u32 provider) except -9999
