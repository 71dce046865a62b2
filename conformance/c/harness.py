# SPDX-License-Identifier: MIT
"""Backends under test in a process of their own: JSON lines on its stdin and stdout (schemas/harness.schema.json).

A question carries what the kernel knows of the device; the harness maps, and is asked as the hardware where a bus
address leads. Each machine has a process of its own.
"""

from __future__ import annotations

import errno
import json
import shlex
import subprocess
import weakref
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, partial
from typing import Any

from arch import BackendRecord, MachineConfig
from arch.record import TABLES_JOIN_PROVIDERS
from dma_ops import (
    DMA_BIDIRECTIONAL,
    Device,
    DmaError,
    DmaFault,
    Machine,
    PyDmaMapOps,
    dma_get_max_seg_size,
    dma_get_seg_boundary,
)
from dma_ops.pyops import SgView

from .backend import MIB, BackendError

ERROR = (1 << 64) - 1
REASONS = {1: "not-present", 2: "permission"}


class Harness:
    """The process. Raises BackendError where it does not speak the protocol."""

    def __init__(self, command: str) -> None:
        self.command = command
        try:
            words, pipe = shlex.split(command), subprocess.PIPE
            self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
        except (OSError, ValueError, IndexError) as error:
            raise BackendError(f"{command!r} cannot be started: {error}") from None
        weakref.finalize(self, _end, self.process)
        hello = self.ask("hello")
        if hello.get("protocol") != 1 or not isinstance(hello.get("name"), str):
            raise BackendError(f"{command!r} does not speak protocol 1: it answers {hello}")
        self.name: str = hello["name"]

    def ask(self, op: str, **words: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"op": op, **words}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            answer = json.loads(line) if line else None
        except (BrokenPipeError, ValueError) as error:
            raise BackendError(f"{self.command!r} answers {op} with what is no JSON: {error}") from None
        if not isinstance(answer, dict):
            raise BackendError(f"{self.command!r} ended at {op}")
        return answer


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):         # of what was not written
                pipe.close()


class ExecDmaOps(PyDmaMapOps):
    """A backend in a process of its own."""

    def __init__(self, machine: Machine, command: str) -> None:
        self.machine = machine
        self.harness = Harness(command)
        self.harness.ask("reset")

    def ask(self, op: str, dev: Device, mask: int | None = None, **words: object) -> dict[str, Any]:
        most = dev.dma_mask if mask is None else mask
        return self.harness.ask(
            op, page_size=self.machine.page_size, dma_mask=min(most, dev.bus_dma_limit or most),
            max_seg_size=dma_get_max_seg_size(dev), seg_boundary=dma_get_seg_boundary(dev), **words,
        )

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int | None:
        if self.machine.is_p2p_page(page):
            return None
        addr = int(self.ask("map_page", dev, phys=page + offset, size=size, dir=dir)["addr"])
        return None if addr == ERROR else addr

    def unmap_page(self, dev: Device, addr: int, size: int, dir: int, attrs: int) -> None:
        self.ask("unmap_page", dev, addr=addr, size=size, dir=dir)

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        if any(self.machine.is_p2p_page(entry.page) for entry in sg):
            return -errno.EREMOTEIO
        rows = [[entry.phys, entry.length, 0, 0] for entry in sg]
        answer = self.ask("map_sg", dev, list=rows, dir=dir)
        if answer["ret"] >= 0:
            for entry, (address, length) in zip(sg, answer["list"], strict=True):
                entry.dma_address, entry.dma_length = address, length
        return int(answer["ret"])

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        rows = [[entry.phys, entry.length, entry.dma_address, entry.dma_length] for entry in sg]
        self.ask("unmap_sg", dev, list=rows, dir=dir)
        for entry in sg:
            entry.dma_length = 0

    def alloc(self, dev: Device, size: int, attrs: int) -> tuple[int, int]:
        order = ((size - 1) // self.machine.page_size).bit_length()
        try:
            phys = self.machine.alloc_ram(order)
        except MemoryError:
            raise DmaError(errno.ENOMEM) from None
        whole = self.machine.page_size << order
        addr = self.ask("map_page", dev, dev.coherent_dma_mask, phys=phys, size=whole, dir=DMA_BIDIRECTIONAL)["addr"]
        if addr == ERROR:
            self.machine.free_ram(phys)
            raise DmaError(errno.ENOMEM)
        return phys, addr

    def free(self, dev: Device, size: int, cpu_addr: int, addr: int, attrs: int) -> None:
        whole = self.machine.page_size << ((size - 1) // self.machine.page_size).bit_length()
        self.ask("unmap_page", dev, addr=addr, size=whole, dir=DMA_BIDIRECTIONAL)
        self.machine.free_ram(cpu_addr)

    def translate(self, dev: Device, addr: int, write: bool) -> tuple[int, int]:
        answer = self.harness.ask("translate", addr=addr, write=int(write))
        if answer["ret"]:
            raise DmaFault(addr, REASONS.get(answer["ret"], "malformed"), write)
        return answer["phys"], answer["run"]

    def resources(self) -> dict[str, int]:
        return {"resources": self.harness.ask("resources")["n"]}


def build(command: str, name: str, ram: Iterable[tuple[int, int]], page_shift: int) -> Device:
    machine = Machine(name, arch="exec", page_shift=page_shift, ram=ram, pci_p2pdma=True)
    return Device("0000:00:01.0", machine, dma_ops=ExecDmaOps(machine, command))


@cache
def record(name: str) -> BackendRecord:
    """The backend that exec:COMMAND names. Raises BackendError."""
    command = name.removeprefix("exec:")
    made = partial(build, command)
    return BackendRecord(
        id=Harness(command).name, ops=ExecDmaOps, source=(f"{shlex.split(command)[0]}: harness",),
        machines=(
            MachineConfig("4k", "pages of 4 KiB, 64 MiB", partial(made, "4k", ((0, 64 * MIB),), 12)),
            MachineConfig("64k", "pages of 64 KiB, 128 MiB", partial(made, "64k", ((0, 128 * MIB),), 16)),
        ),
        p2pdma=False, walker="harness_translate", proof="read", known=(TABLES_JOIN_PROVIDERS,),
    )
