# SPDX-License-Identifier: MIT
"""ia64: HP's I/O controllers of the zx1 and sx1000 families."""

from __future__ import annotations

from functools import partial

from dma_ops import Device, Machine

from ..record import MERGES_UNASKED, BackendRecord, Known, MachineConfig
from .ioc import Ioc
from .sba_iommu import SbaOps

__all__ = ["RECORDS", "Ioc", "SbaOps", "machine"]

GB = 1 << 30


def machine(name: str, *, page_shift: int = 14, high: int = 2 * GB) -> Machine:
    """An ia64 with RAM around the hole that the window of bus addresses takes: 1 GiB from 0, high bytes from 4 GiB."""
    return Machine(name, arch="ia64", page_shift=page_shift, ram=((0, GB), (4 * GB, 4 * GB + high)), zone_dma_bits=32)


def _build(page_shift: int, iovp_shift: int, agp: bool, mask: int, high: int) -> Device:
    m = machine("ia64-sba", page_shift=page_shift, high=high)
    return Device("0000:00:02.0", m, dma_ops=SbaOps(m, GB, iovp_shift=iovp_shift, agp=agp), mask=mask)


def _config(name: str, facts: str, page_shift: int, *, iovp_shift: int = 0, agp: bool = False,
            mask: int = 0xFFFFFFFF, high: int = 2 * GB) -> MachineConfig:
    return MachineConfig(name, facts, partial(_build, page_shift, iovp_shift, agp, mask, high))


ODD_ADDRESSES = ("sba_iommu.c: sba_coalesce_chunks, sba_fill_pdir",
                 "PIDE_FLAG is bit 0 of dma_address, where the offset's bit 0 is too: a list's segment that begins at "
                 "an odd address is mapped one byte too low")

RECORDS = (
    BackendRecord(
        id="sba_dma_ops",
        ops=SbaOps,
        source=("arch/ia64/hp/common/sba_iommu.c: sba_dma_ops and what it calls, ioc_iova_init, ioc_resource_init",),
        machines=(
            _config("zx1-16k", "16 KiB pages, window 1G@1G", 14),
            _config("zx1-4k", "4 KiB pages, window 1G@1G", 12),
            _config("zx1-64bit", "16 KiB pages, RAM to 9 GiB, a 64-bit device: single mappings bypass", 14,
                    mask=(1 << 64) - 1, high=5 * GB),
            _config("zx1-64k-agp", "64 KiB pages, the upper half of the window left to AGP", 16, agp=True),
            _config("sx1000", "16 KiB pages, table pages of 4 KiB", 14, iovp_shift=12),
        ),
        p2pdma=False,
        walker="Ioc: 64-bit little-endian entries, bit 63 valid, bits 39..12 frame; outside the window untranslated",
        proof="compiled",
        known=(
            Known(("DMA-01", "DMA-04", "DMA-05", "DMA-06", "DMA-07", "DMA-08", "DMA-09", "DMA-20", "DMA-36", "DMA-39"),
                  *ODD_ADDRESSES),
            Known("DMA-21", *ODD_ADDRESSES, checks=("ownership_moves", "unwritten_bytes_stay", "random_programs")),
            MERGES_UNASKED,
            Known("DMA-13", "sba_iommu.c: sba_map_sg_attrs",
                  "a list that runs out of bus addresses leaks those that it had got: they are unwound while they are "
                  "still flag and index, which look like bypassed addresses",
                  checks=("failure_releases_all",)),
            Known("DMA-13", "sba_iommu.c: sba_alloc_coherent", "pages that cannot be mapped are not freed",
                  checks=("failed_allocations_release_all",)),
            Known("DMA-18", "sba_iommu.c: sba_io_pdir_entry",
                  "an entry has no permission bits: the direction is ignored"),
            Known("DMA-27", "sba_iommu.c: sba_map_page",
                  "only the first byte is compared with the mask before the IOMMU is bypassed", ("zx1-64bit",)),
            Known("DMA-30", "sba_iommu.c: sba_alloc_coherent",
                  "a range is aligned to its power of two only up to 64 pages of the table, to 64 pages beyond",
                  ("zx1-16k", "zx1-4k", "zx1-64k-agp", "sx1000")),
            Known("DMA-41", "sba_iommu.c: get_iovp_order",
                  "no bytes at a page's start get an address that nobody reserved; unmapping it invalidates another's"),
        ),
        stale="outside its window the controller lets every address through",
    ),
)
