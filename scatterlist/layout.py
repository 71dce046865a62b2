# SPDX-License-Identifier: MIT
"""The layout of Linux's structs on other machines: offsets, sizes, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ._layout import ABIS, STRUCTS

SG_CHAIN = 0x01
SG_END = 0x02
SG_PCI_P2PDMA = 0x04


@dataclass(frozen=True, slots=True)
class Layout:
    """One ABI: "64", "64-dma_length", "64-dma_flags", "64-dma_length-dma_flags", "32", "32-dma_length", and for 32-bit
    kernels with 64-bit dma addresses "i386-dma64" and "arm-dma64", with and without "-dma_length"."""

    name: str
    bits: int
    dma_addr_bits: int
    dma_length: bool        # CONFIG_NEED_SG_DMA_LENGTH
    dma_flags: bool         # CONFIG_PCI_P2PDMA (6.1), CONFIG_NEED_SG_DMA_FLAGS (6.12)

    def sizeof(self, struct: str = "scatterlist") -> int:
        """Bytes of a struct, its padding included."""
        return STRUCTS[self.name][struct][0]

    def offsets(self, struct: str = "scatterlist") -> dict[str, int]:
        """{field: offset in bytes}; a field that this configuration lacks is absent."""
        return dict(STRUCTS[self.name][struct][1])

    def sg_max_single_alloc(self, page_size: int = 4096) -> int:
        """SG_MAX_SINGLE_ALLOC: entries in a page."""
        return page_size // self.sizeof()

    def page_link_mask(self, p2pdma: bool = False) -> int:
        """SG_PAGE_LINK_MASK; with p2pdma the proposal's of 2021, which has a third flag bit.

        Raises ValueError for a 32-bit machine: only two low bits of a page pointer are free there.
        """
        if p2pdma and self.bits != 64:
            raise ValueError(f"{self.name}: a 32-bit page_link has no third flag bit (PCI_P2PDMA depends on 64BIT)")
        return SG_CHAIN | SG_END | (SG_PCI_P2PDMA if p2pdma else 0)


LAYOUTS: dict[str, Layout] = {name: Layout(name, *facts) for name, facts in ABIS.items()}


def get_include() -> str:
    """The folder for a C compiler's -I, where <linux/scatterlist.h> and <linux/bvec.h> are."""
    return str(Path(__file__).parent / "include")
