# SPDX-License-Identifier: MIT
"""powerpc: tables of translation control entries and what hypervisors and game consoles put in their place."""

from __future__ import annotations

from ..record import BackendRecord, Known
from .dma_iommu import DirectWindow, DmaIommuOps
from .iommu import IommuTable
from .machines import DMA_IOMMU_MACHINES

__all__ = ["RECORDS", "DirectWindow", "DmaIommuOps", "IommuTable"]

RECORDS = (
    BackendRecord(
        id="dma_iommu_ops",
        ops=DmaIommuOps,
        source=("arch/powerpc/kernel/dma-iommu.c: all of it", "arch/powerpc/kernel/iommu.c: iommu_*, ppc_iommu_*",
                "arch/powerpc/platforms/{pseries,powernv,cell,pasemi}, sysdev/dart_iommu.c: entries and bypass"),
        machines=DMA_IOMMU_MACHINES,
        p2pdma=False,
        walker="TceWalker: big-endian TCEs, DART and IOB entries, Cell IOPTEs; bypass windows",
        proof="recorded",
        known=(
            Known("DMA-09", "arch/powerpc/kernel/iommu.c: ppc_iommu_map_sg",
                  "joins neighbours across the segment boundary, which binds each allocation alone"),
            Known("DMA-13", "arch/powerpc/kernel/iommu.c: ppc_iommu_map_sg",
                  "if the hypervisor runs out of resources, the I/O pages of the entry at hand leak"),
            Known("DMA-41", "arch/powerpc/kernel/iommu.c: ppc_iommu_map_sg",
                  "a leading entry of length 0 leaves slot 0 at length 0, where unmap stops: the list leaks"),
            Known("DMA-44", "arch/powerpc/kernel/dma-iommu.c: dma_iommu_get_required_mask",
                  "asking for the required mask decides anew whether the device goes direct",
                  ("pseries-ddw",)),
            Known("DMA-18", "arch/powerpc/sysdev/dart_iommu.c, platforms/pasemi/iommu.c",
                  "entries have no permission bits", ("g5-u3", "g5-u4", "pasemi")),
            Known("DMA-01", "arch/powerpc/kernel/iommu.c: __iommu_free",
                  "a mapping made in the direct window and unmapped after the mask was lowered is logged and leaks",
                  ("pseries-ddw", "powernv-64", "powernv-phb3", "g5-u4", "cell-fixed")),
        ),
        stale="a direct window stays open over all RAM; DART and PA Semi point cleared entries to a page of their own",
    ),
)
