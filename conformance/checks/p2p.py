# SPDX-License-Identifier: MIT
"""P2P memory in lists: what becomes of each entry, what a refusal leaves, what unmap and sync do."""

from __future__ import annotations

import errno

import dma_ops
from dma_ops import DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DmaError
from dma_ops.p2pdma import pci_p2pdma_add_resource, pci_p2pdma_distance_many
from dma_ops.pci import PciTree
from dma_ops.swiotlb import swiotlb_init

from . import check
from .bench import SG_DMA_BUS_ADDRESS, Bench, NotTested, Row, Violation, errno_of
from .lists import sources
from .topology import BAR_SIZE, UNKNOWN, Kind, Peers, peers

MIXES: tuple[tuple[Kind, ...], ...] = (
    ("near",),
    ("ram", "near"),
    ("near", "ram"),
    ("ram", "ram", "near"),
    ("ram", "near", "ram"),
    ("near", "ram", "ram", "near2"),
    ("near", "near2", "ram", "near"),
    ("ram", "ram", "near", "near", "ram", "ram", "near2", "ram"),
    ("near", "ram", "near2", "ram"),
)


THROUGH: tuple[tuple[Kind, ...], ...] = (
    ("far",),
    ("ram", "far", "near"),
    ("far", "ram", "far", "near2"),
    ("near", "far", "ram", "ram"),
)


@check
def policy_is_as_recorded(b: Bench) -> None:
    """dma_pci_p2pdma_supported() says what the backend's record says."""
    policy = dma_ops.dma_pci_p2pdma_supported(b.device)
    if policy != b.record.p2pdma:
        raise Violation("dma_pci_p2pdma_supported() is not what the record says", says=policy, record=b.record.p2pdma)


@check
def bypass_gives_no_capability(b: Bench) -> None:
    """dma_ops_bypass does not make an unsupporting backend capable."""
    b.device.dma_ops_bypass = True
    if dma_ops.dma_pci_p2pdma_supported(b.device):
        raise Violation("a bypassed device is said to be capable of P2PDMA")


@check
def mixed_lists_map(b: Bench) -> None:
    """RAM and P2P memory of several providers in any order: each byte is reached, in both directions, in order."""
    forwards = peers(b).forwards()
    for mix in (*MIXES, *(THROUGH if forwards else ())):
        trial = b.fresh()
        p = peers(trial)
        lot = p.lot(p.rows(*mix))
        sgt = trial.table(lot)
        segments = trial.map(sgt)
        p.expect_list(lot, segments)
        trial.unmap(sgt)
        trial.same(p.seen(lot), lot.content, f"after unmap of {p.describe(lot)} other bytes are there")


@check
def bus_segments_have_bus_addresses(b: Bench) -> None:
    """BUS_ADDR: sg_phys + bus_offset, and the entry's own length."""
    for mix in MIXES:
        trial = b.fresh()
        p = peers(trial)
        lot = p.lot(p.rows(*mix))
        segments = trial.map(trial.table(lot))
        seen = [segment[:2] for segment in segments]
        for address, length in p.bus_segments(lot):
            if (address, length) not in seen:
                raise Violation(
                    f"no segment has the bus address and length in {p.describe(lot)}", bus=address, length=length,
                    segments=seen,
                )


@check
def marks_are_on_the_outputs(b: Bench) -> None:
    """SG_DMA_BUS_ADDRESS is on exactly the output entries that carry bus addresses."""
    if not b.record.p2pdma or not b.machine.pci_p2pdma:
        raise NotTested("no P2P memory arrives here")
    for mix in MIXES:
        trial = b.fresh()
        p = peers(trial)
        lot = p.lot(p.rows(*mix))
        sgt = trial.table(lot)
        segments = trial.map(sgt)
        meant = p.bus_segments(lot)
        marked = [segment[:2] for segment in segments if segment[2] & SG_DMA_BUS_ADDRESS]
        if marked != meant:
            raise Violation(f"the marks are on other outputs in {p.describe(lot)}", marked=marked, meant=meant)
        for at, entry in enumerate(sgt.entries()[sgt.nents :], sgt.nents):
            if entry[5] & SG_DMA_BUS_ADDRESS:
                raise Violation(f"an entry beyond the last segment is marked in {p.describe(lot)}", entry=at)


