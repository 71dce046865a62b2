# SPDX-License-Identifier: MIT
"""Goes through a run, operation by operation, and says which rules its answers break."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..replay.run import Run
from .ledger import CACHE, MMIO, Arena, Live, MapEvent, Memory, Part, Slot, Table, maintained, number

ATTR_SKIP_CPU_SYNC, ATTR_MMIO, ATTR_REQUIRE_COHERENT = 1 << 5, 1 << 10, 1 << 12
CACHED_PAGES = 32                       # the largest range that the IOVA caches keep
P2P_KINDS = {"BUS_ADDR": "bus", "THRU_HOST_BRIDGE": "host", "NOT_SUPPORTED": "unsup"}
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Flaw:
    """An answer that a rule does not allow. line: of the operation in the run's script."""

    run: str
    line: int
    operation: str
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.run}: line {self.line}: {self.rule}: {self.what} ({self.operation})"


def judge(run: Run) -> list[Flaw]:
    """The flaws of a run, in the order of its operations."""
    return Judge(run).play()


class Judge:
    """One run's judge. op_VERB(words, answer) looks at an operation; what it does not know it passes over."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.flaws: list[Flaw] = []
        header, options = run.config.get("header") or {}, run.config.get("options") or {}
        self.options = options if isinstance(options, dict) else {}
        self.newer = run.backend == "new-api"
        self.over = str(run.config.get("over") or run.backend)
        self.iommu = self.over == "iommu_dma_ops"
        self.memory = Memory(int(header.get("page") or run.machine.get("page_size") or 4096))
        self.granule = int(header.get("granule") or self.memory.page)
        self.table = Table(self.granule)
        self.booked = self.newer and self.iommu         # do the run's events tell all that the table holds?
        pool = header.get("swiotlb_pool") or {}
        self.pool = range(pool.get("start", 0), pool.get("start", 0) + pool.get("slots", 0) * pool.get("slot_size", 0))
        self.coherent = bool(self.options.get("coherent", 1))
        self.slots: dict[str, Slot] = {}
        self.live: list[Live] = []
        self.extra = 0                                  # ranges that are live beyond the books: leaks told already
        self.freed: dict[int, tuple[int, str]] = {}     # first address -> (granules, the operation that freed it)
        self.poisoned: set[int] = set()                 # addresses that the script itself freed twice
        self.before: dict[int, int] = {}
        self.state: dict[str, int] = dict(header.get("initial_state") or {})
        self.maps: list[MapEvent] = []
        self.armed = False
        self.device = 0
        self._at = (0, "")

    # -- going through -----------------------------------------------------------------------------------------

    def play(self) -> list[Flaw]:
        for index, (operation, answer) in enumerate(self.run.ops):
            if not isinstance(answer, dict):
                continue
            self._at = self.run.line_of(index), operation
            words = operation.split()
            events = [str(event) for event in answer.get("events") or ()]
            self.before, was = self.table.snapshot() if self.booked else {}, self.state
            self.maps = self.table.apply(events)
            state = answer.get("state")
            self.state = state if isinstance(state, dict) else {}
            if self.booked and self.state.get("ptes", len(self.table.entries)) != len(self.table.entries):
                self.booked = False                     # the events are not all: nothing more can be said of entries
            self.was = was
            look = getattr(self, f"op_{words[0]}", None)
            if look is not None and "bad" not in answer and "na" not in answer and "bug" not in answer:
                look(words[1:], answer, events)
            self._balance(words[0])
            if not self.state:
                self.state = was
        return self.flaws

    def flaw(self, rule: str, what: str) -> None:
        line, operation = self._at
        found = Flaw(self.run.id, line, operation, rule, what)
        if found not in self.flaws:
            self.flaws.append(found)

    @property
    def bounced(self) -> int:
        """Slots of the bounce pool that this operation took."""
        return self.state.get("bounce", 0) - self.was.get("bounce", 0)

    def in_pool(self, phys: int) -> bool:
        return phys in self.pool

    def parts(self, tokens: Iterable[str]) -> list[Part]:
        return [part for part in map(self.memory.part, tokens) if part is not None]

    # -- live addresses ----------------------------------------------------------------------------------------

    def take(self, slot: Slot, addr: int, size: int) -> None:
        """Somebody is given bus addresses."""
        g = self.granule
        new = Live(addr & -g, ((addr + size + g - 1) & -g) - (addr & -g))
        for other in self.live:
            if new.first < other.end and other.first < new.end and other.first not in self.poisoned:
                self.flaw("NEW-15", f"{new.first:#x} is given out while it still is somebody's")
                break
        old = self.freed.pop(new.first, None)
        pages = rounded(new.size // g)
        same_nodes = "nodes" in self.state and self.state["nodes"] == self.was.get("nodes")
        if old is not None and same_nodes and old[0] != pages and new.first not in self.poisoned:
            rule = "NEW-14" if old[1] == "destroy" else "NEW-15"
            self.flaw(rule, f"{new.first:#x} was given back as a range of {pages} granules, and was one of {old[0]}")
        slot.live.append(new)
        self.live.append(new)

    def give_back(self, slot: Slot, verb: str) -> None:
        for live in slot.live:
            if live in self.live:
                self.live.remove(live)
            pages = rounded(live.size // self.granule)
            self.freed[live.first] = pages, verb
            cached = self.state.get("rcached", 0) > self.was.get("rcached", 0)
            if pages > CACHED_PAGES and cached and self.state.get("nodes") == self.was.get("nodes"):
                self.flaw("NEW-14", f"a range of {live.size:#x} bytes is given back as a smaller one")
        slot.live = []

    def _balance(self, verb: str) -> None:
        """The allocator's own count against the books: nodes of its tree that are neither cached nor queued."""
        if not self.booked or "nodes" not in self.state:
            return
        initial = (self.run.config.get("header") or {}).get("initial_state") or {}
        count = self.state["nodes"] - self.state["rcached"] - self.state["fq"] - initial.get("nodes", 0)
        change = count - len(self.live) - self.extra
        if not change:
            return
        self.extra += change
        rule = {"dbuf": "NEW-41", "rq": "NEW-21", "destroy": "NEW-14", "ifree": "NEW-14", "link": "NEW-12",
                "maps": "DMA-13", "mapsl": "DMA-13", "unmaps": "DMA-03", "dbuffree": "NEW-44", "rqunmap": "NEW-20",
                "mapphys": "NEW-01", "unmapphys": "NEW-01"}.get(verb, "")
        if rule and change > 0:
            self.flaw(rule, f"{change} range{'s' if change > 1 else ''} of bus addresses more than before "
                            "belong to nobody")

    # -- memory ------------------------------------------------------------------------------------------------

    def op_arena(self, words: list[str], answer: Answer, events: list[str]) -> None:
        if "phys" in answer:
            page = int(answer.get("psize") or self.memory.page)
            self.memory.arenas[words[0]] = Arena(answer["phys"], answer.get("pages", 1) * page, page)

    def op_prov(self, words: list[str], answer: Answer, events: list[str]) -> None:
        bus = (answer["phys"] + number(words[2])) & (1 << 64) - 1
        size = number(words[4]) * self.memory.page
        self.memory.arenas[words[0]] = Arena(answer["phys"], size, self.memory.page, words[1], bus)

    def op_p2parena(self, words: list[str], answer: Answer, events: list[str]) -> None:
        if "phys" in answer:
            page = self.memory.page
            pages = answer.get("pages", number(words[1]))
            self.memory.arenas[words[0]] = Arena(answer["phys"], pages * page, page, "?", answer.get("bus", 0),
                                                  str(answer.get("prov", "")))

    def op_p2pdist(self, words: list[str], answer: Answer, events: list[str]) -> None:
        asked = self.memory.arenas.get(words[1]) if len(words) > 1 else None
        for arena in self.memory.arenas.values():
            if asked is not None and (arena is asked or (arena.provider and arena.provider == asked.provider)):
                arena.kind = P2P_KINDS.get(str(answer.get("maptype")), "?")

    def op_dev(self, words: list[str], answer: Answer, events: list[str]) -> None:
        """Another client: what memory is to it is not known until it asks."""
        for arena in self.memory.arenas.values():
            if arena.kind != "ram" and not self.newer:
                arena.kind = "?"

    def op_failmap(self, words: list[str], answer: Answer, events: list[str]) -> None:
        self.armed = words[0] != "0"

    op_failsync = op_failmap

    # -- what holds for every mapping --------------------------------------------------------------------------

    def untouched(self, rule: str, what: str) -> None:
        """A call that failed left neither entries nor bounce slots, nor took any away."""
        if self.booked:
            after = self.table.snapshot()
            lost = sorted(self.before.keys() - after.keys())
            found = sorted(after.keys() - self.before.keys())
            if lost:
                self.flaw(rule, f"{what} took away what was linked before, at {lost[0]:#x}")
            if found:
                self.flaw(rule, f"{what} left entries behind, at {found[0]:#x}")
        if self.bounced:
            self.flaw(rule, f"{what} left {self.bounced} slots of the bounce pool taken")

    def quiet(self, events: list[str], *, mmio: bool) -> None:
        """No cache maintenance of P2P memory; of what was said to be MMIO, of none."""
        for which, phys, size in maintained(events):
            arena = self.memory.provider(phys)
            if arena is not None and not mmio:
                self.flaw("P2P-45", f"cache maintenance ({which}) of P2P memory at {phys:#x}")
                if arena.kind == "host":
                    self.flaw("NEW-05", f"cache maintenance ({which}) of a peer's memory behind the host bridge")
            elif mmio:
                self.flaw("NEW-02", f"cache maintenance ({which}) of device memory at {phys:#x}+{size:#x}")

    def leads(self, addr: int, length: int, phys: int, rule: str, what: str, *, bounce: bool = True) -> None:
        """Bus addresses lead to memory, or whole granules of it do and the rest to a bounce buffer."""
        if not self.booked:
            return
        for at, step, entry in self.table.walk(addr, length):
            if entry is None:
                self.flaw(rule, f"{what}: nothing is mapped at {addr + at:#x}")
                return
            reached = entry.phys + (addr + at) % self.granule
            if reached == phys + at:
                continue
            if self.in_pool(reached):
                if rule == "NEW-11" and step == self.granule:
                    self.flaw("NEW-13", f"{what}: a whole granule is copied, too, at {addr + at:#x}")
                if not bounce:
                    self.flaw(rule, f"{what}: a copy is mapped at {addr + at:#x}")
                    return
                continue
            self.flaw(rule, f"{what}: {addr + at:#x} leads to {reached:#x}, not to {phys + at:#x}")
            return

    def as_mmio(self, rule: str, iovas: Iterable[int]) -> None:
        for iova in iovas:
            entry = self.table.entries.get(iova)
            if self.booked and entry is not None and (not entry.prot & MMIO or entry.prot & CACHE):
                self.flaw(rule, f"device memory is mapped as RAM (protection {entry.prot:#x}) at {iova:#x}")
                return

    def gone(self, rule: str, what: str, addr: int, size: int) -> None:
        left = self.table.left(addr, size) if self.booked else []
        if left:
            self.flaw(rule, f"{what}: {len(left)} entries stay, from {left[0]:#x}")

    def others_stay(self, rule: str, what: str, addr: int, size: int) -> None:
        """Nothing but this range of bus addresses has lost entries."""
        own = self.table.granules(addr, size)
        lost = [iova for iova in self.before if iova not in self.table.entries and iova not in own]
        if self.booked and lost:
            self.flaw(rule, f"{what}: an entry that is another's is gone, at {lost[0]:#x}")

    def coherent_only(self, addr: int, length: int, attrs: int) -> None:
        if not attrs & ATTR_REQUIRE_COHERENT:
            return
        if not self.coherent:
            self.flaw("NEW-03", "memory is mapped as coherent for a device that does not snoop")
        copied = self.bounced > 0 or any(
            entry is not None and self.in_pool(entry.phys) for _, _, entry in self.table.walk(addr, length)
        )
        if copied:
            self.flaw("NEW-03", "memory that must be coherent is copied")

    def direct(self, phys: int) -> int | None:
        """Where dma-direct puts an address; None outside of every window."""
        window = self.options.get("dmarange")
        if not window:
            return phys
        cpu, dma, size = (number(word) for word in str(window).split(":"))
        return phys - cpu + dma if cpu <= phys < cpu + size else None

    # -- by physical address -----------------------------------------------------------------------------------

    def op_mapphys(self, words: list[str], answer: Answer, events: list[str]) -> None:
        part = self.memory.part(words[3])
        if part is None or not self.newer:
            return
        attrs = number(words[2])
        self.slots.pop(words[0], None)
        if "addr" not in answer:
            self.untouched("NEW-01", "a mapping that failed")
            return
        slot = self.slots[words[0]] = Slot("phys", [part], answer["addr"], part.length, attrs=attrs)
        slot.bounce = self.bounced
        mmio = bool(attrs & ATTR_MMIO)
        if self.iommu:
            self.take(slot, slot.addr, slot.size)
            self.leads(slot.addr, slot.size, part.phys, "NEW-02" if mmio else "NEW-01", "dma_map_phys", bounce=not mmio)
        else:
            meant = self.direct(part.phys)
            if slot.addr != meant and meant is not None and not self.in_pool(slot.addr):
                self.flaw("NEW-02" if mmio else "NEW-01", f"{part.phys:#x} is mapped to {slot.addr:#x}, but the device "
                                                          f"sees it at {meant:#x}")
        if mmio:
            self.as_mmio("NEW-02", self.table.granules(slot.addr, slot.size))
            self.quiet(events, mmio=True)
            if slot.bounce:
                self.flaw("NEW-02", "device memory is copied")
        self.coherent_only(slot.addr, slot.size, attrs)

    op_mappage = op_mapphys

    def op_unmapphys(self, words: list[str], answer: Answer, events: list[str]) -> None:
        slot = self.slots.pop(words[0], None)
        if slot is None or slot.kind != "phys" or "skip" in answer:
            return
        right = len(words) < 2 or number(words[1]) == slot.attrs        # else the script breaks the contract
        self.give_back(slot, "unmapphys")
        if right:
            self.gone("NEW-01", "dma_unmap_phys", slot.addr, slot.size)
            self.others_stay("NEW-01", "dma_unmap_phys", slot.addr, slot.size)
            self.released("NEW-01", slot)

    def released(self, rule: str, slot: Slot) -> None:
        if "bounce" in self.state and self.bounced != -slot.bounce:
            self.flaw(rule, f"{slot.bounce} slots of the bounce pool were taken, and {-self.bounced} are given back")

    # -- ranges in two steps -----------------------------------------------------------------------------------

    def op_iovatry(self, words: list[str], answer: Answer, events: list[str]) -> None:
        part = self.memory.part(words[1]) if ":" in words[1] else None
        phys = part.phys if part is not None else number(words[1]) if ":" not in words[1] else 0
        size = number(words[2])
        if not answer.get("ok"):
            if answer.get("addr") or answer.get("size"):
                self.flaw("NEW-10", "no range is given, but the state has one")
            self.slots.pop(words[0], None)
            return
        if not self.iommu:
            self.flaw("NEW-10", "a device without iommu-dma is given a range")
        slot = self.slots[words[0]] = Slot("range", addr=answer["addr"], size=size)
        if (slot.addr - phys) % self.granule or answer.get("size") != size:
            self.flaw("NEW-10", "the range is another one than was asked for")
        if any(event.startswith("map ") for event in events):
            self.flaw("NEW-10", "something is mapped before anything is linked")
        self.take(slot, slot.addr, size)

    def _range(self, words: list[str]) -> Slot | None:
        slot = self.slots.get(words[0])
        return slot if slot is not None and slot.kind == "range" else None

    def op_link(self, words: list[str], answer: Answer, events: list[str]) -> None:
        slot, part = self._range(words), self.memory.part(words[4])
        if slot is None or part is None:
            return
        offset, attrs = number(words[1]), number(words[3])
        if answer.get("ret") != 0:
            self.untouched("NEW-12", "a link that failed")
            return
        if offset and part.phys % self.granule:
            self.flaw("DMA-47", "a link that begins inside a granule, behind another, is taken")
        mmio = bool(attrs & ATTR_MMIO)
        addr = slot.addr + offset
        self.leads(addr, part.length, part.phys, "NEW-02" if mmio else "NEW-11", "dma_iova_link", bounce=not mmio)
        self.coherent_only(addr, part.length, attrs)
        if mmio:
            self.as_mmio("NEW-02", self.table.granules(addr, part.length))
            self.quiet(events, mmio=True)
        slot.linked.update(self.table.granules(addr, part.length))
        slot.bounce += self.bounced

    def op_unlink(self, words: list[str], answer: Answer, events: list[str]) -> None:
        slot = self._range(words)
        if slot is None:
            return
        addr, size = slot.addr + number(words[1]), number(words[2])
        own = set(self.table.granules(addr, size))
        if own <= slot.linked:                          # else the script unlinks what is not linked
            self.gone("DMA-49", "dma_iova_unlink", addr, size)
        self.others_stay("DMA-49", "dma_iova_unlink", addr, size)
        slot.linked -= own
        slot.bounce += self.bounced

    def op_destroy(self, words: list[str], answer: Answer, events: list[str]) -> None:
        slot = self._range(words)
        if slot is None:
            return
        length = number(words[1])
        self.at_once(events)
        if slot.linked == set(self.table.granules(slot.addr, length)):  # as the contract asks
            self.gone("NEW-14", "dma_iova_destroy", slot.addr, slot.size)
            if slot.bounce and "bounce" in self.state and self.bounced != -slot.bounce:
                self.released("NEW-14", slot)
        self._end(words[0], slot, "destroy")

    def at_once(self, events: list[str]) -> None:
        if any(event.startswith("unmap") and event.endswith("queued") for event in events):
            self.flaw("NEW-16", "dma_iova_destroy leaves it to the flush queue")

    def op_ifree(self, words: list[str], answer: Answer, events: list[str]) -> None:
        slot = self._range(words)
        if slot is not None:
            self._end(words[0], slot, "ifree")

    def _end(self, name: str, slot: Slot, verb: str) -> None:
        if not slot.live:                               # freed before: the script's own fault
            self.poisoned.add(slot.addr & -self.granule)
            self.extra -= 1
        self.give_back(slot, verb)
        slot.linked = set()

    def op_isync(self, words: list[str], answer: Answer, events: list[str]) -> None:
        slot = self._range(words)
        if slot is None or answer.get("ret") != 0 or not number(words[2]):
            return
        if not any(event.startswith("sync_map") for event in events):
            self.flaw("DMA-48", "dma_iova_sync answers 0, and the IOMMU driver was told nothing")

    # -- lists -------------------------------------------------------------------------------------------------

    def op_maps(self, words: list[str], answer: Answer, events: list[str]) -> None:
        parts = self.parts(words[3:])
        if len(parts) != len(words) - 3:
            return
        slot = self.slots[words[0]] = Slot("list", parts, attrs=number(words[2]))
        ret = answer.get("ret")
        if not number(words[2]) & ATTR_SKIP_CPU_SYNC:
            self.quiet(events, mmio=False)
        if ret != 0:
            slot.failed = True
            if self.newer:
                self.untouched("DMA-13", "a list that failed")
            if parts and parts[0].kind == "unsup" and ret not in ("-EREMOTEIO", -121) and not self.armed:
                self.flaw("P2P-41", f"a list with memory that the device cannot reach fails with {ret}")
            return
        self._list(slot, answer, answer.get("nents"))

    def op_mapsl(self, words: list[str], answer: Answer, events: list[str]) -> None:
        parts = self.parts(words[3:])
        if len(parts) != len(words) - 3:
            return
        slot = self.slots[words[0]] = Slot("list", parts)
        if not number(words[2]) & ATTR_SKIP_CPU_SYNC:
            self.quiet(events, mmio=False)
        count = answer.get("ret")
        if not isinstance(count, int) or count < 0:
            self.flaw("DMA-11", f"dma_map_sg answers {count}")
        if not count:
            slot.failed = True
            if self.newer:
                self.untouched("DMA-13", "a list that failed")
            return
        self._list(slot, answer, count)

    def _list(self, slot: Slot, answer: Answer, count: int | None) -> None:
        rows = answer.get("segments", answer.get("segs"))
        if rows is None:
            return
        slot.bounce = self.bounced
        slot.segments = [segment(row) for row in rows]
        if count is not None and len(slot.segments) < count and not self.newer:
            return                                      # the line was cut, as real kernels' are
        if any(part.kind == "unsup" for part in slot.parts):
            self.flaw("P2P-41", "a list with memory that the device cannot reach is mapped")
        self._compare(slot)
        if self.iommu and self.newer:
            mapped = [(addr, length) for addr, length, bus in slot.segments if not bus]
            if self.options.get("untrusted"):
                for addr, length in mapped:
                    self.take(slot, addr, length)
            elif mapped:
                first = min(addr for addr, _ in mapped)
                self.take(slot, first, max(addr + length for addr, length in mapped) - first)

    def _compare(self, slot: Slot) -> None:
        """The segments against the entries, byte by byte and in order."""
        queue = [(part, 0) for part in slot.parts if part.length]
        for addr, length, bus in slot.segments:
            if not length and not bus:
                continue                                # of an entry without bytes
            if not queue:
                self.flaw("DMA-06", "there are more segments than the entries fill")
                return
            part, at = queue[0]
            if bus:
                while queue and queue[0][0].kind not in ("bus", "?"):
                    self.flaw("P2P-38", "entries before a bus address are in no segment")
                    queue.pop(0)
                if not queue:
                    return
                part, at = queue.pop(0)
                slot.ends.append(("bus", part.bus, part.bus + part.length - 1))
                if at or addr != part.bus or length != part.length:
                    self.flaw("P2P-35", f"a bus segment is {addr:#x}+{length:#x}, and its entry is on the bus at "
                                        f"{part.bus:#x}+{part.length:#x}")
                continue
            done, first = 0, part.phys + at
            while done < length and queue:
                part, at = queue[0]
                if part.kind == "bus":
                    rule = "P2P-37" if done else "P2P-35"
                    self.flaw(rule, "memory on the bus is mapped, not addressed where it is")
                step = min(length - done, part.length - at)
                self._entry(part, at, addr + done, step)
                done, at = done + step, at + step
                queue[0] = part, at
                if at == part.length:
                    queue.pop(0)
            slot.ends.append((part.kind, first, part.phys + at - 1))
            if done < length:
                self.flaw("DMA-06", f"the segments have {length - done} bytes more than the entries")
        if queue:
            self.flaw("DMA-06", "the segments do not hold all entries")

    def _entry(self, part: Part, at: int, addr: int, step: int) -> None:
        if not self.newer:
            return
        host = part.kind == "host"
        if self.iommu:
            self.leads(addr, step, part.phys + at, "P2P-40" if host else "DMA-06", "dma_map_sg")
            if host:
                self.as_mmio("NEW-05", self.table.granules(addr, step))
                if any(entry is not None and self.in_pool(entry.phys) for _, _, entry in self.table.walk(addr, step)):
                    self.copied()
            return
        meant = self.direct(part.phys + at)
        if addr == meant or meant is None:
            return
        if self.in_pool(addr):
            if host:
                self.copied()
        else:
            self.flaw("P2P-40" if host else "DMA-06",
                      f"{part.phys + at:#x} is mapped to {addr:#x}, but the device sees it at {meant:#x}")

    def copied(self) -> None:
        self.flaw("P2P-44", "a peer's memory is copied to a bounce buffer")
        self.flaw("NEW-05", "a peer's memory is copied to a bounce buffer")

    def op_unmaps(self, words: list[str], answer: Answer, events: list[str]) -> None:
        slot = self.slots.get(words[0])
        if slot is None or slot.kind != "list" or "skip" in answer or slot.failed:
            return
        self.quiet(events, mmio=False)
        for addr, length, bus in slot.segments:
            if not bus:
                self.gone("DMA-03", "dma_unmap_sg", addr, length)
        if self.newer:
            self.released("DMA-03", slot)
        self.give_back(slot, "unmaps")
        slot.kind = "unmapped list"

    def op_dumpsg(self, words: list[str], answer: Answer, events: list[str]) -> None:
        slot = self.slots.get(words[0])
        if slot is None or "list" not in slot.kind or "sg" not in answer:
            return
        for row, part in zip(answer["sg"], slot.parts, strict=False):
            fields = [number(word) for word in row.split(":")] if isinstance(row, str) else row
            if fields[1] % self.memory.page != part.phys % self.memory.page or fields[2] != part.length:
                if slot.failed:
                    self.flaw("DMA-12", "the CPU side of a list that failed has changed")
            elif fields[5] & 1 and (slot.failed or slot.kind != "list"):
                self.flaw("P2P-50", "an entry is marked as a bus address, though the list is not mapped")

    # -- block requests ----------------------------------------------------------------------------------------

    def op_rq(self, words: list[str], answer: Answer, events: list[str]) -> None:
        limits = dict(word.split("=") for word in words[2:] if "=" in word)
        parts = self.parts(word for word in words[2:] if ":" in word)
        slot = self.slots[words[0]] = Slot("rq", parts, answer.get("addr", 0), answer.get("size", 0))
        slot.segments = [segment(row) for row in answer.get("segments") or ()]
        kind = parts[0].kind if parts else "ram"
        status = answer.get("status")
        if status != "OK":
            slot.failed = True
            self._failed_request(slot, answer, limits, kind)
            return
        if kind == "unsup":
            self.flaw("NEW-22", "a request of memory that the device cannot reach is mapped")
        self._compare_request(slot, kind)
        if kind == "host":
            self.quiet(events, mmio=True)
            for addr, length, _ in slot.segments:
                self.as_mmio("NEW-22", self.table.granules(addr, length))
        slot.bounce = self.bounced
        if self.iommu and kind != "bus":
            for addr, length, _ in slot.segments:
                self.take(slot, addr, length)

    def _failed_request(self, slot: Slot, answer: Answer, limits: dict[str, str], kind: str) -> None:
        if kind == "unsup" and answer.get("status") != "INVAL":
            self.flaw("NEW-22", f"memory that the device cannot reach is {answer.get('status')}, not INVAL")
        mapped = {iova for addr, length, _ in slot.segments for iova in self.table.granules(addr, length)}
        stay = [iova for iova in self.table.entries if iova not in self.before and iova not in mapped]
        if self.booked and stay:
            self.flaw("NEW-21", f"a request that failed leaves {len(stay)} entries, from {stay[0]:#x}")
        if answer.get("coalesced") or answer.get("size"):
            self.flaw("NEW-23", f"a request that failed keeps the range {slot.addr:#x}, given back or not")
        step = number(limits["maxseg"]) if "maxseg" in limits else 0
        failing = any(event.ret for event in self.maps)
        if answer.get("status") == "IOERR" and not failing and not self.armed and step % self.granule:
            self.flaw("NEW-24", f"a request is refused because its segments are cut at {step} bytes")
        if self.iommu and kind != "bus":
            for addr, length, _ in slot.segments:
                self.take(slot, addr, length)

    def _compare_request(self, slot: Slot, kind: str) -> None:
        if kind == "bus":
            meant = merged((part.bus, part.length) for part in slot.parts)
            if merged((addr, length) for addr, length, _ in slot.segments) != meant:
                self.flaw("NEW-22", "a request of memory on the bus has other bus addresses")
            return
        if sum(length for _, length, _ in slot.segments) != sum(part.length for part in slot.parts):
            self.flaw("NEW-20", "a request's segments do not have its length")
            return
        whole = [(part, at) for part in slot.parts for at in [0]]
        for addr, length, _ in slot.segments:
            done = 0
            while done < length:
                part, at = whole[0]
                step = min(length - done, part.length - at)
                self._request_part(part, at, addr + done, step)
                whole[0] = part, at + step
                if at + step == part.length:
                    whole.pop(0)
                done += step

    def _request_part(self, part: Part, at: int, addr: int, step: int) -> None:
        if self.iommu:
            self.leads(addr, step, part.phys + at, "NEW-21", "a request that is said to be mapped")
            return
        meant = self.direct(part.phys + at)
        if meant is not None and addr != meant and not self.in_pool(addr):
            self.flaw("NEW-20", f"{part.phys + at:#x} is mapped to {addr:#x}, but the device sees it at {meant:#x}")

    def op_rqunmap(self, words: list[str], answer: Answer, events: list[str]) -> None:
        slot = self.slots.get(words[0])
        if slot is None or slot.kind != "rq" or "skip" in answer:
            return
        if not slot.live and not slot.failed and slot.addr:
            self.poisoned.add(slot.addr & -self.granule)        # unmapped before: the script's own fault
            self.extra -= 1
        if slot.size and not slot.failed:
            self.at_once(events)
        for addr, length, _ in slot.segments:
            if slot.live:
                self.gone("NEW-20", "blk_rq_dma_unmap", addr, length)
        self.give_back(slot, "rqunmap")

    # -- dma-buf -----------------------------------------------------------------------------------------------

    def op_dbuf(self, words: list[str], answer: Answer, events: list[str]) -> None:
        parts = self.parts(words[4:])
        slot = self.slots[words[0]] = Slot("dbuf", parts)
        arena = self.memory.arenas.get(words[2])
        kind = arena.kind if arena is not None else "?"
        total = sum(part.length for part in parts)
        told = total if words[3] == "sum" else number(words[3])
        starts = [event.iova for event in self.maps]
        if kind == "host" and len(starts) > len(set(starts)):
            self.flaw("NEW-40", f"two ranges are linked at {max(starts, key=starts.count):#x}")
        if answer.get("ret") != 0:
            slot.failed = True
            self.untouched("NEW-41", "an export that failed")
            return
        if kind == "unsup":
            self.flaw("P2P-72", "memory that the device cannot reach is exported to it")
        if answer.get("orig", 0) != 0:
            self.flaw("P2P-72", "an exporter's table has pages")
        slot.segments = [segment(row) for row in answer.get("segments") or ()]
        if told == total and sum(length for _, length, _ in slot.segments) != total:
            self.flaw("NEW-43", f"{total:#x} bytes are exported, and the entries have fewer")
        for addr, _, _ in slot.segments:
            if addr % self.granule and not parts[0].phys % self.granule:
                self.flaw("NEW-42", f"an entry begins inside a page, at {addr:#x}")
                break
        if self.iommu and kind == "host" and slot.segments:
            addr = slot.segments[0][0]
            for part in parts:
                self.leads(addr, part.length, part.phys, "NEW-40", "an export", bounce=False)
                addr += part.length
            self.as_mmio("NEW-02", self.table.granules(slot.segments[0][0], total))
            self.take(slot, slot.segments[0][0], told)
            slot.size = told

    def op_dbuffree(self, words: list[str], answer: Answer, events: list[str]) -> None:
        slot = self.slots.get(words[0])
        if slot is None or slot.kind != "dbuf" or slot.failed or "skip" in answer:
            return
        if slot.live:
            for addr, length, _ in slot.segments:
                self.gone("NEW-44", "dma_buf_free_sgt", addr, length)
        self.give_back(slot, "dbuffree")
        slot.failed = True

    def _another(self, words: list[str], answer: Answer, events: list[str]) -> None:
        """A kind of mapping of which nothing is said here takes the slot."""
        self.slots.pop(words[0], None)

    op_mapp = op_mapr = op_alloc = _another

    # -- what a recorded kernel translates ---------------------------------------------------------------------

    def op_xlate(self, words: list[str], answer: Answer, events: list[str]) -> None:
        """The IOMMU's own answer for the first and last byte of each segment."""
        slot = self.slots.get(words[0])
        rows = answer.get("x")
        if slot is None or slot.kind != "list" or slot.failed or not isinstance(rows, list):
            return
        if not all(length for _, length, _ in slot.segments):
            return
        for (_, _, bus), (kind, first, last), row in zip(slot.segments, slot.ends, rows, strict=False):
            if bus != (row == "bus"):
                self.flaw("P2P-36", "a segment is marked as a bus address and translated, or neither")
            elif not bus and ".." in str(row) and self.options.get("untrusted") is None:
                seen = tuple(number(word) for word in row.split(".."))
                if seen != (first, last):
                    self.flaw("P2P-40" if kind == "host" else "DMA-06",
                              f"a segment leads to {seen[0]:#x}..{seen[1]:#x}, not to {first:#x}..{last:#x}")


def segment(row: Any) -> tuple[int, int, bool]:
    if isinstance(row, dict):
        return row["addr"], row["len"], row.get("flags") == "b"
    return row[0], row[1], len(row) > 2 and row[2] == "b"


def merged(extents: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Extents, with what follows one another joined."""
    out: list[tuple[int, int]] = []
    for addr, length in extents:
        if out and out[-1][0] + out[-1][1] == addr:
            out[-1] = out[-1][0], out[-1][1] + length
        else:
            out.append((addr, length))
    return out


def rounded(granules: int) -> int:
    """Small ranges are given out in powers of two, so that caches can keep them."""
    return 1 << (granules - 1).bit_length() if granules <= CACHED_PAGES else granules
