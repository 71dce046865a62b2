# SPDX-License-Identifier: MIT
"""x86_64's own dma_map_ops table: the GART of AMD's K8. All others there are dma-direct, dma-iommu or Xen."""

from __future__ import annotations

from functools import partial
from typing import Any

from arch.record import BOUNDARY_HANGS_ALLOC, MERGES_UNASKED, BackendRecord, Known, MachineConfig
from dma_ops import Device, Machine

from .amd_gart_64 import GartDmaOps


def build(name: str, aperture: int = 0xF0000000, order: int = 1, **options: Any) -> Device:
    """An Opteron with 8 GiB of RAM and the usual hole below 4 GiB; the PCI device under test reaches 32 bits."""
    machine = Machine(name, arch="x86_64", ram=[(0x1000, 0xE0000000), (1 << 32, (1 << 33) + (512 << 20))],
                      pci_p2pdma=True, zone_dma_bits=24, table_base=0xE0000000)
    return Device("0000:02:03.0", machine, dma_ops=GartDmaOps(machine, aperture, order, **options))


_MERGING = ("opteron-force", "opteron-lazy", "opteron-agp")

RECORDS = (
    BackendRecord(
        id="gart_dma_ops",
        ops=GartDmaOps,
        source=("arch/x86/kernel/amd_gart_64.c: alloc_iommu, dma_map_area, gart_map_sg, dma_map_sg_nonforce, gart_*",
                "arch/x86/include/asm/gart.h: GPTE_*"),
        machines=(
            MachineConfig("opteron", "64 MiB aperture at 0xf0000000, no iommu= option", partial(build, "opteron")),
            MachineConfig("opteron-force", "iommu=force: everything is mapped, lists merge",
                          partial(build, "opteron-force", force=True, merge=True)),
            MachineConfig("opteron-lazy", "32 MiB aperture, iommu=nofullflush: the TLB is flushed only at a wrap",
                          partial(build, "opteron-lazy", 0xF2000000, 0, merge=True, fullflush=False)),
            MachineConfig("opteron-agp", "an AGP driver keeps the lower half of the aperture",
                          partial(build, "opteron-agp", agp=True, merge=True)),
        ),
        p2pdma=False,
        walker="Northbridge",
        proof="compiled",
        known=(
            Known("DMA-01", "arch/x86/kernel/amd_gart_64.c: __dma_map_cont",
                  "of a list whose head has an offset of a page or more the address points behind its own data",
                  checks=("offset_beyond_the_page",)),
            Known("DMA-18", "arch/x86/kernel/amd_gart_64.c: GPTE_ENCODE",
                  "the entry has no permission bits: a device can write what it was given to read"),
            Known("DMA-09", "lib/iommu-helper.c: iommu_area_alloc",
                  "a request larger than the segment boundary is searched for ever, with the lock held", _MERGING,
                  checks=("segments_keep_to_the_boundary",)),
            Known("DMA-27", "arch/x86/kernel/amd_gart_64.c: gart_map_page, dma_map_area",
                  "the mask decides only whether the aperture is used; that it reaches the aperture nobody asks"),
            Known("DMA-28", "arch/x86/kernel/amd_gart_64.c: gart_alloc_coherent",
                  "coherent memory goes into the aperture for any mask of more than 24 bits", ("opteron-force",)),
            Known("DMA-41", "arch/x86/kernel/amd_gart_64.c: gart_map_sg", "an empty entry is a BUG"),
            MERGES_UNASKED.on(*_MERGING),
            BOUNDARY_HANGS_ALLOC.on("opteron-force"),
        ),
        stale="gart_unmap_page points entries at a scratch page, which a late access reaches without a fault",
    ),
)
