# SPDX-License-Identifier: MIT
"""Who builds on the newer DMA API: block requests, HMM and dma-buf exporters, with a range where there is one and with
one mapping per segment elsewhere."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import dma_ops
from dma_ops import (
    DMA_BIDIRECTIONAL,
    DMA_FROM_DEVICE,
    DMA_TO_DEVICE,
    DmaError,
    DmaIovaState,
    WrappedOps,
    dma_iova_try_alloc,
)
from dma_ops.blk_dma import BlkDmaIter, Request, blk_rq_dma_map_iter_start, blk_rq_dma_unmap
from dma_ops.dma_buf import DmaBufTable, dma_buf_free_sgt, dma_buf_phys_vec_to_sgt
from dma_ops.hmm_dma import (
    HMM_PFN_VALID,
    HMM_PFN_WRITE,
    HmmDmaMap,
    hmm_dma_map_alloc,
    hmm_dma_map_free,
    hmm_dma_map_pfn,
    hmm_dma_unmap_pfn,
)
from dma_ops.p2pdma_state import P2pdmaMapState, P2pdmaProvider, pcim_p2pdma_provider
from dma_ops.pyops import NEWER
from scatterlist.bvec import BioVecs

from ..paths import MappedRequest
from . import check
from .bench import Bench, Lot, NotTested, Row, Segment, Violation, errno_of
from .new_api import Failing, as_drivers_do, expect_quiet, expect_table, logged
from .topology import UNKNOWN, Kind, Peers, peers

# -- block requests --------------------------------------------------------------------------------------------

def request(b: Bench, rows: Sequence[Row], direction: int = DMA_BIDIRECTIONAL, **limits: int) -> MappedRequest:
    """A request of one bio, which the device's queue would build with these limits."""
    vecs = BioVecs([(page, length, offset) for page, offset, length in rows], page_shift=b.machine.page_shift)
    limits = {"max_segment_size": dma_ops.dma_get_max_seg_size(b.device),
              "seg_boundary_mask": dma_ops.dma_get_seg_boundary(b.device), **limits}
    return MappedRequest(b.device, Request([vecs], direction, **limits))


def segments_of(mapped: MappedRequest) -> list[Segment]:
    return [(address, length, 0) for address, length in mapped.extents()]


@check
def requests_are_reached(b: Bench) -> None:
    """A request: the device reaches every byte of it, in order, and after unmap nothing is left."""
    as_drivers_do(b)
    for direction, shape in (               # what may be short is not written to: kmalloc's small buffers are bounced
        (DMA_TO_DEVICE, "one"), (DMA_FROM_DEVICE, "pages"), (DMA_BIDIRECTIONAL, "adjacent"),
        (DMA_TO_DEVICE, "joinable"), (DMA_FROM_DEVICE, "reversed"), (DMA_TO_DEVICE, "odd"),
    ):
        lot = b.lot(shape)
        before = b.counters()
        mapped = request(b, lot.rows, direction)
        mapped.map()
        segments = segments_of(mapped)
        if sum(length for _, length, _ in segments) != lot.size:
            raise Violation(f"another length is mapped than the request has ({shape})", of=lot.size)
        if direction != DMA_FROM_DEVICE:
            b.expect_read(segments, lot)
        raw = lot.content
        if direction != DMA_TO_DEVICE:
            raw = b.random.randbytes(lot.size)
            b.write(segments, raw)
        mapped.unmap()
        b.same(b.cpu(lot), raw, f"after unmap the CPU reads other bytes ({shape})")
        b.expect_guards(lot)
        b.expect_counters(before, "after blk_rq_dma_unmap")
        b.expect_gone(segments, "blk_rq_dma_unmap")


