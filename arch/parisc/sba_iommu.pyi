# SPDX-License-Identifier: MIT
from dma_ops import Machine

from .ioa import SbaIoc
from .iommu_helpers import PdirOps

class SbaOps(PdirOps):
    walker: SbaIoc
    words: int
    word_bits: int
    res_hint: int
    res_bitshift: int
    saved_cnt: int
    def __init__(
        self,
        machine: Machine,
        window: int,
        *,
        ibase: int = 0,
        pluto: bool = False,
        entries: int | None = None,
        coherence_index: bool = True,
        piranha: bool = False,
    ) -> None: ...
    @staticmethod
    def iova_space(ram: int, iocs: int = 1) -> int: ...
    def flush(self) -> None: ...
