# SPDX-License-Identifier: MIT
"""The core's side of P2PDMA: registration, search, distances and map types, on any machine that can have it."""

from __future__ import annotations

import errno
from contextlib import suppress

from dma_ops import DmaError, KernelBug
from dma_ops.p2pdma import (
    calc_map_type_and_dist,
    p2pdma_map_type,
    pci_alloc_p2pmem,
    pci_free_p2pmem,
    pci_p2pdma_add_resource,
    pci_p2pdma_distance_many,
    pci_p2pmem_find_many,
    pci_p2pmem_publish,
    pci_p2pmem_virt_to_bus,
)
from dma_ops.pci import ACS_CR, ACS_DT, ACS_EC, ACS_RR, ACS_SV, ACS_TB, ACS_UF, PciDev, PciTree, PciType, pci_dev_put

from . import check
from .bench import Bench, Violation
from .topology import BAR_SIZE, UNKNOWN, peers

NOT_SUPPORTED, BUS_ADDR, THRU_HOST_BRIDGE = 1, 2, 3


def _provider(b: Bench, size: int = BAR_SIZE) -> PciDev:
    root = PciTree(b.machine).add_host()
    provider = root.add("01.0", 0x1AF4, 0x1041)
    top = max(end for _, end in b.machine.ram_ranges)
    start = max(1 << 41, (top + size) & ~(size - 1))
    provider.add_bar(0, start, size)
    provider.add_bar(2, 0x1000, 256, io=True)
    return provider


