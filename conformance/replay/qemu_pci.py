# SPDX-License-Identifier: MIT
"""The PCI tree of a recorded run, rebuilt from QEMU's arguments, and the operations on P2P memory.

The recorder prints where each client and provider is and which BAR is registered, but neither the bridges nor their
ACS controls: those follow from the -device arguments and from what Linux does at enumeration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from dma_ops import Machine
from dma_ops.p2pdma import (
    p2pdma_map_type,
    pci_alloc_p2pmem,
    pci_p2pdma_add_resource,
    pci_p2pdma_distance,
    pci_p2pmem_publish,
)
from dma_ops.pci import (
    ACS_CR,
    ACS_REDIRECT,
    ACS_RR,
    ACS_SV,
    ACS_UF,
    PciDev,
    PciHost,
    PciTree,
    PciType,
    Window,
    devfn_of,
)

from .run import Run, VectorError
from .session import Answer, Arena, Session, number

# QEMU's -device names: vendor, device, PCIe type, has ACS
_MODELS: dict[str, tuple[int, int, PciType, bool]] = {
    "pcie-root-port": (0x1b36, 0x000c, PciType.ROOT_PORT, True),
    "x3130-upstream": (0x104c, 0x8232, PciType.UPSTREAM, False),
    "xio3130-downstream": (0x104c, 0x8233, PciType.DOWNSTREAM, False),
    "pcie-pci-bridge": (0x1b36, 0x000e, PciType.PCI_BRIDGE, False),
    "edu": (0x1234, 0x11e8, PciType.CONVENTIONAL, False),
    "ivshmem-plain": (0x1af4, 0x1110, PciType.CONVENTIONAL, False),
    "virtio-iommu-pci": (0x1af4, 0x1057, PciType.CONVENTIONAL, False),
    "amd-iommu": (0x1022, 0x0000, PciType.CONVENTIONAL, False),
}
_BUILT_IN = {"q35": (("00.0", 0x8086, 0x29c0), ("1f.0", 0x8086, 0x2918), ("1f.2", 0x8086, 0x2922),
                     ("1f.3", 0x8086, 0x2930))}
_CPUS = {"EPYC": ("AMD", 0x17), "Nehalem": ("Intel", 6)}
_PROVIDER = re.compile(r"provider (\d+) (\S+) \[mem (0x[0-9a-f]+)-(0x[0-9a-f]+)")
_WINDOW = re.compile(r"window \[mem (0x[0-9a-f]+)-(0x[0-9a-f]+).*\] off=(0x[0-9a-f]+)")
_PCI_NAME = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")
PROVIDER_BAR = 2                # ivshmem's shared memory


@dataclass(slots=True)
class _Planned:
    """A function that is still to be created, with the functions on the bus below it."""

    devfn: int
    vendor: int
    device: int
    kind: PciType
    acs: bool
    below: list[_Planned] = field(default_factory=list)
    secondary: int | None = None


def build_tree(run: Run, machine: Machine) -> PciTree:
    """The machine's PCI tree as Linux enumerated it in this run. Raises VectorError for a device it does not know."""
    arguments = run.config["qemu"]
    options = {arguments[i]: arguments[i + 1] for i in range(1, len(arguments) - 1) if arguments[i] in ("-M", "-cpu")}
    root = [_Planned(devfn_of(devfn), vendor, device, PciType.CONVENTIONAL, False)
            for devfn, vendor, device in _BUILT_IN.get(options["-M"], ())]
    buses = {"pcie.0": root}
    for flag, argument in pairwise(arguments):
        if flag == "-device":
            _plug(run, argument, buses)
    found = [match for line in run.first_info.get("lines", ()) if (match := _WINDOW.match(line))]
    windows = [Window(int(match[1], 0), int(match[2], 0) + 1, int(match[3], 0)) for match in found]
    tree = PciTree(machine, cpu=_CPUS.get(options.get("-cpu", "")))
    host = tree.add_host(windows=windows)
    _number(root, 0)
    redirect = any("Adding to iommu group" in line for line in run.environment)
    kept = _not_redirecting(run.config.get("cmdline") or "")
    _create(host, None, root, redirect, kept)
    return tree


