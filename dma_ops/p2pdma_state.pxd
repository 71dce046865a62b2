# SPDX-License-Identifier: MIT
"""struct pci_p2pdma_map_state as a Python object."""

from .p2pdma cimport pci_p2pdma_map_state

cdef class P2pdmaMapState:
    cdef pci_p2pdma_map_state state
