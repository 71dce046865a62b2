# SPDX-License-Identifier: MIT
"""What a text or a sysfs tree tells about the PCI functions of a machine, unknown facts included."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from dma_ops.pci import PciType

Address = tuple[int, int, int]      # domain, bus, devfn
Bus = tuple[int, int]               # domain, bus

LONGEST = 70                        # characters of a title
_NUMBERS = re.compile(r" ?(?:\[[0-9a-f]{4}:[0-9a-f]{4}\]|\((?:rev|prog-if) [^)]*\))", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$", re.IGNORECASE)


class TopologyError(Exception):
    """A file or an option makes no sense; the text is a sentence for the user."""


def parse_address(text: str) -> Address:
    """"dddd:bb:dd.f" or "bb:dd.f". Raises TopologyError."""
    match = _ADDRESS.match(text)
    if match is None:
        raise TopologyError(f"{text!r} is no PCI address (dddd:bb:dd.f)")
    domain, bus, slot, function = (int(part or "0", 16) for part in match.groups())
    return domain, bus, slot << 3 | function


def address_name(address: Address) -> str:
    domain, bus, devfn = address
    return f"{domain:04x}:{bus:02x}:{devfn >> 3:02x}.{devfn & 7}"


@dataclass(frozen=True, slots=True)
class VirtualFunctions:
    """The SR-IOV capability of a physical function: VF n (from 0) is offset + n * stride routing ids further on."""

    count: int
    offset: int
    stride: int

    def addresses(self, physfn: Address) -> list[Address]:
        domain, bus, devfn = physfn
        first = (bus << 8 | devfn) + self.offset
        ids = (first + n * self.stride for n in range(self.count))
        return [(domain, rid >> 8, rid & 0xff) for rid in ids if rid < 0x10000]


@dataclass(slots=True)
class Function:
    """One PCI function; None is "not told". acs_known is false where the ACS Control Register could not be seen;
    then acs_why says why. acs is None without an ACS capability."""

    address: Address
    vendor: int | None = None
    device: int | None = None
    class_code: int | None = None           # base class and subclass: 0x0302
    description: str = ""
    kind: PciType | None = None
    secondary: int | None = None
    subordinate: int | None = None
    acs: int | None = None
    acs_known: bool = False
    acs_why: str = ""
    vfs: VirtualFunctions | None = None
    physfn: Address | None = None
    has_extended: bool = False              # an extended capability was seen

    @property
    def name(self) -> str:
        return address_name(self.address)

    @property
    def ids(self) -> str:
        if self.vendor is None or self.device is None:
            return "????:????"
        return f"{self.vendor:04x}:{self.device:04x}"

    @property
    def title(self) -> str:
        """Maker and model, as far as the description has them, in printable characters."""
        words = _NUMBERS.sub("", self.description.partition(": ")[2]).strip()
        return "".join(c for c in words if c.isprintable())[:LONGEST]

    def merge(self, other: Function) -> None:
        """Add what another description of the same function tells. Raises TopologyError where they contradict."""
        for fact in ("vendor", "device"):
            mine, theirs = getattr(self, fact), getattr(other, fact)
            if mine is not None and theirs is not None and mine != theirs:
                raise TopologyError(f"{self.name} is {self.ids} in one place and {other.ids} in another")
        for fact in ("vendor", "device", "class_code", "kind", "secondary", "subordinate", "vfs", "physfn"):
            if getattr(self, fact) is None:
                setattr(self, fact, getattr(other, fact))
        self.description = self.description or other.description
        self.has_extended = self.has_extended or other.has_extended
        if not self.acs_known and (other.acs_known or not self.acs_why):
            self.acs, self.acs_known, self.acs_why = other.acs, other.acs_known, other.acs_why


@dataclass(slots=True)
class Listing:
    """The functions of one machine, and the root buses where the source names them (lspci -t, sysfs)."""

    functions: dict[Address, Function] = field(default_factory=dict)
    roots: set[Bus] = field(default_factory=set)
    whole: bool = False                     # the source shows every function: lspci -t, sysfs

    def add(self, function: Function) -> None:
        known = self.functions.setdefault(function.address, function)
        if known is not function:
            known.merge(function)

    def merge(self, others: Iterable[Listing]) -> Listing:
        for other in others:
            for function in other.functions.values():
                self.add(function)
            self.roots |= other.roots
            self.whole = self.whole or other.whole
        return self
