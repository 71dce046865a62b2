# SPDX-License-Identifier: MIT
"""The verdict for a pair of devices: dma_ops.p2pdma's own, asked once for each thing that the unknown facts could be.

Every unknown fact (ACS controls, ids of a host bridge, the CPU) can only make peer traffic easier or harder, so it is
enough to ask with all of one kind at one end and all at the other. If the answers agree, the verdict is known in spite
of the gaps; if not, it is UNKNOWN, with each answer named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product

from dma_ops.p2pdma import (
    MAP_TYPES,
    calc_map_type_and_dist,
    cpu_supports_p2pdma,
    p2pdma_path,
    pci_host_bridge_dev,
)
from dma_ops.p2pdma_whitelist import PCI_ANY_ID, REQ_SAME_HOST_BRIDGE, whitelist
from dma_ops.pci import ACS_CR, ACS_EC, ACS_REDIRECT, ACS_RR, PciDev, PciHost

from .cpu import OTHER, ZEN, describe
from .machine import UNKNOWN_ID, Machine

PERMITTED = ("BUS_ADDR", "THRU_HOST_BRIDGE")
UNKNOWN = "UNKNOWN"
WARNING = ("A verdict is a permission of Linux, no proof that data arrives: root complexes, switches and IOMMUs have "
           "lost or corrupted peer traffic on permitted paths. Test the pair with real transfers.")


@dataclass(frozen=True, slots=True)
class Port:
    """A function on the path that redirects (redirects true) or may do so (None: its control is not known)."""

    name: str
    ids: str
    control: int | None
    redirects: bool | None
    why: str = ""

    @property
    def bits(self) -> str:
        names = ((ACS_RR, "ReqRedir"), (ACS_CR, "CmpltRedir"), (ACS_EC, "EgressCtrl"))
        return " ".join(f"{name}+" for bit, name in names if self.control is not None and self.control & bit)

    @property
    def setpci(self) -> str:
        return f"setpci -s {self.name} ECAP_ACS+6.w=0000:{ACS_REDIRECT:04x}"


@dataclass(frozen=True, slots=True)
class HostBridge:
    """What stands for a host bridge in the kernel's list; listed is None where that is not known."""

    bus: str
    device: str | None
    ids: str | None
    listed: bool | None
    same_only: bool = False
    why: str = ""


@dataclass(slots=True)
class Verdict:
    """map_type: one of BUS_ADDR, THRU_HOST_BRIDGE, NOT_SUPPORTED, UNKNOWN. distance: as pci_p2pdma_distance() answers,
    None where that is not known. hops: the steps between the two. answers: of an UNKNOWN one, by what they need."""

    provider: str
    client: str
    map_type: str
    distance: int | None
    hops: int | None
    path: list[str]
    common: str | None
    acs: list[Port]
    host_bridges: list[HostBridge]
    answers: dict[str, tuple[str, int]] = field(default_factory=dict)
    reason: list[str] = field(default_factory=list)

    @property
    def disable_acs_redir(self) -> str:
        """The kernel parameter; devices are separated by ";", for "," would end the option."""
        return "pci=disable_acs_redir=" + ";".join(port.name for port in self.acs if port.redirects)

    def json(self) -> dict[str, object]:
        acs = [{"port": port.name, "id": port.ids, "redirects": port.redirects,
                "control": None if port.control is None else f"{port.control:#06x}",
                "setpci": port.setpci, "reason": port.why or None} for port in self.acs]
        hosts = [{"bus": host.bus, "device": host.device, "id": host.ids, "listed": host.listed,
                  "same_host_bridge_only": host.same_only, "reason": host.why or None} for host in self.host_bridges]
        return {"provider": self.provider, "client": self.client, "map_type": self.map_type, "distance": self.distance,
                "reason": self.reason, "acs": acs, "host_bridges": hosts}


World = tuple[bool, bool, bool]     # the CPU is a Zen, unknown ACS is clear, unknown host bridges are in the list


def judge(machine: Machine, pairs: Iterable[tuple[PciDev, PciDev]]) -> list[Verdict]:
    """The verdict for each (provider, client)."""
    pairs = list(pairs)
    unknown_acs = [machine.devices[at] for at, function in machine.functions.items() if not function.acs_known]
    known = machine.cpu is not None and cpu_supports_p2pdma(machine.tree)
    cpus = (True, False) if machine.cpu is None else (known,)
    answers: list[dict[World, tuple[str, int]]] = [{} for _ in pairs]
    for world in product(cpus, (True, False) if unknown_acs else (True,),
                         (True, False) if machine.open_hosts else (True,)):
        with _supposing(machine, world, unknown_acs):
            for answer, (provider, client) in zip(answers, pairs, strict=True):
                map_type, hops = calc_map_type_and_dist(provider, client)
                answer[world] = MAP_TYPES[map_type], hops
    machine.tree.machine.dmesg.clear()
    return [_verdict(machine, *pair, answer) for pair, answer in zip(pairs, answers, strict=True)]


@contextmanager
def _supposing(machine: Machine, world: World, unknown_acs: list[PciDev]) -> Iterator[None]:
    tree = machine.tree
    cpu, allowed = tree.cpu, tree.allowed_bridges
    zen, clear, listed = world
    if machine.cpu is None:
        tree.cpu = ZEN if zen else OTHER
    if listed:
        tree.allowed_bridges = (*allowed, (UNKNOWN_ID, UNKNOWN_ID, 0))
    for dev in unknown_acs:
        dev.acs = None if clear else ACS_REDIRECT
    try:
        yield
    finally:
        tree.cpu, tree.allowed_bridges = cpu, allowed
        for dev in unknown_acs:
            dev.acs = None


