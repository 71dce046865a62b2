# SPDX-License-Identifier: MIT
"""MIPS Jazz, the only MIPS machines with a dma_map_ops table of their own."""

from __future__ import annotations

from functools import partial

from arch.record import BackendRecord, Known, MachineConfig
from dma_ops import Device, Machine

from .jazzdma import JazzDmaOps


def build(name: str, bits: int, big_endian: bool) -> Device:
    machine = Machine(name, arch="mips" if bits == 32 else "mips64", bits=bits, big_endian=big_endian,
                      ram=[(0, 128 << 20)], need_sg_dma_length=False, cached=True, table_base=0x1FFF0000)
    return Device("scsi", machine, pci=False, coherent=False, dma_ops=JazzDmaOps(machine))


RECORDS = (
    BackendRecord(
        id="jazz_dma_ops",
        ops=JazzDmaOps,
        source=("arch/mips/jazz/jazzdma.c: vdma_alloc, vdma_free, jazz_dma_*",
                "arch/mips/include/asm/jazzdma.h: VDMA_PGTBL_ENTRY"),
        machines=(
            MachineConfig("pica61", "Acer PICA-61: 32-bit little-endian, 128 MiB", partial(build, "pica61", 32, False)),
            MachineConfig("magnum4000", "Magnum 4000: 32-bit big-endian, 128 MiB",
                          partial(build, "magnum4000", 32, True)),
            MachineConfig("pica61-64", "Acer PICA-61 under a 64-bit kernel", partial(build, "pica61-64", 64, False)),
        ),
        p2pdma=False,
        walker="R4030",
        proof="recorded",
        known=(
            Known("DMA-09", "arch/mips/jazz/jazzdma.c: vdma_alloc",
                  "takes the first free entries, without a look at the segment boundary"),
            Known("DMA-30", "arch/mips/jazz/jazzdma.c: jazz_dma_alloc, vdma_alloc",
                  "bus addresses of coherent memory are aligned to 4 KiB, not to their order"),
            Known("DMA-13", "arch/mips/jazz/jazzdma.c: jazz_dma_map_sg",
                  "a list that fails leaves the entries before the failing one mapped",
                  checks=("failure_releases_all",)),
            Known("DMA-18", "arch/mips/jazz/jazzdma.c: vdma_alloc",
                  "the table has no permission bits: a device can write what it was given to read"),
            Known("DMA-27", "arch/mips/jazz/jazzdma.c: jazz_dma_ops",
                  "no dma_supported and no test of the mask: addresses up to 24 bits whatever the mask"),
        ),
        stale="vdma_free leaves the frame in the table, which has no valid bit",
    ),
)