@check
def bus_segments_stay_alone(b: Bench) -> None:
    """A BUS_ADDR segment merges with nothing, not even with the page beside it, nor does RAM merge across it."""
    for mix in MIXES:
        trial = b.fresh()
        p = peers(trial)
        rows = p.rows(*mix)
        if mix[-1] == "near":                           # one more, physically and on the bus right behind
            page, offset, _ = rows[-1]
            rows[-1] = (page, offset, trial.page - offset)
            rows.append((page + trial.page, 0, trial.page))
        lot = p.lot(rows)
        segments = trial.map(trial.table(lot))
        for part in sources(lot, segments):
            kinds = [p.kind(lot.rows[entry]) for entry, _ in part]
            if len(kinds) > 1 and set(kinds) != {"ram"}:
                raise Violation(f"a bus segment was merged in {p.describe(lot)}", entries=kinds)
        p.expect_list(lot, segments)


@check
def bus_segments_take_no_iova(b: Bench) -> None:
    """A list of bus addresses alone leaves the allocator and the table untouched."""
    p = peers(b)
    before, table = b.counters(), dict(b.ops.table())
    sgt = b.table(p.lot(p.rows("near", "near2", "near")))
    b.map(sgt)
    b.expect_counters(before, "with a list of bus addresses mapped")
    if dict(b.ops.table()) != table:
        raise Violation("a list of bus addresses is in the translation table")
    b.unmap(sgt)


@check
def thru_host_bridge_is_ordinary(b: Bench) -> None:
    """THRU_HOST_BRIDGE: the CPU's address without a table, an IOVA with one; never marked, never the bus address."""
    if not peers(b).forwards():
        raise NotTested("through the host bridge this device would need a bounce buffer, which P2P-44 forbids")
    for mix in (("far",), ("ram", "far"), ("far", "near"), ("ram", "far", "far", "ram")):
        trial = b.fresh()
        p = peers(trial)
        before = trial.counters()
        lot = p.lot(p.rows(*mix))
        sgt = trial.table(lot)
        segments = trial.map(sgt)
        for (address, _, flags), part in zip(segments, sources(lot, segments), strict=True):
            row = lot.rows[part[0][0]]
            if p.kind(row) != "far":
                continue
            if flags & SG_DMA_BUS_ADDRESS or address == p.bus(row):
                raise Violation("a segment through the host bridge is a bus address", bus=address)
            if trial.reach(address) != row[0] + row[1]:
                raise Violation("a segment through the host bridge leads elsewhere", bus=address)
            if not trial.subject.translates and address != row[0] + row[1]:
                raise Violation("without a table, the address is not the CPU's", bus=address, phys=row[0] + row[1])
        p.expect_list(lot, segments)
        trial.unmap(sgt)
        trial.expect_counters(before, "after a list through the host bridge was unmapped")


REFUSED: tuple[tuple[Kind, ...], ...] = (
    ("far",),
    ("ram", "far"),
    ("far", "ram"),
    ("near", "ram", "far"),
    ("ram", "near", "ram", "far", "ram", "near2"),
    ("ram", "ram", "ram", "far"),
)


def _refused(b: Bench, mix: tuple[Kind, ...]) -> tuple[Peers, list[Row]]:
    p = peers(b, UNKNOWN)
    return p, p.rows(*mix)


