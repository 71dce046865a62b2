# SPDX-License-Identifier: MIT
"""Listings of real machines."""

import gzip
import os
from pathlib import Path

import pytest

from conformance.topology import build, infer_cpu, judge
from conformance.topology.cpu import OTHER, ZEN
from conformance.topology.facts import Listing, address_name, parse_address
from conformance.topology.lspci import read_lspci, read_tree

DATA = Path(__file__).parent / "data/lspci"
SHARED = Path(os.environ.get("DMA_CONFORMANCE_SHARED", Path(__file__).parents[4] / "shared")) / "topology/lspci"
DUMPS = sorted(path.name for path in DATA.glob("*.txt.gz"))


def read(*names):
    """One machine from the dumps whose names begin so."""
    listings = [read_lspci(gzip.decompress(next(DATA.glob(f"{name}.txt.gz")).read_bytes()).decode()) for name in names]
    return Listing().merge(listings)


def ask(listing, provider, client, cpu="inferred", **options):
    machine = build(listing, cpu=infer_cpu(listing)[0] if cpu == "inferred" else cpu, **options)
    return judge(machine, [(machine.devices[parse_address(provider)], machine.devices[parse_address(client)])])[0]


def test_there_are_dumps():
    assert len(DUMPS) == 14


@pytest.mark.parametrize("name", DUMPS)
def test_every_function_gets_its_place(name):
    text = gzip.decompress((DATA / name).read_bytes()).decode()
    listing = read_lspci(text)
    machine = build(listing)
    assert sorted(machine.devices) == sorted(listing.functions)
    for address, dev in machine.devices.items():
        assert dev.name == address_name(address)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the collection of dumps is not beside the checkout")
def test_every_dump_of_the_collection_parses():
    paths = sorted(SHARED.glob("[0-9]*.txt"))
    assert len(paths) == 34
    for path in paths:
        listing = read_lspci(path.read_text(errors="replace"))
        assert listing.functions, path.name
        machine = build(listing, cpu=infer_cpu(listing)[0])
        leaves = [dev for dev in machine.devices.values() if not dev.is_bridge][:12]
        for verdict in judge(machine, [(a, b) for a in leaves for b in leaves]):
            assert verdict.map_type != "UNKNOWN" or verdict.answers or "unknown: " in verdict.reason[-1]


