# SPDX-License-Identifier: MIT
"""Random calls of the Python API, sensible and hostile: what test_api.py runs, here or in a process of its own.

python hostile.py SEED CALLS BACKEND MACHINE plays against a backend's record: a crash is the exit status of a signal.
"""

import contextlib
import inspect
import random
import sys

import dma_ops
from dma_ops import (
    Device,
    DmaError,
    DmaFault,
    DmaMapOps,
    KernelBug,
    Machine,
    PyDmaMapOps,
    Walker,
    WrappedOps,
    debug,
    p2pdma,
)
from dma_ops.pci import PciTree, PciType
from scatterlist.core import SgTable

ALLOWED = (DmaError, DmaFault, KernelBug, ValueError, TypeError, OverflowError)
FUNCTIONS = {name: (function, tuple(inspect.signature(function).parameters)) for name, function in vars(dma_ops).items()
             if name.startswith("dma_") and callable(function)}
BAR = 0xe0000000
U64 = 1 << 64
HOSTILE = (None, "x", 1.5, -1, -U64, U64, U64 << 64, b"", [], object())
EDGES = (0, 1, 0xfff, 0x1000, 0xffffffff, 1 << 32, 1 << 44, 1 << 63, U64 - 0x1000, U64 - 1)


class Forgetful(PyDmaMapOps):
    """Answers what comes first; has no hardware."""

    def map_sg(self, dev, sg, dir, attrs):
        for entry in sg:
            entry.dma_address = entry.phys
            entry.dma_length = entry.length
        return len(sg)

    def map_page(self, dev, page, offset, size, dir, attrs):
        return page + offset & U64 - 1


def own_devices():
    """Devices of several machines: direct ones, a Python backend, a wrapped one, one that nothing was told of."""
    machine = Machine("p2p", arch="x86_64", pci_p2pdma=True, ram=((0, 1 << 26),), cached=True)
    tree = PciTree(machine, cpu=("AMD", 0x17))
    host = tree.add_host()
    up = host.add("01.0", 1, 1, kind=PciType.ROOT_PORT).add("00.0", 1, 1, kind=PciType.UPSTREAM)
    client, provider = (up.add(f"0{i}.0", 1, 1, kind=PciType.DOWNSTREAM).add("00.0", 1, 1) for i in range(2))
    provider.add_bar(0, BAR, 4 << 20)
    p2pdma.pci_p2pdma_add_resource(provider, 0)
    peer = Device("peer", machine, mask=U64 - 1)
    peer.pci = client
    watched = Device("watched", machine, coherent=False)
    debug.enable(watched)
    pages64k = Machine("64k", page_shift=16, ram=((1 << 20, 1 << 28),))
    small = Machine("small", bits=32, ram=((0, 1 << 24),), big_endian=True)
    return [peer, watched, Device("64k", pages64k), Device("small", small, pci=False, dma_parms=False),
            Device("python", machine, dma_ops=Forgetful()), Device("wrapped", machine, dma_ops=WrappedOps(Forgetful())),
            Device("empty", machine, dma_ops=PyDmaMapOps()), Device("null", machine, dma_ops=DmaMapOps())]


