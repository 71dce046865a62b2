# SPDX-License-Identifier: MIT
"""Draws the next call of a program, from random numbers or from hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any, Protocol, TypeVar

from .memory import PEER_FRAMES, PEERS, RAM_FRAMES, Row
from .program import Call
from .world import DIRECTIONS, KINDS, MAX_LIVE, World

T = TypeVar("T")
WAYS = tuple(DIRECTIONS)


class Source(Protocol):
    """Where numbers come from."""

    def below(self, n: int) -> int: ...


class RandomSource:
    """Numbers from a seed."""

    def __init__(self, seed: object) -> None:
        self.below = Random(str(seed)).randrange


def _pick(s: Source, items: Sequence[T]) -> T:
    return items[s.below(len(items))]


def _offset(w: World, s: Source) -> int:
    return _pick(s, (0, 0, 4, 64, 1, w.page // 2, w.page - 8, w.page - 1, s.below(w.page)))


def _length(w: World, s: Source) -> int:
    page = w.page
    return _pick(s, (1, 8, 64, 511, page // 2, page - 1, page, page + 1, 1 + s.below(page), 2 * page, 3 * page - 5))


def _row(w: World, s: Source, *, p2p: bool = False) -> Row:
    if p2p and s.below(3) == 0:
        frame = 2 * RAM_FRAMES + s.below(len(PEERS) * PEER_FRAMES)
    else:
        frame = s.below(2 * RAM_FRAMES)
    last = RAM_FRAMES - frame % RAM_FRAMES if frame < 2 * RAM_FRAMES else PEER_FRAMES - frame % PEER_FRAMES
    offset = _offset(w, s)
    return frame, offset, min(_length(w, s), last * w.page - offset)


def _rows(w: World, s: Source) -> list[Row]:
    """A list: free rows, a run of whole pages that may merge, or pieces that touch."""
    shape = s.below(4)
    first = s.below(2 * RAM_FRAMES)
    left = RAM_FRAMES - first % RAM_FRAMES
    if shape == 0 and left > 1:
        return [(first + i, 0, w.page) for i in range(2 + s.below(left - 1))]
    if shape == 2 and w.p2p and left > 3:               # what may merge around what must not
        peer = 2 * RAM_FRAMES + s.below(len(PEERS) * PEER_FRAMES)
        return [(first, 0, w.page), (first + 1, 0, w.page), (peer, 0, w.page // 2), (first + 2, 0, w.page),
                (first + 3, 0, w.page)]
    if shape == 1:
        cuts = sorted({s.below(2 * w.page) // 4 * 4 for _ in range(1 + s.below(4))} | {0, w.page})
        return [(first, a, b - a) for a, b in pairwise(cuts)]
    return [_row(w, s, p2p=w.p2p) for _ in range(1 + s.below(6))]


def _name(w: World, s: Source) -> int:
    """Of something live, mostly."""
    return _pick(s, tuple(w.live)) if w.live else 0


def _turn(w: World, s: Source) -> tuple[Any, ...]:
    key = _name(w, s)
    size = len(w.live[key].view) if key in w.live else 1
    at = s.below(size) if s.below(2) else 0
    return key, at, 1 + s.below(size - at) if s.below(2) else size - at, s.below(1 << 16)


def _buf(w: World, s: Source) -> tuple[Any, ...]:
    frame = 2 * RAM_FRAMES + s.below(len(PEERS) * PEER_FRAMES)
    return w.calls, (frame, 0, min(_length(w, s), (PEER_FRAMES - frame % PEER_FRAMES) * w.page)), _pick(s, WAYS)


def _iova(w: World, s: Source) -> tuple[Any, ...]:
    n = 1 + s.below(4)
    rows: list[Row] = []
    for i in range(n):
        frame = s.below(2 * RAM_FRAMES)
        start = _offset(w, s) if i == 0 else 0
        if i < n - 1:
            rows.append((frame, start, w.page - start))
        else:
            rows.append((frame, start, 1 + s.below(w.page - start)))
    return w.calls, rows, _pick(s, WAYS)


#: How often each call is drawn, and its arguments. A mapping is named by the number of the call that makes it.
CALLS: dict[str, tuple[int, Callable[[World, Source], tuple[Any, ...]]]] = {
    "map_page": (6, lambda w, s: (w.calls, _row(w, s), _pick(s, WAYS))),
    "map_sg": (8, lambda w, s: (w.calls, _rows(w, s), _pick(s, WAYS))),
    "map_phys": (2, lambda w, s: (w.calls, _row(w, s), _pick(s, WAYS))),
    "map_iova": (2, _iova),
    "map_buf": (1, _buf),
    "map_resource": (1, lambda w, s: (w.calls, s.below(8), _offset(w, s), _length(w, s), _pick(s, WAYS))),
    "alloc": (2, lambda w, s: (w.calls, _pick(s, (64, w.page, 3 * w.page, 1 + s.below(5 * w.page))))),
    "alloc_pages": (1, lambda w, s: (w.calls, w.page * (1 + s.below(4)))),
    "alloc_noncontiguous": (1, lambda w, s: (w.calls, w.page * (1 + s.below(5)))),
    "unmap": (12, lambda w, s: (_name(w, s),)),
    "sync_cpu": (5, lambda w, s: (_name(w, s),)),
    "sync_device": (5, lambda w, s: (_name(w, s),)),
    "cpu_write": (4, _turn),
    "device_write": (6, _turn),
    "look": (3, lambda w, s: (_name(w, s),)),
    "flush": (2, lambda w, s: ()),
    "fail": (2, lambda w, s: (_pick(s, KINDS), 1 + s.below(4))),
    "exhaust": (1, lambda w, s: ((s.below(2 * RAM_FRAMES), 0, 1), w.page << s.below(13), _pick(s, ("fifo", "lifo")))),
    "set_mask": (1, lambda w, s: (_pick(s, (24, 28, 30, 31, 32, 36, 40, 48, 64)),)),
    "set_limits": (1, lambda w, s: (_pick(s, (w.page, 2 * w.page, 3 * w.page - 4, 65536, 1 << 20)),
                                    _pick(s, (16, 18, 24, 32, 64)))),
}
_URN = tuple(name for name, (weight, _) in CALLS.items() for _ in range(weight))


def applies(w: World, name: str) -> bool:
    """Is the call one that this machine has, and that does something now?"""
    if name == "map_sg":
        return w.subject.has("map_sg") and len(w.live) < MAX_LIVE
    if name == "map_resource":
        return w.subject.has("map_resource")
    if name == "map_buf":
        return w.p2p
    if name == "map_iova":
        return w.has_iova
    if name in ("alloc", "alloc_pages", "alloc_noncontiguous"):
        return w.subject.allocates and (name == "alloc" or w.subject.has("alloc_pages"))
    if name in ("unmap", "sync_cpu", "sync_device", "cpu_write", "device_write", "look"):
        return bool(w.live)
    if name in ("set_mask", "set_limits"):
        return not w.live
    return len(w.live) < MAX_LIVE


def draw(w: World, s: Source, name: str = "") -> Call:
    """The next call for a world as it is now."""
    while not name:
        name = _pick(s, _URN)
        if not applies(w, name) or (name == "map_sg" and w.lists_die and s.below(20)):
            name = ""
    return name, CALLS[name][1](w, s)
