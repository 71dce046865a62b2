# SPDX-License-Identifier: MIT
"""The host bridges of Alpha machines as data (arch/alpha/kernel/core_*.c and sys_*.c, Linux 6.1).

Addresses and sizes are in bytes. Every chipset that translates has its ISA window at 8 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

MB = 1 << 20
GB = 1 << 30

SCALED = 0      # a window that is sized by size_for_memory(1 GiB): memory rounded up to a power of two, at most that


@dataclass(frozen=True, slots=True)
class Registers:
    """How a chip lays out its window registers: the enable and scatter-gather bits of the base register, and by how
    many bits the table's address is shifted right."""

    enable: int = 0x1
    sg: int = 0x2
    tbase_shift: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """A translated window: dma_base, size (or SCALED), align_entry in PTEs and the least alignment of its table."""

    base: int
    size: int
    align_entry: int = 1
    table_align: int = 64


@dataclass(frozen=True, slots=True)
class Chipset:
    """direct_base and direct_size are Linux's variables; direct_windows what the chip has if that differs:
    (base, size, physical address) each. dac_offset 0: no dual address cycles. tbi: alpha_mv.mv_pci_tbi is set. tbiv: it
    can also invalidate the eight pages of one TLB tag."""

    name: str
    direct_base: int
    direct_size: int
    sg_isa: Window | None = None
    sg_pci: Window | None = None
    dac_offset: int = 0
    dac_size: int = 0
    dac_ram_limit: int = 0      # DAC only if all of RAM lies below; 0: always
    tbi: bool = True
    tbiv: bool = False
    registers: Registers = Registers()
    direct_windows: tuple[tuple[int, int, int], ...] = ()


def _isa(align_entry: int = 1, table_align: int = 64) -> Window:
    return Window(8 * MB, 8 * MB, align_entry, table_align)


TSUNAMI = Chipset("tsunami", 2 * GB, 2 * GB, _isa(4), Window(1 * GB, SCALED, 4), 1 << 40, 1 << 40,
                  tbiv=True)
TITAN = Chipset("titan", 2 * GB, 1 * GB, _isa(8), Window(3 * GB, 1 * GB, 4), 1 << 40, 1 << 40, tbiv=True)
MARVEL = Chipset("marvel", 2 * GB, 1 * GB, _isa(8), Window(3 * GB, 1 * GB, 8), 1 << 49, 1 << 49)
MCPCIA = Chipset("mcpcia", 2 * GB, 2 * GB, _isa(), Window(1 * GB, SCALED), 1 << 40, 1 << 40,
                 registers=Registers(tbase_shift=8))
WILDFIRE = Chipset("wildfire", 1 * GB, 2 * GB, _isa(), Window(3 * GB, 128 * MB),
                   direct_windows=((1 * GB, 1 * GB, 0), (2 * GB, 1 * GB, 1 * GB)))

# A CIA compares the high half of a dual address with one register, so it claims 4 GiB, and only if they hold all RAM.
CIA = Chipset("cia", 2 * GB, 2 * GB, _isa(table_align=32768), None, 0x200000000, 4 * GB, 4 * GB,
              registers=Registers(tbase_shift=2))
CIA_REV1 = replace(CIA, name="cia-rev1", dac_offset=0, dac_size=0)
# where the chip fails the valid-tag-invalid-pte test of verify_tb_operation()
CIA_TLB_BUG = replace(CIA, name="cia-tlb-bug", sg_isa=_isa(4, 32768))
PYXIS = replace(CIA, name="pyxis", dac_offset=1 << 40, dac_size=1 << 40, dac_ram_limit=0)

APECS = Chipset("apecs", 1 * GB, 1 * GB, _isa(), registers=Registers(0x80000, 0x40000, 1))
LCA = Chipset("lca", 1 * GB, 1 * GB, _isa(), registers=Registers(2 << 32, 1 << 32))
T2 = Chipset("t2", 2 * GB, 2 * GB, _isa(), registers=Registers(0x80000, 0x40000, 1))

# without scatter-gather hardware
POLARIS = Chipset("polaris", 2 * GB, 2 * GB, tbi=False)
IRONGATE = Chipset("irongate", 0, 0xffffffff, tbi=False, direct_windows=((0, 4 * GB, 0),))

CHIPSETS = {chip.name: chip for chip in (TSUNAMI, TITAN, MARVEL, MCPCIA, WILDFIRE, CIA, CIA_REV1, CIA_TLB_BUG, PYXIS,
                                         APECS, LCA, T2, POLARIS, IRONGATE)}

CYPRESS_ROM = 0xfff00000        # where a Cy82C693 ISA bridge answers for its ROM


def cypress(chip: Chipset, ram: int) -> tuple[int, int]:
    """(direct_size, size of sg_pci) beside a Cypress ISA bridge: one of the two is cut (pci.c, quirk_cypress)."""
    direct = chip.direct_size
    pci = 0 if chip.sg_pci is None else window_size(chip.sg_pci, ram)
    if chip.direct_base + direct >= CYPRESS_ROM:
        direct = CYPRESS_ROM - chip.direct_base
    elif chip.sg_pci is not None and chip.sg_pci.base + pci >= CYPRESS_ROM:
        pci = CYPRESS_ROM - chip.sg_pci.base
    return direct, pci


def window_size(window: Window, ram: int) -> int:
    """The window's size on a machine with ram bytes (pci_iommu.c, size_for_memory)."""
    if window.size != SCALED:
        return window.size
    return 1 << (ram - 1).bit_length() if ram < GB else GB