@check
def not_supported_fails_whole(b: Bench) -> None:
    """NOT_SUPPORTED anywhere in the list: -EREMOTEIO, and nothing is left of what came before it."""
    for mix in REFUSED:
        trial = b.fresh()
        p, rows = _refused(trial, mix)
        lot = p.lot(rows)
        before, table = trial.counters(), dict(trial.ops.table())
        sgt = trial.table(lot)
        try:
            trial.map(sgt)
        except DmaError as error:
            if error.errno != errno.EREMOTEIO:
                raise Violation(
                    f"{p.describe(lot)} fails with {errno.errorcode.get(errno_of(error))}, not EREMOTEIO"
                ) from None
        else:
            raise Violation(f"{p.describe(lot)} is mapped though the device cannot reach it")
        if [row[:3] for row in sgt.entries()] != lot.rows:
            raise Violation(f"the refusal of {p.describe(lot)} changed the list")
        trial.expect_counters(before, f"after the refusal of {p.describe(lot)}")
        if not trial.record.stale and dict(trial.ops.table()) != table:
            raise Violation(f"the refusal of {p.describe(lot)} left entries in the table")
        for at, entry in enumerate(sgt.entries()):
            if entry[5] & SG_DMA_BUS_ADDRESS:
                raise Violation(f"the refusal of {p.describe(lot)} left a mark", entry=at)
        trial.same(p.seen(lot), lot.content, f"the refusal of {p.describe(lot)} changed bytes")


@check
def not_supported_is_zero_for_map_sg(b: Bench) -> None:
    """dma_map_sg answers 0 where dma_map_sgtable says -EREMOTEIO."""
    for mix in REFUSED[:4]:
        trial = b.fresh()
        p, rows = _refused(trial, mix)
        sgt = trial.table(p.lot(rows))
        try:
            count = dma_ops.dma_map_sg(trial.device, sgt, DMA_BIDIRECTIONAL)
        except DmaError:
            continue
        raise Violation("dma_map_sg maps what dma_map_sgtable refuses", count=count)


@check
def eremoteio_is_final(b: Bench) -> None:
    """-EREMOTEIO is not retryable, and the same map fails again."""
    p, rows = _refused(b, ("ram", "far"))
    for _ in range(3):
        try:
            b.map(b.table(p.lot(rows)))
        except DmaError as error:
            if error.errno != errno.EREMOTEIO or error.retryable:
                raise Violation("the refusal is called retryable", errno=error.errno) from None
        else:
            raise Violation("a retry maps what was refused")


@check
def p2p_is_never_bounced(b: Bench) -> None:
    """With all DMA forced through the bounce buffer, P2P memory through the host bridge is refused with -EIO; bus
    addresses, which need no buffer, are mapped."""
    pool = swiotlb_init(b.machine, 1 << 20, force_bounce=True)
    p = peers(b)
    b.device.io_tlb_mem = pool
    before = b.counters()
    for mix in (("far",), ("ram", "far"), ("near", "far")):
        sgt = b.table(p.lot(p.rows(*mix)))
        try:
            b.map(sgt)
        except DmaError as error:
            if error.errno != errno.EIO:
                raise Violation("P2P memory that needs a bounce fails, but not with EIO", errno=error.errno) from None
        else:
            raise Violation(f"P2P memory was bounced: [{' '.join(mix)}]")
        b.expect_counters(before, f"after [{' '.join(mix)}] was refused")
    lot = p.lot(p.rows("near", "near2"))
    sgt = b.table(lot)
    p.expect_list(lot, b.map(sgt))
    b.unmap(sgt)


@check
def no_cache_maintenance_on_bus_segments(b: Bench) -> None:
    """Map, sync and unmap of a non-coherent device do nothing to the CPU's cache for P2P memory."""
    if not b.subject.may_not_snoop:
        raise NotTested(f"on {b.machine.arch} every device snoops")
    b.device.dma_coherent = False
    p = peers(b)
    lot = p.lot(p.rows("ram", "near", *(("far",) if p.forwards() else ()), "ram", "near2"))
    sgt = b.table(lot)
    events: list[tuple[str, int, int, int]] = []
    b.machine.events = events
    b.map(sgt)
    dma_ops.dma_sync_sgtable_for_cpu(b.device, sgt, DMA_BIDIRECTIONAL)
    dma_ops.dma_sync_sgtable_for_device(b.device, sgt, DMA_BIDIRECTIONAL)
    b.unmap(sgt)
    b.machine.events = None
    for what, phys, length, _ in events:
        if what in ("sync_dev", "sync_cpu") and b.machine.is_p2p_page(phys):
            raise Violation("cache maintenance on P2P memory", what=what, phys=phys, length=length)


