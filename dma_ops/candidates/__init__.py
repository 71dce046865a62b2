# SPDX-License-Identifier: MIT
"""The three designs for P2P memory that Linux's developers argued over in 2021, kept so that they can be compared.

A  mark.dma_map_sg: the scatterlist stays, a mark tells bus addresses apart: bit 2 of page_link (patches of March
   2021), or the new word dma_flags (merged in 6.0). A backend without the capability must never see a P2P page.
B  p2p_sg.dma_map_p2p_sg: an op of its own for lists with P2P memory (patches of April 2021), -ENXIO where a backend
   has none. Nothing is merged, so entry and address stay together and no mark is needed.
C  dma_vec.dma_map_new: bio_vec or physical ranges in, a vector of bus addresses out (argued for since November 2020).
   Every backend has to map RAM that way, so there are fallbacks: one mapping per range, or dma_map_sg underneath.
"""

from .dma_vec import DmaVector, dma_map_new, dma_new_path, dma_unmap_new
from .p2p_sg import dma_map_p2p_sg, dma_unmap_p2p_sg

__all__ = ["DmaVector", "dma_map_new", "dma_map_p2p_sg", "dma_new_path", "dma_unmap_new", "dma_unmap_p2p_sg"]
