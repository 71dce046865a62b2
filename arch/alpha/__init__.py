# SPDX-License-Identifier: MIT
"""Alpha: the PCI host bridges of arch/alpha/kernel/core_*.c behind one dma_map_ops table."""

from __future__ import annotations

from functools import partial

from dma_ops import Device, Machine

from ..record import MERGES_UNASKED, BackendRecord, Known, MachineConfig
from .chipsets import (
    APECS,
    CHIPSETS,
    CIA,
    CIA_TLB_BUG,
    GB,
    IRONGATE,
    LCA,
    MARVEL,
    MB,
    MCPCIA,
    POLARIS,
    PYXIS,
    T2,
    TITAN,
    TSUNAMI,
    WILDFIRE,
    Chipset,
)
from .pci_iommu import AlphaPciOps
from .windows import PciWindows

__all__ = ["CHIPSETS", "RECORDS", "AlphaPciOps", "Chipset", "PciWindows", "machine"]


def machine(name: str, ram: int) -> Machine:
    """An Alpha with ram bytes of memory from 0 on: 64 bits, 8 KiB pages, no chained scatterlists."""
    return Machine(name, arch="alpha", page_shift=13, ram=((0, ram),), arch_no_sg_chain=True)


def _build(chipset: Chipset, ram: int, cypress: bool, mask: int) -> Device:
    m = machine(f"alpha-{chipset.name}", ram)
    ops = AlphaPciOps(m, chipset, cypress=cypress)
    ops.isa_bridge = Device("isa-bridge", m, dma_ops=ops)
    return Device("0000:00:02.0", m, dma_ops=ops, mask=mask)


def _config(chipset: Chipset, ram: int, facts: str, *, suffix: str = "", cypress: bool = False,
            mask: int = 0xffffffff) -> MachineConfig:
    return MachineConfig(chipset.name + suffix, facts, partial(_build, chipset, ram, cypress, mask))


_MACHINES = (
    _config(TSUNAMI, 256 * MB, "direct 2G@2G, sg_isa 8M@8M, sg_pci 256M@1G, DAC at 2^40"),
    _config(TSUNAMI, 6 * GB, "the same, sg_pci 1G@1G, most RAM beyond the direct window", suffix="-6g"),
    _config(TSUNAMI, 6 * GB, "the same, 64-bit device: DAC", suffix="-dac", mask=(1 << 64) - 1),
    _config(TSUNAMI, 256 * MB, "the same, 24-bit device: sg_isa", suffix="-isa", mask=0xffffff),
    _config(TSUNAMI, 6 * GB, "direct window cut to end below 0xfff00000", suffix="-cypress", cypress=True),
    _config(TITAN, 6 * GB, "direct 1G@2G, sg_pci 1G@3G, 8 PTEs at a time for ISA, DAC at 2^40"),
    _config(TITAN, 6 * GB, "sg_pci cut to end below 0xfff00000", suffix="-cypress", cypress=True),
    _config(MARVEL, 6 * GB, "direct 1G@2G, sg_pci 1G@3G, 8 PTEs at a time, DAC at 2^49"),
    _config(MCPCIA, 2 * GB, "direct 2G@2G, sg_pci 1G@1G, DAC at 2^40"),
    _config(WILDFIRE, 4 * GB, "direct 2G@1G in two windows, sg_pci 128M@3G"),
    _config(CIA, 1 * GB, "direct 2G@2G, sg_isa only, DAC of 4G at 8G"),
    _config(CIA_TLB_BUG, 4 * GB, "the same with allocations aligned to 4 PTEs"),
    _config(PYXIS, 4 * GB, "direct 2G@2G, sg_isa only, DAC at 2^40"),
    _config(APECS, 512 * MB, "direct 1G@1G, sg_isa only"),
    _config(LCA, 512 * MB, "direct 1G@1G, sg_isa only"),
    _config(T2, 2 * GB, "direct 2G@2G, sg_isa only"),
    _config(POLARIS, 1 * GB, "direct 2G@2G, no translation"),
    _config(IRONGATE, 2 * GB, "direct 4G-1@0, no translation"),
)
_NO_SG = (POLARIS.name, IRONGATE.name)
_ALL = tuple(config.name for config in _MACHINES)
_SG = tuple(name for name in _ALL if name not in _NO_SG)
# where the direct window does not hold all RAM, or not within the mask
_ARENA = tuple(name for name in _SG if name not in (TSUNAMI.name, MCPCIA.name, CIA.name, APECS.name, LCA.name, T2.name))
# where an address that the coherent mask forbids can be had
_MASKED = tuple(name for name in _ALL if name not in (CIA_TLB_BUG.name, PYXIS.name, POLARIS.name))

RECORDS = (
    BackendRecord(
        id="alpha_pci_ops",
        ops=AlphaPciOps,
        source=("arch/alpha/kernel/pci_iommu.c: all of it",
                "arch/alpha/kernel/core_*.c: window set-up", "arch/alpha/kernel/pci.c: quirk_cypress"),
        machines=_MACHINES,
        p2pdma=False,
        walker="PciWindows: window registers in the chip's format, then 64-bit PTEs, bit 0 valid, from bit 1 the frame",
        proof="recorded",
        known=(
            Known("DMA-09", "pci_iommu.c: sg_classify, sg_fill",
                  "joins adjacent entries across the segment boundary; only the arena's allocator looks at it",
                  checks=("segments_keep_to_the_boundary",)),
            Known("DMA-18", "pci_iommu.c: mk_iommu_pte; the direct windows",
                  "a PTE has no permission bit and the direct windows take every access: the direction is ignored"),
            Known("DMA-27", "pci_iommu.c: alpha_pci_map_sg",
                  "without scatter-gather hardware a list of two or more entries is mapped whatever the mask",
                  (IRONGATE.name,)),
            Known("DMA-30", "pci_iommu.c: alpha_pci_alloc_coherent",
                  "bus addresses of coherent memory in the arena are aligned to align_entry pages, not to their order",
                  _ARENA),
            Known("DMA-11", "pci_iommu.c: sg_fill, iommu_arena_alloc",
                  "without scatter-gather hardware a list that the direct window does not hold is looked up in an "
                  "arena that is not there: an oops", _NO_SG),
            Known("DMA-28", "pci_iommu.c: pci_map_single_1",
                  "coherent memory is held against the streaming mask, never the coherent one", _MASKED),
            Known("DMA-41", "pci_iommu.c: alpha_pci_unmap_sg",
                  "stops at a segment of length 0, which a leading empty entry makes: the others are never unmapped",
                  _SG),
            MERGES_UNASKED,
        ),
        stale="the direct and DAC windows are always open, and a PTE freed below next_entry may stay in the chip's TLB "
              "until the search wraps",
    ),
)
