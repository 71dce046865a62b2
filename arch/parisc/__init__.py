# SPDX-License-Identifier: MIT
"""PA-RISC: the U2/Uturn and the Astro/Ike/Pluto I/O adapters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dma_ops import Device, Machine

from ..record import MERGES_UNASKED, BackendRecord, Known, MachineConfig
from .ccio_dma import CcioOps
from .ioa import CcioIoa, SbaIoc
from .sba_iommu import SbaOps

__all__ = ["RECORDS", "CcioIoa", "CcioOps", "SbaIoc", "SbaOps", "machine"]

MB = 1 << 20
GB = 1 << 30


def machine(name: str, ram: int, *, bits: int) -> Machine:
    """A PA-RISC with ram bytes of memory from 0 on: big endian, 4 KiB pages, no chained lists, tables below 4 GiB."""
    return Machine(name, arch="parisc", bits=bits, big_endian=True, ram=((0, ram),), arch_no_sg_chain=True,
                   table_base=0xE0000000)


def _device(m: Machine, ops: CcioOps | SbaOps) -> Device:
    # the adapters snoop by the coherence index; that dev->dma_coherent does not exist here means nothing
    return Device("dut", m, dma_ops=ops, coherent=True)


def _ccio(bits: int, ram: int, eisa: bool) -> Device:
    m = machine(f"parisc{bits}-ccio", ram, bits=bits)
    return _device(m, CcioOps(m, CcioOps.iova_space(ram, 1, bits), eisa=eisa))


def _sba(bits: int, ram: int, iocs: int, pluto: bool) -> Device:
    m = machine(f"parisc{bits}-{'pluto' if pluto else 'astro'}", ram, bits=bits)
    if pluto:
        return _device(m, SbaOps(m, GB, ibase=GB, pluto=True))
    return _device(m, SbaOps(m, SbaOps.iova_space(ram, iocs)))


def _config(name: str, facts: str, build: Callable[..., Device], *args: object) -> MachineConfig:
    return MachineConfig(name, facts, partial(build, *args))


_SHARED = (
    Known(("DMA-11", "DMA-16", "DMA-31"), "drivers/parisc/ccio-dma.c: ccio_alloc_range; sba_iommu.c: sba_alloc_range",
          "running out of bus addresses is not an error but a panic",
          checks=("errors_are_allowed", "failed_pages_are_errors", "failed_allocations_are_errors")),
    Known("DMA-31", "drivers/parisc/ccio-dma.c: ccio_alloc_range; sba_iommu.c: sba_search_bitmap",
          "no place suits coherent memory that is larger than the segment boundary, which is one of lists: a panic",
          checks=("coherent_memory_beyond_the_boundary",)),
    MERGES_UNASKED,
    Known("DMA-34", "drivers/parisc/ccio-dma.c: ccio_ops; sba_iommu.c: sba_ops",
          "without max_mapping_size nobody is told of the allocator's largest unit: see the backend"),
    Known("DMA-18", "drivers/parisc/ccio-dma.c: ccio_io_pdir_entry; sba_iommu.c: sba_io_pdir_entry",
          "an entry has no permission bits: the direction is ignored, or only chooses hints"),
    Known("DMA-41", "iommu-helpers.h: iommu_fill_pdir",
          "an entry of a list takes a table entry even if its length is 0, so one is written beyond the stream"),
)

RECORDS = (
    BackendRecord(
        id="ccio_ops",
        ops=CcioOps,
        source=("drivers/parisc/ccio-dma.c: ccio_ops and what it calls, ccio_ioc_init",
                "drivers/parisc/iommu-helpers.h: all of it"),
        machines=(
            _config("c360-64", "64-bit, 1 GiB RAM, window 1G@0, units of up to 64 pages", _ccio, 64, GB, False),
            _config("c200-32", "32-bit, 256 MiB RAM, window 256M@0, units of up to 32 pages", _ccio, 32, 256 * MB,
                    False),
            _config("d-class-eisa", "64-bit, 64 MiB RAM, window 64M@0, STOP_MOST in every entry", _ccio, 64, 64 * MB,
                    True),
        ),
        p2pdma=False,
        walker="CcioIoa: two big-endian words, bit 0 of the second valid, 40 to 52 bits of physical address",
        proof="recorded",
        known=(
            *_SHARED,
            Known("DMA-11", "drivers/parisc/ccio-dma.c: ccio_alloc_range",
                  "more pages than a word of the map has bits, 32 or 64, are BUG_ON(), not an error",
                  checks=("oversized_entries_are_errors",)),
        ),
    ),
    BackendRecord(
        id="sba_ops",
        ops=SbaOps,
        source=("drivers/parisc/sba_iommu.c: sba_ops and what it calls, sba_ioc_init, sba_ioc_init_pluto",
                "drivers/parisc/iommu-helpers.h: all of it"),
        machines=(
            _config("c3000-32", "Astro, 32-bit, 512 MiB RAM, window 256M@0", _sba, 32, 512 * MB, 1, False),
            _config("j6000-64", "Astro, 64-bit, 2 GiB RAM, window 1G@0", _sba, 64, 2 * GB, 1, False),
            _config("n4000-64", "Ike, 64-bit, 2 GiB RAM, two IOCs, window 512M@0", _sba, 64, 2 * GB, 2, False),
            _config("c8000-64", "Pluto, 64-bit, 2 GiB RAM, window 1G@1G", _sba, 64, 2 * GB, 1, True),
        ),
        p2pdma=False,
        walker="SbaIoc: 64-bit little-endian entries, bit 63 valid, bits 43..12 frame, bits 7..0 virtual index",
        proof="recorded",
        known=(
            *_SHARED,
            Known("DMA-01", "sba_iommu.c: sba_map_sg, sba_unmap_page",
                  "a list whose head's offset is a page or more leaks the bits of the pages that it skips",
                  checks=("offset_beyond_the_page",)),
            Known("DMA-30", "sba_iommu.c: sba_search_bitmap",
                  "a range longer than half a word of the map is aligned to a word of pages, 32 or 64"),
            Known(("DMA-02", "DMA-06"), "drivers/parisc/sba_iommu.c: sba_search_bitmap",
                  "a range of more pages than a word of the map has bits, 32 or 64, takes one word at most: later "
                  "mappings are written over its entries",
                  checks=("large_maps_keep_apart", "large_entries_lead_to_each_page")),
            Known("DMA-11", "drivers/parisc/sba_iommu.c: sba_alloc_range; iommu-helpers.h: iommu_fill_pdir",
                  "so nothing fails that is too large: entries are written behind the end of the table",
                  checks=("oversized_entries_are_errors",)),
            Known("DMA-41", "sba_iommu.c: sba_search_bitmap",
                  "a stream of no bytes takes a whole word of the map and is never freed"),
        ),
    ),
)
