# SPDX-License-Identifier: MIT
"""The measuring process of benchmarks/iova.py, where dma_ops is the -O2 copy: prints {case: {side: [ns a step]}}.

LIBRARY LIVE STEPS WALKS REPEAT, or LIBRARY LIVE STEPS WALKS CASE SIDE REPEAT, which runs one side alone for callgrind.

A tape is a list of steps, each slot << 16 | size: what the slot holds is freed, and a new range of that size takes its
place. Both sides run the same tape, and must hand out the same pfns.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
from array import array
from functools import partial

import ours_iova

from benchmarks._figures import turns

WIDE, NARROW = (1 << 36) - 1, (1 << 20) - 1     # limits in pages: 48 and 32 bits
CASES = {                                       # magazines?, sizes up to 2^n pages, does Linux walk?
    "alloc_iova_fast, 1 to 32 pages": (True, 5, False),
    "alloc_iova_fast, 1 to 256 pages": (True, 8, True),
    "alloc_iova, 1 to 256 pages": (False, 8, True),
}
IN_FLIGHT, FULL = 64, 0.9
GROWTH = {"growth of alloc_iova_fast, 1 to 32 pages": (True, 5), "growth of alloc_iova, 1 to 256 pages": (False, 8)}


class Linux:
    """A space of Linux's, with the methods of ours_iova.Space."""

    def __init__(self, library, slots, limit, fast):
        library.linux_open.restype = ctypes.c_void_p
        library.linux_run.restype = ctypes.c_uint64
        self.library = library
        self.space = ctypes.c_void_p(library.linux_open(ctypes.c_uint64(slots), ctypes.c_uint64(limit), fast))
        self.digest = ctypes.c_uint64()

    def run(self, tape, first, n):
        at = ctypes.c_void_p(tape.buffer_info()[0] + 8 * first)
        took = self.library.linux_run(self.space, at, ctypes.c_uint64(n), ctypes.byref(self.digest))
        return took, self.digest.value

    def __del__(self):
        self.library.linux_close(self.space)


def size(rng, top):
    """Every power of two is as likely, rounded down by up to a half."""
    order = rng.randint(0, top)
    return rng.randint((1 << order) // 2 + 1, 1 << order)


def filling(rng, slots, top):
    return array("Q", (slot << 16 | size(rng, top) for slot in rng.sample(range(slots), slots)))


def churn(rng, slots, steps, top, first=0):
    return array("Q", (first + rng.randrange(slots) << 16 | size(rng, top) for _ in range(steps)))


def steps_of(sides, tape, chunk):
    """Calls that each run the next chunk of the tape on their side, and answer ns a step and the digest."""
    at = dict.fromkeys(sides, 0)

    def step(name):
        took, digest = sides[name].run(tape, at[name], chunk)
        at[name] = (at[name] + chunk) % len(tape)
        return took / chunk, digest

    return {name: partial(step, name) for name in sides}


def against_linux(library, case, live, steps, walks, repeat):
    fast, top, slow = CASES[case]
    rng = random.Random(1)
    sides = {"linux": Linux(library, live, WIDE, fast), "ours": ours_iova.Space(live, WIDE, fast)}
    fill = filling(rng, live, top)
    chunk = walks if slow else steps
    tape = churn(rng, live, chunk * (repeat + 2 if slow else 4), top)
    assert len({side.run(fill, 0, len(fill))[1] for side in sides.values()}) == 1, "the two sides differ"
    got = turns(repeat, steps_of(sides, tape, chunk))
    assert [x[1] for x in got["linux"]] == [x[1] for x in got["ours"]], "the two sides differ"
    return {name: [x[0] for x in answers] for name, answers in got.items()}


def fill_up(rng, space, slots, top):
    """Fill 32 bits until hardly anything fits, then free at random down to FULL, which leaves holes of all sizes."""
    space.run(filling(rng, slots, top), 0, slots)
    assert space.live > FULL * NARROW
    for slot in rng.sample(range(slots), slots):
        if space.live <= FULL * NARROW:
            break
        space.run(array("Q", [slot << 16]), 0, 1)


def growth(case, steps, repeat):
    """IN_FLIGHT ranges come and go in an empty space, and beside others that fill FULL of it."""
    fast, top = GROWTH[case]
    rng = random.Random(1)
    slots = 4 * NARROW * (top + 1) >> top + 1
    sides = {}
    for name in ("empty", "full"):
        sides[name] = ours_iova.Space(slots + IN_FLIGHT, NARROW, fast)
    fill_up(rng, sides["full"], slots, top)
    tape = churn(rng, IN_FLIGHT, 4 * steps, top, slots)
    got = turns(repeat, steps_of(sides, tape, steps))
    return {name: [x[0] for x in answers] for name, answers in got.items()}


def only(library, live, steps, walks, case, side, repeat):
    """For callgrind: the case on one side, from a state that does not depend on repeat."""
    fast, top, slow = CASES[case]
    rng = random.Random(1)
    space = Linux(library, live, WIDE, fast) if side == "linux" else ours_iova.Space(live, WIDE, fast)
    fill = filling(rng, live, top)
    chunk = walks if slow else steps
    tape = churn(rng, live, chunk * 3, top)
    space.run(fill, 0, len(fill))
    space.run(tape, 0, chunk * repeat)


def main(path, live, steps, walks, *rest):
    library = ctypes.CDLL(path)
    live, steps, walks, repeat = int(live), int(steps), int(walks), int(rest[-1])
    if len(rest) > 1:
        only(library, live, steps, walks, rest[0], rest[1], repeat)
        return
    out = {case: against_linux(library, case, live, steps, walks, repeat) for case in CASES}
    out |= {case: growth(case, steps // 10, repeat) for case in GROWTH}
    print(json.dumps(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
