# SPDX-License-Identifier: MIT
"""IBM Z: zPCI functions."""

from __future__ import annotations

from functools import partial

from arch.record import BOUNDARY_HANGS_ALLOC, COHERENT_MASK_UNREAD, MERGES_UNASKED, BackendRecord, Known, MachineConfig
from dma_ops import Device, Machine

from .pci_dma import S390PciDmaOps


def build(name: str, strict: bool, tlb_refresh: bool, aperture: int) -> Device:
    machine = Machine(name, arch="s390x", big_endian=True, ram=[(0, 256 << 20)], table_base=1 << 41)
    ops = S390PciDmaOps(machine, strict=strict, tlb_refresh=tlb_refresh, aperture=aperture)
    return Device("zpci", machine, dma_ops=ops)


def config(name: str, facts: str, strict: bool, tlb_refresh: bool, aperture: int) -> MachineConfig:
    """Each function has a table and an aperture of its own."""

    def sibling(first: Device) -> Device:
        ops = S390PciDmaOps(first.machine, strict=strict, tlb_refresh=tlb_refresh, aperture=aperture)
        return Device("zpci-2", first.machine, dma_ops=ops)

    return MachineConfig(name, facts, partial(build, name, strict, tlb_refresh, aperture), sibling)


RECORDS = (
    BackendRecord(
        id="s390_pci_dma_ops",
        ops=S390PciDmaOps,
        source=("arch/s390/pci/pci_dma.c: s390_dma_*, dma_update_trans, __dma_purge_tlb",
                "arch/s390/include/asm/pci_dma.h", "arch/s390/pci/pci_insn.c: zpci_refresh_trans"),
        machines=(
            config("zpci", "LPAR, lazy unmap, 256 MiB", False, False, 0),
            config("zpci-strict", "LPAR, s390_iommu=strict", True, False, 0),
            config("zpci-guest", "z/VM or KVM guest: new translations are refreshed too", False, True, 0),
            config("zpci-1m", "an aperture of 1 MiB, lazy unmap", False, False, 1 << 20),
        ),
        p2pdma=False,
        walker="ZpciWalker",
        proof="recorded",
        known=(
            Known("DMA-01", "arch/s390/pci/pci_dma.c: s390_dma_map_sg, s390_dma_unmap_sg",
                  "pages that an offset beyond the first page skips are mapped, and never unmapped",
                  checks=("offset_beyond_the_page",)),
            Known("DMA-09", "arch/s390/pci/pci_dma.c: s390_dma_map_sg",
                  "joins entries to more than the segment boundary, for which iommu_area_alloc searches for ever",
                  checks=("segments_keep_to_the_boundary",)),
            Known("DMA-41", "arch/s390/pci/pci_dma.c: s390_dma_map_sg, s390_dma_unmap_sg",
                  "an empty entry with an offset gets a page and length 0, which unmap skips: the page leaks"),
            COHERENT_MASK_UNREAD,
            MERGES_UNASKED,
            BOUNDARY_HANGS_ALLOC,
            Known("DMA-27", "arch/s390/pci/pci_dma.c: s390_pci_dma_ops",
                  "no dma_supported and no test of the mask: addresses start at 4 GiB"),
            Known("DMA-30", "arch/s390/pci/pci_dma.c: s390_dma_alloc",
                  "coherent memory is aligned to a page of bus addresses, not to its order"),
        ),
    ),
)
