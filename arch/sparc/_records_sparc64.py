# SPDX-License-Identifier: MIT
"""The records of 64-bit SPARC."""

from __future__ import annotations

from functools import partial
from typing import Any

from arch.record import BOUNDARY_HANGS_ALLOC, MERGES_UNASKED, BackendRecord, Known, MachineConfig
from dma_ops import Device, Machine

from .iommu import Sun4uDmaOps
from .pci_sun4v import Sun4vDmaOps


def machine(name: str) -> Machine:
    return Machine(name, arch="sparc64", big_endian=True, page_shift=13, ram=[(0, 1 << 30)], nr_cpus=16)


def sun4u(name: str, pci: bool, options: dict[str, Any]) -> Device:
    host = machine(name)
    return Device("device", host, pci=pci, dma_parms=pci, dma_ops=Sun4uDmaOps(host, **options))


def sun4v(name: str, mask: int, options: dict[str, Any]) -> Device:
    host = machine(name)
    return Device("device", host, mask=mask, dma_ops=Sun4vDmaOps(host, **options))


SOURCE = ("arch/sparc/kernel/iommu-common.c: iommu_tbl_range_alloc, iommu_tbl_range_free",
          "arch/sparc/kernel/iommu_common.h: is_span_boundary")
SPAN = "merging tests the segment boundary as if each segment began at entry 0 of the table"
MASK = "the mask is only tested when it is set, and then against the window's size"
STOPS = "stops at a segment of length 0, which a leading empty entry makes: the others are never unmapped"

RECORDS = (
    BackendRecord(
        id="sun4u_dma_ops",
        ops=Sun4uDmaOps,
        source=("arch/sparc/kernel/iommu.c: dma_4u_*, strbuf_flush, iommu_alloc_ctx", *SOURCE),
        machines=(
            MachineConfig("psycho", "U2P (Psycho): streaming cache, 1 GiB at 3 GiB",
                          partial(sun4u, "psycho", True, {})),
            MachineConfig("sabre", "UltraSPARC IIi (Sabre): 512 MiB at 3 GiB",
                          partial(sun4u, "sabre", True, {"entries": 65536, "dma_addr_mask": 0xDFFFFFFF,
                                                         "streaming": False})),
            MachineConfig("schizo", "UltraSPARC III (Schizo): streaming cache and contexts",
                          partial(sun4u, "schizo", True, {"contexts": True})),
            MachineConfig("tomatillo", "UltraSPARC IIIi (Tomatillo): contexts",
                          partial(sun4u, "tomatillo", True, {"contexts": True, "streaming": False})),
            MachineConfig("fire", "UltraSPARC IIIi (Fire): neither",
                          partial(sun4u, "fire", True, {"streaming": False})),
            MachineConfig("sysio", "UltraSPARC I (SYSIO): an SBus device", partial(sun4u, "sysio", False, {})),
        ),
        p2pdma=False,
        walker="Sun4uIommu",
        proof="recorded",
        known=(
            Known("DMA-09", "arch/sparc/kernel/iommu.c: dma_4u_map_sg", SPAN,
                  checks=("segments_keep_to_the_boundary",)),
            Known("DMA-13", "arch/sparc/kernel/iommu.c: dma_4u_map_sg", "a list that fails keeps its context",
                  machines=("schizo", "tomatillo"),
                  checks=("failure_releases_all",)),
            Known("DMA-41", "arch/sparc/kernel/iommu.c: dma_4u_unmap_sg, fetch_sg_ctx", STOPS),
            MERGES_UNASKED,
            BOUNDARY_HANGS_ALLOC,
            Known("DMA-30", "arch/sparc/kernel/iommu.c: dma_4u_alloc_coherent",
                  "coherent memory is aligned to a page of bus addresses, not to its order"),
        ),
        stale="unmapped entries keep VALID and point at a dummy page; those of coherent memory are left as they were",
    ),
    BackendRecord(
        id="sun4v_dma_ops",
        ops=Sun4vDmaOps,
        source=("arch/sparc/kernel/pci_sun4v.c: dma_4v_*, iommu_batch_*", *SOURCE),
        machines=(
            MachineConfig("t2000", "UltraSPARC T1: 2 GiB at 2 GiB",
                          partial(sun4v, "t2000", 0xFFFFFFFF, {"vpci_major": 1})),
            MachineConfig("m7-atu", "SPARC M7 with an ATU, a 64-bit device",
                          partial(sun4v, "m7-atu", (1 << 64) - 1, {"atu_base": 1 << 44})),
            MachineConfig("m7-32bit", "SPARC M7 with an ATU, a 32-bit device",
                          partial(sun4v, "m7-32bit", 0xFFFFFFFF, {"atu_base": 1 << 44})),
            MachineConfig("ldom", "a logical domain whose hypervisor maps 3 entries a call, 4 MiB window",
                          partial(sun4v, "ldom", 0xFFFFFFFF, {"most": 3, "size": 0x400000})),
        ),
        p2pdma=False,
        walker="Hypervisor",
        proof="compiled",
        known=(
            Known("DMA-09", "arch/sparc/kernel/pci_sun4v.c: dma_4v_map_sg", SPAN,
                  checks=("segments_keep_to_the_boundary",)),
            Known("DMA-13", "arch/sparc/kernel/pci_sun4v.c: dma_4v_map_sg",
                  "a list that fails is not demapped, as far as it had reached the hypervisor", ("ldom",),
                  checks=("failure_releases_all",)),
            Known("DMA-27", "arch/sparc/kernel/pci_sun4v.c: dma_4v_supported", MASK),
            Known("DMA-28", "arch/sparc/kernel/pci_sun4v.c: dma_4v_supported, dma_4v_alloc_coherent", MASK),
            Known("DMA-41", "arch/sparc/kernel/pci_sun4v.c: dma_4v_unmap_sg", STOPS),
            MERGES_UNASKED,
            BOUNDARY_HANGS_ALLOC,
            Known("DMA-30", "arch/sparc/kernel/pci_sun4v.c: dma_4v_alloc_coherent",
                  "coherent memory is aligned to a page of bus addresses, not to its order"),
        ),
    ),
)
