# SPDX-License-Identifier: MIT
"""powerpc's machines as data: the CPU side, and the tables and windows of their host bridges."""

from __future__ import annotations

from functools import partial
from typing import Any

from dma_ops import Device, Machine, dma_set_mask_and_coherent

from ..record import MachineConfig
from .dma_iommu import DirectWindow, DmaIommuOps
from .ibmebus import IbmebusDmaOps
from .iommu import IommuTable
from .ps3_lv1 import LogicalMemory
from .ps3_mm import Ioc0Region, SbRegion
from .ps3_system_bus import Ps3Ioc0DmaOps, Ps3SbDmaOps
from .vio import VioCmo, VioDmaMappingOps

MB = 1 << 20
GB = 1 << 30


def machine(name: str, *, page_shift: int = 16, big_endian: bool = False, ram: Any = ((0, 1 * GB),),
            **facts: Any) -> Machine:
    """A 64-bit powerpc machine; Book3S has ZONE_DEVICE and with it P2P pages."""
    return Machine(name, arch="powerpc", page_shift=page_shift, big_endian=big_endian, ram=ram, has_zone_dma=False,
                   pci_p2pdma=True, nr_cpus=8, **facts)


def _dma_iommu(m: dict[str, Any], table: dict[str, Any], window: dict[str, Any] | None, instead: dict[str, Any] | None,
               mask: int, pci: bool) -> Device:
    host = machine(**m)
    direct = None
    if window is not None:
        replacement = IommuTable(host, **instead) if instead is not None else None
        direct = DirectWindow(**window, instead=replacement)
    dev = Device("0000:00:01.0" if pci else "30000002", host, pci=pci, dma_parms=pci)
    DmaIommuOps(IommuTable(host, **table), direct).attach(dev)
    if mask != dev.dma_mask:
        dma_set_mask_and_coherent(dev, mask)
    return dev


def config(name: str, facts: str, *, table: dict[str, Any], window: dict[str, Any] | None = None,
           instead: dict[str, Any] | None = None, mask: int = 0xffffffff, pci: bool = True,
           **m: Any) -> MachineConfig:
    """A machine of dma_iommu_ops: keyword arguments of machine(), IommuTable and DirectWindow."""
    return MachineConfig(name, facts, partial(_dma_iommu, {"name": name, **m}, table, window, instead, mask, pci))


BE_4K: dict[str, Any] = {"big_endian": True, "page_shift": 12}
DDW = {"rule": "ddw", "base": 1 << 59}
IODA = {"size": 2 * GB, "page_shift": 16}
DART = {"size": 2 * GB, "format": "dart", "blocksize": 1, "dummy_page": True, "reserve_last": True}

CELL = {"size": 2 * GB, "format": "cell", "ioid": 0x11, "pad_page": True}
BITS_40 = (1 << 40) - 1
BITS_64 = (1 << 64) - 1

DMA_IOMMU_MACHINES = (
    config("pseries", "64 KiB pages, 4 KiB TCEs, window 1G@0, 4 pools", table={"size": 1 * GB}),
    config("pseries-4k", "4 KiB pages and TCEs, window 32M@0, one pool", table={"size": 32 * MB}, **BE_4K),
    config("pseries-novmerge", "booted with iommu=novmerge", table={"size": 1 * GB, "novmerge": True}),
    config("pseries-bare", "4 KiB TCEs, window 256M@128M: no entry 0", table={"size": 256 * MB, "window": 128 * MB},
           **BE_4K),
    config("pseries-ddw", "64-bit device: a second window at 2^59 maps all RAM", table={"size": 1 * GB}, window=DDW,
           mask=BITS_64, ram=((0, 512 * MB),)),
    config("pseries-ddw-pmem", "the same with persistent memory above the window, which goes through the table",
           table={"size": 1 * GB}, window={**DDW, "pmem": True, "memory_max": 512 * MB}, mask=BITS_64,
           ram=((0, 512 * MB), (4 * GB, 4 * GB + 64 * MB))),
    config("pseries-ddw-mapped", "64-bit device, a window too small for RAM: a table of 64 KiB TCEs at 2^59",
           table={"size": 1 * GB}, window=DDW, instead={"window": 1 << 59, "size": 1 * GB, "page_shift": 16},
           mask=BITS_64),
    config("pseries-vio", "a VIO device: no dma_parms, no bypass, window 256M@0", table={"size": 256 * MB}, pci=False),
    config("powernv", "PHB4: TCEs of a CPU page, window 2G@0", table=IODA, window={"rule": "ioda", "base": 1 << 59}),
    config("powernv-64", "64-bit device: bypass at 2^59", table=IODA, window={"rule": "ioda", "base": 1 << 59},
           mask=BITS_64),
    config("powernv-phb3", "40-bit device on PHB3: window 0 is rewritten to map RAM at 4 GiB", table=IODA,
           window={"rule": "phb3", "base": 1 << 59}, mask=BITS_40),
    config("powernv-4k", "64 KiB TCEs under 4 KiB pages", table=IODA, page_shift=12),
    config("g5-u3", "DART: 32-bit entries without permissions, 2G@0", table=DART, ram=((0, 2 * GB),), **BE_4K),
    config("g5-u4", "40-bit PCIe device: address bit 39 passes the DART by", table=DART,
           window={"rule": "dart", "base": 1 << 39}, mask=BITS_40, ram=((0, 2 * GB), (4 * GB, 6 * GB)), **BE_4K),
    config("pasemi", "PA Semi IOB: 32-bit entries, blocks of 4, 2G@0", big_endian=True,
           table={"size": 2 * GB, "format": "pasemi", "blocksize": 4, "dummy_page": True}),
    config("cell", "Cell IOPTEs with an IO identifier, 2G@0", table=CELL, big_endian=True),
    config("cell-fixed", "64-bit device: the fixed mapping at 2G", table=CELL, big_endian=True,
           window={"rule": "cell", "base": 2 * GB}, mask=BITS_64),
)


