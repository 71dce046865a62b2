# SPDX-License-Identifier: MIT
"""Verdicts and the tree for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from dma_ops.pci import ACS_CR, ACS_EC, ACS_RR, PciDev, PciHost, PciType

from .facts import Function
from .machine import Machine
from .verdict import PERMITTED, UNKNOWN, WARNING, Verdict

_COLOURS = {"BUS_ADDR": "green", "THRU_HOST_BRIDGE": "cyan", "NOT_SUPPORTED": "red", UNKNOWN: "yellow"}
KINDS = {
    PciType.CONVENTIONAL: "PCI", PciType.ENDPOINT: "Endpoint", PciType.LEGACY_ENDPOINT: "Legacy Endpoint",
    PciType.ROOT_PORT: "Root Port", PciType.UPSTREAM: "Upstream Port", PciType.DOWNSTREAM: "Downstream Port",
    PciType.PCI_BRIDGE: "PCIe-to-PCI Bridge", PciType.PCIE_BRIDGE: "PCI-to-PCIe Bridge",
    PciType.RC_ENDPOINT: "Integrated Endpoint", PciType.RC_EVENT_COLLECTOR: "Event Collector",
}


def device_class(function: Function) -> str:
    """GPU, NVMe, NIC, or "" for the others."""
    code = function.class_code
    if code is None:
        return ""
    if code >> 8 in (0x03, 0x12):
        return "GPU"
    return "NVMe" if code == 0x0108 else "NIC" if code >> 8 == 0x02 else ""


def grown(machine: Machine, chosen: Sequence[PciDev], *, everything: bool = False,
          ) -> Iterator[tuple[PciHost, list[tuple[PciDev, int]]]]:
    """Each host bridge, and its functions with their depth: all, or only what leads to the chosen devices."""
    wanted = set()
    for dev in chosen:
        above: PciDev | None = dev
        while above is not None:
            wanted.add(id(above))
            above = above.upstream_bridge

    def below(functions: Iterable[PciDev], depth: int) -> Iterator[tuple[PciDev, int]]:
        for dev in functions:
            if dev.bus >= 0 and (everything or id(dev) in wanted):
                yield dev, depth
                yield from below(dev.children, depth + 1)

    for host in machine.tree.hosts:
        if functions := list(below(host.children, 0)):
            yield host, functions


def tree_lines(machine: Machine, chosen: Sequence[PciDev], *, everything: bool = False) -> Iterator[str]:
    """The tree, or only what leads to the chosen devices."""
    marked = {id(dev) for dev in chosen}
    for host, functions in grown(machine, chosen, everything=everything):
        note = f" ({machine.fragments[host]})" if host in machine.fragments else ""
        yield f"{host.domain:04x}:{host.bus:02x}{note}"
        open_: list[bool] = []                          # per depth: does another one follow?
        for i, (dev, depth) in enumerate(functions):
            rest = (other for _, other in functions[i + 1:] if other <= depth)
            open_[depth:] = [next(rest, -1) == depth]
            indent = "".join("│  " if more else "   " for more in open_[:depth])
            yield f"{indent}{'├─' if open_[depth] else '└─'} {_line(machine.function(dev), id(dev) in marked)}"


def _line(function: Function, chosen: bool) -> str:
    known = function.vendor is not None or not function.title
    words = [click.style(function.name, bold=chosen), *([f"[{function.ids}]"] if known else [])]
    if function.kind is not None:
        words.append(KINDS[function.kind])
    elif function.secondary:
        words.append("bridge")
    if label := device_class(function):
        words.append(click.style(label, bold=chosen))
    if function.physfn is not None:
        words.append("VF")
    if not function.acs_known:
        words.append(click.style("ACS ?", fg="yellow"))
    elif function.acs is not None:
        names = [name for bit, name in ((ACS_RR, "RR"), (ACS_CR, "CR"), (ACS_EC, "EC")) if function.acs & bit]
        words.append(click.style("ACS " + " ".join(names), fg="red") if names else "ACS off")
    if function.title and (chosen or not known):
        words.append(click.style(f"· {function.title}", dim=True))
    return " ".join(words)


def verdict_line(verdict: Verdict, was: Verdict | None = None) -> str:
    kind = click.style(f"{verdict.map_type:<16}", fg=_COLOURS[verdict.map_type])
    before = ""
    if was is not None and was.map_type != verdict.map_type:
        before = click.style(was.map_type, fg=_COLOURS[was.map_type]) + " → "
    if verdict.distance is None:
        far = "distance unknown" + (f" ({verdict.hops} hops)" if verdict.hops is not None else "")
    else:
        far = f"distance {verdict.distance}" + (f" ({verdict.hops} hops)" if verdict.distance < 0 else "")
    return f"{before}{kind} {verdict.provider} -> {verdict.client}  {far}"


def verdict_lines(verdict: Verdict, was: Verdict | None = None) -> Iterator[str]:
    yield verdict_line(verdict, was)
    for reason in verdict.reason:
        yield f"    {reason}"
    redirecting = [port for port in verdict.acs if port.redirects]
    if redirecting:
        sure = all(port.redirects is not None for port in verdict.acs)
        yield f"    without ACS redirect (and its isolation) {'it is' if sure else 'it can be'} BUS_ADDR; at boot:"
        yield f"        {verdict.disable_acs_redir}"
        yield "    or at once, as root, before the drivers ask:"
    elif any(port.redirects is None for port in verdict.acs):
        yield "    read the unknown controls as root:"
    for port in verdict.acs:
        if port.redirects:
            yield f"        {port.setpci}"
        elif port.redirects is None:
            yield f"        setpci -s {port.name} ECAP_ACS+6.w"


def summary_lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    found = [verdict.map_type for verdict in verdicts]
    counts = (f"{found.count(kind)} {kind}" for kind in (*PERMITTED, "NOT_SUPPORTED", UNKNOWN) if kind in found)
    yield f"{len(found)} pair{'s' if len(found) > 1 else ''}: {', '.join(counts)}"
    yield WARNING
