# SPDX-License-Identifier: MIT
"""The answer with unknown facts is the same as asking for every machine that they could belong to."""

import itertools
import random
import re

import pytest

from conformance.topology import build, judge
from conformance.topology.cpu import OTHER, ZEN
from conformance.topology.facts import Function, Listing
from dma_ops.p2pdma import calc_map_type_and_dist, p2pdma_path
from dma_ops.pci import PciType

VENDOR = 0x1234
REDIRECT = 0x1d


def random_listing(rng):
    """Two root buses with ports, switches and devices; ACS unknown here and there, and the host bridges' ids too."""
    listing, next_bus = Listing(), itertools.count(1)
    leaves = []

    def add(address, **facts):
        acs = rng.choice(("none", "off", "on", "unknown"))
        function = Function(address, VENDOR, 1, acs_known=acs != "unknown", acs_why="a hole",
                            acs={"none": None, "off": 1, "on": REDIRECT, "unknown": None}[acs], **facts)
        listing.add(function)
        return function

    def below(bus, depth):
        for slot in range(rng.randrange(1, 3)):
            if depth and rng.random() < 0.6:
                secondary = next(next_bus)
                add((0, bus, slot << 3), kind=PciType.DOWNSTREAM, secondary=secondary, subordinate=secondary)
                below(secondary, depth - 1)
            else:
                leaves.append(add((0, bus, slot << 3), kind=PciType.ENDPOINT).address)

    for root in (0, 0x80):
        host = Function((0, root, 0), acs_known=True, class_code=0x0600, kind=PciType.RC_ENDPOINT)
        if rng.random() < 0.6:
            host.vendor, host.device = 0x8086, rng.choice((0x2020, 0x2f00, 0x4c43))
        listing.add(host)
        for slot in (1, 2):
            secondary = next(next_bus)
            add((0, root, slot << 3), kind=PciType.ROOT_PORT, secondary=secondary, subordinate=secondary)
            below(secondary, 2)
    return listing, leaves


def every_machine(listing, cpu):
    """Each way to fill the holes."""
    holes = [function for function in listing.functions.values() if not function.acs_known]
    hosts = [function for function in listing.functions.values() if function.vendor is None]
    for cpu_now in ((ZEN, OTHER) if cpu is None else (cpu,)):
        for values in itertools.product((None, REDIRECT), repeat=len(holes)):
            for devices in itertools.product((0x2020, 0x4c43), repeat=len(hosts)):
                filled = Listing({at: Function(at, f.vendor, f.device, f.class_code, kind=f.kind, secondary=f.secondary,
                                               acs=f.acs, acs_known=True) for at, f in listing.functions.items()})
                for hole, value in zip(holes, values, strict=True):
                    filled.functions[hole.address].acs = value
                for host, device in zip(hosts, devices, strict=True):
                    filled.functions[host.address].vendor = 0x8086
                    filled.functions[host.address].device = device
                yield build(filled, cpu=cpu_now)


@pytest.mark.parametrize("seed", range(30))
def test_unknown_is_what_depends_on_the_unknown(seed):
    rng = random.Random(seed)
    listing, leaves = random_listing(rng)
    holes = [function for function in listing.functions.values() if not function.acs_known]
    for function in holes[5:]:
        function.acs_known = True
    cpu = rng.choice((None, ZEN, OTHER))
    machine = build(listing, cpu=cpu)
    pairs = [tuple(rng.choice(leaves) for _ in range(2)) for _ in range(6)]
    verdicts = judge(machine, [(machine.devices[a], machine.devices[b]) for a, b in pairs])
    possible = [set() for _ in pairs]
    for world in every_machine(listing, cpu):
        for answers, (a, b) in zip(possible, pairs, strict=True):
            kind, hops = calc_map_type_and_dist(world.devices[a], world.devices[b])
            answers.add((("", "NOT_SUPPORTED", "BUS_ADDR", "THRU_HOST_BRIDGE")[kind], -1 if kind == 1 else hops))
    for verdict, answers in zip(verdicts, possible, strict=True):
        if len(answers) == 1:
            assert {(verdict.map_type, verdict.distance)} == answers
            assert not verdict.answers
        else:
            assert verdict.map_type == "UNKNOWN"
            assert set(verdict.answers.values()) == answers
            assert len(verdict.answers) >= 2


@pytest.mark.parametrize("seed", range(30))
def test_ports_are_those_of_the_kernels_message(seed):
    rng = random.Random(1000 + seed)
    listing, leaves = random_listing(rng)
    for function in listing.functions.values():
        function.acs_known = True
    machine = build(listing, cpu=OTHER)
    for a, b in itertools.product(leaves, repeat=2):
        provider, client = machine.devices[a], machine.devices[b]
        (verdict,) = judge(machine, [(provider, client)])
        machine.tree.machine.dmesg.clear()
        calc_map_type_and_dist(provider, client, True)
        said = re.search(r"pci=disable_acs_redir=\S+", "\n".join(machine.tree.machine.dmesg))
        assert (verdict.disable_acs_redir if verdict.acs else None) == (said and said[0])
        machine.tree.machine.dmesg.clear()


def test_path_of_a_function_to_itself():
    listing, leaves = random_listing(random.Random(3))
    machine = build(listing)
    dev = machine.devices[leaves[0]]
    assert p2pdma_path(dev, dev) == ([dev], [], dev)


def test_a_list_of_more_ports_than_the_kernels_buffer_holds_is_whole():
    listing = Listing()
    listing.add(Function((0, 0, 0), 0x8086, 0x4c43, 0x0600, acs_known=True))
    listing.add(Function((0, 0, 8), VENDOR, 1, kind=PciType.ROOT_PORT, secondary=1, acs_known=True))
    listing.add(Function((0, 1, 0), VENDOR, 1, kind=PciType.UPSTREAM, secondary=2, acs_known=True))
    for side in (0, 8):
        bus = 2
        for step in range(6):
            below = 3 + step + 16 * (side > 0)
            listing.add(Function((0, bus, side if bus == 2 else 0), VENDOR, 1, kind=PciType.DOWNSTREAM, secondary=below,
                                 acs=REDIRECT, acs_known=True))
            bus = below
        listing.add(Function((0, bus, 0), VENDOR, 2, kind=PciType.ENDPOINT, acs_known=True))
    machine = build(listing, cpu=OTHER)
    pair = [dev for dev in machine.devices.values() if dev.device == 2]
    (verdict,) = judge(machine, [tuple(pair)])
    assert len(verdict.acs) == 12
    assert verdict.disable_acs_redir.count(";") == 11
    assert verdict.hops == 14
