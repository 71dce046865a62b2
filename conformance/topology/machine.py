# SPDX-License-Identifier: MIT
"""Builds the PCI tree of dma_ops.pci from a listing, and notes what the listing leaves open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import dma_ops
from dma_ops.p2pdma import pci_host_bridge_dev
from dma_ops.pci import PciDev, PciHost, PciTree, PciType

from .cpu import Cpu
from .facts import Address, Bus, Function, Listing, TopologyError

UNKNOWN_ID = -2                     # of a host bridge whose ids are not known: only the row of a "what if" matches
KERNELS = {"6.1": 601, "6.12": 612, "next": 700}

_ROOT_KINDS = frozenset({PciType.ROOT_PORT, PciType.RC_ENDPOINT, PciType.RC_EVENT_COLLECTOR})
_BELOW_KINDS = frozenset({PciType.ENDPOINT, PciType.UPSTREAM, PciType.DOWNSTREAM})
_PORT_KINDS = frozenset({PciType.ROOT_PORT, PciType.UPSTREAM, PciType.DOWNSTREAM, PciType.PCI_BRIDGE,
                         PciType.PCIE_BRIDGE})
_HOST_BRIDGE = 0x0600


@dataclass(slots=True)
class Machine:
    """cpu is None if it is not known. open_hosts: why it is open whether the list has a host bridge. fragments: root
    buses of which only the lower end is in the file, and why."""

    tree: PciTree
    cpu: Cpu | None
    devices: dict[Address, PciDev] = field(default_factory=dict)
    functions: dict[Address, Function] = field(default_factory=dict)
    open_hosts: dict[PciHost, str] = field(default_factory=dict)
    fragments: dict[PciHost, str] = field(default_factory=dict)

    def function(self, dev: PciDev) -> Function:
        return self.functions[dev.host.domain, dev.bus, dev.devfn]


def build(listing: Listing, *, cpu: Cpu | None = None, kernel: str = "6.1",
          allowed_bridges: Iterable[tuple[int, int, int]] = ()) -> Machine:
    """Raises TopologyError if the buses contradict each other."""
    model = dma_ops.Machine("topology", arch="x86_64", kernel=KERNELS[kernel])
    tree = PciTree(model, cpu=cpu, allowed_bridges=allowed_bridges)
    machine = Machine(tree, cpu, functions=dict(listing.functions))
    _find_physical_functions(listing)
    bridges = _bridges(listing)
    below: dict[Bus, list[Function]] = defaultdict(list)
    for address in sorted(listing.functions):
        if listing.functions[address].physfn is None:
            below[address[:2]].append(listing.functions[address])
    for root in sorted(bus for bus in below if bus not in bridges):
        host = tree.add_host(*root)
        if (why := _not_a_root(root, below[root], listing)) is not None:
            machine.fragments[host] = why
        _create(machine, host, None, below[root], below)
    made = len(machine.devices) + sum(1 for function in listing.functions.values() if function.physfn is not None)
    if made < len(listing.functions):
        lost = next(f for at, f in sorted(listing.functions.items()) if f.physfn is None and at not in machine.devices)
        raise TopologyError(f"{lost.name} is below itself: the bus numbers of the bridges form a loop")
    for function in listing.functions.values():
        if function.physfn is not None:
            physfn = machine.devices[function.physfn]
            machine.devices[function.address] = _device(physfn.host, physfn.parent, function, physfn)
    whole = listing.whole or any(host.children[0].devfn == 0 for host in tree.hosts)
    for host in tree.hosts:
        _settle_host(machine, host, whole)
    return machine


def _find_physical_functions(listing: Listing) -> None:
    """Give each virtual function its physical one: sysfs says so, lspci only by arithmetic."""
    functions = listing.functions
    for physfn in [function for function in functions.values() if function.vfs is not None]:
        for address in physfn.vfs.addresses(physfn.address) if physfn.vfs else ():
            function = functions.get(address)
            if function is not None and function.vfs is None and not function.secondary:
                function.physfn = physfn.address
    for function in functions.values():
        owner = None if function.physfn is None else functions.get(function.physfn)
        if owner is None or owner.physfn is not None or function.secondary or owner is function:
            function.physfn = None


def _bridges(listing: Listing) -> dict[Bus, Function]:
    """Which function leads to which bus; a secondary number 0 is one that was never set."""
    bridges: dict[Bus, Function] = {}
    for function in listing.functions.values():
        if function.secondary:
            bus = (function.address[0], function.secondary)
            if bus in bridges:
                raise TopologyError(f"{bridges[bus].name} and {function.name} both lead to bus {bus[1]:02x}")
            if bus in listing.roots:
                raise TopologyError(f"bus {bus[0]:04x}:{bus[1]:02x} is a root bus and below {function.name}")
            bridges[bus] = function
    return bridges


def _not_a_root(root: Bus, functions: list[Function], listing: Listing) -> str | None:
    """Why a bus that no bridge leads to may all the same be no root bus; None if it is one."""
    if root in listing.roots:
        return None
    if any(function.class_code == _HOST_BRIDGE or function.kind in _ROOT_KINDS for function in functions):
        return None
    name = f"{root[0]:04x}:{root[1]:02x}"
    for bridge in listing.functions.values():
        reach = range((bridge.secondary or 0xff) + 1, (bridge.subordinate or 0) + 1)
        if bridge.address[0] == root[0] and root[1] in reach:
            return f"the bridge between {bridge.name} and bus {name} is not in the file"
    if root[1] == 0 or all(function.kind is PciType.CONVENTIONAL for function in functions):
        return None
    return f"the bridge above bus {name} is not in the file (lspci -t shows it)"


def _create(machine: Machine, host: PciHost, parent: PciDev | None, functions: list[Function],
            below: dict[Bus, list[Function]]) -> None:
    for function in functions:
        dev = _device(host, parent, function, None)
        machine.devices[function.address] = dev
        if function.secondary:
            _create(machine, host, dev, below.get((function.address[0], function.secondary), []), below)


def _device(host: PciHost, parent: PciDev | None, function: Function, physfn: PciDev | None) -> PciDev:
    kind = PciType.CONVENTIONAL if function.kind is None else function.kind
    without_bus = kind in _PORT_KINDS and not function.secondary
    dev = PciDev(
        host, parent, function.address[2],
        UNKNOWN_ID if function.vendor is None else function.vendor,
        UNKNOWN_ID if function.device is None else function.device,
        kind=PciType.CONVENTIONAL if without_bus else kind, bridge=bool(function.secondary),
        secondary=function.secondary or None, acs=function.acs, physfn=physfn, bus=function.address[1],
    )
    dev.kind = kind
    return dev


def _settle_host(machine: Machine, host: PciHost, whole: bool) -> None:
    """If the listing does not tell what stands for the host bridge, something of unknown ids does."""
    first = host.children[0]
    why = machine.fragments.get(host, "")
    if not why and first.devfn:
        if not whole:
            why = f"the first function in the file is {first.name}: is 00.0 missing?"
        elif machine.function(first).kind is None:
            why = f"whether {first.name}, the first function, is a Root Port is not shown"
    stands = pci_host_bridge_dev(host)
    if not why and stands is not None and stands.vendor == UNKNOWN_ID:
        why = f"the ids of {stands.name} are not shown (lspci -nn)"
    elif why:
        unknown = PciDev(host, None, 0, UNKNOWN_ID, UNKNOWN_ID, kind=PciType.CONVENTIONAL, bus=-1)
        host.functions.insert(0, host.functions.pop(host.functions.index(unknown)))
    if why:
        machine.open_hosts[host] = why
