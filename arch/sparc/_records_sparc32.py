# SPDX-License-Identifier: MIT
"""The records of 32-bit SPARC."""

from __future__ import annotations

from functools import partial
from typing import Any

from arch.record import COHERENT_MASK_UNREAD, BackendRecord, Known, MachineConfig
from dma_ops import Device, Machine

from .io_unit import IounitDmaOps
from .iommu_32 import SbusIommuDmaGflushOps, SbusIommuDmaOps, SbusIommuDmaPflushOps


def machine(name: str, megabytes: int) -> Machine:
    return Machine(name, arch="sparc32", bits=32, big_endian=True, ram=[(0, megabytes << 20)], table_base=0x70000000)


def sbus(kind: type[SbusIommuDmaOps], name: str, options: dict[str, Any]) -> Device:
    host = machine(name, 128)
    return Device("le", host, pci=False, dma_parms=False, coherent=False, dma_ops=kind(host, **options))


def sun4d() -> Device:
    host = machine("sparcserver1000", 512)
    return Device("sbi", host, pci=False, dma_parms=False, coherent=False, dma_ops=IounitDmaOps(host))


IGNORES_MASK = "any mask is accepted and none is looked at: addresses are from the top of 4 GiB"
NO_PERMISSIONS = "every IOPTE allows writes: a device can write what it was given to read"
KNOWN_SBUS = (
    Known("DMA-13", "arch/sparc/mm/iommu.c: __sbus_iommu_map_sg",
          "a list that fails leaves the entries before the failing one mapped",
          checks=("failure_releases_all",)),
    Known("DMA-15", "arch/sparc/mm/iommu.c: __sbus_iommu_map_page",
          "the last byte of the window has the address 0xffffffff, which is DMA_MAPPING_ERROR, and stays mapped",
          checks=("the_last_byte_is_no_error",)),
    Known("DMA-18", "arch/sparc/mm/iommu.c: IOPERM", NO_PERMISSIONS),
    Known("DMA-27", "arch/sparc/mm/iommu.c: sbus_iommu_dma_gflush_ops", IGNORES_MASK),
    COHERENT_MASK_UNREAD,
    Known("DMA-30", "arch/sparc/mm/iommu.c: sbus_iommu_alloc",
          "addresses of coherent memory are aligned to a page, not to their order, the CPU's and the bus's"),
    Known(("DMA-31", "DMA-38", "DMA-45"), "arch/sparc/mm/iommu.c: sbus_iommu_free",
          "frees the page of a DVMA address that is no linear address, and dies unless the size is whole pages",
          checks=("coherent_memory_is_released", "attributes_are_repeated", "pools_keep_align_and_boundary")),
)
SOURCE_SBUS = ("arch/sparc/mm/iommu.c: sbus_iommu_*", "arch/sparc/lib/bitext.c: bit_map_string_get, bit_map_clear",
               "arch/sparc/kernel/ioport.c: sparc_dma_alloc_resource")

RECORDS = (
    BackendRecord(
        id="sbus_iommu_dma_gflush_ops",
        ops=SbusIommuDmaGflushOps,
        source=SOURCE_SBUS,
        machines=(
            MachineConfig("ss20", "SPARCstation 20, SuperSPARC with MXCC",
                          partial(sbus, SbusIommuDmaGflushOps, "ss20", {"viking_mxcc": 1})),
            MachineConfig("ss20-hypersparc", "SPARCstation 20, HyperSPARC with a 256 KiB cache: 64 colours",
                          partial(sbus, SbusIommuDmaGflushOps, "ss20-hypersparc",
                                  {"hypersparc": 1, "vac_cache_size": 0x40000})),
            MachineConfig("classic", "SPARCclassic, microSPARC (Tsunami)",
                          partial(sbus, SbusIommuDmaGflushOps, "classic", {})),
        ),
        p2pdma=False,
        walker="SbusIommu",
        proof="recorded",
        known=KNOWN_SBUS,
    ),
    BackendRecord(
        id="sbus_iommu_dma_pflush_ops",
        ops=SbusIommuDmaPflushOps,
        source=SOURCE_SBUS,
        machines=(
            MachineConfig("ss5", "SPARCstation 5, microSPARC-II (Swift)",
                          partial(sbus, SbusIommuDmaPflushOps, "ss5", {})),
            MachineConfig("ss10", "SPARCstation 10, SuperSPARC without MXCC",
                          partial(sbus, SbusIommuDmaPflushOps, "ss10", {})),
        ),
        p2pdma=False,
        walker="SbusIommu",
        proof="recorded",
        known=(
            *KNOWN_SBUS,
            Known("DMA-37", "arch/sparc/mm/iommu.c: __sbus_iommu_map_page",
                  "flushes each page, whatever the attributes"),
        ),
    ),
    BackendRecord(
        id="iounit_dma_ops",
        ops=IounitDmaOps,
        source=("arch/sparc/mm/io-unit.c: iounit_*", "arch/sparc/kernel/ioport.c: sparc_dma_alloc_resource"),
        machines=(MachineConfig("sparcserver1000", "SPARCserver 1000 (sun4d), one IO-UNIT", sun4d),),
        p2pdma=False,
        walker="IoUnit",
        proof="compiled",
        known=(
            Known("DMA-11", "arch/sparc/mm/io-unit.c: iounit_get_area",
                  "running out of entries is a panic, and map_sg does not look at the length"),
            Known("DMA-18", "arch/sparc/mm/io-unit.c: IOPERM", NO_PERMISSIONS),
            Known("DMA-27", "arch/sparc/mm/io-unit.c: iounit_dma_ops", IGNORES_MASK),
            COHERENT_MASK_UNREAD,
            Known("DMA-30", "arch/sparc/mm/io-unit.c: iounit_alloc",
                  "addresses of coherent memory are aligned to a page, not to their order"),
            Known(("DMA-31", "DMA-38", "DMA-45"), "arch/sparc/mm/io-unit.c: iounit_free",
                  "is empty: coherent memory is never freed",
                  checks=("coherent_memory_is_released", "attributes_are_repeated", "pools_keep_align_and_boundary")),
        ),
        stale="iounit_unmap_page and iounit_unmap_sg clear the bitmap only; IOPTEs stay valid",
    ),
)
