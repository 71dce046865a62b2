# SPDX-License-Identifier: MIT
"""The measuring process of benchmarks/scatterlist.py, where scatterlist is the -O2 copy: prints {case: {side: [ns]}}.

LIBRARY PAGES RUNS REPEAT, or LIBRARY PAGES RUN CASE SIDE REPEAT, which does one thing alone for callgrind.
"""

from __future__ import annotations

import ctypes
import json
import sys
from array import array
from functools import partial
from time import thread_time_ns

import ours_scatterlist as ours

from benchmarks._figures import turns
from scatterlist.copy import sg_copy_to_buffer
from scatterlist.core import SgTable
from scatterlist.memory import PhysMem

PAGE = 4096
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4           # of glibc's mallopt
COPY_PAGES = 8192
FEW, MANY = 10, 1_000_000                       # entries of the two ends of a growth


class Linux:
    """The shared library, one method for each function of linux_scatterlist.c."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.lib.linux_walk.restype = self.lib.linux_copy.restype = ctypes.c_uint64
        self.a, self.b = ctypes.c_uint64(), ctypes.c_uint64()

    def from_pages(self, pages):
        address, n = pages.buffer_info()
        got = self.lib.linux_from_pages(ctypes.c_void_p(address), n, ctypes.byref(self.a), ctypes.byref(self.b))
        return got, self.a.value, self.b.value

    def keep(self, pages):
        address, n = pages.buffer_info()
        assert self.lib.linux_keep(ctypes.c_void_p(address), n) == 0

    def walk(self):
        return self.lib.linux_walk(ctypes.byref(self.a)), self.a.value

    def copy(self, buffer):
        raw = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        return self.lib.linux_copy(raw, ctypes.c_size_t(len(buffer)), ctypes.byref(self.a)), self.a.value


def page_list(n, run, start=0x100000):
    """n pages in runs of the given length, each run separate from the next."""
    return array("Q", (start + (i + i // run) * PAGE for i in range(n)))


def python_build(pages):
    start = thread_time_ns()
    table = SgTable.from_pages(pages)
    took = thread_time_ns() - start
    n = table.orig_nents
    start = thread_time_ns()
    table.free()
    return n, took, thread_time_ns() - start


def python_walk(table):
    start = thread_time_ns()
    total = table.length
    return total, thread_time_ns() - start


def python_copy(table, mem, buffer):
    start = thread_time_ns()
    done = sg_copy_to_buffer(mem, table, table.orig_nents, buffer)
    return done, thread_time_ns() - start


def keep_memory():
    """Let malloc keep what is freed, as a kernel's page allocator does: page faults are no part of either side."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(M_MMAP_MAX, 0)


def agree(got):
    """That all sides found the same, the first of each answer."""
    assert len({answer[0] for side in got.values() for answer in side}) == 1, "the sides differ"


def times(got, *parts):
    return {side: [sum(answer[part] for part in parts) for answer in answers] for side, answers in got.items()}


def cases(linux, pages, runs, repeat):
    for run in runs:
        rows = page_list(pages, run)
        got = turns(repeat, {"linux": partial(linux.from_pages, rows), "ours": partial(ours.from_pages, rows),
                             "python": partial(python_build, rows)})
        agree(got)
        yield f"build, runs of {run}", times(got, 1)
        yield f"build and free, runs of {run}", times(got, 1, 2)
    for run in runs:
        rows = page_list(pages, run)
        linux.keep(rows)
        table = SgTable.from_pages(rows)
        got = turns(repeat, {"linux": linux.walk, "ours": partial(ours.walk, table),
                             "python": partial(python_walk, table)})
        agree(got)
        yield f"walk, runs of {run}", times(got, 1)
    yield f"copy of {COPY_PAGES} pages, runs of 4", copying(linux, repeat)


def copying(linux, repeat):
    memory = bytearray(b"\x5a" * (COPY_PAGES * 2 * PAGE + PAGE))
    base = ctypes.addressof((ctypes.c_char * len(memory)).from_buffer(memory))
    pages = page_list(COPY_PAGES, 4, -(-base // PAGE) * PAGE)
    linux.keep(pages)
    table = SgTable.from_pages(pages)
    mem = PhysMem()
    for page in pages:
        mem.poke(page, b"\x5a" * PAGE)
    out = bytearray(COPY_PAGES * PAGE)
    got = turns(repeat, {"linux": lambda: linux.copy(out), "ours": lambda: ours.copy(table, mem, out),
                         "python": lambda: python_copy(table, mem, out)})
    agree(got)
    assert got["ours"][0][0] == len(out)
    return times(got, 1)


def growing(most, repeat):
    """ns an entry for a table of FEW entries, done over and over, and for one of `most`."""
    sides = {"few": FEW, "many": most}
    rows = {side: page_list(4 * n, 4) for side, n in sides.items()}
    again = {side: max(1, most // n) for side, n in sides.items()}
    got = turns(repeat, {side: partial(ours.build_again, rows[side], again[side]) for side in sides})
    yield "growth of build", {side: [took / (again[side] * n) for took in got[side]] for side, n in sides.items()}
    tables = {side: SgTable.from_pages(rows[side]) for side in sides}
    got = turns(repeat, {side: partial(ours.walk_again, tables[side], again[side]) for side in sides})
    yield "growth of walk", {side: [took / (again[side] * n) for took in got[side]] for side, n in sides.items()}


def only(linux, pages, run, case, side, repeat):
    """For callgrind."""
    rows = page_list(pages, run)
    linux.keep(rows)
    table = SgTable.from_pages(rows)
    call = {"build linux": lambda: linux.from_pages(rows), "build ours": lambda: ours.from_pages(rows),
            "walk linux": linux.walk, "walk ours": lambda: ours.walk(table)}[f"{case} {side}"]
    for _ in range(repeat):
        call()


def main(library, pages, runs, *rest):
    keep_memory()
    linux = Linux(library)
    if len(rest) > 1:
        only(linux, int(pages), int(runs), rest[0], rest[1], int(rest[2]))
        return
    repeat = int(rest[0])
    out = dict(cases(linux, int(pages), [int(word) for word in runs.split(",")], repeat))
    print(json.dumps(out | dict(growing(min(MANY, int(pages)), repeat))))


if __name__ == "__main__":
    main(*sys.argv[1:])
