# SPDX-License-Identifier: MIT
"""Peers' memory in lists: marks, bus addresses, order, refusals."""

from __future__ import annotations

import errno

from dma_ops import Device, DmaMapOps
from dma_ops.p2pdma import p2pdma_map_type
from dma_ops.pyops import SgEntry, SgView

from .base import Broken, is_error, planted_in
from .targets import IOMMUS, P2P

MENDED = "py:conformance.saboteurs.mended"      # where neither real backend keeps the rule


def is_bus(dev: Device, entry: SgEntry) -> bool:
    return dev.machine.is_p2p_page(entry.page) and p2pdma_map_type(dev, entry.page) == "BUS_ADDR"


def bus_offset(dev: Device, phys: int) -> int:
    for provider in dev.machine.providers:
        for bar in provider.bars.values():
            if bar.start <= phys < bar.start + bar.size:
                return int(bar.bus - bar.start)
    return 0


class Lists(Broken):
    """Base: spoil() gets the segments of a list that was mapped; unmap gets the right ones back."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.right: dict[int, list[tuple[int, int, int]]] = {}

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        raise NotImplementedError

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count <= 0:
            return count
        self.right[sg[0].phys] = [(entry.dma_address, entry.dma_length, entry.dma_flags) for entry in sg]
        return self.spoil(dev, sg, count)

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        for entry, was in zip(sg, self.right.pop(sg[0].phys, ()), strict=False):
            entry.dma_address, entry.dma_length, entry.dma_flags = was
        self.inner_unmap_sg(dev, sg, dir, attrs)


@planted_in(*P2P, breaks=("P2P-36", "P2P-34"))
class MarkLost(Lists):
    """Bus addresses are not marked."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        for entry in sg:
            entry.bus_address = False
        return count


@planted_in(*IOMMUS, breaks=("P2P-36", "P2P-34"))
class MarkOnWrongSlot(Lists):
    """The mark is on the input entry, wherever its segment went."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        for entry in sg:
            entry.bus_address = is_bus(dev, entry)
        return count


@planted_in(*P2P, breaks=("P2P-36",))
class MarkOnTheNext(Lists):
    """The mark is on the segment behind the bus address."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        marks = [sg[i].bus_address for i in range(count)]
        for i in range(count):
            sg[i].bus_address = marks[i - 1]
        return count


@planted_in(*P2P, breaks=("P2P-50",))
class MarkKept(Broken):
    """Unmap leaves the marks."""

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        marks = [entry.bus_address for entry in sg]
        self.inner_unmap_sg(dev, sg, dir, attrs)
        for entry, mark in zip(sg, marks, strict=True):
            entry.bus_address = mark


@planted_in(*P2P, breaks=("P2P-35",), bug="HB-43", commit="3a19407913e8")
class BusOffsetSubtracted(Lists):
    """The bus offset is subtracted where it has to be added."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        for i in range(count):
            if sg[i].bus_address:
                offset = next(o for o in (bus_offset(dev, e.phys) for e in sg) if o)
                sg[i].dma_address = (sg[i].dma_address - 2 * offset) % (1 << 64)
        return count


@planted_in(*P2P, breaks=("P2P-35",))
class BusOffsetForgotten(Lists):
    """A bus segment carries the CPU's address of the BAR."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        peers = [entry.phys for entry in sg if is_bus(dev, entry)]
        for i in range(count):
            if sg[i].bus_address:
                sg[i].dma_address = peers.pop(0)
        return count


@planted_in(*P2P, breaks=("P2P-35", "P2P-34"), bug="HB-42", commit="db50fb87015b")
class BusLengthOfTheHead(Lists):
    """A bus segment's length is that of the list's first entry."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        for i in range(count):
            if sg[i].bus_address:
                sg[i].dma_length = sg[0].length
        return count


@planted_in(*P2P, breaks=("P2P-35",))
class BusPageOffsetLost(Lists):
    """A bus segment's address lacks the offset in the page."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        for i in range(count):
            if sg[i].bus_address:
                sg[i].dma_address &= ~(dev.machine.page_size - 1)
        return count


