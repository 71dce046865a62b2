# SPDX-License-Identifier: MIT
"""The CPU's cache against a dict of lines, which is what it means."""

from random import Random

import pytest

from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, Device, Machine
from dma_ops.api import (
    dma_alloc_attrs,
    dma_free_attrs,
    dma_map_page,
    dma_sync_single_for_cpu,
    dma_sync_single_for_device,
    dma_unmap_page,
)

LINE = 64
RAM = 1 << 26


class Lines:
    """A CPU's cache, line by line, over memory of its own."""

    def __init__(self):
        self.memory, self.lines, self.dirty = {}, {}, set()

    def load(self, at):
        line = at // LINE
        if line not in self.lines:
            self.lines[line] = {i: self.memory.get(i, 0) for i in range(line * LINE, (line + 1) * LINE)}
        return self.lines[line]

    def write(self, at, raw):
        for i, byte in enumerate(raw, at):
            self.load(i)[i] = byte
            self.dirty.add(i // LINE)

    def read(self, at, n):
        return bytes(self.load(i)[i] for i in range(at, at + n))

    def maintain(self, at, n, clean, invalidate):
        for line in range(at // LINE, (at + n - 1) // LINE + 1):
            if clean and line in self.dirty:
                self.memory.update(self.lines[line])
                self.dirty.discard(line)
            if invalidate:
                self.lines.pop(line, None)
                self.dirty.discard(line)


def device(**facts):
    machine = Machine("m", arch="arm64", ram=[(0, RAM)], cached=True, **facts)
    return Device("d", machine, coherent=False)


@pytest.mark.parametrize("seed", range(12))
def test_every_byte_is_where_a_dict_has_it(seed):
    rnd, dev, model = Random(seed), device(), Lines()
    machine, base = dev.machine, 0x10000 - LINE
    for _ in range(300):
        at, n = base + rnd.randrange(9000), rnd.choice((1, 5, 63, 64, 65, 200, 4096, 6000))
        what = rnd.choice(("write", "read", "poke", "peek", "for_device", "for_cpu", "snoop"))
        if what == "write":
            raw = rnd.randbytes(n)
            machine.cpu_write(at, raw)
            model.write(at, raw)
        elif what == "read":
            assert machine.cpu_read(at, n) == model.read(at, n)
        elif what == "poke":
            raw = rnd.randbytes(n)
            machine.mem.poke(at, raw)
            model.memory.update(enumerate(raw, at))
        elif what == "for_device":
            way = rnd.choice((DMA_TO_DEVICE, DMA_BIDIRECTIONAL))
            dma_sync_single_for_device(dev, at, n, way)
            model.maintain(at, n, True, way != DMA_TO_DEVICE)
        elif what == "for_cpu":
            dma_sync_single_for_cpu(dev, at, n, DMA_FROM_DEVICE)
            model.maintain(at, n, False, True)
        elif what == "snoop":
            machine.snoop(at, n)
            model.maintain(at, n, True, True)
        assert machine.mem.peek(at, n) == bytes(model.memory.get(i, 0) for i in range(at, at + n))


@pytest.mark.parametrize(("at", "n"), [(0, RAM), (64, RAM - 64), (4095, 2), (63, 1), (64, 1), (0, (1 << 64) - 1),
                                       (1 << 63, (1 << 64) - 1)], ids=str)
def test_maintenance_takes_the_lines_of_its_range(at, n):
    """However many frames that range has: few are looked up, many are not."""
    dev, model = device(), Lines()
    for line in (0, 1, 62, 63, 64, 65, RAM // LINE - 1):
        dev.machine.cpu_write(line * LINE, b"\x11" * LINE)
        model.write(line * LINE, b"\x11" * LINE)
        if at <= line * LINE + LINE - 1 and line * LINE < at + n:
            model.maintain(line * LINE, LINE, True, True)
    dev.machine.snoop(at, n)
    for line in (0, 1, 62, 63, 64, 65, RAM // LINE - 1):
        assert dev.machine.mem.peek(line * LINE, 1)[0] == model.memory.get(line * LINE, 0), line


def test_many_frames():
    dev = device()
    for frame in range(1000):
        dev.machine.cpu_write(frame << 12, frame.to_bytes(2, "little"))
    for frame in range(1000):
        assert dev.machine.cpu_read(frame << 12, 2) == frame.to_bytes(2, "little")
    assert dev.machine.mem.peek(0, RAM).count(0) == RAM


@pytest.mark.parametrize("page_shift", [12, 16])
def test_coherent_memory_is_past_the_cache_until_it_is_freed(page_shift):
    dev = device(page_shift=page_shift)
    machine, size = dev.machine, 3 << page_shift
    cpu, handle = dma_alloc_attrs(dev, size)
    machine.cpu_write(cpu + size - 9, b"past it..")
    assert dev.dma_read(handle + size - 9, 9) == b"past it.."
    dev.dma_write(handle, b"and back")
    assert machine.cpu_read(cpu, 8) == b"and back"
    dma_free_attrs(dev, size, cpu, handle)
    machine.cpu_write(handle, b"not now!")
    assert machine.mem.peek(handle, 8) == b"and back"


def test_what_the_device_wrote_is_seen_after_unmap_only():
    dev = device()
    machine = dev.machine
    page = machine.alloc_ram(0)
    machine.cpu_write(page, b"old")
    address = dma_map_page(dev, page, 0, 4096, DMA_FROM_DEVICE)
    assert machine.cpu_read(page, 3) == b"old"          # fetched ahead
    dev.dma_write(address, b"new")
    assert machine.cpu_read(page, 3) == b"old"
    dma_unmap_page(dev, address, 4096, DMA_FROM_DEVICE)
    assert machine.cpu_read(page, 3) == b"new"
