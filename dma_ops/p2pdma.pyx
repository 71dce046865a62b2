# SPDX-License-Identifier: MIT
"""PCI peer-to-peer memory: providers, the PCI tree, and how a client reaches a page (drivers/pci/p2pdma.c, 6.1)."""


cdef int pci_p2pdma_map_segment(pci_p2pdma_map_state *state, Device dev, scatterlist *sg) except -9999 nogil:
    return PCI_P2PDMA_MAP_NOT_SUPPORTED