def _verdict(machine: Machine, provider: PciDev, client: PciDev, worlds: dict[World, tuple[str, int]]) -> Verdict:
    up, down, common = p2pdma_path(provider, client)
    path = [f"{dev.name} [{machine.function(dev).ids}]" for dev in up + down[::-1]]
    acs = [] if common is None else [port for dev in up + down if (port := _port(machine, dev)) is not None]
    hosts = [_host_bridge(machine, host) for host in dict.fromkeys((provider.host, client.host))]
    verdict = Verdict(provider.name, client.name, UNKNOWN, None, None, path, None if common is None else common.name,
                      acs, hosts)
    gap = next((why for host in (provider.host, client.host) if (why := machine.fragments.get(host))), None)
    if common is None and gap is not None:
        verdict.reason = [_path_line(verdict), f"unknown: {gap}"]
        return verdict
    results = {world: (kind, -1 if kind == "NOT_SUPPORTED" else hops) for world, (kind, hops) in worlds.items()}
    verdict.hops = next(iter(worlds.values()))[1]
    kinds = {kind for kind, _ in results.values()}
    distances = {distance for _, distance in results.values()}
    verdict.map_type = kinds.pop() if len(kinds) == 1 else UNKNOWN
    verdict.distance = distances.pop() if len(distances) == 1 else None
    matters = [_matters(results, axis) for axis in range(3)]
    if verdict.map_type == UNKNOWN:
        verdict.answers = {_supposition(verdict, world, matters): result for world, result in sorted(
            results.items(), reverse=True)}
    verdict.reason = [_path_line(verdict), *_reasons(machine, verdict, matters)]
    verdict.reason += [f"if {supposed}: {kind}, distance {far}" for supposed, (kind, far) in verdict.answers.items()]
    return verdict


def _matters(results: dict[World, tuple[str, int]], axis: int) -> bool:
    def flipped(world: World) -> World:
        changed = list(world)
        changed[axis] = not changed[axis]
        return changed[0], changed[1], changed[2]

    return any(flipped(world) in results and results[flipped(world)] != result for world, result in results.items())


def _supposition(verdict: Verdict, world: World, matters: list[bool]) -> str:
    zen, clear, listed = world
    ports = ", ".join(port.name for port in verdict.acs if port.redirects is None)
    told = (
        "the CPU is an AMD Zen or later" if zen else "the CPU is no AMD Zen",
        f"ACS redirect is off at {ports}" if clear else f"ACS redirect is on at one of {ports}",
        "the host bridge is in the list" if listed else "the host bridge is not in the list",
    )
    return " and ".join(words for words, counts in zip(told, matters, strict=True) if counts)


def _path_line(verdict: Verdict) -> str:
    return f"path: {' - '.join(verdict.path)}; " + (
        "no common bridge" if verdict.common is None else f"common: {verdict.common}")


def _reasons(machine: Machine, verdict: Verdict, matters: list[bool]) -> Iterator[str]:
    """Sentences in the order in which the kernel decides."""
    redirecting = [port for port in verdict.acs if port.redirects]
    if verdict.common is None:
        yield "no common upstream bridge: the host bridge decides, ACS does not matter"
    elif redirecting:
        yield "ACS redirect is on: " + ", ".join(f"{port.name} ({port.bits})" for port in redirecting)
    for port in verdict.acs:
        if port.redirects is None and (matters[1] or not redirecting):
            yield f"ACS of {port.name} is unknown: {port.why}"
    if verdict.common is not None and not verdict.acs:
        yield f"no function up to and with {verdict.common} redirects: requests stay below it"
        return
    if machine.cpu is None:
        if matters[0]:
            yield "the CPU is unknown (--cpu)"
    else:
        yield f"CPU: {describe(machine.cpu)}"
        if cpu_supports_p2pdma(machine.tree):
            return
    for host in verdict.host_bridges:
        yield _host_line(host)
    if len(verdict.host_bridges) > 1:
        yield "two host bridges: both must be in the list, without the flag for one host bridge only"


def _host_line(host: HostBridge) -> str:
    if host.listed is None:
        return f"host bridge of bus {host.bus}: unknown, {host.why}"
    if host.device is None:
        return f"host bridge of bus {host.bus}: {host.why}"
    flag = " (within one host bridge only)" if host.same_only else ""
    return f"host bridge {host.device} [{host.ids}]: {f'in the list{flag}' if host.listed else 'not in the list'}"


def _port(machine: Machine, dev: PciDev) -> Port | None:
    function = machine.function(dev)
    if not function.acs_known:
        return Port(dev.name, function.ids, None, None, function.acs_why or "the file does not show it")
    return Port(dev.name, function.ids, dev.acs, True) if dev.redirects else None


def _host_bridge(machine: Machine, host: PciHost) -> HostBridge:
    bus = f"{host.domain:04x}:{host.bus:02x}"
    dev = pci_host_bridge_dev(host)
    if host in machine.open_hosts:
        named = dev is not None and dev.bus >= 0
        return HostBridge(bus, dev.name if dev is not None and named else None, None, None,
                          why=machine.open_hosts[host])
    if dev is None:
        first = host.children[0]
        return HostBridge(bus, None, None, False,
                          why=f"its first function, {first.name}, is neither 00.0 nor a Root Port: not in the list")
    rows = (*whitelist(host.tree.machine.kernel), *host.tree.allowed_bridges)
    row = next((row for row in rows if row[0] == dev.vendor and row[1] in (dev.device, PCI_ANY_ID)), None)
    return HostBridge(bus, dev.name, machine.function(dev).ids, row is not None,
                      same_only=bool(row and row[2] & REQ_SAME_HOST_BRIDGE))
