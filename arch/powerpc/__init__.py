# SPDX-License-Identifier: MIT
"""powerpc: tables of translation control entries and what hypervisors and game consoles put in their place."""

from __future__ import annotations

from ..record import BOUNDARY_HANGS_ALLOC, MERGES_UNASKED, BackendRecord, Known
from .dma_iommu import DirectWindow, DmaIommuOps
from .ibmebus import IbmebusDmaOps
from .iommu import IommuTable
from .machines import DMA_IOMMU_MACHINES, IBMEBUS_MACHINES, PS3_IOC0_MACHINES, PS3_SB_MACHINES, VIO_MACHINES
from .ps3_lv1 import LogicalMemory
from .ps3_mm import Ioc0Region, SbRegion
from .ps3_system_bus import Ps3Ioc0DmaOps, Ps3SbDmaOps
from .vio import VioCmo, VioDmaMappingOps

__all__ = [
    "RECORDS",
    "DirectWindow",
    "DmaIommuOps",
    "IbmebusDmaOps",
    "Ioc0Region",
    "IommuTable",
    "LogicalMemory",
    "Ps3Ioc0DmaOps",
    "Ps3SbDmaOps",
    "SbRegion",
    "VioCmo",
    "VioDmaMappingOps",
]

# machines whose device is mapped through the table, and not past it
_TABLE = tuple(config.name for config in DMA_IOMMU_MACHINES
               if config.name not in ("pseries-ddw", "powernv-64", "powernv-phb3", "g5-u4", "cell-fixed"))

_NO_MEMORY_IS_A_BUG = Known(
    "DMA-31", "arch/powerpc/platforms/ps3/system-bus.c: ps3_alloc_coherent",
    "BUG_ON of a string, which is never NULL: memory that cannot be mapped kills the kernel, and the code behind it "
    "that would free the pages is not reached", checks=("failed_allocations_are_errors",),
)

_NO_LISTS = Known(
    ("DMA-01", "DMA-03", "DMA-04", "DMA-05", "DMA-06", "DMA-07", "DMA-10", "DMA-11", "DMA-14", "DMA-18", "DMA-20",
     "DMA-21", "DMA-27", "DMA-37", "DMA-39", "DMA-41", "DMA-42", "route/host-memory"),
    "arch/powerpc/platforms/ps3/system-bus.c: ps3_ioc0_map_sg, ps3_sb_map_sg", "lists are a BUG",
)