@check
def states_are_used_again(b: Bench) -> None:
    """A driver keeps one state for one request after the other: nothing of the last one is in the next."""
    as_drivers_do(b)
    state = DmaIovaState()
    for shape in ("pages", "reversed", "one", "reversed"):
        lot = b.lot(shape)
        before = b.counters()
        mapped = request(b, lot.rows, DMA_TO_DEVICE)
        mapped.state = state
        mapped.map()
        b.expect_read(segments_of(mapped), lot, "of a request with another's state the device reads other bytes")
        mapped.unmap()
        b.expect_counters(before, "after blk_rq_dma_unmap of a request with another's state")


@check
def odd_segment_limits(b: Bench) -> None:
    """A queue whose segments are no multiple of the granule: its requests are mapped all the same."""
    as_drivers_do(b)
    lot = b.lot([(b.in_one_io_page(4), 0, 4 * b.page)])
    before = b.counters()
    mapped = request(b, lot.rows, max_segment_size=b.page + b.page // 2)
    mapped.map()
    b.expect_read(segments_of(mapped), lot)
    mapped.unmap()
    b.expect_counters(before, "after blk_rq_dma_unmap")


@check
def failed_request_is_an_error(b: Bench) -> None:
    """If a segment cannot be mapped the request's status says so, and none of it stays mapped or allocated."""
    for due in (1, 2, 3):
        trial = b.fresh()
        rows = [(page, 0, trial.page) for page in trial.frames(3)]
        before, table = trial.counters(), dict(trial.ops.table())
        mapped = request(trial, rows)
        Failing.on(trial, due)
        try:
            mapped.map()
        except DmaError:
            trial.expect_counters(before, f"after segment {due} of a request could not be mapped")
            expect_table(trial, table, f"after segment {due} of a request could not be mapped")
        else:
            raise Violation(f"segment {due} of a request cannot be mapped, but the status is OK")


@check
def failed_start_leaves_no_range(b: Bench) -> None:
    """A request whose start fails has no range any more: unmapping it does not free one that is another's by then."""
    rows = [(page, 0, b.page) for page in b.frames(2)]
    mapped = request(b, rows)
    Failing.on(b, 2)
    state, it = DmaIovaState(), BlkDmaIter()
    if blk_rq_dma_map_iter_start(mapped.request, b.device, state, it):
        raise Violation("a link fails, but the start succeeds")
    if state:
        blk_rq_dma_unmap(mapped.request, b.device, state, 0, it.map)
        owners = [DmaIovaState(), DmaIovaState()]
        for owner in owners:
            dma_iova_try_alloc(b.device, owner, 0, 2 * b.page)
        twice = owners[0].addr == owners[1].addr
        raise Violation("the state of a request that failed still has a range"
                        + (", and after its unmap two owners have the same" if twice else ""), addr=state.addr)


def _far(b: Bench, p: Peers) -> tuple[int, int]:
    bar = p.providers["far"].bars[0]
    return bar.start, bar.start + bar.size


@check
def requests_of_peers(b: Bench) -> None:
    """A peer's memory: by its bus address nothing is mapped; through the host bridge it is device memory, without
    cache maintenance or a copy, or refused; what cannot be reached is INVAL, and nothing is touched."""
    for kind, host in (("near", None), ("far", None), ("far", UNKNOWN)):
        trial = b.fresh()
        p = peers(trial) if host is None else peers(trial, host)
        rows: list[Row] = [p.row(kind, 0, trial.page), p.row(kind, 0, trial.page)]  # type: ignore[arg-type]
        lot = p.lot(rows)
        before, table = trial.counters(), dict(trial.ops.table())
        mapped = request(trial, rows)
        with logged(trial) as events:
            try:
                mapped.map()
            except DmaError as error:
                if kind == "near" or (host and errno_of(error) != errno.EINVAL):
                    raise Violation(f"a request of {kind} memory fails: {error}") from None
                trial.expect_counters(before, f"after a request of {kind} memory was refused")
                continue
            if host is not None:
                raise Violation("a request of memory that the device cannot reach is mapped")
            segments = segments_of(mapped)
            if kind == "near":
                if [segment[:2] for segment in segments] != p.bus_segments(lot):
                    raise Violation("a request of a peer's memory has other bus addresses", seen=segments)
                trial.expect_counters(before, "with a request of bus addresses mapped")
                expect_table(trial, table, "with a request of bus addresses mapped")
            elif trial.record.p2pdma:
                trial.same(trial.read(segments), lot.content, "the device reads other bytes of a peer")
                for segment, row in zip(segments, lot.rows, strict=False):
                    if trial.reach(segment[0]) != row[0] + row[1]:
                        raise Violation("a peer's memory is copied", bus=segment[0])
            if kind == "near" and not blk_rq_dma_unmap(
                mapped.request, trial.device, mapped.state, mapped.request.payload, mapped.it.map
            ):
                raise Violation("bus addresses are said to need unmapping")
            if kind != "near":
                mapped.unmap()
        for provider in p.providers.values():
            expect_quiet(trial, events, provider.bars[0].start, "a peer's memory")
        trial.expect_counters(before, f"after a request of {kind} memory was unmapped")


# -- HMM -------------------------------------------------------------------------------------------------------

def _hmm(b: Bench, entries: int) -> HmmDmaMap:
    """A map, if the device may have one. Since 6.10 dma_set_mask() finds out whether it needs syncs."""
    if b.device.dma_ops is None or b.subject.two_step:
        b.device.dma_skip_sync = b.device.dma_coherent
    else:
        b.device.dma_skip_sync = not any(
            b.subject.has(f"sync_{what}_for_{whom}") for what in ("single", "sg") for whom in ("cpu", "device")
        )
    before = b.counters()
    try:
        return hmm_dma_map_alloc(b.device, entries, b.page)
    except DmaError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise Violation(f"a map is refused with {error}") from None
        b.expect_counters(before, "after hmm_dma_map_alloc refused a device")
        raise NotTested("mappings of this device may need syncs or bounce buffers, so HMM refuses it") from None


def _pfn(b: Bench, page: int) -> int:
    return page >> b.machine.page_shift | HMM_PFN_VALID | HMM_PFN_WRITE


@check
def hmm_pages_are_reached(b: Bench) -> None:
    """Page by page, in any order: each is reached at the address that is answered, a second question gives the same
    one, the others do not change, and after unmap and free nothing is left."""
    lots = [b.lot([(page, 0, b.page)]) for page in b.frames(4)]
    before = b.counters()
    made = _hmm(b, 4)
    state, addresses = P2pdmaMapState(), {}
    for i in (2, 0, 3):
        made.pfn_list[i] = _pfn(b, lots[i].rows[0][0])
        try:
            addresses[i] = hmm_dma_map_pfn(b.device, made, i, state)
        except DmaError:
            hmm_dma_map_free(b.device, made)
            b.expect_counters(before, "after a page was refused")
            raise NotTested("pages of this device would have to be copied or synced, and are refused") from None
        for j, address in addresses.items():
            b.expect_read([(address, b.page, 0)], lots[j], "the device reads another page")
    for i, address in addresses.items():
        if hmm_dma_map_pfn(b.device, made, i, state) != address:
            raise Violation("a mapped page has another address when asked again", entry=i)
    raw = b.random.randbytes(b.page)
    b.write([(addresses[3], b.page, 0)], raw)
    b.same(b.cpu(lots[3]), raw, "while it is mapped the CPU reads other bytes than the device wrote")
    for i in (0, 2, 3):
        if not hmm_dma_unmap_pfn(b.device, made, i) or hmm_dma_unmap_pfn(b.device, made, i):
            raise Violation("unmap does not tell whether the page was mapped", entry=i)
    hmm_dma_map_free(b.device, made)
    b.expect_counters(before, "after hmm_dma_map_free")
    b.expect_gone([(address, b.page, 0) for address in addresses.values()], "hmm_dma_unmap_pfn")


@check
def hmm_knows_peers(b: Bench) -> None:
    """A peer's page: on the bus it takes nothing and nothing is mapped; through the host bridge it is mapped, and
    unmapped, as device memory; what cannot be reached is refused; RAM beside it stays RAM."""
    for kind, host in (("near", None), ("far", None), ("far", UNKNOWN)):
        trial = b.fresh()
        p = peers(trial) if host is None else peers(trial, host)
        before = trial.counters()
        made = _hmm(trial, 2)
        row = p.row(kind, 0, trial.page)  # type: ignore[arg-type]
        lot = p.lot([row])
        table = dict(trial.ops.table())
        made.pfn_list[1] = _pfn(trial, row[0])
        with logged(trial) as events:
            try:
                address = hmm_dma_map_pfn(trial.device, made, 1, P2pdmaMapState())
            except DmaError:
                if kind == "near":
                    raise
                expect_table(trial, table, f"after a {kind} page was refused")
            else:
                if host is not None:
                    raise Violation("a page that the device cannot reach is mapped", bus=address)
                if kind == "near":
                    expect_table(trial, table, "with a bus address mapped")
                    if address != p.bus(row):
                        raise Violation("a page on the bus has another address", bus=address, meant=p.bus(row))
                if kind == "near" or trial.record.p2pdma:
                    trial.same(trial.device.dma_read(address, trial.page), lot.content, "the device reads another page")
                if not hmm_dma_unmap_pfn(trial.device, made, 1):
                    raise Violation("a mapped page counts as not mapped")
        expect_quiet(trial, events, p.providers[kind].bars[0].start, "a peer's page")
        hmm_dma_map_free(trial.device, made)
        trial.expect_counters(before, f"after a {kind} page and hmm_dma_map_free")


# -- dma-buf ---------------------------------------------------------------------------------------------------

def _exporter(p: Peers, kind: Kind) -> P2pdmaProvider:
    provider = pcim_p2pdma_provider(p.providers[kind], 0)
    assert provider is not None
    return provider


def _ranges(b: Bench, p: Peers, kind: Kind, *places: tuple[int, int]) -> tuple[list[tuple[int, int]], Lot]:
    """Ranges of a peer's memory, (page within it, pages) each, with random bytes in them."""
    start = p.providers[kind].bars[0].start
    rows: list[Row] = [(start + at * b.page, 0, n * b.page) for at, n in places]
    return [(page, length) for page, _, length in rows], p.lot(rows)


def _export(b: Bench, p: Peers, kind: Kind, *places: tuple[int, int]) -> tuple[DmaBufTable, Lot]:
    ranges, lot = _ranges(b, p, kind, *places)
    size = sum(length for _, length in ranges)
    return dma_buf_phys_vec_to_sgt(b.device, _exporter(p, kind), ranges, size, DMA_BIDIRECTIONAL), lot


@check
def exported_tables_have_no_pages(b: Bench) -> None:
    """What an exporter of device memory answers: orig_nents 0, no page in any entry, only DMA addresses and lengths,
    which are those of the memory; freed, nothing is left."""
    for kind in ("near", "far"):
        trial = b.fresh()
        p = peers(trial)
        before = trial.counters()
        try:
            made, lot = _export(trial, p, kind, (1, 2))
        except DmaError:
            if kind == "near":
                raise
            continue                            # through the host bridge a backend may refuse
        assert made.sgt is not None
        if made.sgt.orig_nents != 0 or any(page for page, *_ in made.sgt.entries()):
            raise Violation("an exporter's table has pages", orig_nents=made.sgt.orig_nents)
        if sum(length for _, length in made.segments) != lot.size:
            raise Violation("an exporter's table has another length", of=lot.size, segments=made.segments)
        if kind == "near" or trial.record.p2pdma:
            seen = b"".join(trial.device.dma_read(address, length) for address, length in made.segments)
            trial.same(seen, lot.content, "the device reads other bytes than were exported")
        dma_buf_free_sgt(trial.device, made, DMA_BIDIRECTIONAL)
        trial.expect_counters(before, "after dma_buf_free_sgt")


@check
def exported_ranges_in_order(b: Bench) -> None:
    """Several ranges: the table leads to all of them, in their order."""
    p = peers(b)
    try:
        _export(b, p, "far", (0, 1))
    except DmaError:
        raise NotTested("through the host bridge this backend refuses a peer's memory") from None
    b = b.fresh()
    p = peers(b)
    before = b.counters()
    made, lot = _export(b, p, "far", (1, 2), (9, 1), (4, 1))
    seen = b"".join(b.device.dma_read(address, length) for address, length in made.segments)
    b.same(seen, lot.content, "the device reads other bytes than were exported")
    dma_buf_free_sgt(b.device, made, DMA_BIDIRECTIONAL)
    b.expect_counters(before, "after dma_buf_free_sgt")


def _failing_export(b: Bench, due: int) -> None:
    p = peers(b)
    before, table = b.counters(), dict(b.ops.table())
    Failing.on(b, due)
    try:
        _export(b, p, "far", (1, 1), (5, 1))
    except DmaError:
        b.expect_counters(before, f"after range {due} of an export could not be mapped")
        expect_table(b, table, f"after range {due} of an export could not be mapped")
    else:
        raise Violation(f"range {due} of an export cannot be mapped, but there is a table")


@check
def failed_export_leaves_nothing(b: Bench) -> None:
    """If a range after the first cannot be mapped the exporter gives back whatever it took."""
    _failing_export(b, 2)


@check
def refused_export_leaves_nothing(b: Bench) -> None:
    """If the very first range cannot be mapped the exporter gives back whatever it took."""
    _failing_export(b, 1)


class _Exhausted(WrappedOps):
    """No range is to be had, and of the mappings the third fails; notes what is mapped and what is unmapped."""

    def __init__(self, inner: dma_ops.DmaMapOps) -> None:
        super().__init__(inner)
        self.mapped: list[int] = []
        self.unmapped: list[int] = []

    def iova_try_alloc(self, dev: dma_ops.Device, state: DmaIovaState, phys: int, size: int) -> bool:
        return False

    def map_phys(self, dev: dma_ops.Device, *given: int) -> int | None:
        if len(self.mapped) == 2:
            return None
        self.mapped.append(self.inner_map_phys(dev, *given))
        return self.mapped[-1]

    def unmap_phys(self, dev: dma_ops.Device, addr: int, size: int, *given: int) -> None:
        self.unmapped.append(addr)
        if addr in self.mapped:
            self.inner_unmap_phys(dev, addr, size, *given)


@check
def failed_export_unmaps_its_own(b: Bench) -> None:
    """If a range cannot be mapped by itself, those before it are unmapped, and nothing that never was mapped."""
    p = peers(b)
    b.device.dma_ops = watch = _Exhausted(b.ops)
    try:
        _export(b, p, "far", (1, 1), (5, 1), (9, 1), (12, 1))
    except DmaError:
        foreign = [addr for addr in watch.unmapped if addr not in watch.mapped]
        if foreign:
            raise Violation("what never was mapped is unmapped", bus=foreign[0], times=len(foreign)) from None
        if sorted(watch.unmapped) != sorted(watch.mapped):
            raise Violation("a mapping stays", mapped=watch.mapped, unmapped=watch.unmapped) from None
    else:
        raise Violation("a range cannot be mapped, but there is a table")


@check
def exported_pieces_begin_on_pages(b: Bench) -> None:
    """A range that one entry cannot hold is cut where pages end."""
    p = peers(b)
    provider = _exporter(p, "near")
    start = p.providers["near"].bars[0].start
    made = dma_buf_phys_vec_to_sgt(b.device, provider, [(start, 5 << 30)], 5 << 30, DMA_BIDIRECTIONAL)
    if sum(length for _, length in made.segments) != 5 << 30:
        raise Violation("an exporter's table has another length", segments=made.segments)
    for address, length in made.segments:
        if address % b.page:
            raise Violation("an entry begins inside a page", bus=address, length=length)


@check
def exported_length_is_whole(b: Bench) -> None:
    """4 GiB and more through the host bridge are mapped whole, and unmapped whole."""
    p = peers(b)
    before = b.counters()
    start = p.providers["far"].bars[0].start & -(1 << 30)
    for size in (1 << 32, (1 << 32) + (1 << 30)):
        made = dma_buf_phys_vec_to_sgt(b.device, _exporter(p, "far"), [(start, size)], size, DMA_BIDIRECTIONAL)
        if sum(length for _, length in made.segments) != size:
            raise Violation("an exporter's table has another length", of=size, segments=made.segments)
        dma_buf_free_sgt(b.device, made, DMA_BIDIRECTIONAL)
        b.expect_counters(before, "after dma_buf_free_sgt")


@check
def exported_size_must_match(b: Bench) -> None:
    """A size that is not the sum of the ranges is refused, or at least leaves nothing behind."""
    p = peers(b)
    before, table = b.counters(), dict(b.ops.table())
    ranges, _ = _ranges(b, p, "far", (1, 4))
    try:
        made = dma_buf_phys_vec_to_sgt(b.device, _exporter(p, "far"), ranges, 2 * b.page, DMA_BIDIRECTIONAL)
        dma_buf_free_sgt(b.device, made, DMA_BIDIRECTIONAL)
    except DmaError:
        pass
    b.expect_counters(before, "after an export with another size than its ranges have")
    expect_table(b, table, "after an export with another size than its ranges have")


# -- what is linked is synced ----------------------------------------------------------------------------------

class _Watching(WrappedOps):
    """Notes what is linked and not synced yet, per granule."""

    def __init__(self, inner: dma_ops.DmaMapOps) -> None:
        super().__init__(inner)
        self.pending: set[int] = set()
        self.links = 0

    def iova_link(
        self, dev: dma_ops.Device, state: DmaIovaState, phys: int, offset: int, size: int, *given: int
    ) -> int:
        ret = self.inner_iova_link(dev, state, phys, offset, size, *given)
        if ret == 0:
            self.links += 1
            self.pending.update(range((state.addr + offset) >> 12, (state.addr + offset + size + 4095) >> 12))
        return ret

    def iova_sync(self, dev: dma_ops.Device, state: DmaIovaState, offset: int, size: int) -> int:
        self.pending.difference_update(
            range((state.addr + offset) >> 12, (state.addr + offset + size + 4095) >> 12)
        )
        return self.inner_iova_sync(dev, state, offset, size)


@check
def users_sync_what_they_link(b: Bench) -> None:
    """Requests, HMM and exporters call dma_iova_sync over all that they link before they give out its address."""
    if not b.ops.filled & NEWER["iova_link"]:
        raise NotTested("the device has no iommu-dma")
    for user in ("request", "hmm", "dma-buf"):
        trial = b.fresh()
        as_drivers_do(trial)
        p = peers(trial) if trial.machine.pci_p2pdma else None
        trial.device.dma_ops = watch = _Watching(trial.ops)
        if user == "request":
            request(trial, [(page, 0, trial.page) for page in trial.frames(3)]).map()
        elif user == "hmm":
            try:
                made = _hmm(trial, 2)
            except NotTested:
                continue
            made.pfn_list[1] = _pfn(trial, trial.frames(1)[0])
            hmm_dma_map_pfn(trial.device, made, 1, P2pdmaMapState())
        elif p is not None:
            _export(trial, p, "far", (1, 2))
        if watch.pending:
            raise Violation(f"{user}: linked, given out, and not synced", granules=sorted(watch.pending)[:4])
        if not watch.links:
            raise NotTested(f"{user} linked nothing")


