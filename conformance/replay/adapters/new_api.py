# SPDX-License-Identifier: MIT
"""The newer DMA API: runs of Linux's own C over an IOMMU driver that is a table, or over dma-direct."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dma_ops
from arch.generic.dma_iommu import IommuDmaOps
from dma_ops import Device, DmaError, DmaFault, DmaIovaState, KernelBug, Machine
from dma_ops.blk_dma import (
    BlkDmaIter,
    Request,
    blk_rq_dma_map_coalesce,
    blk_rq_dma_map_iter_next,
    blk_rq_dma_map_iter_start,
    blk_rq_dma_unmap,
)
from dma_ops.dma_buf import DmaBufTable, dma_buf_free_sgt, dma_buf_phys_vec_to_sgt
from dma_ops.iommu_flat import FlatDomain
from dma_ops.p2pdma import MAP_TYPES, P2pdma
from dma_ops.p2pdma_state import P2pdmaProvider
from dma_ops.pci import PciDev, PciHost, PciTree
from dma_ops.swiotlb import IoTlbMem
from scatterlist.bvec import BioVecs
from scatterlist.core import SgTable

from ..run import Run
from ..session import DIRECTIONS as LEGAL_DIRECTIONS
from ..session import Answer, Arena, Difference, Session, number

DIRECTIONS = {**LEGAL_DIRECTIONS, "none": 3}
_KERNEL = 700
_RAM = ((0, 0x80000000),)           # little, so that a 32-bit mask is not a limit; arenas may lie anywhere
_MAP_TYPES = {"bus": "BUS_ADDR", "host": "THRU_HOST_BRIDGE", "unsup": "NOT_SUPPORTED"}
_INPUTS = frozenset("state events warn phys pages psize type bus_offset flags k part".split())
_LOGGED = frozenset("map unmap sync_map iotlb_sync flush_all sync_dev sync_cpu".split())
_FLAGS = ("", "b", "s")             # dma_flags: a bus address, a list that bounced
_MAG_SIZE = 127
_STATE = ("ptes", "nodes", "pages", "rcached", "fq", "timer", "bounce", "skip_sync")


def _errno(code: int) -> str | int:
    if code == errno.EOPNOTSUPP:        # which has a second name in userspace
        return "-EOPNOTSUPP"
    return f"-{errno.errorcode[code]}" if code else 0


class _Events:
    """The model's log as the recorder wrote its own: one line per event."""

    def __init__(self, granule: int) -> None:
        self.granule = granule

    def lines(self, events: list[tuple[Any, ...]]) -> list[str]:
        out: list[str] = []
        events = [event for event in events if event[0] != "bounce"]       # copies are not in the recorded runs
        for i, (kind, *facts) in enumerate(events):
            line = getattr(self, kind)(*facts)
            if kind == "unmap" and self.queued(events, i):
                line += " queued"
            out.append(line)
        return out

    @staticmethod
    def queued(events: list[tuple[Any, ...]], i: int) -> bool:
        """Does the flush queue have it? Else the IOTLB is told right behind the unmap requests of one call."""
        for kind, *facts in events[i + 1:]:
            if kind == "iotlb_sync":
                first, size = facts
                return bool(size) and not first <= events[i][1] <= first + size
            if kind != "unmap":
                break
        return True

    def map(self, iova: int, paddr: int, done: int, asked: int, prot: int, ret: int) -> str:
        return f"map {iova:#x} {paddr:#x} n={done}/{asked} prot={prot:#x}" + (f" ret={_errno(-ret)}" if ret else "")

    def unmap(self, iova: int, done: int, asked: int) -> str:
        return f"unmap {iova:#x} n={done}/{asked}"

    def sync_map(self, iova: int, size: int, ret: int) -> str:
        return f"sync_map {iova:#x}+{size:#x}" + (f" ret={_errno(-ret)}" if ret else "")

    def iotlb_sync(self, iova: int, size: int) -> str:
        return f"iotlb_sync {iova:#x}-{iova + size - 1:#x}" if size else "iotlb_sync empty"

    def flush_all(self) -> str:
        return "flush_all"

    def sync_dev(self, phys: int, size: int, direction: int) -> str:
        return f"sync_dev {phys:#x}+{size:#x} {direction}"

    def sync_cpu(self, phys: int, size: int, direction: int) -> str:
        return f"sync_cpu {phys:#x}+{size:#x} {direction}"