@check
def state_is_per_device(b: Bench) -> None:
    """A map does not inherit the last device's answer: the same memory for another client has another type."""
    p = peers(b, UNKNOWN)
    rows = p.rows("near", "ram")
    sgt = b.table(p.lot(rows))
    b.map(sgt)
    b.unmap(sgt)
    beside = p.tree.hosts[0].add("03.0", 0x1AF4, 0x1050)
    for elsewhere in (beside, p.providers["far"]):      # of which the second differs from the client by its bus only
        b.device.pci = elsewhere
        try:
            b.map(b.table(p.lot(rows)))
        except DmaError as error:
            if error.errno == errno.EREMOTEIO:
                continue
            raise
        raise Violation("a client that cannot reach the provider gets the last client's mapping", client=elsewhere.name)


@check
def first_map_classifies(b: Bench) -> None:
    """The first map needs no distance call before it, and never meets the type UNKNOWN."""
    p = peers(b)
    kinds: tuple[Kind, ...] = ("near", "far") if p.forwards() else ("near",)
    for kind in kinds:
        lot = p.lot(p.rows(kind))
        sgt = b.table(lot)
        p.expect_list(lot, b.map(sgt))
        b.unmap(sgt)


@check
def non_pci_devices_are_refused(b: Bench) -> None:
    """A DMA device that is no PCI device: its map of P2P memory fails with -EREMOTEIO."""
    p = peers(b)
    b.device.pci = None
    b.device.is_pci = False
    for mix in (("near",), ("ram", "far")):
        try:
            b.map(b.table(p.lot(p.rows(*mix))))
        except DmaError as error:
            if error.errno == errno.EREMOTEIO:
                continue
            raise Violation("a device that is no PCI device fails otherwise", errno=error.errno) from None
        raise Violation("a device that is no PCI device has P2P memory mapped")


@check
def omitted_clients_fail(b: Bench) -> None:
    """A provider chosen without asking for this client: the distance is fine, the client's map fails."""
    p = peers(b, UNKNOWN)
    beside = p.ports["far port"].add("01.0", 0x1AF4, 0x1050)
    if pci_p2pdma_distance_many(p.providers["far"], [beside]) < 0:
        raise Violation("the provider does not suit the client beside it")
    if pci_p2pdma_distance_many(p.providers["far"], [beside, b.device]) != -1:
        raise Violation("the provider is said to suit a client that cannot reach it")
    try:
        b.map(b.table(p.lot(p.rows("far"))))
    except DmaError as error:
        if error.errno == errno.EREMOTEIO:
            return
        raise
    raise Violation("a client that was not asked for has the memory mapped")


@check
def unmap_clears_marks(b: Bench) -> None:
    """After unmap no entry is marked, and only what was mapped is released."""
    for mix in MIXES:
        trial = b.fresh()
        p = peers(trial)
        beside = trial.lot("one")
        address = dma_ops.dma_map_page(trial.device, *beside.rows[0], DMA_BIDIRECTIONAL)
        before = trial.counters()
        lot = p.lot(p.rows(*mix))
        sgt = trial.table(lot)
        trial.map(sgt)
        trial.unmap(sgt)
        for at, entry in enumerate(sgt.entries()):
            if entry[5] & SG_DMA_BUS_ADDRESS:
                raise Violation(f"unmap of {p.describe(lot)} left a mark", entry=at)
        trial.expect_counters(before, f"after unmap of {p.describe(lot)}")
        neighbour = [(address, beside.rows[0][2], 0)]
        trial.expect_read(neighbour, beside, "a mapping beside it suffered: the device reads other bytes")