BEYOND_THE_WINDOW = """\
from dma_ops import *
top = max(end for _, end in device.machine.ram_ranges) + (1 << 20)
addr = dma_map_phys(device, top, device.machine.page_size, DMA_TO_DEVICE, DMA_ATTR_MMIO)    # succeeds
try:
    device.dma_read(addr, 16)
except DmaFault:
    faulted = True
assert faulted
"""

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
                  "joins neighbours across the segment boundary, which binds each allocation alone",
                  tuple(name for name in _TABLE if name not in ("pseries-novmerge", "pseries-vio")),
                  checks=("segments_keep_to_the_boundary",)),
            Known("DMA-13", "arch/powerpc/kernel/iommu.c: ppc_iommu_map_sg",
                  "if the hypervisor runs out of resources, the I/O pages of the entry at hand leak", _TABLE,
                  checks=("failure_releases_all",)),
            Known("DMA-41", "arch/powerpc/kernel/iommu.c: ppc_iommu_map_sg",
                  "a leading entry of length 0 leaves slot 0 at length 0, where unmap stops: the list leaks",
                  _TABLE),
            Known("DMA-18", "arch/powerpc/sysdev/dart_iommu.c: dart_build; platforms/pasemi/iommu.c: iobmap_build",
                  "entries have no permission bits", ("g5-u3", "g5-u4", "pasemi")),
            Known(("DMA-01", "DMA-26", "DMA-27"),
                  "arch/powerpc/platforms/powernv/pci-ioda.c: pnv_pci_ioda_dma_64bit_bypass",
                  "rewrites window 0 to map RAM, for good: a device whose mask is lowered again gets addresses of a "
                  "table that the bridge no longer reads", ("powernv-phb3",),
                  checks=("crowded_mappings_keep_apart", "a_wider_mask_reaches_more", "a_failure_bars_no_wider_mask",
                          "addresses_keep_to_the_mask", "random_programs")),
            Known("NEW-02", "kernel/dma/direct.h: dma_direct_map_phys (kamalca/linux 4a80a8a0, 7.x)",
                  "past the table, device memory gets the direct window's offset like RAM, but the window maps RAM "
                  "only: the device faults", ("pseries-ddw", "powernv-64", "powernv-phb3", "g5-u4", "cell-fixed"),
                  reproducer=BEYOND_THE_WINDOW),
            MERGES_UNASKED.on("pseries", "pseries-4k", "pseries-bare", "pseries-ddw-pmem", "pseries-ddw-mapped",
                              "powernv", "powernv-4k", "g5-u3", "pasemi", "cell"),
            BOUNDARY_HANGS_ALLOC.on(*(name for name in _TABLE if name != "pseries-vio")),
        ),
        stale="a direct window stays open over all RAM; DART and PA Semi point cleared entries to a page of their own",
    ),
    BackendRecord(
        id="vio_dma_mapping_ops",
        ops=VioDmaMappingOps,
        source=("arch/powerpc/platforms/pseries/vio.c: vio_cmo_*, vio_dma_iommu_*",
                "arch/powerpc/kernel/iommu.c: iommu_*, ppc_iommu_*"),
        machines=VIO_MACHINES,
        p2pdma=False,
        walker="TceWalker: big-endian TCEs",
        proof="compiled",
        known=(
            Known("DMA-09", "arch/powerpc/kernel/iommu.c: ppc_iommu_map_sg",
                  "joins neighbours across the segment boundary, which binds each allocation alone",
                  checks=("segments_keep_to_the_boundary",)),
            Known("DMA-13", "arch/powerpc/kernel/iommu.c: ppc_iommu_map_sg",
                  "if the hypervisor runs out of resources, the I/O pages of the entry at hand leak",
                  checks=("failure_releases_all",)),
            Known("DMA-41", "arch/powerpc/kernel/iommu.c: ppc_iommu_map_sg",
                  "a leading entry of length 0 leaves slot 0 at length 0, where unmap stops: the list leaks"),
            Known("DMA-03", "arch/powerpc/platforms/pseries/vio.c: vio_dma_iommu_unmap_sg",
                  "counts the dma_length of every entry, stale ones behind the last segment too, and gives back more "
                  "than the list took of the entitlement", ("vio-4k", "vio-tight"),
                  checks=("stale_fields_are_written",)),
            MERGES_UNASKED.on("vio-4k", "vio-tight"),
        ),
    ),
    BackendRecord(
        id="ibmebus_dma_ops",
        ops=IbmebusDmaOps,
        source=("arch/powerpc/platforms/pseries/ibmebus.c: ibmebus_dma_ops",),
        machines=IBMEBUS_MACHINES,
        p2pdma=False,
        walker="EffectiveAddressWalker: the CPU's linear map",
        proof="compiled",
        known=(
            Known("DMA-18", "arch/powerpc/platforms/pseries/ibmebus.c: ibmebus_map_page",
                  "the direction is ignored: the adapter reaches all memory, both ways"),
            Known(("DMA-27", "DMA-28"), "arch/powerpc/platforms/pseries/ibmebus.c: ibmebus_map_page, "
                  "ibmebus_alloc_coherent", "addresses of 64 bits go to a device whose masks have 32", ("ibmebus-4k",)),
            Known("DMA-30", "arch/powerpc/platforms/pseries/ibmebus.c: ibmebus_alloc_coherent",
                  "coherent memory comes from kmalloc: aligned to its size class, not to a page"),
            Known("DMA-31", "arch/powerpc/platforms/pseries/ibmebus.c: ibmebus_alloc_coherent",
                  "coherent memory comes from kmalloc, and is not zeroed",
                  checks=("coherent_memory_is_zeroed",)),
        ),
        stale="there is no translation: the adapter reaches all of the linear map at any time",
    ),
    BackendRecord(
        id="ps3_sb_dma_ops",
        ops=Ps3SbDmaOps,
        source=("arch/powerpc/platforms/ps3/system-bus.c: ps3_sb_dma_ops", "arch/powerpc/platforms/ps3/mm.c: dma_sb_*"),
        machines=PS3_SB_MACHINES,
        p2pdma=False,
        walker="Lv1Segment: IOPTEs, and lv1's map of the partition's memory",
        proof="compiled",
        known=(
            Known("DMA-16", "arch/powerpc/platforms/ps3/system-bus.c: ps3_sb_map_page",
                  "a chunk that lv1 refuses is answered with address 0, which is no error", ("ps3-dynamic",),
                  checks=("failed_pages_are_errors",)),
            Known("DMA-16", "arch/powerpc/platforms/ps3/mm.c: dma_sb_lpar_to_bus",
                  "memory outside the region is a BUG instead of an error", ("ps3-offset",),
                  checks=("failed_pages_are_errors",)),
            Known("DMA-18", "arch/powerpc/platforms/ps3/system-bus.c: ps3_sb_map_page",
                  "the direction is ignored: every mapping may be read and written"),
            _NO_LISTS.on("ps3-dynamic"),
            _NO_MEMORY_IS_A_BUG.on("ps3-dynamic"),
            Known("DMA-41", "arch/powerpc/platforms/ps3/mm.c: dma_sb_map_area",
                  "length 0 makes a chunk of length 0, whose unmap frees the next one of that page", ("ps3-dynamic",)),
        ),
        stale="the linear build maps the region once and for all; a dynamic chunk stays until its last user has gone",
    ),
    BackendRecord(
        id="ps3_ioc0_dma_ops",
        ops=Ps3Ioc0DmaOps,
        source=("arch/powerpc/platforms/ps3/system-bus.c: ps3_ioc0_dma_ops",
                "arch/powerpc/platforms/ps3/mm.c: dma_ioc0_*"),
        machines=PS3_IOC0_MACHINES,
        p2pdma=False,
        walker="Lv1Segment: IOPTEs, and lv1's map of the partition's memory",
        proof="compiled",
        known=(
            Known("DMA-16", "arch/powerpc/platforms/ps3/system-bus.c: ps3_ioc0_map_page",
                  "an entry that lv1 refuses is answered with address 0, which is no error",
                  checks=("failed_pages_are_errors",)),
            Known(("DMA-01", "DMA-24", "DMA-50", "NEW-24"), "arch/powerpc/platforms/ps3/mm.c: dma_ioc0_map_area",
                  "a second mapping of the same I/O page is a BUG"),
            _NO_LISTS,
            _NO_MEMORY_IS_A_BUG,
            Known("DMA-30", "arch/powerpc/platforms/ps3/mm.c: dma_ioc0_map_pages",
                  "bus addresses follow one another, aligned to an I/O page and no more"),
            Known("DMA-41", "arch/powerpc/platforms/ps3/mm.c: dma_ioc0_map_pages",
                  "length 0 makes a chunk of length 0 at the address that the next mapping gets, and frees that one"),
        ),
    ),
)
