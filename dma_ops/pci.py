# SPDX-License-Identifier: MIT
"""The PCI tree of a machine: host bridges, ports, bridges, functions, BARs, ACS, and how requests are routed.

Only facts that decide whether one device reaches another's memory are modelled. PciDev.claim() is the hardware: it
routes an address by BARs and bridge windows, hop by hop, and knows nothing of what Linux concludes about the tree
(dma_ops.p2pdma does that).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .machine import Machine
    from .p2pdma import P2pdma

# the ACS Control Register (PCIe 6.0 section 7.7.11.3)
ACS_SV, ACS_TB, ACS_RR, ACS_CR, ACS_UF, ACS_EC, ACS_DT = (1 << n for n in range(7))
ACS_REDIRECT = ACS_RR | ACS_CR | ACS_EC

U64 = (1 << 64) - 1


class PciType(IntEnum):
    """The Device/Port Type of the PCI Express capability; CONVENTIONAL for a function without one."""

    CONVENTIONAL = -1
    ENDPOINT = 0
    LEGACY_ENDPOINT = 1
    ROOT_PORT = 4
    UPSTREAM = 5
    DOWNSTREAM = 6
    PCI_BRIDGE = 7              # PCI Express to conventional PCI
    PCIE_BRIDGE = 8
    RC_ENDPOINT = 9
    RC_EVENT_COLLECTOR = 10


_BRIDGES = frozenset({PciType.ROOT_PORT, PciType.UPSTREAM, PciType.DOWNSTREAM, PciType.PCI_BRIDGE,
                      PciType.PCIE_BRIDGE})


@dataclass(frozen=True, slots=True)
class Window:
    """A range [start, end) of CPU addresses that a host bridge forwards; on the bus it is `offset` lower."""

    start: int
    end: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """A base address register: [start, start + size) for the CPU, [bus, bus + size) on the bus."""

    start: int
    size: int
    bus: int
    io: bool = False

    def holds(self, bus_addr: int) -> bool:
        return not self.io and 0 <= (bus_addr - self.bus) & U64 < self.size


class PciTree:
    """All PCI of one machine.

    cpu: (vendor, family) of CPU 0, ("AMD", 0x17) for Zen; None where it is no x86. seed: of the choice among equally
    near providers. allowed_bridges: (vendor, device, flags) rows beyond the kernel's own (dma_ops.p2pdma_whitelist).
    """

    def __init__(self, machine: Machine, *, cpu: tuple[str, int] | None = None, seed: int = 0,
                 allowed_bridges: Iterable[tuple[int, int, int]] = ()) -> None:
        self.machine = machine
        self.cpu = cpu
        self.allowed_bridges = tuple(allowed_bridges)
        self.random = random.Random(seed)
        self.hosts: list[PciHost] = []

    def add_host(self, domain: int = 0, bus: int = 0, windows: Iterable[Window] = ()) -> PciHost:
        """A host bridge with its root bus. Without windows, bus addresses are CPU addresses."""
        if any(host.domain == domain and bus in host.buses for host in self.hosts):
            raise ValueError(f"bus {domain:04x}:{bus:02x} is there already")
        host = PciHost(self, domain, bus, tuple(windows))
        self.hosts.append(host)
        return host

    def __iter__(self) -> Iterator[PciDev]:
        """Every function, in the order in which Linux found them (for_each_pci_dev)."""
        for host in self.hosts:
            yield from host.functions

    def find(self, name: str) -> PciDev:
        """The function "dddd:bb:dd.f". Raises KeyError."""
        for dev in self:
            if dev.name == name:
                return dev
        raise KeyError(f"no PCI function {name}")


class PciHost:
    """A host bridge: the root of one hierarchy. functions are in the order of discovery, at boot that of devfn."""

    def __init__(self, tree: PciTree, domain: int, bus: int, windows: tuple[Window, ...]) -> None:
        self.tree = tree
        self.domain = domain
        self.bus = bus
        self.windows = windows
        self.functions: list[PciDev] = []
        self.buses = {bus}

    def __repr__(self) -> str:
        return f"<PciHost {self.domain:04x}:{self.bus:02x}>"

    def add(self, devfn: str | int, vendor: int, device: int, **facts: object) -> PciDev:
        """A function on the root bus: see PciDev."""
        return PciDev(self, None, devfn, vendor, device, **facts)  # type: ignore[arg-type]

    @property
    def children(self) -> list[PciDev]:
        """The functions on the root bus."""
        return [dev for dev in self.functions if dev.parent is None]

    def bus_address(self, start: int) -> int:
        for window in self.windows:
            if window.start <= start < window.end:
                return (start - window.offset) & U64
        return start


class PciDev:
    """One function (struct pci_dev).

    devfn: "dd.f" or a number. kind: its PCIe type; the port and bridge types have a bus below them, and so has a
    CONVENTIONAL one with bridge=True. acs: the ACS Control Register, None without the capability. secondary: the
    number of the bus below, by default the next free one of the host. physfn: of a virtual function, its physical
    function. bus: where it is not the parent's secondary, as that of a virtual function can be. windows: the bus
    addresses (start, end) that a bridge forwards downwards, by default exactly the memory BARs below it.
    """

    def __init__(self, host: PciHost, parent: PciDev | None, devfn: str | int, vendor: int, device: int, *,
                 kind: PciType | None = None, bridge: bool = False, acs: int | None = None,
                 secondary: int | None = None, physfn: PciDev | None = None, bus: int | None = None,
                 windows: Iterable[tuple[int, int]] | None = None) -> None:
        if parent is not None and not parent.is_bridge:
            raise ValueError(f"{parent.name} is no bridge: nothing can be below it")
        self.host = host
        self.parent = parent
        self.bus: int = bus if bus is not None else host.bus if parent is None else parent.secondary
        self.devfn = devfn_of(devfn)
        self.vendor = vendor
        self.device = device
        if kind is None:
            kind = PciType.RC_ENDPOINT if parent is None else PciType.ENDPOINT
        self.kind = kind
        self.is_bridge: bool = bridge or kind in _BRIDGES
        self.acs = acs
        self.physfn = physfn
        self.bars: dict[int, Bar] = {}
        self.p2pdma: P2pdma | None = None
        self.refs = 1                       # struct device's reference count
        if any(dev.bus == self.bus and dev.devfn == self.devfn for dev in host.functions):
            raise ValueError(f"{self.name} is there already")
        self.secondary: int = -1            # the bus below
        if self.is_bridge:
            if secondary is None:
                secondary = max(host.buses) + 1
            if secondary in host.buses:
                raise ValueError(f"{self.name}: bus {secondary:02x} is there already")
            if not 0 <= secondary <= 0xff:
                raise ValueError(f"{self.name}: bus {secondary:#x} is not 0 to 0xff")
            self.secondary = secondary
            host.buses.add(secondary)
        self._windows = None if windows is None else tuple(windows)
        self.children: list[PciDev] = []    # the functions on the bus below
        if parent is not None:
            parent.children.append(self)
        host.functions.append(self)

    def __repr__(self) -> str:
        return f"<PciDev {self.name} {self.vendor:04x}:{self.device:04x}>"

    @property
    def name(self) -> str:
        return f"{self.host.domain:04x}:{self.bus:02x}:{self.devfn >> 3:02x}.{self.devfn & 7}"

    @property
    def tree(self) -> PciTree:
        return self.host.tree

    @property
    def upstream_bridge(self) -> PciDev | None:
        """pci_upstream_bridge(): None on a root bus; a virtual function has its physical function's."""
        return self.parent if self.physfn is None else self.physfn.parent

    @property
    def redirects(self) -> bool:
        """Is any of the three ACS controls set that send peer requests up to the root complex?"""
        return bool(self.acs is not None and self.acs & ACS_REDIRECT)

    def add(self, devfn: str | int, vendor: int, device: int, **facts: object) -> PciDev:
        """A function on the bus below this bridge."""
        return PciDev(self.host, self, devfn, vendor, device, **facts)  # type: ignore[arg-type]

    def add_bar(self, index: int, start: int, size: int, *, bus: int | None = None, io: bool = False) -> Bar:
        """BAR number index (0 to 5) of size bytes at a CPU address; its bus address follows from the host's windows."""
        if not 0 <= index <= 5:
            raise ValueError(f"{self.name}: BAR {index} is not 0 to 5")
        if index in self.bars:
            raise ValueError(f"{self.name} has BAR {index} already")
        if size <= 0 or size & (size - 1):
            raise ValueError(f"{self.name}: a BAR of {size:#x} bytes is no power of two")
        if not 0 <= start <= U64 + 1 - size:
            raise ValueError(f"{self.name}: a BAR of {size:#x} bytes at {start:#x} is not below 2^64")
        self.bars[index] = bar = Bar(start, size, (self.host.bus_address(start) if bus is None else bus) & U64, io)
        return bar

    # -- the hardware: routing by address ----------------------------------------------------------------------

    def claim(self, bus_addr: int) -> tuple[int, int] | None:
        """Who answers a request of this function at a bus address before it reaches the host bridge?

        (physical address, bytes up to the end of the BAR), or None: the request arrives at the root complex, because
        no peer below it decodes the address or because an ACS control on the way there redirects it. As the kernel
        does, the bridge above both ends counts as on the way, though only some switches redirect there.
        """
        came_from, redirected = self, self.redirects
        bridge = self.upstream_bridge
        while bridge is not None:
            redirected = redirected or bridge.redirects
            for peer in bridge.children:
                if peer.is_bridge and peer is came_from:
                    continue
                found = peer._decode(bus_addr)
                if found is not None:
                    bar, downstream_redirects = found
                    if redirected or downstream_redirects:
                        return None
                    at = (bus_addr - bar.bus) & U64
                    return bar.start + at, bar.size - at
            came_from, bridge = bridge, bridge.upstream_bridge
        if self.parent is None and not redirected:
            for bar in self.bars.values():      # an integrated endpoint's own memory
                if bar.holds(bus_addr):
                    at = (bus_addr - bar.bus) & U64
                    return bar.start + at, bar.size - at
        return None

    def _decode(self, bus_addr: int) -> tuple[Bar, bool] | None:
        """The BAR here or below that takes this address, and whether a function on the way there redirects."""
        for bar in self.bars.values():
            if bar.holds(bus_addr):
                return bar, self.redirects
        if self.is_bridge and (self._windows is None or any(start <= bus_addr < end for start, end in self._windows)):
            for child in self.children:
                found = child._decode(bus_addr)
                if found is not None:
                    return found[0], found[1] or self.redirects
        return None


def devfn_of(devfn: str | int) -> int:
    """"dd.f" or "dd" in hexadecimal, or the number itself."""
    if isinstance(devfn, str):
        slot, _, function = devfn.partition(".")
        devfn = int(slot, 16) << 3 | int(function or "0", 16)
    if not 0 <= devfn <= 0xff:
        raise ValueError(f"devfn {devfn:#x} is not 0 to 0xff")
    return devfn


def pci_dev_get(dev: PciDev) -> PciDev:
    dev.refs += 1
    return dev


def pci_dev_put(dev: PciDev) -> None:
    if dev.refs <= 1:
        raise ValueError(f"{dev.name}: a reference is put that nobody took")
    dev.refs -= 1
