# SPDX-License-Identifier: MIT
"""Host bridges that are known to forward peer requests: pci_p2pdma_whitelist[] of drivers/pci/p2pdma.c, as data."""

from __future__ import annotations

REQ_SAME_HOST_BRIDGE = 1 << 0       # not from one host bridge to another

INTEL = 0x8086
PCI_ANY_ID = -1

# (vendor, device of the first function on the root bus, flags), by the first kernel version that has the row
_SINCE = (
    (601, (
        (INTEL, 0x3c00, REQ_SAME_HOST_BRIDGE),      # Xeon E5, Core i7: Sandy Bridge
        (INTEL, 0x3c01, REQ_SAME_HOST_BRIDGE),
        (INTEL, 0x2f00, REQ_SAME_HOST_BRIDGE),      # Xeon E7 v3, E5 v3, Core i7: Haswell
        (INTEL, 0x2f01, REQ_SAME_HOST_BRIDGE),
        (INTEL, 0x2030, 0),                         # Skylake-E
        (INTEL, 0x2031, 0),
        (INTEL, 0x2032, 0),
        (INTEL, 0x2033, 0),
        (INTEL, 0x2020, 0),
        (INTEL, 0x09a2, 0),                         # Ice Lake and every later Xeon
    )),
    (700, (
        (INTEL, 0x0c08, REQ_SAME_HOST_BRIDGE),      # Haswell, client
        *((INTEL, device, 0) for device in (0x0b25, 0x0cfe, 0x11fb, 0x1212, 0x1216)),       # DSA, IAA
        *((INTEL, device, 0) for device in (0x4940, 0x4942, 0x4944, 0x4946, 0x4948)),       # QAT
        (0x1ae0, PCI_ANY_ID, 0),                    # Google
        *((0x10de, device, 0) for device in (0x2f95, 0x2f96, 0x2f97, 0x2f98)),              # NVIDIA CPUs
        *((0x1d17, device, REQ_SAME_HOST_BRIDGE) for device in (0x1003, 0x1005, 0x1006, 0x1007)),   # Zhaoxin
        (0x1d17, 0x1008, 0),
        (0x1ded, 0x8000, 0),                        # Alibaba Yitian
    )),
)


def whitelist(kernel: int) -> tuple[tuple[int, int, int], ...]:
    """The rows of a kernel version (100 * major + minor; 6.1 and 6.12 have the same)."""
    return tuple(row for since, rows in _SINCE if since <= kernel for row in rows)
