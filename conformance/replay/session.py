# SPDX-License-Identifier: MIT
"""Performs the operations of a recorded run on a model and compares the answers.

A backend's adapter is a subclass: it builds the machine and its devices from the run's facts (setup), adds the verbs
that preset its allocator or let calls fail (op_<verb>), and dumps its table (table).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import dma_ops
from dma_ops import Device, DmaError, DmaFault, KernelBug, Machine
from scatterlist.core import SgTable

from .run import Run, VectorError, void_results

DIRECTIONS = {"bidi": 0, "to": 1, "from": 2}
BUS_ADDRESS = 1                 # SG_DMA_BUS_ADDRESS in dma_flags

# operations that have no result of the kernel's
NO_RESULT = frozenset(
    "arena p2parena state table cpu dev sleep buslimit "
    "failset failmap failrpcit failtable failalloc failhv hvmax faillv1 contigfail "
    "fillmap rotor lastoff noioc cujo20 stcmatch balance entitle setdesired setspare inuse p2m nodata".split()
)
COMPARED = frozenset("ret nents orig segs addr err ok skip count sg x dist maptype now pfn bug".split())
INFO_KEYS = frozenset(
    "mask cmask getmask reqmask maxmap optmap merge maxseg segb minalign buslimit coherent addrlimited".split()
)
INFO_COMPARED = COMPARED | INFO_KEYS
Answer = dict[str, Any]


def number(word: str) -> int:
    return int(word, 0)


@dataclass(frozen=True, slots=True)
class Difference:
    """One recorded result that the model did not give."""

    file: str
    line: int
    operation: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        words = self.operation if len(self.operation) <= 120 else self.operation[:117] + "..."
        return f"{self.file}:{self.line}: {words}: expected {self.expected}, got {self.got}"


@dataclass(slots=True)
class Arena:
    phys: int
    pages: int
    psize: int


@dataclass(slots=True)
class Slot:
    """What an id of the script holds; live until an unmap verb releases it."""

    kind: str                   # "sg", "page", "resource" or "coherent"
    dev: Device
    dir: int = 0
    attrs: int = 0
    addr: int = 0
    size: int = 0
    cpu_addr: int = 0
    table: SgTable | None = None
    mapped: int = 0             # segments that dma_map_sg answered
    live: bool = True
    by_sg: bool = field(default=False)      # mapped with dma_map_sg, which does not write nents


class Session:
    """One run on one model. Subclasses set backends and implement setup()."""

    backends: ClassVar[tuple[str, ...]] = ()
    machine: Machine

    def __init__(self, run: Run) -> None:
        self.run = run
        self.devices: dict[int, Device] = {}
        self.current = 0
        self.arenas: dict[str, Arena] = {}
        self.slots: dict[int, Slot] = {}
        self.passed = self.failed = self.skipped = self.void = 0
        self.expected: Answer = {}
        self.voids = {line for name, line in void_results() if name == run.id}

    # -- what an adapter provides ------------------------------------------------------------------------------

    def setup(self) -> None:
        """Build self.machine and self.devices from the run's facts, and choose self.current."""
        raise NotImplementedError

    def table(self) -> dict[str, str]:
        """The translation table in the form of the run's dumps."""
        raise NotImplementedError

    def sleep(self, milliseconds: int) -> None:
        """Let timers run."""

    @property
    def dev(self) -> Device:
        return self.devices[self.current]

    # -- the run -----------------------------------------------------------------------------------------------

    @staticmethod
    def no_result(operation: str, answer: Any) -> bool:
        """Has this operation nothing to compare, by the format's rules?"""
        if not isinstance(answer, dict):
            return True
        if operation.split(None, 1)[0] in NO_RESULT and "bug" not in answer:
            return True
        return answer.get("bad", "sgalloc") != "sgalloc" or "na" in answer

    def play(self) -> Iterator[Difference]:
        """Perform every operation; yields each difference."""
        try:
            self.setup()
        except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise VectorError(
                f"{self.run.path}: its facts do not make a machine of {self.run.backend}: {error!r}") from error
        tables = {dump["after_line"]: dump for dump in self.run.table}
        for index, (operation, expected) in enumerate(self.run.ops):
            self.expected = expected if isinstance(expected, dict) else {}
            verb, *words = operation.split()
            if self.expected.get("bad", "sgalloc") != "sgalloc":
                continue                    # the recorder itself refused it
            try:
                got = self.perform(verb, words)
            except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
                raise VectorError(f"{self.run.path}:{self.run.line_of(index)}: {operation[:80]!r} cannot be performed: "
                                  f"{error!r}") from error
            if not self.no_result(operation, expected):
                difference = self.judge(index, operation, got)
                if difference is not None:
                    yield difference
            if verb == "table":
                yield from self.compare_table(index, tables.get(self.run.line_of(index)))
            if self.expected.get("bug") and got.get("bug"):
                break                       # the recorded kernel died here
        else:
            yield from self.compare_table(len(self.run.ops) - 1, tables.get(None))

    def perform(self, verb: str, words: list[str]) -> Answer:
        try:
            answer: Answer = getattr(self, "op_" + verb)(words)
        except KernelBug as bug:
            answer = {"bug": str(bug)}
        return answer if answer is not None else {}

    def judge(self, index: int, operation: str, got: Answer) -> Difference | None:
        if "unasked" in got:
            self.skipped += 1
            return None
        if self.voids and self.run.line_of(index) in self.voids:
            self.void += 1
            return None
        keys = INFO_COMPARED if operation.startswith("info") else COMPARED
        expected = {key: value for key, value in self.expected.items() if key in keys}
        if self.same(expected, got):
            self.passed += 1
            return None
        self.failed += 1
        return Difference(str(self.run.path), self.run.line_of(index), operation, expected,
                          {key: got[key] for key in got if key in keys or key == "bug"})

    @staticmethod
    def same(expected: Answer, got: Answer) -> bool:
        """Are all recorded keys given again? Long lists were cut by some recorders: a prefix decides there."""
        if bool(expected.get("bug")) != bool(got.get("bug")):
            return False
        for key, value in expected.items():
            if key == "bug":
                continue
            if key in ("segs", "sg", "x"):
                answer = got.get(key)
                if not isinstance(answer, list) or answer[:len(value)] != value:
                    return False
            elif got.get(key) != value:
                return False
        return True

    def compare_table(self, index: int, dump: dict[str, Any] | None) -> Iterator[Difference]:
        if dump is None or not isinstance(dump.get("entries"), dict):
            return
        expected = {str(key): str(value).lower() for key, value in dump["entries"].items()}
        got = {key: value.lower() for key, value in self.table().items()}
        if expected == got:
            self.passed += 1
            return
        self.failed += 1
        keys = sorted(key for key in expected.keys() | got.keys() if expected.get(key) != got.get(key))[:6]
        yield Difference(str(self.run.path), self.run.line_of(index), f"table ({len(expected)} entries)",
                         {key: expected.get(key) for key in keys}, {key: got.get(key) for key in keys})

    # -- buffers -----------------------------------------------------------------------------------------------

    def op_arena(self, words: list[str]) -> None:
        if "na" in self.expected:
            self.arenas.pop(words[0], None)
        else:
            self.arenas[words[0]] = Arena(self.expected["phys"], self.expected["pages"], self.expected["psize"])

    def op_p2parena(self, words: list[str]) -> None:
        self.op_arena(words)

    def token(self, word: str) -> tuple[int, int, int]:
        """arena:page:offset:length as (page, offset, length)."""
        name, page, offset, length = word.split(":")
        arena = self.arenas[name]
        return arena.phys + int(page) * self.machine.page_size, int(offset), int(length)

    # -- devices and limits ------------------------------------------------------------------------------------

    def op_dev(self, words: list[str]) -> None:
        self.current = number(words[0])

    def op_cpu(self, words: list[str]) -> None:
        self.machine.cpu = number(words[0])

    def op_sleep(self, words: list[str]) -> None:
        self.sleep(number(words[0]))

    def op_state(self, words: list[str]) -> None:
        pass

    def op_table(self, words: list[str]) -> None:
        pass

    @staticmethod
    def result(call: Any, *arguments: Any) -> Answer:
        try:
            call(*arguments)
        except DmaError as error:
            return {"ret": -error.errno}
        return {"ret": 0}

    def op_mask(self, words: list[str]) -> Answer:
        return self.result(dma_ops.dma_set_mask_and_coherent, self.dev, number(words[0]))

    def op_smask(self, words: list[str]) -> Answer:
        return self.result(dma_ops.dma_set_mask, self.dev, number(words[0]))

    def op_cmask(self, words: list[str]) -> Answer:
        return self.result(dma_ops.dma_set_coherent_mask, self.dev, number(words[0]))

    def op_buslimit(self, words: list[str]) -> None:
        self.dev.bus_dma_limit = number(words[0])

    def op_segb(self, words: list[str]) -> Answer:
        self.result(dma_ops.dma_set_seg_boundary, self.dev, number(words[0]))
        return {"now": dma_ops.dma_get_seg_boundary(self.dev)}

    def op_maxseg(self, words: list[str]) -> Answer:
        self.result(dma_ops.dma_set_max_seg_size, self.dev, number(words[0]))
        return {"now": dma_ops.dma_get_max_seg_size(self.dev)}

    def op_minalign(self, words: list[str]) -> Answer:
        self.result(dma_ops.dma_set_min_align_mask, self.dev, number(words[0]))
        return {"now": dma_ops.dma_get_min_align_mask(self.dev)}

    def op_info(self, words: list[str]) -> Answer:
        dev = self.dev
        return {
            "mask": dev.dma_mask,
            "cmask": dev.coherent_dma_mask,
            "getmask": dma_ops.dma_get_mask(dev),
            "reqmask": dma_ops.dma_get_required_mask(dev),
            "maxmap": dma_ops.dma_max_mapping_size(dev),
            "optmap": dma_ops.dma_opt_mapping_size(dev),
            "merge": dma_ops.dma_get_merge_boundary(dev),
            "maxseg": dma_ops.dma_get_max_seg_size(dev),
            "segb": dma_ops.dma_get_seg_boundary(dev),
            "minalign": dma_ops.dma_get_min_align_mask(dev),
            "buslimit": dev.bus_dma_limit,
            "coherent": int(dev.dma_coherent),
            "addrlimited": int(dma_ops.dma_addressing_limited(dev)),
        }

    # -- lists -------------------------------------------------------------------------------------------------

    def sg_limit(self) -> int | None:
        """How many entries sg_alloc_table takes at most: one page of them where lists cannot be chained."""
        if not self.machine.arch_no_sg_chain:
            return None
        word = self.machine.bits // 8
        return self.machine.page_size // (32 if word == 8 else 20)

    def build(self, words: list[str]) -> SgTable | None:
        limit = self.sg_limit()
        if limit is not None and len(words) > limit:
            return None
        return SgTable([self.token(word) for word in words], page_shift=self.machine.page_shift)

    def entry_rows(self, table: SgTable) -> list[list[int]]:
        """[index, offset, length, dma_address, dma_length, dma_flags] of every original entry."""
        separate = self.machine.need_sg_dma_length
        return [[i, offset, length, address, dma_length if separate else length, flags]
                for i, (_, offset, length, address, dma_length, flags) in enumerate(table.entries())]

    def segments(self, table: SgTable, n: int) -> list[list[Any]]:
        return [[row[3], row[4], "b" if row[5] & BUS_ADDRESS else ""] for row in self.entry_rows(table)[:n]]

    def op_maps(self, words: list[str]) -> Answer:
        return self.map_list(words, by_sg=False)

    def op_mapsl(self, words: list[str]) -> Answer:
        return self.map_list(words, by_sg=True)

    def map_list(self, words: list[str], *, by_sg: bool) -> Answer:
        table = self.build(words[3:])
        slot_id = number(words[0])
        if table is None:
            self.slots.pop(slot_id, None)
            return {"ret": -errno.EINVAL}
        slot = Slot("sg", self.dev, DIRECTIONS[words[1]], number(words[2]), table=table, by_sg=by_sg, live=False)
        self.slots[slot_id] = slot
        answer: Answer = {"orig": table.orig_nents}
        try:
            if by_sg:
                slot.mapped = answer["ret"] = dma_ops.dma_map_sg(self.dev, table, slot.dir, slot.attrs)
            else:
                dma_ops.dma_map_sgtable(self.dev, table, slot.dir, slot.attrs)
                slot.mapped = table.nents
                answer["ret"] = 0
        except DmaError as error:
            answer["ret"] = 0 if by_sg else -error.errno
            answer["nents"] = table.nents
            return answer
        slot.live = True
        answer["nents"] = table.nents
        answer["segs"] = self.segments(table, slot.mapped)
        return answer

    def op_dumpsg(self, words: list[str]) -> Answer:
        slot = self.slots.get(number(words[0]))
        if slot is None or slot.table is None:
            return {}
        return {"nents": slot.table.nents, "orig": slot.table.orig_nents, "sg": self.entry_rows(slot.table)}

    def op_pokesg(self, words: list[str]) -> Answer:
        slot = self.slots[number(words[0])]
        assert slot.table is not None
        slot.table.set_dma(number(words[1]), number(words[2]), number(words[3]))
        return {"ok": True}

    def op_rawmapsg0(self, words: list[str]) -> Answer:
        """dma_map_sgtable with orig_nents 0 over a table of one page."""
        arena = next(iter(self.arenas.values()))
        table = SgTable([(arena.phys, 0, self.machine.page_size)], page_shift=self.machine.page_shift)
        table.orig_nents = 0
        answer = self.result(dma_ops.dma_map_sgtable, self.dev, table, 1)
        answer["nents"] = table.nents
        table.orig_nents = 1
        answer["sg"] = self.entry_rows(table)
        return answer

    # -- single mappings ---------------------------------------------------------------------------------------

    def op_mapp(self, words: list[str]) -> Answer:
        page, offset, size = self.token(words[3])
        return self.map_one("page", words, size, dma_ops.dma_map_page, (page, offset, size))

    def op_mapr(self, words: list[str]) -> Answer:
        size = number(words[3])
        slot_id, direction = number(words[0]), DIRECTIONS[words[1]]
        return self.keep("resource", slot_id, direction, 0, size, dma_ops.dma_map_resource,
                         (self.dev, number(words[2]), size, direction))

    def map_one(self, kind: str, words: list[str], size: int, call: Any, where: tuple[int, ...]) -> Answer:
        slot_id, direction, attrs = number(words[0]), DIRECTIONS[words[1]], number(words[2])
        return self.keep(kind, slot_id, direction, attrs, size, call, (self.dev, *where, direction, attrs))

    def keep(self, kind: str, slot_id: int, direction: int, attrs: int, size: int, call: Any,
             arguments: tuple[Any, ...]) -> Answer:
        slot = self.slots[slot_id] = Slot(kind, self.dev, direction, attrs, size=size, live=False)
        try:
            slot.addr = call(*arguments)
        except DmaError:
            return {"err": True}
        slot.live = True
        return {"addr": slot.addr}

    def op_alloc(self, words: list[str]) -> Answer:
        slot_id, size = number(words[0]), number(words[1])
        attrs = number(words[2]) if len(words) > 2 else 0
        slot = self.slots[slot_id] = Slot("coherent", self.dev, attrs=attrs, size=size, live=False)
        self.feed_alloc()
        try:
            slot.cpu_addr, slot.addr = dma_ops.dma_alloc_attrs(self.dev, size, attrs)
        except DmaError:
            return {"err": True}
        finally:
            self.machine.feed_alloc()
        slot.live = True
        return {"addr": slot.addr}

    def feed_alloc(self) -> None:
        """Let the page allocator answer what the recorded one did."""
        self.machine.feed_alloc(*([self.expected["phys"]] if "phys" in self.expected else []))

    # -- release -----------------------------------------------------------------------------------------------

    def release(self, slot: Slot, attrs: int) -> None:
        slot.live = False
        if slot.table is not None:
            dma_ops.dma_unmap_sgtable(slot.dev, slot.table, slot.dir, attrs)
        elif slot.kind == "page":
            dma_ops.dma_unmap_page(slot.dev, slot.addr, slot.size, slot.dir, attrs)
        elif slot.kind == "resource":
            dma_ops.dma_unmap_resource(slot.dev, slot.addr, slot.size, slot.dir, attrs)
        else:
            dma_ops.dma_free_attrs(slot.dev, slot.size, slot.cpu_addr, slot.addr, slot.attrs)

    def op_unmaps(self, words: list[str]) -> Answer:
        slot = self.slots.get(number(words[0]))
        if slot is None or not slot.live:
            return {"skip": True}
        self.release(slot, number(words[1]) if len(words) > 1 else slot.attrs)
        return {"ok": True}

    op_unmapp = op_unmapr = op_free = op_unmaps

    def op_unmapall(self, words: list[str]) -> Answer:
        live = [slot for _, slot in sorted(self.slots.items()) if slot.live]
        for slot in live:
            self.release(slot, slot.attrs)
        return {"count": len(live)}

    def op_unmapraw(self, words: list[str]) -> Answer:
        dma_ops.dma_unmap_page(self.dev, number(words[0]), number(words[1]), DIRECTIONS[words[2]])
        return {"ok": True}

    def op_rawunmapp(self, words: list[str]) -> Answer:
        dma_ops.dma_unmap_page(self.dev, number(words[2]), number(words[3]), DIRECTIONS[words[1]])
        return {"ok": True}

    # -- sync and looking --------------------------------------------------------------------------------------

    def op_sync(self, words: list[str]) -> Answer:
        slot = self.slots[number(words[0])]
        cpu = words[1] == "cpu"
        if slot.table is not None:
            call = dma_ops.dma_sync_sgtable_for_cpu if cpu else dma_ops.dma_sync_sgtable_for_device
            call(slot.dev, slot.table, slot.dir)
        else:
            single = dma_ops.dma_sync_single_for_cpu if cpu else dma_ops.dma_sync_single_for_device
            single(slot.dev, slot.addr, slot.size, slot.dir)
        return {"ok": True}

    op_syncs = op_syncp = op_sync

    def op_xlate(self, words: list[str]) -> Answer:
        slot = self.slots.get(number(words[0]))
        if slot is None or not slot.live:
            return {}
        if slot.table is not None:
            rows = self.segments(slot.table, slot.mapped)
        else:
            rows = [[slot.addr, slot.size, ""]]
        return {"x": ["bus" if flags == "b" else f"{self.translate(slot, address):#x}.."
                      f"{self.translate(slot, address + length - 1):#x}" for address, length, flags in rows]}

    def translate(self, slot: Slot, address: int) -> int:
        """What the hardware makes of a bus address; 0 where nothing is mapped, as iommu_iova_to_phys answers."""
        ops = slot.dev.dma_ops if slot.dev.dma_ops is not None else slot.dev.direct
        try:
            return int(ops.walker.lookup(slot.dev, address)[0])
        except DmaFault:
            return 0