@check
def memory_must_be_registered(b: Bench) -> None:
    """A page of a BAR is a P2P page from its registration on, and not before."""
    provider = _provider(b)
    bar = provider.bars[0]
    if b.machine.is_p2p_page(bar.start):
        raise Violation("a page is P2P before its registration")
    pci_p2pdma_add_resource(provider, 0, size=BAR_SIZE // 2)
    half = bar.start + BAR_SIZE // 2
    for at, meant in ((bar.start, True), (half - b.page, True), (half, False)):
        if b.machine.is_p2p_page(at) != meant:
            raise Violation("the registered range is another one", page=at, p2p=not meant)
    other = _provider(b.fresh())
    bar, machine = other.bars[0], other.tree.machine
    offset = size = BAR_SIZE // 2
    pci_p2pdma_add_resource(other, 0, size=size, offset=offset)
    first, end = bar.start + offset, bar.start + offset + size
    for at, meant in ((bar.start, False), (first - b.page, False), (first, True), (end - b.page, True), (end, False)):
        if machine.is_p2p_page(at) != meant:
            raise Violation("with an offset, the registered range is another one", page=at, p2p=not meant)
    got = pci_alloc_p2pmem(other, size)
    if got != first:
        raise Violation("with an offset, the memory handed out begins elsewhere", got=got or 0, meant=first)
    bus = pci_p2pmem_virt_to_bus(other, got + b.page)
    if bus != bar.bus + offset + b.page:
        raise Violation("with an offset, the memory has another bus address", bus=bus, meant=bar.bus + offset + b.page)


@check
def add_resource_refuses(b: Bench) -> None:
    """-EINVAL for an I/O or absent BAR, an offset at or beyond its end, and more than it has; the pool stays."""
    provider = _provider(b)
    pci_p2pdma_add_resource(provider, 0, size=BAR_SIZE // 2)
    assert provider.p2pdma is not None
    size = provider.p2pdma.pool.size
    half = BAR_SIZE // 2
    ranges = ((2, 0, 0), (4, 0, 0), (0, 0, BAR_SIZE), (0, 0, BAR_SIZE + 1), (0, half + 1, half), (0, BAR_SIZE + 1, 0))
    for bar, length, offset in ranges:
        try:
            pci_p2pdma_add_resource(provider, bar, length, offset)
        except DmaError as error:
            if error.errno != errno.EINVAL:
                raise Violation("another errno than EINVAL", errno=error.errno, bar=bar, size=length) from None
        else:
            raise Violation("a wrong range was registered", bar=bar, size=length, offset=offset)
        if provider.p2pdma.pool.size != size:
            raise Violation("a refused range changed the pool", size=provider.p2pdma.pool.size, was=size)


@check
def size_zero_is_the_rest(b: Bench) -> None:
    """Size 0 registers from the offset to the end of the BAR."""
    provider = _provider(b)
    pci_p2pdma_add_resource(provider, 0, 0, BAR_SIZE // 2)
    assert provider.p2pdma is not None
    if provider.p2pdma.pool.size != BAR_SIZE // 2:
        raise Violation("the pool is not the rest of the BAR", size=provider.p2pdma.pool.size)


@check
def unpublished_memory_is_not_found(b: Bench) -> None:
    """The search finds what is published, and nothing else."""
    p = peers(b)
    for provider in p.providers.values():
        pci_p2pmem_publish(provider, False)
    if pci_p2pmem_find_many([b.device]) is not None:
        raise Violation("unpublished memory was found")
    pci_p2pmem_publish(p.providers["far"], True)
    if pci_p2pmem_find_many([b.device]) is not p.providers["far"]:
        raise Violation("the only published provider was not found")


@check
def p2pmem_is_pinned(b: Bench) -> None:
    """Allocation and release balance; a release of more than was allocated is noticed."""
    p = peers(b)
    provider = p.providers["near"]
    assert provider.p2pdma is not None
    pool = provider.p2pdma.pool
    free = pool.available
    sizes = (1, b.page, b.page + 1, 4 * b.page)
    addresses = [(pci_alloc_p2pmem(provider, size), size) for size in sizes]
    if pool.available >= free or sum(chunk.refs for chunk in pool.chunks) != len(sizes):
        raise Violation("allocations hold no references", refs=sum(chunk.refs for chunk in pool.chunks))
    for address, size in addresses:
        pci_free_p2pmem(provider, address, size)
    if pool.available != free or any(chunk.refs for chunk in pool.chunks):
        raise Violation("references are left after the release", available=pool.available, was=free)
    address = pci_alloc_p2pmem(provider, b.page)
    try:
        pci_free_p2pmem(provider, address, 3 * b.page)
    except KernelBug:
        return
    raise Violation("a release of more than was allocated went unnoticed")


def _taken(provider: PciDev, size: int) -> int:
    """What pci_alloc_p2pmem() gives, 0 where it fails."""
    try:
        return int(pci_alloc_p2pmem(provider, size))
    except DmaError:
        return 0


@check
def p2pmem_is_handed_out_once(b: Bench) -> None:
    """A pool of two registrations, used up: no page twice, none beside the BAR, and no piece where only holes are."""
    provider = _provider(b)
    bar, half = provider.bars[0], BAR_SIZE // 2
    for offset in (0, half):
        pci_p2pdma_add_resource(provider, 0, size=half, offset=offset)
    pages: list[int] = []
    while len(pages) <= BAR_SIZE // b.page and (address := _taken(provider, b.page)):
        pages.append(address)
    if sorted(pages) != list(range(bar.start, bar.start + BAR_SIZE, b.page)):
        raise Violation("what was handed out is not each page once", pages=len(pages), of=BAR_SIZE // b.page)
    for address in pages[::2]:
        pci_free_p2pmem(provider, address, b.page)
    wrong = _taken(provider, 2 * b.page)
    if wrong:
        raise Violation("two pages were found between pages that are in use", page=wrong)
    pci_free_p2pmem(provider, pages[1], b.page)
    found = _taken(provider, 3 * b.page)
    if found != min(pages[0], pages[2]):
        raise Violation("a hole of three pages is not found", page=found, meant=min(pages[0], pages[2]))
    other = _provider(b.fresh(), 2 * BAR_SIZE)
    pci_p2pdma_add_resource(other, 0, size=half, offset=half)
    for size, offset in ((half, half), (BAR_SIZE, 0), (BAR_SIZE, half), (2 * BAR_SIZE, 0)):
        with suppress(DmaError):
            pci_p2pdma_add_resource(other, 0, size=size, offset=offset)
            raise Violation("memory that is registered is registered once more", size=size, offset=offset)


@check
def distances_add_up(b: Bench) -> None:
    """The sum over the clients: 4 below one switch, 0 for oneself; -1 for none, no PCI device, or one unsupported."""
    p = peers(b)
    near, near2, far = (p.providers[name] for name in ("near", "near2", "far"))
    rows = [
        (near, [p.client], 4), (near, [p.client, near2], 8), (near, [near], 0), (near, [near, p.client], 4),
        (near, [], -1), (far, [far], 0),
    ]
    for provider, clients, meant in rows:
        seen = pci_p2pdma_distance_many(provider, clients)
        if seen != meant:
            raise Violation(f"the distance of {provider.name} and {clients}", seen=seen, meant=meant)
    if pci_p2pdma_distance_many(far, [p.client]) < 0:
        raise Violation("a host bridge that forwards is said not to")
    b.device.pci = None
    if pci_p2pdma_distance_many(near, [b.device]) != -1:
        raise Violation("a client that is no PCI device has a distance")
    other = b.fresh()
    p = peers(other, UNKNOWN)
    if pci_p2pdma_distance_many(p.providers["far"], [p.providers["far"], p.client]) != -1:
        raise Violation("one unsupported client among others does not make -1")


@check
def find_many_takes_the_nearest(b: Bench) -> None:
    """The nearest published provider, with one reference more; equally near ones are both drawn."""
    p = peers(b)
    found = set()
    for _ in range(60):
        refs = {name: dev.refs for name, dev in p.providers.items()}
        provider = pci_p2pmem_find_many([b.device])
        if provider is None:
            raise Violation("no provider was found")
        name = next(name for name, dev in p.providers.items() if dev is provider)
        if provider.refs != refs[name] + 1:
            raise Violation("the provider comes without a reference", refs=provider.refs, was=refs[name])
        pci_dev_put(provider)
        found.add(name)
    if found != {"near", "near2"}:
        raise Violation(f"60 draws gave {', '.join(sorted(found))}, not near and near2")


@check
def same_switch_is_bus_addr(b: Bench) -> None:
    """No ACS redirect on the way: BUS_ADDR; controls that do not redirect change nothing."""
    for acs in (None, ACS_SV, ACS_TB | ACS_UF, ACS_DT):
        names = ("port", "upstream", "client port", "near port", "client", "near")
        p = peers(b.fresh(), UNKNOWN, acs={} if acs is None else dict.fromkeys(names, acs))
        kind, distance = calc_map_type_and_dist(p.providers["near"], p.client)
        if (kind, distance) != (BUS_ADDR, 4):
            raise Violation("peers below one switch", map_type=kind, distance=distance, acs=acs)


@check
def acs_redirect_prevents_bus_addr(b: Bench) -> None:
    """RR, CR or EC on any one function of the path, the common one included, and what lies above does not count."""
    for bit in (ACS_RR, ACS_CR, ACS_EC):
        for name, on_path in (
            ("client", True), ("client port", True), ("upstream", True), ("near port", True), ("near", True),
            ("port", False), ("near2 port", False),
        ):
            for host, other in ((None, THRU_HOST_BRIDGE), (UNKNOWN, NOT_SUPPORTED)):
                trial = b.fresh()
                p = peers(trial, *(() if host is None else (host,)), acs={name: bit})
                kind, _ = calc_map_type_and_dist(p.providers["near"], p.client)
                meant = other if on_path else BUS_ADDR
                if kind != meant:
                    raise Violation(f"ACS control {bit:#x} on {name}", map_type=kind, meant=meant)


@check
def unknown_host_bridges_block(b: Bench) -> None:
    """Through a host bridge only where the list or the CPU permits it."""
    for host, cpu, meant in (
        (UNKNOWN, None, NOT_SUPPORTED), (UNKNOWN, ("AMD", 0x17), THRU_HOST_BRIDGE),
        (UNKNOWN, ("AMD", 0x15), NOT_SUPPORTED), (UNKNOWN, ("Intel", 0x17), NOT_SUPPORTED),
        ((0x8086, 0x2020), None, THRU_HOST_BRIDGE),
        ((0x8086, 0x3C00), None, THRU_HOST_BRIDGE), ((0x1022, 0x2020), None, NOT_SUPPORTED),
    ):
        p = peers(b.fresh(), host)
        p.tree.cpu = cpu
        kind, _ = calc_map_type_and_dist(p.providers["far"], p.client)
        if kind != meant:
            raise Violation(f"host bridge {host[0]:04x}:{host[1]:04x} with CPU {cpu}", map_type=kind, meant=meant)


@check
def two_host_bridges(b: Bench) -> None:
    """Entries with REQ_SAME_HOST_BRIDGE do not permit two host bridges; others do if both are listed."""
    for first, second, meant in (
        (0x3C00, 0x3C00, NOT_SUPPORTED), (0x2020, 0x2020, THRU_HOST_BRIDGE), (0x2020, 0x3C00, NOT_SUPPORTED),
        (0x2020, 0x29C0, NOT_SUPPORTED), (0x2F01, 0x09A2, NOT_SUPPORTED),
    ):
        tree = PciTree(b.machine)
        ends = []
        for bus, device in ((0, first), (0x40, second)):
            host = tree.add_host(bus=bus)
            host.add("00.0", 0x8086, device)
            port = host.add("01.0", 0x1B36, 0x000C, kind=PciType.ROOT_PORT)
            ends.append(port.add("00.0", 0x1AF4, 0x1041))
        kind, _ = calc_map_type_and_dist(ends[0], ends[1])
        if kind != meant:
            raise Violation(f"host bridges {first:04x} and {second:04x}", map_type=kind, meant=meant)


@check
def the_page_does_not_matter(b: Bench) -> None:
    """The type depends on provider and client: every page of a BAR has the same one."""
    p = peers(b)
    for name, meant in (("near", "BUS_ADDR"), ("far", "THRU_HOST_BRIDGE")):
        bar = p.providers[name].bars[0]
        for at in (0, b.page, BAR_SIZE // 2, BAR_SIZE - b.page):
            seen = p2pdma_map_type(b.device, bar.start + at)
            if seen != meant:
                raise Violation(f"a page of {name} has another type", page=bar.start + at, seen=seen, meant=meant)
