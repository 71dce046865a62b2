# SPDX-License-Identifier: MIT
"""The measuring process of benchmarks/map.py; prints JSON.

LIBRARY OPTIONS [TIMES], the options as JSON: repeat, sizes, growth (sizes, ascending), backends; or only: [backend,
side, entries], of which TIMES rounds are done and nothing is printed, for callgrind.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys
from array import array
from collections.abc import Callable
from functools import cache
from importlib import import_module
from time import thread_time_ns
from typing import Any

from arch.alpha import CHIPSETS, AlphaPciOps
from arch.generic.dma_iommu import IommuDmaOps
from arch.powerpc.dma_iommu import DmaIommuOps
from arch.powerpc.iommu import IommuTable
from arch.sparc.iommu import Sun4uDmaOps
from benchmarks._figures import turns
from dma_ops import Device, Machine, dma_map_sgtable, dma_unmap_sgtable
from dma_ops.pgtable_lpae import LpaeDomain
from dma_ops.pgtable_vtd import VtdDomain
from dma_ops.swiotlb import swiotlb_init
from scatterlist.core import SgTable

GB, ALL, PAGE = 1 << 30, (1 << 64) - 1, 4096
BASE = 8 * GB                   # of the pages that are mapped; what is bounced is real memory there
WINDOW = 32 * GB                # of powerpc's table: a pool of it has room for the longest list
POOL = 64 << 20
RESERVED = ((0x10000000, 0x3EFEFFFF), (0x8000000000, 0xFFFFFFFFFF), (0x8000000, 0x80FFFFF))
TIMED_NS = 400_000              # a sample is as many rounds as take about this long


def host(arch: str, **facts: Any) -> Machine:
    return Machine(arch, arch=arch, ram=((0, 40 * GB),), pci_p2pdma=True, table_base=1 << 45, **facts)


def direct() -> Device:
    return Device("direct", host("x86_64"), mask=ALL)


def swiotlb() -> Device:
    machine = host("x86_64")
    dev = Device("swiotlb", machine, mask=ALL)
    dev.io_tlb_mem = swiotlb_init(machine, POOL, 1, force_bounce=True)
    return dev


def lpae() -> Device:
    dev = Device("smmu", host("arm64"), mask=ALL)
    IommuDmaOps(LpaeDomain(dev.machine, 48, 48), dev, windows=RESERVED)
    return dev


def vtd() -> Device:
    dev = Device("vtd", host("x86_64"), mask=ALL)
    IommuDmaOps(VtdDomain(dev.machine, 48), dev, windows=RESERVED)
    return dev


def ppc() -> Device:
    machine = host("powerpc", big_endian=True, has_zone_dma=False)
    dev = Device("ppc", machine, mask=ALL)
    return DmaIommuOps(IommuTable(machine, size=WINDOW)).attach(dev)


def alpha() -> Device:
    machine = Machine("alpha", arch="alpha", page_shift=13, ram=((0, 40 * GB),), arch_no_sg_chain=True)
    return Device("alpha", machine, dma_ops=AlphaPciOps(machine, CHIPSETS["tsunami"]), mask=0xffffffff)


def sun4u() -> Device:
    machine = Machine("sparc64", arch="sparc64", big_endian=True, page_shift=13, ram=((0, 40 * GB),))
    return Device("sun4u", machine, dma_ops=Sun4uDmaOps(machine))


#: name: our device, Linux's (a function of the library, or None), the most entries that fit at once
BACKENDS: dict[str, tuple[Callable[[], Device], str | None, int]] = {
    "direct": (direct, "direct", 10**7),
    "iommu-dma, LPAE": (lpae, "iommu_dma", 10**7),
    "ppc": (ppc, "ppc", 2 * 10**6),
    "swiotlb": (swiotlb, "swiotlb", 10**4),
    "iommu-dma, VT-d": (vtd, None, 10**7),
    "alpha": (alpha, None, 10**4),
    "sun4u": (sun4u, None, 10**4),
}


class Linux:
    """The shared library of benchmarks/linux_map."""

    def __init__(self, path: str) -> None:
        self.lib = ctypes.CDLL(path)
        for name in ("direct", "swiotlb", "iommu_dma", "ppc", "list"):
            getattr(self.lib, f"linux_{name}").restype = ctypes.c_void_p

    def device(self, name: str) -> ctypes.c_void_p:
        made = getattr(self.lib, f"linux_{name}")
        if name == "iommu_dma":
            words = [word for row in RESERVED for word in row]
            return ctypes.c_void_p(made((ctypes.c_uint64 * len(words))(*words), len(RESERVED)))
        argument = {"swiotlb": POOL, "ppc": WINDOW}.get(name, 0)
        return ctypes.c_void_p(made(ctypes.c_uint64(argument)))

    def list(self, pages: array[int]) -> ctypes.c_void_p:
        lengths = array("I", [PAGE]) * len(pages)
        return ctypes.c_void_p(self.lib.linux_list(ctypes.c_void_p(pages.buffer_info()[0]),
                                                   ctypes.c_void_p(lengths.buffer_info()[0]), len(pages)))

    def segments(self, dev: ctypes.c_void_p, table: ctypes.c_void_p, most: int) -> list[tuple[int, int]]:
        n = self.lib.linux_map(dev, table)
        addresses, lengths = (ctypes.c_uint64 * most)(), (ctypes.c_uint32 * most)()
        self.lib.linux_segments(table, n, addresses, lengths)
        self.lib.linux_unmap(dev, table)
        return list(zip(addresses[:n], lengths[:n], strict=True))

    def map_unmap(self, dev: ctypes.c_void_p, table: ctypes.c_void_p, times: int) -> int:
        took = ctypes.c_uint64()
        self.lib.linux_map_unmap(dev, table, times, ctypes.byref(took))
        return took.value


def page_list(n: int) -> array[int]:
    """n pages of which no two are neighbours."""
    return array("Q", (BASE + 2 * i * PAGE for i in range(n)))


def our_list(dev: Device, pages: array[int]) -> SgTable:
    rows = array("Q", (word for page in pages for word in (page, 0, PAGE)))
    machine = dev.machine
    if machine.arch_no_sg_chain:        # one array, longer than a kernel would have it
        return SgTable.from_rows(rows, page_shift=machine.page_shift, chaining=False, max_ents=max(2, len(pages)))
    return SgTable.from_rows(rows, page_shift=machine.page_shift)


@cache
def real_memory(pages: int) -> None:
    """Host memory from BASE on: Linux's bounce buffers copy from there."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    noreplace = 0x100000
    got = libc.mmap(ctypes.c_void_p(BASE), ctypes.c_size_t(pages * PAGE), mmap.PROT_READ | mmap.PROT_WRITE,
                    mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | noreplace, -1, ctypes.c_long(0))
    if got != BASE:
        raise RuntimeError(f"no memory at {BASE:#x}")
    ctypes.memset(BASE, 0x5a, pages * PAGE)


