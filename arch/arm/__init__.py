# SPDX-License-Identifier: MIT
"""32-bit Arm, where an IOMMU has a dma_map_ops table of its own; everything else there is dma-direct or Xen."""

from __future__ import annotations

from functools import partial

from arch.record import COHERENT_MASK_UNREAD, MERGES_UNASKED, BackendRecord, Known, MachineConfig
from dma_ops import Device, Machine

from .dma_mapping import ArmIommuOps

GIB = 1 << 30
LOW = ((GIB, 2 * GIB),)                                         # RAM at 1 GiB, as on most of them
LPAE = ((GIB, 2 * GIB), (5 * GIB, 6 * GIB))                     # and what only 40-bit addresses reach


def build(name: str, base: int, size: int, *, lpae: bool = False, coherent: bool = False) -> Device:
    bits = 64 if lpae else 32
    machine = Machine(name, arch="arm", bits=32, ram=LPAE if lpae else LOW, dma_addr_bits=bits, phys_addr_bits=bits,
                      has_zone_dma=False, cached=True, table_base=0xE0000000)
    return Device("fd000000.dma", machine, pci=False, coherent=coherent, dma_ops=ArmIommuOps(machine, base, size))


RECORDS = (
    BackendRecord(
        id="iommu_ops",
        ops=ArmIommuOps,
        source=("arch/arm/mm/dma-mapping.c: __alloc_iova, __free_iova, __map_sg_chunk, __iommu_*, arm_iommu_*",
                "drivers/iommu/io-pgtable-arm.c (ARM_32_LPAE_S1)", "drivers/iommu/ipmmu-vmsa.c"),
        machines=(
            MachineConfig("rcar-h2", "R-Car H2: LPAE, IPMMU window of 2 GiB at 1 GiB, non-coherent device",
                          partial(build, "rcar-h2", GIB, 2 * GIB, lpae=True)),
            MachineConfig("coherent", "coherent device, window of 1 GiB at 2 GiB, 32-bit addresses",
                          partial(build, "coherent", 2 * GIB, GIB, coherent=True)),
            MachineConfig("default", "the window without dma-ranges: 4 GiB at 0, non-coherent device",
                          partial(build, "default", 0, 4 * GIB)),
            MachineConfig("small", "window of 16 MiB at 512 MiB, one bitmap",
                          partial(build, "small", 0x20000000, 16 << 20)),
        ),
        p2pdma=False,
        walker="LpaeWalker",
        proof="recorded",
        known=(
            Known("DMA-01", "arch/arm/mm/dma-mapping.c: arm_iommu_unmap_page, __iommu_remove_mapping",
                  "pages that an offset beyond the first page skips are mapped, and never unmapped",
                  checks=("offset_beyond_the_page",)),
            Known(("DMA-01", "DMA-02", "DMA-03", "DMA-33", "DMA-38", "DMA-50", "NEW-01", "NEW-02", "NEW-20",
                   "NEW-21", "NEW-24"),
                  "arch/arm/mm/dma-mapping.c: arm_iommu_unmap_page, __iommu_remove_mapping",
                  "a mapping at iova 0 is never unmapped, and its iova never freed", ("default",)),
            Known(("DMA-19", "DMA-20", "DMA-22", "DMA-23"),
                  "arch/arm/mm/dma-mapping.c: arm_iommu_sync_single_for_cpu, arm_iommu_sync_single_for_device",
                  "a mapping at iova 0 is not synced", ("default",)),
            Known("DMA-09", "arch/arm/mm/dma-mapping.c: __alloc_iova, arm_iommu_map_sg",
                  "the segment boundary is never looked at",
                  checks=("segments_keep_to_the_boundary",)),
            Known("DMA-13", "arch/arm/mm/dma-mapping.c: __iommu_alloc_simple",
                  "memory that cannot be mapped is handed to __free_from_pool, and lost", ("coherent",),
                  checks=("failed_allocations_release_all",)),
            Known("DMA-27", "arch/arm/mm/dma-mapping.c: iommu_ops",
                  "the device's mask is never looked at, and every mask accepted"),
            COHERENT_MASK_UNREAD.on("rcar-h2", "coherent", "small"),
            Known("DMA-30", "arch/arm/mm/dma-mapping.c: __alloc_iova; kernel/dma/remap.c: dma_common_pages_remap",
                  "iovas are aligned to 1 MiB at most, and the kernel address of remapped pages to a page",
                  ("rcar-h2", "default", "small")),
            Known(("DMA-31", "DMA-38"), "arch/arm/mm/dma-mapping.c: __iommu_alloc_simple",
                  "of a coherent device's memory only the first page is mapped, the others to what the stack holds",
                  ("coherent",)),
            Known("DMA-41", "arch/arm/mm/dma-mapping.c: arm_iommu_map_sg, arm_iommu_unmap_sg",
                  "an empty entry with an offset gets a page and length 0, which unmap skips: the page leaks"),
            MERGES_UNASKED,
        ),
    ),
)
