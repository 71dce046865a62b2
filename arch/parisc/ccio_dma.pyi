# SPDX-License-Identifier: MIT
from dma_ops import Machine

from .ioa import CcioIoa
from .iommu_helpers import PdirOps

class CcioOps(PdirOps):
    walker: CcioIoa
    eisa: bool
    res_size: int
    res_hint: int
    chainid_shift: int
    def __init__(
        self,
        machine: Machine,
        window: int,
        *,
        eisa: bool = False,
        coherence_index: bool = True,
        chainid_shift: int | None = None,
    ) -> None: ...
    @staticmethod
    def iova_space(ram: int, adapters: int = 1, bits: int = 64) -> int: ...
    def cujo20_fixup(self, iovp: int) -> None: ...
