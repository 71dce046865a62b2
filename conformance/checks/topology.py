# SPDX-License-Identifier: MIT
"""A PCI tree around the device under test, and lists that mix its RAM with its peers' memory."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import dma_ops
from dma_ops import DmaError
from dma_ops.p2pdma import pci_alloc_p2pmem, pci_p2pdma_add_resource, pci_p2pmem_publish
from dma_ops.pci import PciDev, PciTree, PciType, Window

from .bench import SG_DMA_BUS_ADDRESS, Bench, Lot, Row, Segment, Violation

Kind = Literal["ram", "near", "near2", "far"]

FORWARDS = (0x8086, 0x2020)             # a host bridge that Linux lets peers cross
UNKNOWN = (0x8086, 0x29C0)              # one that it does not know
BAR_SIZE = 4 << 20


@dataclass(slots=True)
class Peers:
    """The device below a switch, with two providers beside it and one behind another root port.

        host bridge --+-- root port -- switch --+-- the device under test
                      |                         +-- near
                      |                         +-- near2
                      +-- root port -- far

    near and near2 are reached by bus address; far through the host bridge, if that forwards, or not at all.
    Bus addresses differ from CPU addresses, for near2 by another offset than for near.
    """

    bench: Bench
    tree: PciTree
    client: PciDev
    ports: dict[str, PciDev]
    providers: dict[str, PciDev]
    taken: dict[str, int] = field(default_factory=dict)

    def forwards(self) -> bool:
        """Can this device reach far at all? Through the host bridge P2P memory is refused with -EIO where it would
        have to be bounced."""
        b = self.bench.fresh()
        p = peers(b)
        try:
            b.map(b.table(p.rows("far")))
        except DmaError as error:
            if error.errno == errno.EIO:
                return False
            raise
        return True

    def row(self, kind: Kind, offset: int = 0, length: int = 0, *, next_to_last: bool = False) -> Row:
        """An entry of RAM or of a provider's memory; a new page each time."""
        b = self.bench
        length = length or b.page - offset
        if kind == "ram":
            return (b.frames(1 + (offset + length - 1) // b.page, contiguous=True)[0], offset, length)
        provider = self.providers[kind]
        if not next_to_last:
            pci_alloc_p2pmem(provider, b.page)          # so that no two entries are adjacent by themselves
        return (pci_alloc_p2pmem(provider, offset + length), offset, length)

    def rows(self, *kinds: Kind) -> list[Row]:
        """One entry of each kind, whole pages of RAM that may merge, P2P memory at differing offsets."""
        rnd, page = self.bench.random, self.bench.page
        rows = []
        for kind in kinds:
            if kind == "ram":
                rows.append(self.row("ram"))
            else:
                offset = rnd.choice((0, 16, 512))
                rows.append(self.row(kind, offset, rnd.choice((page - offset, page // 2, 2 * page - offset))))
        return rows

    def lot(self, rows: list[Row]) -> Lot:
        """Filled with random bytes: RAM by the CPU, P2P memory in place."""
        b = self.bench
        lot = Lot("mixed", rows, [], [])
        for page, offset, length in rows:
            raw = b.random.randbytes(length)
            if b.machine.is_p2p_page(page):
                b.machine.mem.poke(page + offset, raw)
            else:
                b.machine.cpu_write(page + offset, raw)
            lot.data.append(raw)
        return lot

    def seen(self, lot: Lot) -> bytes:
        """What lies in the entries: RAM as the CPU reads it, P2P memory in place."""
        b = self.bench
        return b"".join(
            (b.machine.mem.peek if b.machine.is_p2p_page(page) else b.machine.cpu_read)(page + offset, length)
            for page, offset, length in lot.rows
        )

    def kind(self, row: Row) -> Kind:
        for name, provider in self.providers.items():
            bar = provider.bars[0]
            if bar.start <= row[0] < bar.start + bar.size:
                return name  # type: ignore[return-value]
        return "ram"

    def bus(self, row: Row) -> int:
        """The bus address of an entry of P2P memory, from the BAR."""
        bar = self.providers[self.kind(row)].bars[0]
        return bar.bus + (row[0] + row[1] - bar.start)

    def bus_segments(self, lot: Lot) -> list[tuple[int, int]]:
        """What near and near2 entries must become: (bus address, length)."""
        return [(self.bus(row), row[2]) for row in lot.rows if self.kind(row) in ("near", "near2")]

    def expect_list(self, lot: Lot, segments: list[Segment]) -> None:
        """The device reaches every byte, in order; exactly the bus segments are marked, each at its bus address."""
        b = self.bench
        b.same(b.read(segments), lot.content, f"the device reads other bytes in {self.describe(lot)}")
        marked = [(address, length) for address, length, flags in segments if flags & SG_DMA_BUS_ADDRESS]
        meant = self.bus_segments(lot)
        if marked != meant:
            raise Violation(f"other segments are bus addresses in {self.describe(lot)}", marked=marked, meant=meant)
        raw = b.random.randbytes(lot.size)
        b.write(segments, raw)
        lot.data, at = [], 0
        for _, _, length in lot.rows:
            lot.data.append(raw[at : at + length])
            at += length

    def describe(self, lot: Lot) -> str:
        return "[" + " ".join(self.kind(row) for row in lot.rows) + "]"


def peers(b: Bench, host: tuple[int, int] = FORWARDS, *, acs: dict[str, int] | None = None, bus: int = 0) -> Peers:
    """Build the tree and put the device into it; the mask is raised to 64 bits if the backend takes that.

    acs: the ACS control of "port", "upstream", "downstream", "client", "near", … . bus: where near's memory is on
    the bus, by default far from all RAM.
    """
    acs = acs or {}
    top = max(end for _, end in b.machine.ram_ranges)
    start = max(1 << 41, (top + BAR_SIZE) & ~(BAR_SIZE - 1))
    tree = PciTree(b.machine)
    windows = [
        Window(start, start + BAR_SIZE, start - (bus or 1 << 40)),
        Window(start + BAR_SIZE, start + 2 * BAR_SIZE, start - (1 << 39)),
        Window(start + 2 * BAR_SIZE, start + 4 * BAR_SIZE, start - (1 << 38)),
    ]
    root = tree.add_host(windows=windows)
    root.add("00.0", *host, acs=acs.get("host"))
    ports = {"port": root.add("01.0", 0x1B36, 0x000C, kind=PciType.ROOT_PORT, acs=acs.get("port"))}
    ports["far port"] = root.add("02.0", 0x1B36, 0x000C, kind=PciType.ROOT_PORT, acs=acs.get("far port"))
    ports["upstream"] = ports["port"].add("00.0", 0x104C, 0x8232, kind=PciType.UPSTREAM, acs=acs.get("upstream"))
    below = {}
    for slot, name in enumerate(("client", "near", "near2")):
        key = f"{name} port"
        ports[key] = ports["upstream"].add(
            f"{slot:02x}.0", 0x104C, 0x8233, kind=PciType.DOWNSTREAM, acs=acs.get(key)
        )
        below[name] = ports[key].add("00.0", 0x1AF4, 0x1040 + slot, kind=PciType.ENDPOINT, acs=acs.get(name))
    below["far"] = ports["far port"].add("00.0", 0x1AF4, 0x1044, kind=PciType.ENDPOINT, acs=acs.get("far"))
    providers = {name: dev for name, dev in below.items() if name != "client"}
    for number, provider in enumerate(providers.values()):
        provider.add_bar(0, start + number * BAR_SIZE, BAR_SIZE)
        pci_p2pdma_add_resource(provider, 0)
        pci_p2pmem_publish(provider, True)
    b.device.pci = below["client"]
    b.device.is_pci = True
    with suppress(DmaError):
        dma_ops.dma_set_mask(b.device, (1 << 64) - 1)
    return Peers(b, tree, below["client"], ports, providers)
