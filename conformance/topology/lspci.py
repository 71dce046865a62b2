# SPDX-License-Identifier: MIT
"""Reads what lspci prints: any of -nn, -v to -vvv, -x to -xxxx and -t, alone or mixed into a bug report.

Bytes of the configuration space win over words; what neither shows stays unknown. `lspci -t` tells the root buses and
which bridge leads to which bus, which is all that a listing without root rights does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dma_ops.pci import ACS_CR, ACS_DT, ACS_EC, ACS_RR, ACS_SV, ACS_TB, ACS_UF, PciType

from .config_space import CONFIG_SIZE, EXTENDED_SIZE, decode
from .facts import Address, Function, Listing, VirtualFunctions

_HEADER = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7]) (?=.*: )(.*)", re.IGNORECASE)
_NUMERIC = re.compile(r"([0-9a-f]{4}): ([0-9a-f]{4}):([0-9a-f]{4})\b", re.IGNORECASE)
_CLASS = re.compile(r"\[([0-9a-f]{4})\]: ", re.IGNORECASE)
_IDS = re.compile(r"\[([0-9a-f]{4}):([0-9a-f]{4})\]", re.IGNORECASE)
_HEX = re.compile(r"([0-9a-f]{2,3}): ((?:[0-9a-f]{2} ){15}[0-9a-f]{2})\s*$", re.IGNORECASE)
_BUS = re.compile(r"Bus: primary=[0-9a-f]{2}, secondary=([0-9a-f]{2}), subordinate=([0-9a-f]{2})", re.IGNORECASE)
_CAPABILITY = re.compile(r"Capabilities: \[([0-9a-f]{2,3})[^]]*\] (.*)", re.IGNORECASE)
_ACS_CTL = re.compile(r"ACSCtl:\s*(.*)")
_VF_COUNT = re.compile(r"Number of VFs: (\d+)")
_VF_OFFSET = re.compile(r"VF offset: (\d+), stride: (\d+)")

_ACS_WORDS = {"SrcValid": ACS_SV, "TransBlk": ACS_TB, "ReqRedir": ACS_RR, "CmpltRedir": ACS_CR, "UpstreamFwd": ACS_UF,
              "EgressCtrl": ACS_EC, "DirectTrans": ACS_DT}
_KINDS = (      # after "Express" and "(v2)"
    ("Endpoint", PciType.ENDPOINT),
    ("Legacy Endpoint", PciType.LEGACY_ENDPOINT),
    ("Root Port", PciType.ROOT_PORT),
    ("Upstream Port", PciType.UPSTREAM),
    ("Downstream Port", PciType.DOWNSTREAM),
    ("PCI-Express to PCI", PciType.PCI_BRIDGE),
    ("PCI/PCI-X to PCI-Express", PciType.PCIE_BRIDGE),
    ("Root Complex Integrated Endpoint", PciType.RC_ENDPOINT),
    ("Root Complex Event Collector", PciType.RC_EVENT_COLLECTOR),
)
_EXPRESS = re.compile(r"Express (?:\(v\d+\) )?(.*)")
_CLASSES = {
    "VGA compatible controller": 0x0300, "XGA compatible controller": 0x0301, "3D controller": 0x0302,
    "Display controller": 0x0380, "Non-Volatile memory controller": 0x0108, "Ethernet controller": 0x0200,
    "Infiniband controller": 0x0207, "InfiniBand controller": 0x0207, "Fabric controller": 0x0208,
    "Network controller": 0x0280, "Processing accelerators": 0x1200, "Host bridge": 0x0600, "PCI bridge": 0x0604,
    "CardBus bridge": 0x0607,
}

_NO_EXTENDED = "no extended capability of any function is shown"
_ONLY_NAME = "the listing has no capabilities (lspci -vvv as root)"


def read_lspci(text: str) -> Listing:
    """The functions of one lspci listing, tree or mixture; none if the text has none."""
    listing = Listing()
    section: list[str] | None = None
    tree: list[str] = []
    address: Address = (0, 0, 0)
    for line in text.splitlines():
        if match := _HEADER.match(line):
            if section is not None:
                listing.add(_function(address, section))
            domain, bus, slot, number = (int(part or "0", 16) for part in match.groups()[:4])
            address = (domain, bus, slot << 3 | number)
            section = [match[5]]
        elif section is not None and (line[:1] in "\t " or _HEX.match(line)) and not _TREE_LINE.match(line):
            section.append(line)
        else:
            if section is not None and line.strip():
                listing.add(_function(address, section))
                section = None
            if _TREE_LINE.match(line):
                tree.append(line)
    if section is not None:
        listing.add(_function(address, section))
    _settle(listing)
    return listing.merge([read_tree(tree)]) if tree else listing


def _settle(listing: Listing) -> None:
    """A PCIe function without extended capabilities in the text has none, if the text shows others'."""
    domains = {function.address[0] for function in listing.functions.values() if function.has_extended}
    for function in listing.functions.values():
        if function.acs_why == _NO_EXTENDED and function.address[0] in domains:
            function.acs_known = True