class NewApi(Session):
    """A slot is what a verb keeps: a dictionary of facts, under the script's number."""

    backends = ("new-api",)

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.options = run.config.get("options") or {}
        self.header = run.config.get("header") or {}
        self.kept: dict[int, dict[str, Any]] = {}
        self.host: PciHost | None = None
        self.providers: dict[str, P2pdmaProvider] = {}
        self.bars = itertools.count(1)

    # -- the machine -------------------------------------------------------------------------------------------

    def setup(self) -> None:
        header, options = self.header, self.options
        self.machine = machine = Machine(
            self.run.config["config"],
            arch="arm64" if self.run.config["config"].startswith("kmalloc") else "",
            page_shift=header["page"].bit_length() - 1,
            ram=_RAM,
            pci_p2pdma=True,
            kernel=_KERNEL,
        )
        self.log = _Events(header["granule"])
        dev = self.devices[0] = Device("0000:01:00.0", machine, coherent=bool(options.get("coherent", 1)))
        pool = header["swiotlb_pool"]
        self.pool = IoTlbMem(machine, pool["start"], pool["slots"])
        dev.io_tlb_mem = self.pool
        dev.untrusted = bool(options.get("untrusted"))
        dma_ops.dma_set_min_align_mask(dev, options.get("minalign", 0))
        self.domain: FlatDomain | None = None
        if self.run.config["over"] == "iommu_dma_ops":
            self.domain = FlatDomain(machine, header["granule"])
            self.ops = IommuDmaOps(
                self.domain,
                dev,
                windows=self.ranges(options.get("win", "")),
                regions=[(first, last + 1 - first, 0) for first, last in self.ranges(options.get("resv", ""))],
                lazy=bool(options.get("fq")),
                forcedac=bool(options.get("forcedac")),
            )
        dma_ops.dma_set_mask_and_coherent(dev, options.get("mask", (1 << 64) - 1))
        self.host = PciTree(machine).add_host()
        dev.pci = self.host.add("01.0", 0x1234, 1)

    @staticmethod
    def ranges(text: str) -> list[tuple[int, int]]:
        pairs = [word.rstrip("msi").split("-") for word in text.split(",") if word]
        return [(number(first), number(last)) for first, last in pairs]

    # -- comparing ---------------------------------------------------------------------------------------------

    def play(self) -> Iterator[Difference]:
        if not self.run.ops and self.run.raw.get("stopped"):
            yield from self.stopped()
            return
        self.setup()
        events: list[tuple[Any, ...]]
        for index, (operation, expected) in enumerate(self.run.ops):
            self.expected = expected
            warnings = len(self.machine.dmesg)
            self.machine.events = events = []
            verb, *words = operation.split()
            got = self.perform(verb, words)
            got["events"] = self.log.lines(events)
            got["warn"] = any(line.startswith("WARNING") for line in self.machine.dmesg[warnings:])
            got["state"] = self.state()
            difference = self.check(index, operation, expected, got)
            if difference is not None:
                yield difference

    def stopped(self) -> Iterator[Difference]:
        """The kernel died while the machine was set up."""
        try:
            self.setup()
        except KernelBug:
            self.passed += 1
        else:
            self.failed += 1
            yield Difference(str(self.run.path), 0, "setup", self.run.raw["stopped"], "no KernelBug")

    def check(self, index: int, operation: str, expected: Answer, got: Answer) -> Difference | None:
        wanted = {key: value for key, value in expected.items() if key not in _INPUTS}
        wanted["events"] = [line for line in expected.get("events", ()) if line.split()[0] in _LOGGED]
        wanted["warn"] = "warn" in expected
        wanted["state"] = expected["state"]
        wrong = [key for key in wanted if wanted[key] != got.get(key)]
        if not wrong:
            self.passed += 1
            return None
        self.failed += 1
        return Difference(str(self.run.path), self.run.line_of(index), operation,
                          {key: wanted[key] for key in wrong}, {key: got.get(key) for key in wrong})

    def state(self) -> dict[str, int]:
        found = {"bounce": self.pool.used}
        if self.domain is None:
            found["skip_sync"] = int(self.dev.dma_skip_sync)
        else:
            queue = self.ops.cookie.queue
            space = self.ops.cookie.space.state()
            found |= {
                "ptes": len(self.domain.table()),
                "nodes": int(space["nodes"]),
                "pages": int(space["pages"]),
                "rcached": sum(self.magazines(str(space[f"rc{order}"])) for order in range(6)),
                "fq": queue.waiting if queue is not None else 0,
                "timer": int(queue.timer_on) if queue is not None else 0,
            }
        return {key: found[key] for key in _STATE if key in found}

    @staticmethod
    def magazines(counts: str) -> int:
        """Ranges in the magazines of one size: loaded, previous, and full ones in the depot."""
        loaded, previous, depot = (int(word) for word in counts.split("/"))
        return loaded + previous + depot * _MAG_SIZE

    # -- presets -----------------------------------------------------------------------------------------------

    def op_prov(self, words: list[str]) -> Answer:
        """A BAR whose route is given, not concluded from a tree."""
        name, kind = words[:2]
        offset, phys, pages = (number(word) for word in words[2:5])
        assert self.host is not None
        pdev: PciDev = self.host.add(f"{next(self.bars) + 1:02x}.0", 0x1234, 2)
        pdev.p2pdma = P2pdma(self.machine, pdev)
        client = self.dev.pci
        assert client is not None
        pdev.p2pdma.map_types[client.bus << 8 | client.devfn] = MAP_TYPES.index(_MAP_TYPES[kind])
        size = pages * self.machine.page_size
        self.machine.add_pgmap(phys, phys + size, offset & (1 << 64) - 1, pdev.p2pdma.index)
        self.providers[name] = P2pdmaProvider(pdev, offset)
        self.arenas[name] = Arena(phys, pages, self.machine.page_size)
        return {}

    def op_failmap(self, words: list[str]) -> Answer:
        if self.domain is not None:
            self.domain.fail_map = number(words[0])
            self.domain.fail_part = number(words[1]) if len(words) > 1 else 0
        return {}

    def op_failsync(self, words: list[str]) -> Answer:
        if self.domain is not None:
            self.domain.fail_sync = number(words[0])
        return {}

    def op_fqtimer(self, words: list[str]) -> Answer:
        queue = self.ops.cookie.queue
        fired = queue is not None and queue.timer_on
        self.ops.flush()
        return {"fired": int(fired)}

    def nothing(self, words: list[str]) -> Answer:
        return {}

    op_pte = op_ipte = op_tree = nothing

    # -- memory ------------------------------------------------------------------------------------------------

    def where(self, word: str) -> tuple[int, int]:
        """arena:page:offset:length or address:length as (physical address, length)."""
        if word.count(":") == 3:
            page, offset, length = self.token(word)
            return page + offset, length
        phys, length_ = word.split(":")
        return number(phys), number(length_)

    def op_fill(self, words: list[str]) -> Answer:
        phys, length = self.where(words[0])
        self.machine.mem.poke(phys, bytes([number(words[1])]) * length)
        return {}

    @staticmethod
    def runs(cells: Iterable[int]) -> str:
        """Bytes, or -1 where nothing is mapped, as the recorder wrote them."""
        return ",".join(f"{'--' if cell < 0 else f'{cell:02x}'}*{len(list(group))}"
                        for cell, group in itertools.groupby(cells))

    def op_peekp(self, words: list[str]) -> Answer:
        phys, length = self.where(words[0])
        return {"data": self.runs(self.machine.mem.peek(phys, length))}

    def base(self, word: str) -> int:
        slot = self.kept[number(word)]
        return int(slot["state"].addr if "state" in slot else slot["addr"])

    def behind(self, addr: int) -> tuple[int, int] | None:
        """What an address means, whatever the access: (physical address, bytes); None where nothing is mapped."""
        assert self.domain is not None
        for write in (False, True):
            try:
                return self.domain.walker.lookup(self.dev, addr, write)
            except DmaFault:
                pass
        return None

    def op_ipeek(self, words: list[str]) -> Answer:
        addr, left = self.base(words[0]) + number(words[1]), number(words[2])
        cells: list[int] = []
        while left:
            found = self.behind(addr)
            step = min(left, found[1] if found else self.header["granule"] - addr % self.header["granule"])
            cells += self.machine.mem.peek(found[0], step) if found else [-1] * step
            addr += step
            left -= step
        return {"data": self.runs(cells)}

    def op_idevwrite(self, words: list[str]) -> Answer:
        addr, length = self.base(words[0]) + number(words[1]), number(words[2])
        self.dev.dma_write(addr, bytes([number(words[3])]) * length)
        return {"fault_bytes": 0}

    # -- by physical address -----------------------------------------------------------------------------------

    def attempt(self, call: Callable[[], Any]) -> str | int:
        """0 or the errno that a call raised."""
        try:
            call()
        except DmaError as error:
            assert error.errno is not None
            return _errno(error.errno)
        return 0

    def map_single(self, words: list[str], call: Callable[[int, int, int, int], int], phys: int, size: int) -> Answer:
        slot_id, direction, attrs = number(words[0]), DIRECTIONS[words[1]], number(words[2])
        self.kept.pop(slot_id, None)
        try:
            addr = call(phys, size, direction, attrs)
        except DmaError:
            return {"err": True}
        self.kept[slot_id] = {"addr": addr, "size": size, "dir": direction, "attrs": attrs}
        return {"addr": addr}

    def op_mapphys(self, words: list[str]) -> Answer:
        return self.map_single(words, lambda *args: dma_ops.dma_map_phys(self.dev, *args), *self.where(words[3]))

    def op_mappage(self, words: list[str]) -> Answer:
        mask = self.machine.page_size - 1

        def call(phys: int, *args: int) -> int:
            return dma_ops.dma_map_page(self.dev, phys & ~mask, phys & mask, *args)

        return self.map_single(words, call, *self.where(words[3]))

    def op_unmapphys(self, words: list[str]) -> Answer:
        slot = self.kept.pop(number(words[0]), None)
        if slot is None:
            return {"skip": True}
        attrs = number(words[1]) if len(words) > 1 else slot["attrs"]
        dma_ops.dma_unmap_phys(self.dev, slot["addr"], slot["size"], slot["dir"], attrs)
        return {"ok": True}

    # -- in two steps ------------------------------------------------------------------------------------------

    @staticmethod
    def range_of(state: DmaIovaState, **more: Any) -> Answer:
        return {"addr": state.addr, "size": state.size, **({"swiotlb_bit": True} if state.swiotlb else {}), **more}

    def op_iovatry(self, words: list[str]) -> Answer:
        phys = self.where(words[1])[0] if ":" in words[1] else number(words[1])
        state = DmaIovaState()
        ok = dma_ops.dma_iova_try_alloc(self.dev, state, phys, number(words[2]))
        self.kept[number(words[0])] = {"state": state}
        return self.range_of(state, ok=int(ok))

    def op_link(self, words: list[str]) -> Answer:
        state = self.kept[number(words[0])]["state"]
        phys, size = self.where(words[4])
        ret = self.attempt(lambda: dma_ops.dma_iova_link(self.dev, state, phys, number(words[1]), size,
                                                         DIRECTIONS[words[2]], number(words[3])))
        return self.range_of(state, ret=ret)

    def op_isync(self, words: list[str]) -> Answer:
        state = self.kept[number(words[0])]["state"]
        return {"ret": self.attempt(lambda: dma_ops.dma_iova_sync(self.dev, state, number(words[1]),
                                                                  number(words[2])))}

    def op_unlink(self, words: list[str]) -> Answer:
        state = self.kept[number(words[0])]["state"]
        dma_ops.dma_iova_unlink(self.dev, state, number(words[1]), number(words[2]), DIRECTIONS[words[3]],
                                number(words[4]))
        return self.range_of(state)

    def op_destroy(self, words: list[str]) -> Answer:
        state = self.kept[number(words[0])]["state"]
        dma_ops.dma_iova_destroy(self.dev, state, number(words[1]), DIRECTIONS[words[2]], number(words[3]))
        return self.range_of(state)

    def op_ifree(self, words: list[str]) -> Answer:
        state = self.kept[number(words[0])]["state"]
        dma_ops.dma_iova_free(self.dev, state)
        return self.range_of(state)

    # -- lists -------------------------------------------------------------------------------------------------

    def segments(self, table: SgTable, n: int) -> list[list[Any]]:
        return [[row[3], row[4], _FLAGS[row[5]]] for row in self.entry_rows(table)[:n]]

    def flagged(self, rows: list[list[Any]]) -> list[Answer]:
        return [{"addr": addr, "len": length, **({"flags": flags} if flags else {})} for addr, length, flags in rows]

    def map_list(self, words: list[str], *, by_sg: bool) -> Answer:
        answer = super().map_list(words, by_sg=by_sg)
        if "segs" in answer:
            answer["segments"] = self.flagged(answer.pop("segs"))
        if not by_sg:
            answer["ret"] = _errno(-answer["ret"])
        return answer

    def op_dumpsg(self, words: list[str]) -> Answer:
        answer = super().op_dumpsg(words)
        answer["sg"] = [f"{i}:{offset:#x}:{length:#x}:{addr:#x}:{dma_length:#x}:{flags}"
                        for i, offset, length, addr, dma_length, flags in answer["sg"]]
        return answer

    def op_info(self, words: list[str]) -> Answer:
        return {"need_unmap": int(dma_ops.dma_need_unmap(self.dev)), **super().op_info(words)}

    # -- requests ----------------------------------------------------------------------------------------------

    def op_rq(self, words: list[str]) -> Answer:
        slot_id, direction, *rest = words
        limits: dict[str, Any] = {}
        bios: list[list[tuple[int, int, int]]] = [[]]
        for word in rest:
            key, _, value = word.partition("=")
            if key == "gap":
                if value != "auto":
                    limits["phys_gap_mask"] = 0 if value == "none" else number(value)
            elif key == "maxseg":
                limits["max_segment_size"] = number(value)
            elif key == "segb":
                limits["seg_boundary_mask"] = number(value)
            elif word == "|":
                bios.append([])
            else:
                page, offset, length = self.token(word)
                bios[-1].append((page, length, offset))
        request = Request([BioVecs(rows, page_shift=self.machine.page_shift) for rows in bios], DIRECTIONS[direction],
                          **limits)
        state, it = DmaIovaState(), BlkDmaIter()
        segments: list[Answer] = []
        started = more = blk_rq_dma_map_iter_start(request, self.dev, state, it)
        while more:
            segments.append({"addr": it.addr, "len": it.len})
            more = not blk_rq_dma_map_coalesce(state) and blk_rq_dma_map_iter_next(request, self.dev, it)
        if started:
            self.kept[number(slot_id)] = {"request": request, "state": state, "it": it, "segments": segments}
        else:
            self.kept.pop(number(slot_id), None)
        return self.range_of(
            state,
            gap=request.phys_gap_mask,
            len=request.payload,
            start=int(started),
            status=it.status.name,
            coalesced=int(blk_rq_dma_map_coalesce(state)),
            map=int(it.map),
            attrs=it.attrs,
            **({"segments": segments} if started else {}),
        )

    def op_rqunmap(self, words: list[str]) -> Answer:
        slot = self.kept.pop(number(words[0]), None)
        if slot is None:
            return {"skip": True}
        request, it = slot["request"], slot["it"]
        if blk_rq_dma_unmap(request, self.dev, slot["state"], request.payload, it.map, it.attrs):
            return {"done": 1, "segs": 0}
        for segment in slot["segments"]:
            dma_ops.dma_unmap_phys(self.dev, segment["addr"], segment["len"], request.dir, it.attrs)
        return {"done": 0, "segs": len(slot["segments"])}

    # -- dma-buf -----------------------------------------------------------------------------------------------

    def op_dbuf(self, words: list[str]) -> Answer:
        slot_id, direction = number(words[0]), DIRECTIONS[words[1]]
        ranges = [self.where(word) for word in words[4:]]
        size = sum(length for _, length in ranges) if words[3] == "sum" else number(words[3])
        made: list[DmaBufTable] = []
        ret = self.attempt(lambda: made.append(
            dma_buf_phys_vec_to_sgt(self.dev, self.providers[words[2]], ranges, size, direction)))
        if ret:
            self.kept.pop(slot_id, None)
            return {"ret": ret}
        self.kept[slot_id] = {"table": made[0], "dir": direction}
        table = made[0].sgt
        assert table is not None
        return {"ret": 0, "nents": table.nents, "orig": table.orig_nents,
                "segments": [{"addr": addr, "len": length} for addr, length in made[0].segments]}

    def op_dbuffree(self, words: list[str]) -> Answer:
        slot = self.kept.pop(number(words[0]), None)
        if slot is None:
            return {"skip": True}
        dma_buf_free_sgt(self.dev, slot["table"], slot["dir"])
        return {"ok": True}