# functions, with an ACS capability, redirecting, whose ACS is unknown, virtual functions, root buses
COUNTS = {
    "01-xeon-w2265-vmd": (128, 4, 0, 0, 0, 5),
    "02-tr-pro-5955wx-2xa6000": (96, 32, 10, 0, 0, 4),
    "05-ryzen-5950x": (47, 13, 6, 0, 0, 1),
    "06-i7-9700k": (18, 1, 0, 0, 0, 1),
    "07-kvm-guest-i440fx": (16, 0, 0, 4, 0, 1),
    "08-2x-xeon4214-8gpu-plx9797-tree": (290, 0, 0, 290, 0, 8),
    "09-hpe-skylake-sp-mellanox-vf": (310, 14, 10, 0, 6, 8),
    "11-x99-xeon-e5v3-qd4": (87, 7, 0, 0, 0, 2),
    "17-orion-o6-arm64": (6, 0, 0, 0, 0, 3),
    "18-powermac-g5-u3-ht": (20, 0, 0, 0, 0, 2),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    listing = read(name)
    machine = build(listing)
    functions = listing.functions.values()
    assert (len(functions), sum(f.acs is not None for f in functions),
            sum(bool((f.acs or 0) & 0x2c) for f in functions), sum(not f.acs_known for f in functions),
            sum(f.physfn is not None for f in functions), len(machine.tree.hosts)) == COUNTS[name]


@pytest.mark.parametrize(("name", "provider", "client", "expected"), [
    ("01-xeon-w2265-vmd", "65:00.0", "10000:01:00.0", ("THRU_HOST_BRIDGE", 4)),
    ("01-xeon-w2265-vmd", "16:05.0", "16:05.2", ("NOT_SUPPORTED", -1)),        # first 05.0 is no Root Port
    ("02-tr-pro-5955wx-2xa6000", "2e:00.0", "41:00.0", ("THRU_HOST_BRIDGE", 4)),
    ("02-tr-pro-5955wx-2xa6000", "25:00.0", "25:00.1", ("THRU_HOST_BRIDGE", 2)),
    ("05-ryzen-5950x", "0a:00.0", "0a:00.1", ("THRU_HOST_BRIDGE", 2)),
    ("06-i7-9700k", "01:00.0", "03:00.0", ("NOT_SUPPORTED", -1)),
    ("06-i7-9700k", "01:00.0", "01:00.1", ("BUS_ADDR", 2)),
    ("11-x99-xeon-e5v3-qd4", "02:00.0", "05:00.0", ("THRU_HOST_BRIDGE", 6)),      # one host bridge, 8086:2f00
    ("11-x99-xeon-e5v3-qd4", "02:00.0", "ff:0b.0", ("NOT_SUPPORTED", -1)),
    ("17-orion-o6-arm64", "01:00.0", "31:00.0", ("NOT_SUPPORTED", -1)),
])
def test_verdict(name, provider, client, expected):
    verdict = ask(read(name), provider, client)
    assert (verdict.map_type, verdict.distance) == expected
    swapped = ask(read(name), client, provider)
    assert (swapped.map_type, swapped.distance) == expected


def test_the_port_that_redirects_is_named():
    verdict = ask(read("02-tr-pro-5955wx-2xa6000"), "25:00.0", "25:00.1")
    assert [(port.name, port.control, port.redirects) for port in verdict.acs] == [("0000:22:02.0", 0x1d, True)]
    assert verdict.disable_acs_redir == "pci=disable_acs_redir=0000:22:02.0"
    assert verdict.acs[0].setpci == "setpci -s 0000:22:02.0 ECAP_ACS+6.w=0000:002c"


def test_words_and_bytes_agree():
    """05 has both: read once without its hex rows, once without its words."""
    text = gzip.decompress((DATA / "05-ryzen-5950x.txt.gz").read_bytes()).decode()
    words = read_lspci("\n".join(line for line in text.splitlines() if line[:1] in "\t " or ".0 " in line[:14] or
                                 line[4:5] == ":"))
    whole = read_lspci(text)
    stripped = read_lspci("\n".join(line.partition(" ")[0] + " x: y" if line[4:5] == ":" else line
                                    for line in text.splitlines() if not line.startswith("\t")))
    assert len(words.functions) == len(stripped.functions) == 47
    for address, function in whole.functions.items():
        for other in (words.functions[address], stripped.functions[address]):
            assert (other.vendor, other.device, other.kind, other.acs_known, other.acs, other.secondary or None) == (
                function.vendor, function.device, function.kind, True, function.acs, function.secondary or None)


def test_tree_gives_the_bridges_that_names_alone_do_not():
    """08: `lspci -nn` has ids but no buses, `-t` the buses, and `-v` of the PLX ports no ACS."""
    apart = ask(read("08*-nn"), "1a:00.0", "1c:00.0")
    assert (apart.map_type, apart.hops) == ("UNKNOWN", None)
    listing = read("08*-nn", "08*-tree", "08*-plx")
    across = ask(listing, "1a:00.0", "3d:00.0")
    assert (across.map_type, across.distance, across.hops) == ("THRU_HOST_BRIDGE", 8, 8)
    same = ask(listing, "1a:00.0", "1c:00.0")
    assert (same.map_type, same.distance, same.hops) == ("UNKNOWN", 4, 4)
    assert {kind for kind, _ in same.answers.values()} == {"BUS_ADDR", "THRU_HOST_BRIDGE"}
    assert [port.redirects for port in same.acs] == [None] * 4        # the upstream port 18:00.0 shows that it has none


def test_tree_agrees_with_the_bridges_own_bus_numbers():
    for name in ("01-xeon-w2265-vmd", "02-tr-pro-5955wx-2xa6000"):
        listing, tree = read(name), read(f"{name}-tree")
        assert sorted(listing.functions) == sorted(tree.functions)
        for address, function in tree.functions.items():
            assert function.secondary == (listing.functions[address].secondary or None)
            assert (function.vendor, function.device) in (
                (None, None), (listing.functions[address].vendor, listing.functions[address].device))


def test_names_without_ids_leave_the_host_bridge_open():
    verdict = ask(read("09-hpe-skylake-sp-mellanox-vf"), "12:00.0", "37:00.0", cpu=OTHER)
    assert (verdict.map_type, verdict.distance, verdict.hops) == ("UNKNOWN", None, 4)
    assert [host.listed for host in verdict.host_bridges] == [None, None]
    zen = ask(read("09-hpe-skylake-sp-mellanox-vf"), "12:00.0", "37:00.0", cpu=ZEN)
    assert (zen.map_type, zen.distance) == ("THRU_HOST_BRIDGE", 4)


def test_virtual_functions_have_the_bridge_of_their_physical_function():
    listing = read("09-hpe-skylake-sp-mellanox-vf")
    physfns = {address_name(f.address): address_name(f.physfn) for f in listing.functions.values() if f.physfn}
    build(listing)
    physfns = {address_name(f.address): address_name(f.physfn) for f in listing.functions.values() if f.physfn}
    assert len(physfns) == 6
    verdict = ask(listing, *list(physfns)[:2], cpu=ZEN)
    assert verdict.hops == 2


def test_a_guests_cpu_is_not_guessed():
    listing = read("07-kvm-guest-i440fx")
    assert infer_cpu(listing)[0] is None
    verdict = ask(listing, "00:10.0", "00:05.0")
    assert verdict.map_type == "UNKNOWN"
    assert verdict.answers == {"the CPU is an AMD Zen or later": ("THRU_HOST_BRIDGE", 2),
                               "the CPU is no AMD Zen": ("NOT_SUPPORTED", -1)}


@pytest.mark.parametrize(("name", "cpu"), [
    ("01-xeon-w2265-vmd", ("Intel", 6)), ("02-tr-pro-5955wx-2xa6000", ZEN), ("05-ryzen-5950x", ZEN),
    ("06-i7-9700k", ("Intel", 6)), ("08*-tree", None), ("09-hpe-skylake-sp-mellanox-vf", None),
    ("17-orion-o6-arm64", OTHER), ("18-powermac-g5-u3-ht", None)])
def test_inferred_cpu(name, cpu):
    assert infer_cpu(read(name))[0] == cpu


def test_tree_of_several_roots():
    tree = read_tree(["-+-[10000:00]-+-02.0-[01]----00.0  A Device [1c5c:1959]", " |            \\-03.0-[02]--",
                      " \\-[0000:00]-+-00.0", "             \\-02.1-[04-6a]----00.0-[05-6a]--+-00.0-[06]--",
                      "                                             \\-08.0-[07]--+-00.0",
                      "                                                          \\-00.1"])
    assert tree.roots == {(0x10000, 0), (0, 0)}
    assert {address_name(at): f.secondary for at, f in tree.functions.items()} == {
        "10000:00:02.0": 1, "10000:01:00.0": None, "10000:00:03.0": 2, "0000:00:00.0": None, "0000:00:02.1": 4,
        "0000:04:00.0": 5, "0000:05:00.0": 6, "0000:05:08.0": 7, "0000:07:00.0": None, "0000:07:00.1": None}
