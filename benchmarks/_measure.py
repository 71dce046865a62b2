# SPDX-License-Identifier: MIT
"""The measuring process of benchmarks/scatterlist.py; prints JSON.

LIBRARY FOLDER PAGES RUNS REPEAT [WHAT:SIDE]; with the last, only that is done REPEAT times, for counting instructions.
"""

from __future__ import annotations

import ctypes
import json
import sys
from array import array
from functools import partial
from statistics import median
from time import thread_time_ns

sys.path = [path for path in sys.path if not path.endswith("benchmarks")]      # its scatterlist.py is not the package

import ours  # noqa: E402

from scatterlist.copy import sg_copy_to_buffer  # noqa: E402
from scatterlist.core import SgTable  # noqa: E402
from scatterlist.memory import PhysMem  # noqa: E402

PAGE = 4096
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4           # of glibc's mallopt
COPY_PAGES = 8192


class Linux:
    """The shared library, one method for each function of driver.c."""

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
    start = thread_time_ns()
    table.free()
    return took, thread_time_ns() - start


def python_walk(table):
    start = thread_time_ns()
    total = table.length
    return total, thread_time_ns() - start


def python_copy(table, mem, buffer):
    start = thread_time_ns()
    done = sg_copy_to_buffer(mem, table, table.orig_nents, buffer)
    return done, thread_time_ns() - start


def turns(repeat, calls):
    """Each call in turn, the order reversed every second time: {name: [answer of each turn]}."""
    out = {name: [] for name in calls}
    for i in range(repeat + 2):
        for name in list(calls) if i % 2 else reversed(list(calls)):
            answer = calls[name]()
            if i >= 2:                          # the first two warm up
                out[name].append(answer)
    return out


def keep_memory():
    """Let malloc keep what is freed, as a kernel's page allocator does: page faults are no part of either side."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(M_MMAP_MAX, 0)


def row(name, linux, own, python):
    return {"name": name, "linux": median(linux), "ours": median(own), "python": median(python),
            "ours_per_linux": median(b / a for a, b in zip(linux, own, strict=True)),
            "python_per_ours": median(c / b for b, c in zip(own, python, strict=True))}


def main(library, pages, runs, repeat):
    keep_memory()
    linux = Linux(library)
    rows = []
    figures = {}
    for run in runs:
        rows_in = page_list(pages, run)
        got = turns(repeat, {"linux": partial(linux.from_pages, rows_in), "ours": partial(ours.from_pages, rows_in),
                             "python": partial(python_build, rows_in)})
        assert {x[0] for x in got["linux"]} == {x[0] for x in got["ours"]}, "the two sides differ"
        build = row(f"build, runs of {run}", [x[1] for x in got["linux"]], [x[1] for x in got["ours"]],
                    [x[0] for x in got["python"]])
        whole = row(f"build and free, runs of {run}", [x[1] + x[2] for x in got["linux"]],
                    [x[1] + x[2] for x in got["ours"]], [x[0] + x[1] for x in got["python"]])
        rows += [build, whole]
        figures[f"build of runs of {run}, ours / Linux"] = build["ours_per_linux"]
        figures[f"build of runs of {run}, Python / ours"] = build["python_per_ours"]
    for run in runs:
        rows_in = page_list(pages, run)
        linux.keep(rows_in)
        table = SgTable.from_pages(rows_in)
        got = turns(repeat, {"linux": linux.walk, "ours": partial(ours.walk, table),
                             "python": partial(python_walk, table)})
        assert len({x[0] for side in got.values() for x in side}) == 1, "the two sides differ"
        rows.append(row(f"walk, runs of {run}", *([x[1] for x in got[side]] for side in ("linux", "ours", "python"))))
    figures["walk, ours / Linux"] = max(x["ours_per_linux"] for x in rows if x["name"].startswith("walk"))
    rows.append(copying(linux, repeat))
    print(json.dumps({"pages": pages, "repeat": repeat, "rows": rows, "figures": figures}))


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
    assert {x[0] for side in got.values() for x in side} == {len(out)}
    return row(f"copy of {COPY_PAGES} pages, runs of 4", *([x[1] for x in got[s]] for s in ("linux", "ours", "python")))


def only(library, pages, run, times, what):
    """For callgrind."""
    keep_memory()
    linux = Linux(library)
    rows_in = page_list(pages, run)
    linux.keep(rows_in)
    table = SgTable.from_pages(rows_in)
    call = {"build:linux": lambda: linux.from_pages(rows_in), "build:ours": lambda: ours.from_pages(rows_in),
            "walk:linux": linux.walk, "walk:ours": lambda: ours.walk(table)}[what]
    for _ in range(times):
        call()


if __name__ == "__main__":
    if len(sys.argv) > 6:
        only(sys.argv[1], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
    else:
        main(sys.argv[1], int(sys.argv[3]), [int(word) for word in sys.argv[4].split(",")], int(sys.argv[5]))
