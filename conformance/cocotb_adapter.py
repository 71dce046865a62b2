# SPDX-License-Identifier: MIT
"""The memory that a design under test sees through Linux's DMA mapping, for cocotb (extra: cocotb).

`DmaSpace` has the read() and write() that bus models such as cocotbext-axi want of an address space: each access goes
through the backend's walker, which decodes its table as the hardware would. `MemoryPort` answers a plain request and
acknowledge port of a design, and needs no bus model. An address that is not mapped, or not for this direction, is a
`DmaFault`: an error response on the bus, and a line in `faults`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from dma_ops import Device, DmaFault


class DmaSpace:
    """A device's bus addresses. read() and write() are coroutines; they take no simulation time."""

    def __init__(self, dev: Device) -> None:
        self.dev = dev
        self.faults: list[DmaFault] = []

    async def read(self, address: int, length: int, **_: Any) -> bytes:
        """Raises DmaFault, which is in faults then; so does write()."""
        try:
            return self.dev.dma_read(address, length)
        except DmaFault as fault:
            self.faults.append(fault)
            raise

    async def write(self, address: int, data: bytes, **_: Any) -> None:
        try:
            self.dev.dma_write(address, bytes(data))
        except DmaFault as fault:
            self.faults.append(fault)
            raise


class MemoryPort:
    """Answers one port: a clock edge with req asks for a word at addr (a write if we), the next one has ack for one
    cycle, with rdata, and err if the access faulted. Words are little-endian.

    signals renames the ports: {"req": "m_req"}. edge(handle) gives what is awaited, cocotb's RisingEdge.
    """

    PORTS = ("clk", "req", "we", "addr", "wdata", "ack", "rdata", "err")

    def __init__(
        self, dut: Any, space: DmaSpace, *, word: int = 4, signals: dict[str, str] | None = None,
        edge: Callable[[Any], Awaitable[Any]] | None = None,
    ) -> None:
        if edge is None:
            from cocotb.triggers import RisingEdge

            edge = RisingEdge
        unknown = set(signals or ()) - set(self.PORTS)
        if unknown:
            raise ValueError(f"the port has no signal {min(unknown)}; it has {', '.join(self.PORTS)}")
        self.space = space
        self.word = word
        self._edge: Callable[[Any], Awaitable[Any]] = edge
        self._at = {name: getattr(dut, (signals or {}).get(name, name)) for name in self.PORTS}

    async def run(self) -> None:
        """For ever; start it with cocotb.start_soon()."""
        at = self._at
        at["ack"].value = at["err"].value = 0
        while True:
            await self._edge(at["clk"])
            asked = int(at["req"].value) and not int(at["ack"].value)
            at["ack"].value = 1 if asked else 0
            if asked:
                await self._answer(int(at["addr"].value))

    async def _answer(self, address: int) -> None:
        at = self._at
        try:
            if int(at["we"].value):
                await self.space.write(address, int(at["wdata"].value).to_bytes(self.word, "little"))
            else:
                at["rdata"].value = int.from_bytes(await self.space.read(address, self.word), "little")
        except DmaFault:
            at["err"].value = 1
        else:
            at["err"].value = 0
