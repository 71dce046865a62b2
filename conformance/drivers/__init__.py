# SPDX-License-Identifier: MIT
"""Four drivers, each with its hardware: what becomes of a mapped list when a device has to work with it.

A driver turns (bus address, bytes) extents, wherever they come from, into the descriptors of its hardware and puts
them into coherent memory. The hardware is told where they begin, fetches them by its own DMA, and moves the bytes.
"""

from .base import DescriptorMemory, Driver, HardwareError
from .nvme import NvmePrp, NvmeSgl
from .rdma import MemoryRegions
from .ring import Ring

DRIVERS: dict[str, type[Driver]] = {driver.name: driver for driver in (NvmePrp, NvmeSgl, MemoryRegions, Ring)}

__all__ = [
    "DRIVERS", "DescriptorMemory", "Driver", "HardwareError", "MemoryRegions", "NvmePrp", "NvmeSgl", "Ring",
]
