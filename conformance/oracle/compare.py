# SPDX-License-Identifier: MIT
"""Seeded cases through Linux's own functions and through ours: the digests of what each saw must be equal."""

from __future__ import annotations

import os
import subprocess
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dma_ops import Machine
from dma_ops.c_api import CObject

from .build import build_linux, build_ours
from .source import Source

GROUPS = {
    "from-pages": "sg_alloc_table_from_pages_segment",
    "append": "sg_alloc_append_table_from_pages, sg_free_append_table",
    "pgmap": "the same over P2P pages of several ranges",
    "alloc-table": "sg_alloc_table, sg_free_table",
    "own-allocator": "__sg_alloc_table, __sg_free_table",
    "walk": "sg_nents, sg_nents_for_len, sg_last, sg_next",
    "page-iter": "__sg_page_iter_next, __sg_page_iter_dma_next",
    "miter": "sg_miter_start, _skip, _next, _stop",
    "copy": "sg_copy_buffer, sg_zero_buffer",
    "split": "sg_split",
    "iommu-area": "iommu_area_alloc, iommu_is_span_boundary, iommu_num_pages",
    "iova": "alloc_iova, alloc_iova_fast, free_iova, free_iova_fast, reserve_iova, find_iova",
}
OUTSIDE = 0xFA
BATCH = 20_000
SHOWN = 5
TEXT = 1 << 20


class OracleError(RuntimeError):
    """Linux's side died: a case drives it out of its memory, and ours did not say so."""


@dataclass
class GroupResult:
    """One group of functions."""

    group: str
    cases: int = 0
    outside: int = 0                        # cases in which Linux leaves its memory, by our account: not run there
    differences: list[int] = field(default_factory=list)
    seconds: float = 0.0


class Oracle:
    """Linux's side of a source, and ours."""

    def __init__(self, source: Source, seed: int = 0) -> None:
        self.source = source
        self.seed = seed
        self.program = build_linux(source)
        machine = Machine("oracle", kernel=source.number, pci_p2pdma=True)
        for i in range(4):
            machine.add_pgmap((1 << 40) + (i << 24), (1 << 40) + ((i + 1) << 24), 0, 0)
        self.ours = CObject(build_ours(), machine)

    def _linux(self, *arguments: object, data: bytes = b"") -> bytes:
        done = subprocess.run(
            [str(self.program), *map(str, arguments)], input=data, capture_output=True, check=False,
            env={**os.environ, "UBSAN_OPTIONS": "print_stacktrace=1"},
        )
        if done.returncode:
            raise OracleError(done.stderr.decode(errors="replace")[:3000] or f"exit status {done.returncode}")
        return done.stdout

    def batch(self, group: str, first: int, count: int) -> tuple[int, list[int]]:
        """(cases that were not run on Linux, numbers of those that differ)"""
        own = bytearray(8 * count)
        if self.ours.call("run_cases", group, self.seed, first, count, own):
            raise ValueError(f"there is no group {group!r}")
        mine = array("Q", bytes(own))
        left_out = array("Q", (OUTSIDE if digest == OUTSIDE else 0 for digest in mine))
        theirs = array("Q", self._linux(group, self.seed, first, count, data=left_out.tobytes()))
        if mine == theirs:
            return left_out.count(OUTSIDE), []
        pairs = enumerate(zip(mine, theirs, strict=True))
        return left_out.count(OUTSIDE), [first + i for i, (a, b) in pairs if a != b]

    def run(self, group: str, cases: int, progress: Callable[[int], None] = lambda n: None) -> GroupResult:
        result = GroupResult(group)
        start = time.monotonic()
        for first in range(0, cases, BATCH):
            count = min(BATCH, cases - first)
            outside, differing = self.batch(group, first, count)
            result.cases += count
            result.outside += outside
            result.differences += differing
            progress(count)
        result.seconds = time.monotonic() - start
        return result

    def leaves_memory(self, group: str, number: int) -> bool:
        """Does AddressSanitizer stop Linux's side in this case?"""
        try:
            self._linux(group, self.seed, number, 1, data=bytes(8))
        except OracleError as error:
            return "AddressSanitizer" in str(error) or "runtime error" in str(error)
        return False

    def show(self, group: str, number: int) -> Iterator[str]:
        """A case as both sides saw it, up to the first difference."""
        text = bytearray(TEXT)
        self.ours.call("show_case", group, self.seed, number, text, TEXT)
        mine = bytes(text).split(b"\0", 1)[0].decode().splitlines()
        theirs = self._linux(group, self.seed, number, 0).decode().splitlines()
        for a, b in zip(mine, theirs, strict=False):
            if a != b:
                yield f"Linux {b}, ours {a}"
                return
            yield a
        if len(mine) != len(theirs):
            yield f"Linux saw {len(theirs)} things, ours {len(mine)}"


def compare(source: Source, groups: Sequence[str], cases: int, seed: int = 0) -> list[GroupResult]:
    oracle = Oracle(source, seed)
    return [oracle.run(group, cases) for group in groups]


def reproducer(path: Path, group: str, seed: int, number: int) -> str:
    return f"dma-conformance oracle --kernel-source {path} --group {group} --seed {seed} --show {number}"
