# SPDX-License-Identifier: MIT
"""Replays calls of lib/scatterlist.c and lib/sg_split.c: no machine, one result for each call."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import cycle
from typing import Any

import scatterlist as sg
from scatterlist import PhysMem, SgTable
from scatterlist.memory import fnv1a

from ..session import Answer, Difference, Session

MEMORY = 0x100000, 0x200000             # the recorded cases' pages
FIRST_PAGE = 0x3000                     # of the bump allocator of sgl_alloc_order
BUFFER = bytes((i * 13 + 5) & 0xFF for i in range(256))                 # what a copied buffer holds, over and over
MAX_STEPS = 200                         # the recorder stopped sg_miter there


@cache
def content() -> bytes:
    """What the recorded cases' pages hold: byte a is a * 31 + (a >> 12) * 7 + (a >> 5)."""
    two_pages = bytes((a * 31 + (a >> 5)) & 0xFF for a in range(0x2000))
    pages = two_pages[:0x1000], two_pages[0x1000:]
    return b"".join(pages[page & 1].translate(bytes((byte + page * 7) & 0xFF for byte in range(256)))
                    for page in range(MEMORY[0] >> 12, MEMORY[1] >> 12))


@cache
def unchanged() -> str:
    return f"{fnv1a(content()):x}"


