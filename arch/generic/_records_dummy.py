# SPDX-License-Identifier: MIT
"""The record of dma_dummy_ops."""

from __future__ import annotations

from functools import partial

from arch.record import BackendRecord, MachineConfig
from dma_ops import Device, Machine

from .dummy import DmaDummyOps


def build(page_shift: int) -> Device:
    machine = Machine(f"arm64-{1 << page_shift >> 10}k", arch="arm64", page_shift=page_shift,
                      ram=[(1 << 30, 2 << 30)], zone_dma_bits=32, pci_p2pdma=True)
    return Device("no-cca", machine, pci=False, coherent=False, dma_ops=DmaDummyOps())


RECORDS = (
    BackendRecord(
        id="dma_dummy_ops",
        ops=DmaDummyOps,
        source=("kernel/dma/dummy.c: dma_dummy_ops", "drivers/acpi/scan.c: acpi_dma_configure_id"),
        machines=(
            MachineConfig("arm64-4k", "ACPI device without _CCA, 4 KiB pages", partial(build, 12)),
            MachineConfig("arm64-64k", "ACPI device without _CCA, 64 KiB pages", partial(build, 16)),
        ),
        p2pdma=False,
        walker="NoWalker",
        proof="read",
    ),
)
