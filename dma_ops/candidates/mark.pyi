# SPDX-License-Identifier: MIT
from typing import Literal

from dma_ops.device import Device
from scatterlist.core import SgTable

PLACES: tuple[str, ...]

def dma_map_sg(
    dev: Device, sgt: SgTable, dir: int, attrs: int = 0, *, mark: Literal["dma_flags", "page_link"] = "dma_flags"
) -> int: ...
def dma_unmap_sg(
    dev: Device, sgt: SgTable, dir: int, attrs: int = 0, *, mark: Literal["dma_flags", "page_link"] = "dma_flags"
) -> None: ...
