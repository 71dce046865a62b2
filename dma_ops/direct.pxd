# SPDX-License-Identifier: MIT
"""dma-direct: what a device without a dma_map_ops table gets (kernel/dma/direct.c)."""

from .device cimport DmaMapOps

cdef class DmaDirect(DmaMapOps):
    """Filled whole: the core calls it where Linux calls dma_direct_*()."""
