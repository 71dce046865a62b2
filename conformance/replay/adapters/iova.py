# SPDX-License-Identifier: MIT
"""Replays runs of drivers/iommu/iova.c alone: one space, no device."""

from __future__ import annotations

from typing import Any

from dma_ops import DmaError, Machine
from dma_ops.iova import IovaDomain

from ..session import Answer, Difference, Session, number


class IovaSession(Session):
    """`iova alloc`, `iova free`, `iova reserve` and `iova state`, of which every counter is compared."""

    backends = ("iova",)

    def setup(self) -> None:
        options = self.run.config["options"]
        self.machine = Machine("iova")
        self.space = IovaDomain(options["granule"], options["start_pfn"], nr_cpus=options["cpus"])
        self.held: dict[int, tuple[int, int]] = {}

    def op_iova(self, words: list[str]) -> Answer:
        verb, *rest = words
        answer: Answer = getattr(self, "iova_" + verb)(rest)
        return answer

    def iova_alloc(self, words: list[str]) -> Answer:
        slot, pages = number(words[0]), number(words[1])
        self.held.pop(slot, None)
        try:
            pfn = self.space.alloc(pages, number(words[2]), "noflush" not in words, cpu=self.machine.cpu)
        except DmaError:
            return {"err": True}
        self.held[slot] = pfn, pages
        return {"pfn": pfn}

    def iova_free(self, words: list[str]) -> Answer:
        held = self.held.pop(number(words[0]), None)
        if held is None:
            return {"skip": True}
        self.space.free(*held, cpu=self.machine.cpu)
        return {"ok": True}

    def iova_reserve(self, words: list[str]) -> Answer:
        self.space.reserve(number(words[0]), number(words[1]))
        return {"ok": True}

    def iova_state(self, words: list[str]) -> Answer:
        return self.space.state(self.machine.cpu)

    def judge(self, index: int, operation: str, got: Answer) -> Difference | None:
        if operation != "iova state":
            return super().judge(index, operation, got)
        expected: dict[str, Any] = self.expected
        if all(got.get(key) == value for key, value in expected.items()):
            self.passed += 1
            return None
        self.failed += 1
        return Difference(str(self.run.path), self.run.line_of(index), operation, expected, got)
