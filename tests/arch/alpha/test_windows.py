# SPDX-License-Identifier: MIT
"""Alpha host bridges: window registers as the chips lay them out, and what the chips make of an address."""

from __future__ import annotations

import pytest

from arch.alpha import AlphaPciOps, PciWindows, machine
from arch.alpha.chipsets import (
    APECS,
    CHIPSETS,
    CIA,
    GB,
    LCA,
    MB,
    MCPCIA,
    PYXIS,
    T2,
    TSUNAMI,
    WILDFIRE,
    Chipset,
    window_size,
)
from dma_ops import Device, DmaFault


def device(chipset: Chipset) -> Device:
    m = machine("m", 1 * GB)
    return Device("d", m, dma_ops=AlphaPciOps(m, chipset))


@pytest.mark.parametrize(
    ("chipset", "direct", "isa", "shift"),
    [
        pytest.param(TSUNAMI, 0x80000001, 0x800003, 0, id="tsunami"),
        pytest.param(MCPCIA, 0x80000001, 0x800003, 8, id="mcpcia"),
        pytest.param(CIA, 0x80000001, 0x800003, 2, id="cia"),
        pytest.param(APECS, 0x40080000, 0x8C0000, 1, id="apecs"),
        pytest.param(LCA, 0x240000000, 0x300800000, 0, id="lca"),
        pytest.param(T2, 0x80080000, 0x8C0000, 1, id="t2"),
    ],
)
def test_registers(chipset: Chipset, direct: int, isa: int, shift: int) -> None:
    ops = AlphaPciOps(machine("m", 1 * GB), chipset)
    assert ops.walker.registers[0] == (direct, (chipset.direct_size - 1) & 0xFFF00000, 0)
    assert ops.walker.registers[1] == (isa, 0x700000, ops.arenas["sg_isa"]["ptes"] >> shift)


@pytest.mark.parametrize(("ram", "size"),
                         [(96 * MB, 128 * MB), (256 * MB, 256 * MB), (1 * GB, 1 * GB), (6 * GB, 1 * GB)])
def test_size_for_memory(ram: int, size: int) -> None:
    assert TSUNAMI.sg_pci is not None
    assert window_size(TSUNAMI.sg_pci, ram) == size


@pytest.mark.parametrize(("ram", "offset"), [(4 * GB, 0x200000000), (4 * GB + MB, 0)])
def test_cia_gives_dac_up_beyond_4G(ram: int, offset: int) -> None:
    assert AlphaPciOps(machine("m", ram), CIA).dac_offset == offset


@pytest.mark.parametrize(
    ("chipset", "address", "phys", "run"),
    [
        pytest.param(TSUNAMI, 0x80001234, 0x1234, 0x7FFFEDCC, id="direct"),
        pytest.param(TSUNAMI, (1 << 40) + 0x123456789, 0x123456789, (1 << 40) - 0x123456789, id="monster-window"),
        pytest.param(WILDFIRE, 0x7FFFFFFF, 0x3FFFFFFF, 1, id="first-of-two-direct-windows"),
        pytest.param(WILDFIRE, 0x80000000, 0x40000000, 0x40000000, id="second-of-two-direct-windows"),
        pytest.param(CIA, 0x2FFFFFFFF, 0xFFFFFFFF, 1, id="cia-dac-ends-after-4G"),
    ],
)
def test_open_windows(chipset: Chipset, address: int, phys: int, run: int) -> None:
    dev = device(chipset)
    assert dev.dma_ops is not None
    assert dev.dma_ops.walker.lookup(dev, address) == (phys, run)


@pytest.mark.parametrize(
    ("chipset", "address", "reason"),
    [
        pytest.param(TSUNAMI, 0x40000000, "not-present", id="empty-pte"),
        pytest.param(TSUNAMI, 0x1000, "out-of-range", id="no-window"),
        pytest.param(APECS, 0x80000000, "out-of-range", id="above-1G@1G"),
        pytest.param(APECS, 1 << 40, "out-of-range", id="no-dac"),
        pytest.param(CIA, 0x300000000, "out-of-range", id="beyond-the-dac-window"),
        pytest.param(PYXIS, 0x200000000, "out-of-range", id="bit-40-clear"),
    ],
)
def test_faults(chipset: Chipset, address: int, reason: str) -> None:
    with pytest.raises(DmaFault) as fault:
        device(chipset).dma_read(address, 1)
    assert fault.value.reason == reason


@pytest.mark.parametrize("pte", [0x2, 0xFACE], ids=["allocated", "reserved-for-agp"])
def test_taken_but_invalid(pte: int) -> None:
    m = machine("m", 1 * GB)
    ops = AlphaPciOps(m, TSUNAMI)
    m.mem.poke(ops.arenas["sg_pci"]["ptes"], pte.to_bytes(8, "little"))
    with pytest.raises(DmaFault) as fault:
        Device("d", m, dma_ops=ops).dma_read(0x40000000, 1)
    assert fault.value.reason == "not-present"


def test_table_base_is_concatenated() -> None:
    m = machine("m", 1 * GB)
    walker = PciWindows(m, [(0x800003, 0x700000, 0x21000)], enable_bit=1, sg_bit=2)
    m.mem.poke(0x20000, 0x11.to_bytes(8, "little"))         # the base's low bits are not wired
    assert walker.lookup(Device("d", m), 0x800010) == (0x10010, 0x1FF0)


def test_a_table_must_be_aligned_to_its_size() -> None:
    with pytest.raises(ValueError, match="not aligned"):
        AlphaPciOps(machine("m", 1 * GB), TSUNAMI, tables={"sg_isa": 0x21000})


def test_a_chip_has_four_windows() -> None:
    with pytest.raises(ValueError, match="5 windows"):
        PciWindows(machine("m", 1 * GB), [(0, 0, 0)] * 5, enable_bit=1, sg_bit=2)


def test_every_chipset_starts_at_its_direct_base() -> None:
    for chipset in CHIPSETS.values():
        dev = device(chipset)
        assert dev.dma_ops is not None
        assert dev.dma_ops.walker.lookup(dev, chipset.direct_base + 5)[0] == 5
