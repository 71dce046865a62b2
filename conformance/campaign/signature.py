# SPDX-License-Identifier: MIT
"""What a program made a backend do, as a set of small numbers: the coverage that guides a campaign.

It is read from outside: how each call ended, how much was allocated before and after, how a list was merged, where it
was put, what was said to the log, which duties the machine was given, which fault of Linux was met. Counts are told
apart by their number of bits, so that there are few behaviours, and new ones mean something.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

from ..programs import World
from .summary import BEHAVIOURS

_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


@lru_cache(1 << 14)
def number(*behaviour: Any) -> int:
    """The behaviour's number: the same in every process."""
    return zlib.crc32(repr(behaviour).encode()) % BEHAVIOURS


class Signature:
    """The behaviours of one world, call by call."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.where = world.record.id
        if world.machine.events is None:
            world.machine.events = []
        self.state = self._state()
        self.live = 0
        self.said = len(world.machine.dmesg)
        self.met = 0
        self.refused = 0
        self.entries = self.segments = 0

    def _state(self) -> tuple[tuple[str, int], ...]:
        return tuple((kind, count.bit_length()) for kind, count in sorted(self.world.device.resources().items()))

    def after(self, name: str) -> Iterator[int]:
        """What the call just made has shown."""
        world, where = self.world, self.where
        before, self.state = self.state, self._state()
        code = world.code if len(world.failures) > self.refused else 0
        ended = code or (len(world.live) > self.live) - (len(world.live) < self.live)
        yield number(where, name, ended, before)
        if self.state != before:
            yield number(where, name, before, self.state)
        device = world.device
        yield number(where, name, ended, "mask", device.dma_mask.bit_length())
        yield number(where, name, ended, "boundary", device.segment_boundary_mask.bit_length())
        if len(world.live) > self.live:
            made = next(reversed(world.live.values()))
            entries, segments = max(len(made.sizes), 1), made.segments
            size = segments[0][1].bit_length()
            marks = tuple(flags for _, _, flags in segments[:4])
            gaps = tuple((b[0] - a[0] - a[1]) == 0 for a, b in pairwise(segments[:5]))
            yield number(where, made.kind, entries, len(segments), marks, gaps)
            yield number(where, made.kind, made.direction, size, segments[0][0].bit_length())
        elif world.entries > self.entries:
            merged = (world.entries - self.entries) * 8 // max(world.segments - self.segments, 1)
            yield number(where, name, (world.entries - self.entries).bit_length(), merged.bit_length(), code)
        for line in world.machine.dmesg[self.said :]:
            yield number(where, name, _NUMBERS.sub("#", line))
        if len(world.met) > self.met:
            yield from (number(where, name, what) for what in world.met)
        if world.machine.events:
            kinds = Counter(event[0] for event in world.machine.events)
            yield number(where, name, tuple((kind, n.bit_length()) for kind, n in sorted(kinds.items())))
            world.machine.events.clear()
        self.live, self.said, self.met = len(world.live), len(world.machine.dmesg), len(world.met)
        self.refused = len(world.failures)
        self.entries, self.segments = world.entries, world.segments

    def ended(self, how: str) -> int:
        """The program is over."""
        return number(self.where, "end", _NUMBERS.sub("#", how), self.state)