class Game:
    def __init__(self, seed, devices, ops_classes=()):
        self.random = random.Random(seed)
        self.devices = devices
        self.broken = [Device.__new__(Device), Device("unmade", Machine.__new__(Machine)), None, 5]
        for cls in ops_classes:         # a backend that was never initialised
            with contextlib.suppress(TypeError):
                self.broken.append(Device("raw", devices[0].machine, dma_ops=cls.__new__(cls)))
        self.tables = []
        self.addresses = []
        self.states = [dma_ops.DmaIovaState() for _ in range(3)]
        self.counts = dict.fromkeys(("answered", "refused"), 0)
        self.sentences = set()
        self.functions = list(FUNCTIONS)

    def pick(self, *choices):
        return self.random.choice(choices)

    def device(self):
        return self.random.choice(self.devices if self.random.random() < 0.96 else self.broken)

    def page(self, dev):
        machine = getattr(dev, "machine", None) or self.devices[0].machine
        start, end = self.random.choice(machine.ram_ranges or [(0, 1 << 20)])
        size = machine.page_size or 4096
        return self.random.randrange(start, min(end, start + (1 << 24)), size) & ~(size - 1)

    def table(self, dev):
        roll = self.random.random()
        if roll < 0.03:
            return self.pick(None, SgTable.__new__(SgTable), 3)
        if self.tables and roll < 0.6:
            return self.random.choice(self.tables)
        machine = getattr(dev, "machine", None)
        shift = machine.page_shift if machine is not None and roll < 0.97 else self.pick(12, 13, 14, 16)
        rows = [(BAR + 0x1000 * self.random.randrange(64) if self.random.random() < 0.1 else self.page(dev),
                 self.pick(0, 0, 0, 64, 4000, 5000), self.pick(1, 512, 4096, 4096, 65536, 0))
                for _ in range(self.pick(1, 2, 3, 8, 300))]
        if roll > 0.99:
            rows[-1] = (*rows[-1][:2], 0xffffffff)
        made = SgTable(rows, page_shift=shift)
        self.tables.append(made)
        if len(self.tables) > 40:
            self.tables.pop(self.random.randrange(40))
        return made

    def argument(self, name, dev):
        roll = self.random.random()
        if roll < 0.02:
            return self.random.choice(HOSTILE)
        if name == "sgt":
            return self.table(dev)
        if name == "dir":
            return self.pick(0, 1, 2, 0, 1, 2, 0, 1, 2, 3, -1, 1 << 31)
        if name == "attrs":
            return self.pick(0, 0, 0, 0, 32, 1 << 7, 0x3ff, U64 - 1)
        if name == "state":
            state = self.random.choice(self.states)
            if roll < 0.04:
                state.addr, state.size = self.random.choice(EDGES) & U64 - 1, self.pick(0, 1, 4096, (1 << 63) - 1)
            return state
        if name in ("size", "nents", "mapped_len"):
            return self.pick(0, 1, 7, 100, 512, 4096, 4097, 65536, 1 << 20, 1 << 32, (1 << 63) - 1, 1 << 63, U64 - 1)
        if name == "offset":
            return self.pick(0, 0, 16, 4095, 65536, U64 - 1)
        if name == "mask":
            return self.pick(0, 0xffffff, 0xffffffff, (1 << 40) - 1, U64 - 1, U64 - 1, 5)
        if name == "page":
            return self.page(dev) if roll < 0.9 else self.random.choice(EDGES)
        if self.addresses and roll < 0.6:
            return self.random.choice(self.addresses)
        return self.random.choice(EDGES) if roll < 0.8 else self.page(dev)

    def play(self, calls):
        for _ in range(calls):
            try:
                if self.random.random() < 0.9:
                    function, parameters = FUNCTIONS[self.random.choice(self.functions)]
                    dev = self.device()
                    answer = function(dev, *(self.argument(name, dev) for name in parameters[1:]))
                    self.keep(answer)
                else:
                    self.device_side()
                self.counts["answered"] += 1
            except ALLOWED as error:
                self.counts["refused"] += 1
                if isinstance(error, ValueError):
                    self.sentences.add(str(error))
        return self.counts

    def keep(self, answer):
        for value in answer if isinstance(answer, tuple) else (answer,):
            if isinstance(value, SgTable):
                self.tables.append(value)
            elif isinstance(value, int):
                self.addresses.append(value)
                del self.addresses[:-50]

    def device_side(self):
        dev = self.device()
        if not isinstance(dev, Device):
            return
        if self.random.random() < 0.3:
            dev.dma_write(self.argument("addr", dev), self.pick(b"", b"abc", bytes(5000)))
        elif self.random.random() < 0.6:
            dev.dma_read(self.argument("addr", dev), self.pick(0, 1, 64, 5000))
        elif self.random.random() < 0.5:
            dev.resources()
        else:
            walker = dev.direct.walker if dev.direct is not None else Walker()
            walker.lookup(self.device(), self.argument("addr", dev))


if __name__ == "__main__":
    from arch import backends

    seed, calls, backend, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    record = backends()[backend]
    (config,) = (config for config in record.machines if config.name == name)
    game = Game(seed, [config.build() for _ in range(2)], (record.ops,))
    print(game.play(calls))