def _function(address: Address, section: list[str]) -> Function:
    """One function from its header and the lines below it."""
    rows: dict[int, bytes] = {}
    for line in section[1:]:
        if match := _HEX.match(line):
            rows.setdefault(int(match[1], 16), bytes.fromhex(match[2]))
    space = b""
    while len(space) in rows:
        space += rows[len(space)]
    if CONFIG_SIZE < len(space) < EXTENDED_SIZE:
        space = space[:CONFIG_SIZE]         # a part of the extended space tells nothing about the rest
    words = _from_words(address, section)
    if not space:
        return words
    function = decode(address, space)
    if function.vendor is not None:
        words.vendor, words.device = function.vendor, function.device
    if not function.acs_known and not words.acs_known and words.acs_why == _ONLY_NAME:
        words.acs_why = function.acs_why
    if not function.acs_known:
        function.acs, function.acs_known, function.acs_why = words.acs, words.acs_known, words.acs_why
    function.merge(words)
    return function


def _from_words(address: Address, section: list[str]) -> Function:
    head, *lines = section
    function = Function(address, acs_why=_ONLY_NAME)
    if numeric := _NUMERIC.match(head):
        function.class_code, function.vendor, function.device = (int(part, 16) for part in numeric.groups())
    else:
        function.description = head
        if ids := _IDS.findall(head):
            function.vendor, function.device = (int(part, 16) for part in ids[-1])
        if match := _CLASS.search(head):
            function.class_code = int(match[1], 16)
        else:
            function.class_code = _CLASSES.get(head.partition(": ")[0])
    capabilities: dict[str, int] = {}       # text: offset
    denied = seen_caps = False
    for raw in lines:
        line = raw.strip()
        if match := _CAPABILITY.match(line):
            capabilities.setdefault(match[2], int(match[1], 16))
        elif line.startswith("Capabilities:"):
            denied = True                   # <access denied>
        elif match := _BUS.match(line):
            function.secondary, function.subordinate = int(match[1], 16), int(match[2], 16)
        elif match := _ACS_CTL.match(line):
            function.acs = sum(_ACS_WORDS.get(word[:-1], 0) for word in match[1].split() if word.endswith("+"))
            function.acs_known = "ReqRedir" in match[1] and "CmpltRedir" in match[1] and "EgressCtrl" in match[1]
        elif line.startswith("Status: Cap-") or line.startswith("Flags:"):
            seen_caps = True                # lspci got as far as the list of capabilities
    _virtual_functions(function, lines)
    if function.acs_known:
        function.has_extended = True
    express = next((match[1] for text in capabilities if (match := _EXPRESS.match(text))), None)
    if express is not None:
        function.kind = next((kind for name, kind in _KINDS if express.startswith(name)), None)
    function.has_extended = function.has_extended or any(at >= CONFIG_SIZE for at in capabilities.values())
    if function.acs_known:
        return function
    if denied:
        function.acs_why = "lspci was denied access to its capabilities (it needs root)"
    elif any(text.startswith("Access Control Services") for text in capabilities):
        function.acs_why = "its ACS capability is named but not shown (lspci -vvv)"
    elif express is not None:
        function.acs_known = function.has_extended
        function.acs_why = _NO_EXTENDED
    elif capabilities or seen_caps:
        function.kind = PciType.CONVENTIONAL
        function.acs_known = True
    return function


def _virtual_functions(function: Function, lines: Iterable[str]) -> None:
    enabled = any("IOVCtl:" in line and "Enable+" in line for line in lines)
    count = next((int(match[1]) for line in lines if (match := _VF_COUNT.search(line))), 0)
    place = next((match for line in lines if (match := _VF_OFFSET.search(line))), None)
    if enabled and count and place is not None:
        function.vfs = VirtualFunctions(min(count, 0xffff), int(place[1]), int(place[2]))


# -- lspci -t --------------------------------------------------------------------------------------------------

_TREE_LINE = re.compile(r"[ |]*[-+\\]+-?\[[0-9a-f]{4,8}:[0-9a-f]{2}\]|[ |]*[+\\]-+[01][0-9a-f]\.[0-7]", re.IGNORECASE)
_TREE_ROOT = re.compile(r"\[([0-9a-f]{4,8}):([0-9a-f]{2})\]", re.IGNORECASE)
_TREE_FUNCTION = re.compile(r"([01][0-9a-f])\.([0-7])", re.IGNORECASE)
_TREE_BUS = re.compile(r"-\[([0-9a-f]{2})(?:-([0-9a-f]{2}))?\]", re.IGNORECASE)


def read_tree(lines: Iterable[str]) -> Listing:
    """The functions of `lspci -t`, -tv or -nntv. A branch ("+" or a backslash) belongs to the bus that began it."""
    listing = Listing(whole=True)
    branches: dict[int, tuple[int, int] | None] = {}        # column: bus; None is the forest of root buses
    for line in lines:
        column, current = 0, None
        while column < len(line):
            mark = line[column]
            if mark in "+\\":
                if current is None:
                    current = branches.get(column)
                else:
                    branches[column] = current
                column += 1
            elif match := _TREE_ROOT.match(line, column):
                current = (int(match[1], 16), int(match[2], 16))
                listing.roots.add(current)
                column = match.end()
            elif current is not None and (match := _TREE_FUNCTION.match(line, column)):
                function = Function((*current, int(match[1], 16) << 3 | int(match[2])), acs_why=_ONLY_NAME)
                listing.add(function)
                column = match.end()
                if below := _TREE_BUS.match(line, column):
                    function.secondary = int(below[1], 16)
                    function.subordinate = int(below[2] or below[1], 16)
                    current = (current[0], function.secondary)
                    column = below.end()
                else:
                    if ids := _IDS.findall(line, column):
                        function.vendor, function.device = (int(part, 16) for part in ids[-1])
                    break
            elif mark in "-| ":
                column += 1
            else:
                break                       # a description, or no tree
    return listing
