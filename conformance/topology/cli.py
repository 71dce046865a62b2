# SPDX-License-Identifier: MIT
"""dma-conformance topology."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import click

from dma_ops.p2pdma_whitelist import REQ_SAME_HOST_BRIDGE
from dma_ops.pci import ACS_REDIRECT, PciDev

from ..terminal import Sentence
from .cpu import Cpu, describe, infer_cpu, parse_cpu
from .facts import Address, Function, Listing, TopologyError, parse_address
from .machine import KERNELS, Machine, build
from .picture import picture
from .render import device_class, summary_lines, tree_lines, verdict_line, verdict_lines
from .source import read_sources
from .verdict import PERMITTED, Verdict, judge

CLASSES = ("gpu", "nvme", "nic")
MANY = 12                           # pairs up to which each is explained
MAX_PAIRS = 100_000
CHANGES = "acs-off[=PORT;PORT…], allow-bridge=VVVV:DDDD, kernel=VERSION, cpu=CPU"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the machine is, beyond its files."""

    cpu: Cpu | None
    kernel: str = "6.1"
    bridges: tuple[tuple[int, int, int], ...] = ()
    acs_off: frozenset[Address] | None = frozenset()        # None: everywhere


def parse_bridge(text: str) -> tuple[int, int, int]:
    """VVVV:DDDD, or VVVV:DDDD:same for a row with REQ_SAME_HOST_BRIDGE."""
    match = re.fullmatch(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(:same)?", text)
    if match is None:
        raise TopologyError(f"{text!r} is no host bridge (VVVV:DDDD, or VVVV:DDDD:same)")
    return int(match[1], 16), int(match[2], 16), REQ_SAME_HOST_BRIDGE if match[3] else 0


def parse_kernel(text: str) -> str:
    if text not in KERNELS:
        raise TopologyError(f"kernel {text!r} is none of {', '.join(KERNELS)}")
    return text


def suppose(scenario: Scenario, words: tuple[str, ...]) -> Scenario:
    """The scenario with each --what-if applied. Raises TopologyError."""
    for word in words:
        name, _, value = word.partition("=")
        if name == "acs-off":
            ports = frozenset(parse_address(port) for port in value.split(";")) if value else None
            old = scenario.acs_off
            scenario = replace(scenario, acs_off=None if ports is None or old is None else old | ports)
        elif name == "allow-bridge":
            scenario = replace(scenario, bridges=(*scenario.bridges, parse_bridge(value)))
        elif name == "kernel":
            scenario = replace(scenario, kernel=parse_kernel(value))
        elif name == "cpu":
            scenario = replace(scenario, cpu=parse_cpu(value))
        else:
            raise TopologyError(f"--what-if {word}: {CHANGES}")
    return scenario


def realize(listing: Listing, scenario: Scenario) -> Machine:
    """Raises TopologyError."""
    off = scenario.acs_off
    for address in off or ():
        if address not in listing.functions:
            raise TopologyError(f"acs-off: there is no function {Function(address).name}")
    functions = {address: replace(function) for address, function in listing.functions.items()}
    for address, function in functions.items():
        if off is None or address in off:
            function.acs = None if function.acs is None else function.acs & ~ACS_REDIRECT
            function.acs_known = True
    changed = Listing(functions, set(listing.roots), listing.whole)
    return build(changed, cpu=scenario.cpu, kernel=scenario.kernel, allowed_bridges=scenario.bridges)


def choose(machine: Machine, wanted: tuple[str, ...], everything: bool) -> list[PciDev]:
    """The devices to pair: by address or class, else GPUs, NVMe drives and NICs. Raises TopologyError."""
    chosen: dict[Address, PciDev] = {}
    for word in wanted:
        if word.lower() in CLASSES:
            chosen |= {at: machine.devices[at] for at, function in sorted(machine.functions.items())
                       if device_class(function).lower() == word.lower()}
            continue
        address = parse_address(word)
        if address not in machine.devices:
            raise TopologyError(f"there is no function {Function(address).name}")
        chosen[address] = machine.devices[address]
    if not wanted:
        for at in sorted(machine.devices):
            function, dev = machine.functions[at], machine.devices[at]
            leaf = not function.secondary and (function.class_code is None or function.class_code >> 8 != 0x06)
            nameless = leaf and function.class_code is None and dev.parent is not None
            if (everything and leaf) or (function.physfn is None and (device_class(function) or nameless)):
                chosen[at] = dev
    if len(chosen) < 2:
        raise TopologyError("there are not two devices to pair: name them with --device, or ask for --all")
    if len(chosen) * (len(chosen) - 1) // 2 > MAX_PAIRS:
        raise TopologyError(f"{len(chosen)} devices are too many pairs: name some with --device")
    return list(chosen.values())


def examine(machine: Machine, devices: list[PciDev]) -> list[Verdict]:
    """The verdict for each pair; the one named first is the provider (swapped, only the order of the ports differs)."""
    return judge(machine, combinations(devices, 2))


@click.command("topology")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--live", is_flag=True, help="This machine's own /sys (as root, for ACS).")
@click.option("--cpu", metavar="CPU", help="zen, other, VENDOR:FAMILY (AMD:0x19), or a /proc/cpuinfo.")
@click.option("--kernel", type=click.Choice(list(KERNELS)), default="6.1", show_default=True, help="Whose bridge list.")
@click.option("--allow-bridge", "bridges", multiple=True, metavar="VVVV:DDDD", help="A host bridge added to the list.")
@click.option("--device", "-d", "wanted", multiple=True, metavar="DEVICE", help="An address, or gpu, nvme, nic.")
@click.option("--class", "-c", "classes", multiple=True, type=click.Choice(CLASSES, case_sensitive=False),
              help="Every GPU, NVMe drive or NIC; as --device does.")
@click.option("--all", "everything", is_flag=True, help="Every function that is no bridge, virtual functions too.")
@click.option("--what-if", "changes", multiple=True, metavar="CHANGE",
              help=f"{CHANGES}: the verdicts then.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--svg", "svg", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="The tree and the verdicts as a picture, too.")
@click.option("--verbose", "-v", is_flag=True, help="The whole tree, and each pair's reasons however many there are.")
def topology_command(
    files: tuple[Path, ...], live: bool, cpu: str | None, kernel: str, bridges: tuple[str, ...],
    wanted: tuple[str, ...], classes: tuple[str, ...], everything: bool, changes: tuple[str, ...], as_json: bool,
    svg: Path | None, verbose: bool,
) -> None:
    """P2PDMA verdict for each pair of devices of a real machine.

    FILES, all of one machine: what lspci prints (-nnvvv as root, -xxxx, -t), a sysfs directory, or a tar archive of
    one. Exit status: 0 if Linux permits every pair, 1 if it refuses one or the files leave it open, 2 for files or
    options that make no sense.
    """
    try:
        status = _topology(files, live, cpu, kernel, bridges, wanted + classes, everything, changes, as_json, svg,
                           verbose)
    except TopologyError as error:
        raise Sentence(str(error)) from None
    sys.exit(status)


def _topology(files: tuple[Path, ...], live: bool, cpu: str | None, kernel: str, bridges: tuple[str, ...],
              wanted: tuple[str, ...], everything: bool, changes: tuple[str, ...], as_json: bool, svg: Path | None,
              verbose: bool) -> int:
    if not files and not live:
        raise TopologyError("no file: give what lspci -nnvvv prints as root, or --live")
    listing = read_sources(files, live=live)
    known: Cpu | None
    if cpu is not None:
        known, why = parse_cpu(cpu), "--cpu"
    elif live:
        known, why = parse_cpu("/proc/cpuinfo"), "/proc/cpuinfo"
    else:
        known, why = infer_cpu(listing)
    now = Scenario(known, kernel, tuple(parse_bridge(bridge) for bridge in bridges))
    machine = realize(listing, now)
    devices = choose(machine, wanted, everything)
    before = verdicts = examine(machine, devices)
    if changes:
        machine = realize(listing, suppose(now, changes))
        devices = [machine.devices[dev.host.domain, dev.bus, dev.devfn] for dev in devices]
        verdicts = examine(machine, devices)
        for verdict, was in zip(verdicts, before, strict=True):
            verdict.reason.insert(0, f"what if {', '.join(changes)}: without, {was.map_type}")
    if svg is not None:
        notes = [f"CPU: {'unknown' if machine.cpu is None else describe(machine.cpu)}", f"({why})", f"Linux {kernel}"]
        notes += [f"what if {', '.join(changes)}"] if changes else []
        try:
            svg.write_text(picture(machine, devices, verdicts, everything=verbose, notes=notes), encoding="utf-8")
        except OSError as error:
            raise TopologyError(f"{svg} cannot be written: {error.strerror}") from None
    if as_json:
        click.echo(json.dumps([verdict.json() for verdict in verdicts], indent=2, ensure_ascii=False))
    else:
        for line in tree_lines(machine, devices, everything=verbose):
            click.echo(line)
        click.echo(f"\nCPU: {'unknown' if machine.cpu is None else describe(machine.cpu)} ({why})\n")
        for verdict, was in zip(verdicts, before, strict=True):
            if len(verdicts) <= MANY or verbose:
                click.echo("\n".join(verdict_lines(verdict, was)) + "\n")
            else:
                click.echo(verdict_line(verdict, was))
        if len(verdicts) > MANY and not verbose:
            click.echo("reasons: --verbose, or fewer --device")
        for line in summary_lines(verdicts):
            click.echo(line)
    return 0 if all(verdict.map_type in PERMITTED for verdict in verdicts) else 1