@check
def unmap_releases_around_bus_segments(b: Bench) -> None:
    """RAM before, between and behind bus segments is released, and no longer reached."""
    for mix in MIXES:
        trial = b.fresh()
        p = peers(trial)
        before = trial.counters()
        lot = p.lot(p.rows(*mix))
        sgt = trial.table(lot)
        segments = trial.map(sgt, DMA_TO_DEVICE)
        trial.unmap(sgt, DMA_TO_DEVICE)
        trial.expect_counters(before, f"after unmap of {p.describe(lot)}")
        trial.expect_gone(
            [s for s in segments if not s[2] & SG_DMA_BUS_ADDRESS], f"after unmap of {p.describe(lot)}"
        )


@check
def reuse_after_init(b: Bench) -> None:
    """The same memory in a list that was initialised anew maps as the first time; so does it after a refusal."""
    p = peers(b)
    rows = p.rows("ram", "near", "ram", "ram", "near2")
    lengths = None
    for _ in range(3):
        lot = p.lot(rows)
        sgt = b.table(lot)
        segments = b.map(sgt)
        seen = [(length, flags) for _, length, flags in segments]
        if lengths is not None and seen != lengths:
            raise Violation("the same list maps otherwise the second time", first=lengths, then=seen)
        lengths = seen
        p.expect_list(lot, segments)
        b.unmap(sgt)


@check
def syncs_leave_bus_segments_alone(b: Bench) -> None:
    """Syncing a list with bus segments touches no memory that is not in the list: not the RAM whose CPU address
    happens to equal a bus address either."""
    b.device.dma_coherent = b.device.dma_coherent and not b.subject.may_not_snoop
    decoy = b.machine.alloc_ram(10)
    p = peers(b, bus=decoy & ~(BAR_SIZE - 1))
    lot = p.lot(p.rows("near", "ram", "near"))
    sgt = b.table(lot)
    b.map(sgt)
    owned = [(page + offset, page + offset + length) for page, offset, length in lot.rows]
    events: list[tuple[str, int, int, int]] = []
    b.machine.events = events
    dma_ops.dma_sync_sgtable_for_cpu(b.device, sgt, DMA_BIDIRECTIONAL)
    dma_ops.dma_sync_sgtable_for_device(b.device, sgt, DMA_BIDIRECTIONAL)
    b.machine.events = None
    for what, phys, length, _ in events:
        if not any(start <= phys < end for start, end in owned):
            raise Violation("a sync reached memory that is not in the list", what=what, phys=phys, length=length)
    b.same(p.seen(lot), lot.content, "the syncs changed bytes")


@check
def without_the_option_there_is_no_p2p(b: Bench) -> None:
    """Without CONFIG_PCI_P2PDMA no page is P2P, add_resource says -EOPNOTSUPP, and no entry is ever marked."""
    root = PciTree(b.machine).add_host()
    provider = root.add("01.0", 0x1AF4, 0x1041)
    top = max(end for _, end in b.machine.ram_ranges)
    provider.add_bar(0, (top + BAR_SIZE) & ~(BAR_SIZE - 1), BAR_SIZE)
    try:
        pci_p2pdma_add_resource(provider, 0)
    except DmaError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise Violation("add_resource fails with another errno than EOPNOTSUPP", errno=error.errno) from None
    else:
        raise Violation("memory was registered without CONFIG_PCI_P2PDMA")
    if b.machine.is_p2p_page(provider.bars[0].start):
        raise Violation("a page is P2P without CONFIG_PCI_P2PDMA")
    if b.subject.reach and b.subject.has("map_sg"):
        sgt = b.table(b.lot("mixed"))
        b.map(sgt)
        if any(entry[5] & SG_DMA_BUS_ADDRESS for entry in sgt.entries()):
            raise Violation("an entry is marked without CONFIG_PCI_P2PDMA")
        b.unmap(sgt)


@check
def p2p_needs_64_bits(b: Bench) -> None:
    """A 32-bit machine has no CONFIG_PCI_P2PDMA."""
    if b.machine.bits == 32 and b.machine.pci_p2pdma:
        raise Violation("a 32-bit machine has CONFIG_PCI_P2PDMA")
    if b.machine.bits == 32:
        without_the_option_there_is_no_p2p(b)