@planted_in(*P2P, breaks=("P2P-37",))
class MergeAcrossBus(Lists):
    """Bus segments that follow one another on the bus are merged."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        made = [(sg[i].dma_address, sg[i].dma_length, sg[i].dma_flags) for i in range(count)]
        out: list[tuple[int, int, int]] = []
        for address, length, flags in made:
            if out and flags and out[-1][2] and sum(out[-1][:2]) == address:
                out[-1] = out[-1][0], out[-1][1] + length, flags
            else:
                out.append((address, length, flags))
        for i, (address, length, flags) in enumerate(out):
            sg[i].dma_address, sg[i].dma_length, sg[i].dma_flags = address, length, flags
        for i in range(len(out), count):
            sg[i].dma_flags = 0
        return len(out)


@planted_in(*P2P, breaks=("P2P-38", "P2P-34"))
class OrderLost(Lists):
    """Bus segments come before all others."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        made = [(sg[i].dma_address, sg[i].dma_length, sg[i].dma_flags) for i in range(count)]
        for i, (address, length, flags) in enumerate(sorted(made, key=lambda row: not row[2])):
            sg[i].dma_address, sg[i].dma_length, sg[i].dma_flags = address, length, flags
        return count


@planted_in(*IOMMUS, breaks=("P2P-39",))
class BusTakesIova(Broken):
    """A bus segment gets an IOVA too, which unmap gives back."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.extra: dict[int, tuple[int, int, int]] = {}

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count > 0 and sg[0].bus_address:
            ram = dev.machine.ram_ranges[-1][0]
            size = dev.machine.page_size
            self.extra[sg[0].phys] = self.inner_map_page(dev, ram, 0, size, dir, attrs), size, dir
        return count

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        if sg[0].phys in self.extra:
            self.inner_unmap_page(dev, *self.extra.pop(sg[0].phys), attrs)
        self.inner_unmap_sg(dev, sg, dir, attrs)


@planted_in(*P2P, breaks=("P2P-40",))
class HostBridgeGetsBusAddresses(Lists):
    """What goes through the host bridge gets the bus address too, with its mark."""

    def spoil(self, dev: Device, sg: SgView, count: int) -> int:
        for i, entry in enumerate(sg):
            if i < count and dev.machine.is_p2p_page(entry.page) and count == len(sg):
                sg[i].dma_address, sg[i].bus_address = entry.phys + bus_offset(dev, entry.phys), True
        return count


@planted_in(*P2P, breaks=("P2P-41", "P2P-43"), name="wrong-errno-for-peers")
class WrongErrnoForPeers(Broken):
    """A route that is not supported is -EIO, which Linux 5.14 would have said."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        return -errno.EIO if count == -errno.EREMOTEIO else count


@planted_in(*P2P, breaks=("P2P-43",))
class RefusalIsRetryable(Broken):
    """A route that is not supported is -ENOMEM, after which drivers try again."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        return -errno.ENOMEM if count == -errno.EREMOTEIO else count


@planted_in(*IOMMUS, breaks=("P2P-41",))
class RefusalLeavesRam(Broken):
    """A refused list leaves its first entry of RAM mapped."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count == -errno.EREMOTEIO and not dev.machine.is_p2p_page(sg[0].page):
            self.inner_map_page(dev, sg[0].page, sg[0].offset, sg[0].length, dir, attrs)
        return count


@planted_in(*P2P, breaks=("P2P-41",))
class RefusalLeavesMarks(Broken):
    """A refused list keeps the marks of the entries before the refused one."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count == -errno.EREMOTEIO:
            for entry in sg:
                entry.bus_address = is_bus(dev, entry)
        return count


@planted_in(*P2P, breaks=("P2P-41", "P2P-42"))
class RefusedEntryDropped(Broken):
    """A list that cannot be mapped whole is mapped up to the entry that is not supported."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count != -errno.EREMOTEIO:
            return count
        for n in range(len(sg) - 1, 0, -1):
            count = self.inner_map_sg(dev, sg, dir, attrs, n)
            if count > 0:
                return count
        return -errno.EREMOTEIO


class AsRam(Broken):
    """Base: P2P memory is mapped page by page, without a look at the route, if wanted() says so."""

    def wanted(self, dev: Device, code: int) -> bool:
        raise NotImplementedError

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count > 0 or not self.wanted(dev, count):
            return count
        for entry in sg:
            addr: int = self.inner_map_page(dev, entry.page, entry.offset, entry.length, dir, attrs)
            if is_error(dev, addr):
                return count
            entry.dma_address, entry.dma_length, entry.dma_flags = addr, entry.length, 0
        return len(sg)


@planted_in(*P2P, breaks=("P2P-10", "P2P-25", "P2P-41", "P2P-42", "P2P-43", "P2P-47"))
class RouteIgnored(AsRam):
    """P2P memory that the device cannot reach is mapped as if it were RAM."""

    def wanted(self, dev: Device, code: int) -> bool:
        return code == -errno.EREMOTEIO