def keep_memory() -> None:
    """Let malloc keep what is freed, as a kernel's page allocator does: page faults are no part of either side."""
    libc = ctypes.CDLL(None)
    libc.mallopt(-1, 2**31 - 1)         # M_TRIM_THRESHOLD
    libc.mallopt(-4, 0)                 # M_MMAP_MAX


def segments(dev: Device, table: SgTable) -> list[tuple[int, int]]:
    dma_map_sgtable(dev, table, 0)
    found = [(address, length) for address, length, _ in table.segments()]
    dma_unmap_sgtable(dev, table, 0)
    return found


class Pair:
    """One list of n entries on both sides."""

    def __init__(self, backend: str, n: int, linux: Linux) -> None:
        make, theirs, _ = BACKENDS[backend]
        pages = page_list(n)
        self.backend, self.n, self.linux, self.dev = backend, n, linux, make()
        if backend == "swiotlb":
            real_memory(2 * BACKENDS[backend][2])
            pool = self.dev.io_tlb_mem          # all of it exists on Linux's side, too
            for page in (*pages, *range(pool.start, pool.end, PAGE)):
                self.dev.machine.mem.poke(page, b"\x5a" * PAGE)
        self.table = our_list(self.dev, pages)
        self.theirs = linux.device(theirs) if theirs is not None else None
        if self.theirs is not None:
            self.list = linux.list(pages)
        self.agree()
        self.map_unmap = import_module("dma_ops._benchmark").map_unmap      # only the copy has it

    def agree(self) -> None:
        """Do both sides map the list to the same segments? The pools of bounce buffers lie where they lie."""
        mine = segments(self.dev, self.table)
        if self.theirs is None:
            return
        other = self.linux.segments(self.theirs, self.list, self.n)
        mine_at, other_at = (mine[0][0], other[0][0]) if self.backend == "swiotlb" else (0, 0)
        if [(a - mine_at, n) for a, n in mine] != [(a - other_at, n) for a, n in other]:
            raise RuntimeError(f"{self.backend}: the two sides differ: {mine[:4]}... and {other[:4]}...")

    def ours(self, times: int) -> int:
        took: int = self.map_unmap(self.dev, self.table, times)[1]
        return took

    def calls(self) -> dict[str, Callable[[], Any]]:
        """One sample of each side: the nanoseconds of a map and unmap."""
        times = max(1, TIMED_NS // max(self.ours(1), 1))
        calls: dict[str, Callable[[], Any]] = {"ours": lambda: self.ours(times) / times}
        if self.theirs is not None:
            calls["linux"] = lambda: self.linux.map_unmap(self.theirs, self.list, times) / times
        return calls


def model_map(entries: list[list[int]], mask: int) -> int:
    """dma-direct as a few lines of Python: entries of [phys, length, dma address, dma length]."""
    for entry in entries:
        address = entry[0]
        if address + entry[1] - 1 > mask:
            return 0
        entry[2] = address
        entry[3] = entry[1]
    return len(entries)


def model_unmap(entries: list[list[int]]) -> None:
    for entry in entries:
        entry[2] = ALL
        entry[3] = 0


def from_python(n: int, linux: Linux, repeat: int) -> dict[str, list[float]]:
    """One map and unmap as a Python program calls them: ours, Linux's C through ctypes, and a model in Python."""
    pair = Pair("direct", n, linux)
    entries = [[page, PAGE, ALL, 0] for page in page_list(n)]
    times = max(1, TIMED_NS // 4 // max(pair.ours(1), 1))

    def ours() -> None:
        dma_map_sgtable(pair.dev, pair.table, 0)
        dma_unmap_sgtable(pair.dev, pair.table, 0)

    def by_ctypes() -> None:
        linux.lib.linux_map(pair.theirs, pair.list)
        linux.lib.linux_unmap(pair.theirs, pair.list)

    def model() -> None:
        model_map(entries, ALL)
        model_unmap(entries)

    def timed(call: Callable[[], None]) -> Callable[[], float]:
        def sample() -> float:
            start = thread_time_ns()
            for _ in range(times):
                call()
            return (thread_time_ns() - start) / times
        return sample

    return turns(repeat, {"ours": timed(ours), "ctypes": timed(by_ctypes), "model": timed(model)})


def main(library: str, options: dict[str, Any]) -> None:
    keep_memory()
    linux = Linux(library)
    if "only" in options:
        backend, side, n = options["only"]
        pair = Pair(backend, n, linux)
        times = int(sys.argv[3])
        if side == "ours":
            pair.ours(times)
        else:
            linux.map_unmap(pair.theirs, pair.list, times)
        return
    repeat = options["repeat"]
    out: dict[str, Any] = {"sizes": [], "growth": [], "python": []}
    for backend, (_, _, most) in BACKENDS.items():
        if backend not in options["backends"]:
            continue
        for n in options["sizes"]:
            out["sizes"].append((backend, n, turns(repeat, Pair(backend, n, linux).calls())))
        pairs = [Pair(backend, n, linux) for n in options["growth"] if n <= most]
        got = turns(max(3, repeat // 4), {f"{pair.n} {side}": call for pair in pairs
                                          for side, call in pair.calls().items()})
        out["growth"].append((backend, [(pair.n, {side: got[f"{pair.n} {side}"] for side in ("ours", "linux")
                                                  if f"{pair.n} {side}" in got}) for pair in pairs]))
    if "direct" in options["backends"]:
        out["python"] = [(n, from_python(n, linux, repeat)) for n in options["sizes"]]
    print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