def _vio(m: dict[str, Any], table: dict[str, Any], entitlement: int, desired: int) -> Device:
    """Two VIO devices with a driver, balanced; the first one is the device under test."""
    host = machine(**m)
    cmo = VioCmo(entitlement, 2)
    devices = []
    for n in range(2):
        ops = VioDmaMappingOps(IommuTable(host, **table), cmo=cmo, desired=desired)
        devices.append(ops.attach(Device(f"3000000{n + 2}", host, pci=False, dma_parms=False, mask=BITS_64)))
    cmo.balance()
    return devices[0]


def _vio_config(name: str, facts: str, *, table: dict[str, Any], entitlement: int = 1 << 30, desired: int = 4 * MB,
                **m: Any) -> MachineConfig:
    return MachineConfig(name, facts, partial(_vio, {"name": name, **m}, table, entitlement, desired))


VIO_MACHINES = (
    _vio_config("vio-64k", "64 KiB pages, window 256M@0, 1 GiB entitled", table={"size": 256 * MB}),
    _vio_config("vio-4k", "4 KiB pages, window 2G@0, 1 GiB entitled", table={"size": 2 * GB}, **BE_4K),
    _vio_config("vio-tight", "4 KiB pages, window 256M@0, 10 MB entitled", table={"size": 256 * MB},
                entitlement=10_000_000, desired=2_000_000, **BE_4K),
)


def _ibmebus(m: dict[str, Any], mask: int) -> Device:
    dev = Device("lhca", machine(**m), pci=False, dma_parms=False, dma_ops=IbmebusDmaOps())
    if mask != dev.dma_mask:
        dma_set_mask_and_coherent(dev, mask)
    return dev


IBMEBUS_MACHINES = (
    MachineConfig("ibmebus-64k", "64 KiB pages, 64-bit mask",
                  partial(_ibmebus, {"name": "ibmebus-64k", "big_endian": True}, BITS_64)),
    MachineConfig("ibmebus-4k", "4 KiB pages, the default mask of 32 bits",
                  partial(_ibmebus, {"name": "ibmebus-4k", **BE_4K}, 0xffffffff)),
)


def _ps3(name: str, page_shift: int, memory: dict[str, int], region: dict[str, Any], ioc0: bool) -> Device:
    lpar = LogicalMemory(**memory)
    host = machine(name, page_shift=page_shift, big_endian=True, ram=((0, lpar.total),))
    ops = Ps3Ioc0DmaOps(Ioc0Region(host, lpar, **region)) if ioc0 else Ps3SbDmaOps(SbRegion(host, lpar, **region))
    return Device(name, host, pci=False, dma_parms=False, dma_ops=ops)


def _ps3_config(name: str, facts: str, *, page_shift: int = 12, memory: dict[str, int] | None = None,
                ioc0: bool = False, **region: Any) -> MachineConfig:
    return MachineConfig(name, facts, partial(_ps3, name, page_shift, memory or {}, region, ioc0))


PS3_SB_MACHINES = (
    _ps3_config("ps3-linear", "4 KiB pages, all of 256 MiB mapped in 16 MiB pages, 128 MiB of it highmem"),
    _ps3_config("ps3-linear-64k", "the same with 64 KiB pages", page_shift=16),
    _ps3_config("ps3-one-region", "all memory in the real region", memory={"rm_size": 256 * MB}),
    _ps3_config("ps3-offset", "a region that begins at 16 MiB", addr=16 * MB, len=240 * MB),
    _ps3_config("ps3-dynamic", "CONFIG_PS3_DYNAMIC_DMA: chunks of 64 KiB pages", dynamic=True),
)

PS3_IOC0_MACHINES = (
    _ps3_config("ps3-sound", "4 KiB pages, region 68K@0x50000000", ioc0=True, page_size=12, bus_addr=0x50000000,
                len=0x11000),
    _ps3_config("ps3-sound-64k", "64 KiB pages, region 128K@0x50000000", page_shift=16, ioc0=True, page_size=16,
                bus_addr=0x50000000, len=0x20000),
)