@planted_in("dma_direct/x86_64", "dma_direct/x86_64-bounce", breaks=("P2P-44",))
class PeersAreBounced(AsRam):
    """P2P memory that needs the bounce buffer goes through it."""

    def wanted(self, dev: Device, code: int) -> bool:
        return code == -errno.EIO and dev.io_tlb_mem is not None

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count > 0 or not self.wanted(dev, count):
            return count
        for entry in sg:
            entry.dma_address, entry.dma_length = entry.phys, entry.length
        return len(sg)


@planted_in(*P2P, breaks=("P2P-47",))
class StaleState(Broken):
    """What was found for one client stays in force for the next."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.first: object = None

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        self.first = self.first or dev.pci
        now, dev.pci = dev.pci, self.first  # type: ignore[assignment]
        try:
            return int(self.inner_map_sg(dev, sg, dir, attrs))
        finally:
            dev.pci = now


@planted_in("dma_direct/x86_64-force", *IOMMUS, breaks=("P2P-51",))
class UnmapStopsAtBus(Broken):
    """Unmap ends at the first bus segment."""

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        n = next((i for i, entry in enumerate(sg) if entry.bus_address), len(sg))
        if n:
            self.inner_unmap_sg(dev, sg, dir, attrs, n)
        for entry in sg:
            entry.bus_address = False


@planted_in("dma_direct/x86_64-force", *IOMMUS, breaks=("P2P-50",))
class UnmapTakesBus(Broken):
    """Unmap releases a bus segment's length of whatever the device mapped last."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.last = 0, 0

    def map_page(self, dev: Device, page: int, offset: int, size: int, dir: int, attrs: int) -> int:
        addr: int = self.inner_map_page(dev, page, offset, size, dir, attrs)
        self.last = addr, size
        return addr

    def unmap_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> None:
        bus = any(entry.bus_address for entry in sg)
        self.inner_unmap_sg(dev, sg, dir, attrs)
        if bus and self.last[1]:
            self.inner_unmap_page(dev, *self.last, dir, attrs)
            self.last = 0, 0


@planted_in(*P2P, breaks=("P2P-52",))
class SecondMapDiffers(Broken):
    """A list that was mapped before gets no bus addresses for its last entry."""

    def __init__(self, inner: DmaMapOps) -> None:
        super().__init__(inner)
        self.seen: set[int] = set()

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count > 0 and sg[0].phys in self.seen:
            sg[count - 1].bus_address = False
        self.seen.add(sg[0].phys)
        return count


@planted_in(*IOMMUS, breaks=("P2P-53",))
class SyncTakesBusForPhysical(Broken):
    """Syncs of a list do cache maintenance at the number of a bus address."""

    def sync_sg_for_cpu(self, dev: Device, sg: SgView, dir: int) -> None:
        for entry in sg:
            if entry.bus_address and dev.machine.events is not None:
                dev.machine.events.append(("sync_cpu", entry.dma_address, entry.dma_length, dir))
        self.inner_sync_sg_for_cpu(dev, sg, dir)


@planted_in(
    f"{MENDED}:IOMMU_DMA/smmuv3", f"{MENDED}:IOMMU_DMA/smmuv3-noncoherent", breaks=("P2P-45", "NEW-05"),
)
class CacheMaintenanceOfPeers(Broken):
    """Map does cache maintenance on P2P memory."""

    def map_sg(self, dev: Device, sg: SgView, dir: int, attrs: int) -> int:
        count: int = self.inner_map_sg(dev, sg, dir, attrs)
        if count > 0 and dev.machine.events is not None:
            for entry in sg:
                dev.machine.events.append(("sync_dev", entry.phys, entry.length, dir))
        return count


@planted_in(
    "alpha_pci_ops/tsunami-6g", "gart_dma_ops/opteron", "s390_pci_dma_ops/zpci", "sun4u_dma_ops/psycho",
    "sba_dma_ops/zx1-16k", "dma_iommu_ops/pseries", breaks=("P2P-31", "P2P-33"),
)
class FlagAlwaysSet(Broken):
    """DMA_F_PCI_P2PDMA_SUPPORTED is set though the backend looks at no route."""

    p2pdma = True


@planted_in(*IOMMUS, breaks=("P2P-31",))
class FlagNeverSet(Broken):
    """DMA_F_PCI_P2PDMA_SUPPORTED is not set."""

    p2pdma = False