def _plug(run: Run, argument: str, buses: dict[str, list[_Planned]]) -> None:
    """Put one -device on its bus: at addr=, else in the first free slot."""
    model, *pairs = argument.split(",")
    facts = dict(pair.split("=", 1) for pair in pairs)
    if model == "intel-iommu":              # not a PCI function
        return
    if model not in _MODELS:
        raise VectorError(f"{run.path}: no PCI facts of QEMU's device {model!r}")
    bus = buses[facts.get("bus", "pcie.0")]
    if "addr" in facts:
        devfn = devfn_of(facts["addr"])
    else:
        devfn = next(slot << 3 for slot in range(32) if all(peer.devfn >> 3 != slot for peer in bus))
    planned = _Planned(devfn, *_MODELS[model])
    bus.append(planned)
    if "id" in facts:
        buses[facts["id"]] = planned.below


def _number(functions: list[_Planned], last: int) -> int:
    """Give bus numbers to the bridges, depth first by devfn; the last number given."""
    functions.sort(key=lambda planned: planned.devfn)
    for planned in functions:
        if planned.kind in (PciType.ROOT_PORT, PciType.UPSTREAM, PciType.DOWNSTREAM, PciType.PCI_BRIDGE):
            planned.secondary = last + 1
            last = _number(planned.below, last + 1)
    return last


def _create(host: PciHost, parent: PciDev | None, functions: list[_Planned], redirect: bool, kept: list[str]) -> None:
    created = [PciDev(host, parent, planned.devfn, planned.vendor, planned.device, kind=planned.kind,
                      secondary=planned.secondary) for planned in functions]
    for dev, planned in zip(created, functions, strict=True):
        if planned.acs:
            # pci_std_enable_acs() where an IOMMU driver asked for it, then pci_disable_acs_redir()
            dev.acs = ACS_SV | ACS_RR | ACS_CR | ACS_UF if redirect else 0
            if dev.name in kept or f"pci:{dev.vendor:04x}:{dev.device:04x}" in kept:
                dev.acs &= ~ACS_REDIRECT
        if planned.below:
            _create(host, dev, planned.below, redirect, kept)


def _not_redirecting(cmdline: str) -> list[str]:
    """The devices of pci=disable_acs_redir=, which are separated by ";" ("," would end the option)."""
    for word in cmdline.split():
        if word.startswith("pci="):
            for option in word[4:].split(","):
                if option.startswith("disable_acs_redir="):
                    return option.partition("=")[2].split(";")
    return []


class P2pSession(Session):
    """A Session with P2P memory: setup() of a subclass builds machine and devices, then calls attach_pci()."""

    tree: PciTree | None = None

    def attach_pci(self) -> None:
        """Build the tree, give each PCI client its place in it, register and publish every provider's BAR.

        The machine needs pci_p2pdma=True if the run has providers. Nothing happens where the tree is not known.
        """
        providers = [match for line in self.run.environment if (match := _PROVIDER.match(line))]
        if not providers:
            return
        self.tree = build_tree(self.run, self.machine)
        self.providers: dict[int, PciDev] = {}
        for match in providers:
            start, end = int(match[3], 0), int(match[4], 0)
            pdev = self.tree.find(match[2])
            pdev.add_bar(PROVIDER_BAR, start, end + 1 - start)
            pci_p2pdma_add_resource(pdev, PROVIDER_BAR)
            pci_p2pmem_publish(pdev, True)
            self.providers[int(match[1])] = pdev
        for line in self.run.environment:
            words = line.split()
            if words[:1] == ["client"] and _PCI_NAME.match(words[2]) and int(words[1]) in self.devices:
                self.devices[int(words[1])].pci = self.tree.find(words[2])

    def op_p2parena(self, words: list[str]) -> Any:
        """The model's pool must hand out the very pages that the kernel's did."""
        if self.tree is None or "phys" not in self.expected:
            return self.op_arena(words)
        pdev = self.providers[number(words[2]) if len(words) > 2 else 0]
        pages = number(words[1])
        phys = pci_alloc_p2pmem(pdev, pages * self.machine.page_size)
        if phys != self.expected["phys"]:
            raise VectorError(f"{self.run.path}: {pdev.name} gave P2P memory at {phys:#x}, not at "
                              f"{self.expected['phys']:#x}")
        self.arenas[words[0]] = Arena(phys, pages, self.machine.page_size)
        return {}

    def op_p2pdist(self, words: list[str]) -> Answer:
        answer: Answer = {"dist": pci_p2pdma_distance(self.providers[number(words[0])], self.dev, True)}
        if len(words) > 1:
            answer["maptype"] = p2pdma_map_type(self.dev, self.arenas[words[1]].phys)
        return answer