class ScatterlistSession(Session):
    """One method for each function of the file; it answers what the recorder wrote for that call."""

    backends = ("scatterlist",)

    def setup(self) -> None:
        self.page_size: int = self.run.machine["page_size"]
        self.shift = self.page_size.bit_length() - 1
        self.dma_length: bool = self.run.machine["sg_dma_length"]

    def play(self) -> Iterator[Difference]:
        self.setup()
        for index, (function, given, expected) in enumerate(self.run.ops):
            got = getattr(self, "call_" + function)(given)
            if got == expected:
                self.passed += 1
            else:
                self.failed += 1
                yield Difference(str(self.run.path), index + 1, f"{function} {given}", expected, got)

    # -- between the file's encoding and the library -----------------------------------------------------------

    def empty(self) -> SgTable:
        return SgTable(page_shift=self.shift, dma_length=self.dma_length)

    def make(self, entries: list[list[int]]) -> SgTable:
        """[pfn, offset, length] rows, or with [.., dma_address, dma_len]."""
        table = SgTable([(row[0] << self.shift, row[1], row[2]) for row in entries],
                        page_shift=self.shift, dma_length=self.dma_length)
        for entry, row in zip(table, entries, strict=True):
            if len(row) > 3:
                entry.dma_address = row[3]
                entry.dma_length = row[4]
        return table

    def rows(self, table: SgTable, dma: bool = False) -> list[list[int]]:
        return [
            [sg.sg_page(entry) >> self.shift, entry.offset, entry.length]
            + ([entry.dma_address, entry.dma_length] if dma else [])
            for entry in table
        ]

    # -- lib/scatterlist.c -------------------------------------------------------------------------------------

    def call_frompages(self, given: dict[str, Any]) -> Answer:
        table = self.empty()
        ret = 0
        try:
            sg.sg_alloc_table_from_pages_segment(
                table, given["pfns"], given["offset"], given["size"], given["max_segment"], pfns=True)
        except OSError as error:
            ret = -(error.errno or 0)
        # the one way to fail without running out of memory is the warned one
        return {"ret": ret, "nents": table.nents, "orig_nents": table.orig_nents, "warn": int(ret != 0),
                "sg": self.rows(table)}

    def call_append(self, given: dict[str, Any]) -> Answer:
        table = self.empty()
        steps = []
        warnings = 0
        for step in given["steps"]:
            ret = 0
            try:
                sg.sg_alloc_append_table_from_pages(
                    table, step["pfns"], step["offset"], step["size"], step["max_segment"], step["left_pages"],
                    pfns=True)
            except OSError as error:
                ret = -(error.errno or 0)
                warnings += 1
            entries = list(table)
            steps.append({"ret": ret, "nents": table.nents, "orig_nents": table.orig_nents,
                          "total_nents": table.total_entries,
                          "end": int(bool(entries) and sg.sg_is_last(entries[-1])), "sg": self.rows(table)})
            if ret:
                break
        return {"steps": steps, "warn": warnings}

    def call_sg_alloc_table(self, given: dict[str, Any]) -> Answer:
        table = self.empty()
        ret = 0
        try:
            sg.sg_alloc_table(table, given["nents"])
        except OSError as error:
            ret = -(error.errno or 0)
        arrays = table.arrays()
        return {"ret": ret, "nents": table.nents, "orig_nents": table.orig_nents, "chains": max(len(arrays) - 1, 0),
                "arrays": arrays, "walk": sg.sg_nents(table.sgl), "max_single": table.max_single_alloc}

    def call_sg_nents_for_len(self, given: dict[str, Any]) -> Answer:
        table = self.make(given["entries"])
        try:
            ret = sg.sg_nents_for_len(table, given["len"])
        except OSError as error:
            ret = -(error.errno or 0)
        return {"ret": ret, "nents": sg.sg_nents(table)}

    def call_sgl_alloc_order(self, given: dict[str, Any]) -> Answer:
        following = FIRST_PAGE

        def alloc_pages(order: int) -> int:
            nonlocal following
            page: int = following << self.shift
            following += 1 << order
            return page

        table, count = sg.sgl_alloc_order(given["length"], given["order"], bool(given["chainable"]), alloc_pages,
                                          page_shift=self.shift, dma_length=self.dma_length)
        if table is None:
            return {"null": 1, "nent_p": 0, "sg_nents": 0, "sg": []}
        return {"null": 0, "nent_p": count, "sg_nents": sg.sg_nents(table), "sg": self.rows(table)}

    def call_sg_page_iter(self, given: dict[str, Any]) -> Answer:
        table = self.make(given["entries"])
        pages = [page >> self.shift for page in sg.for_each_sg_page(table, table.orig_nents, given["pgoffset"])]
        return {"pfns": pages, "count": len(pages)}

    def call_sg_dma_page_iter(self, given: dict[str, Any]) -> Answer:
        table = self.make(given["entries"])
        addresses = list(sg.for_each_sg_dma_page(table, table.orig_nents, given["pgoffset"]))
        return {"addrs": addresses, "count": len(addresses)}

    def call_sg_miter(self, given: dict[str, Any]) -> Answer:
        table = self.make(given["entries"])
        miter = sg.sg_miter_start(table, table.orig_nents, sg.SG_MITER_ATOMIC | sg.SG_MITER_FROM_SG)
        answer: Answer = {}
        if given["skip"] > 0:
            answer["skip"] = sg.sg_miter_skip(miter, given["skip"])
        steps: list[Any] = []
        consume = cycle(given["consume"] or [0])
        while len(steps) < MAX_STEPS and sg.sg_miter_next(miter):
            steps.append([miter.page >> self.shift, miter.addr - miter.page, miter.length])
            wanted = next(consume)
            if 0 < wanted < miter.length:
                miter.consumed = wanted
        sg.sg_miter_stop(miter)
        return {**answer, "steps": steps}

    def memory(self) -> PhysMem:
        mem = PhysMem()
        mem.poke(MEMORY[0], content())
        return mem

    def call_sg_copy_buffer(self, given: dict[str, Any]) -> Answer:
        table = self.make(given["entries"])
        mem = self.memory()
        if given["to_buffer"]:
            buffer = bytearray(b"\xee" * given["buflen"])
        else:
            buffer = bytearray((BUFFER * (given["buflen"] // 256 + 1))[:given["buflen"]])
        ret = sg.sg_copy_buffer(mem, table, table.orig_nents, buffer, None, given["skip"], bool(given["to_buffer"]))
        return {"ret": ret, "buf_fnv": f"{fnv1a(buffer):x}", "mem_fnv": self.fnv_of(mem)}

    def call_sg_zero_buffer(self, given: dict[str, Any]) -> Answer:
        table = self.make(given["entries"])
        mem = self.memory()
        ret = sg.sg_zero_buffer(mem, table, table.orig_nents, given["buflen"], given["skip"])
        return {"ret": ret, "mem_fnv": self.fnv_of(mem)}

    @staticmethod
    def fnv_of(mem: PhysMem) -> str:
        now = mem.peek(MEMORY[0], MEMORY[1] - MEMORY[0])
        return unchanged() if now == content() else f"{fnv1a(now):x}"

    # -- lib/sg_split.c ----------------------------------------------------------------------------------------

    def call_sg_split(self, given: dict[str, Any]) -> Answer:
        table = self.make(given["entries"])
        try:
            out, mapped = sg.sg_split(table, given["in_mapped_nents"], given["skip"], given["sizes"])
        except OSError as error:
            return {"ret": -(error.errno or 0), "out": []}
        return {"ret": 0, "out": [
            {"mapped": count, "nents": sg.sg_nents(one), "sg": self.rows(one, dma=True)}
            for one, count in zip(out, mapped, strict=True)
        ]}
