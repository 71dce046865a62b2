# SPDX-License-Identifier: MIT
"""dma-debug: reports drivers that use the DMA API wrongly (kernel/dma/debug.c, Linux 6.1, with DMA_API_DEBUG_SG).

Every mapping is recorded when it is made and compared when it is unmapped or synced. The words of the reports are
Linux's, so that they can be looked up; so are its peculiarities: an entry of a list describes the CPU's side of the
slot whose bus address it has, which after merging is another one's; and error 10 needs an address that wraps around.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .device import Device
    from .machine import Machine

HASH_SIZE = 16384
HASH_SHIFT = 13
CACHE_LINE_SHIFT = 6
MAX_OVERLAP = 7                 # three tags of a radix tree
DMA_ATTR_SKIP_CPU_SYNC = 1 << 5
BIDIRECTIONAL, TO_DEVICE, FROM_DEVICE = range(3)
DIRECTIONS = ("DMA_BIDIRECTIONAL", "DMA_TO_DEVICE", "DMA_FROM_DEVICE", "DMA_NONE")
U64 = (1 << 64) - 1

Row = tuple[int, int, int, int, int, int]       # page, offset, length, dma_address, dma_length, dma_flags
Range = tuple[int, int]                         # start, end (exclusive)


class Kind(Enum):
    """What a mapping was made with; the value is Linux's spelling of it."""

    SINGLE = "single"
    SG = "scather-gather"
    COHERENT = "coherent"
    RESOURCE = "resource"


class Checked(Enum):
    """Did the driver ask dma_mapping_error() about the address?"""

    NOT_APPLICABLE = "dma map error check not applicable"
    NO = "dma map error not checked"
    YES = "dma map error checked"


@dataclass(slots=True, eq=False)
class Entry:
    """struct dma_debug_entry; place is the file:line of the call that made the mapping."""

    kind: Kind
    dev: Device
    address: int
    size: int
    direction: int
    phys: int = 0
    call_ents: int = 0
    mapped_ents: int = 0
    checked: Checked = Checked.NOT_APPLICABLE
    place: str = ""

    def fits(self, other: Entry) -> int:
        """How many of the four things that tell equal addresses apart agree."""
        return ((self.size == other.size) + (self.kind == other.kind) + (self.direction == other.direction)
                + (self.call_ents == other.call_ents))


@dataclass(frozen=True, slots=True)
class Report:
    """One wrong use. number is that of the error's kind, 1 to 22 (see REPORTS); place where the mapping was made."""

    number: int
    text: str
    device: str
    address: int | None = None
    size: int | None = None
    place: str = ""

    def __str__(self) -> str:
        return self.text + (f"\nMapped at: {self.place}" if self.place else "")


REPORTS = {
    1: "free of an invalid address",
    2: "free of memory that is not mapped",
    3: "free with another size",
    4: "free with the wrong function",
    5: "free with another CPU address",
    6: "unmap of a list with another entry count",
    7: "free with another direction",
    8: "dma_mapping_error() was never called",
    9: "sync of memory that is not mapped",
    10: "sync beyond the mapping",
    11: "sync with another direction",
    12: "sync for the CPU of what the device only reads",
    13: "sync to the device of what it only writes",
    14: "sync of a list with another entry count",
    15: "mapping of a stack",
    16: "mapping of kernel text or constants",
    17: "mapping of an address outside the linear map",
    18: "segment longer than the device takes",
    19: "segment across the device's boundary",
    20: "overlapping mappings of a cache line",
    21: "driver gone with mappings left",
    22: "no memory to go on: debugging is disabled",
}


class DmaDebug:
    """The records and reports of one machine. Devices take part once they are given to watch().

    reports: everything found, in order. Linux prints only the first num_errors of them, or all_errors; so does the
    machine's dmesg. stack, text and vmalloc are address ranges (start, end) for checks 15 to 17.
    """

    def __init__(self, machine: Machine, *, all_errors: bool = False, num_errors: int = 1) -> None:
        self.machine = machine
        self.all_errors = all_errors
        self.num_errors = num_errors
        self.reports: list[Report] = []
        self.disabled = False
        self.stack: list[Range] = []
        self.text: list[Range] = []
        self.vmalloc: list[Range] = [(0xffffc90000000000, 0xffffe90000000000)] if machine.bits == 64 else []
        self._buckets: dict[int, list[Entry]] = {}
        self._cache_lines: dict[int, int] = {}          # line number -> how many mappings beyond the first
        self._overflow_warned = False

    def watch(self, dev: Device) -> None:
        if dev.machine is not self.machine:
            raise ValueError(f"{dev.name} is not on machine {self.machine.name}")
        dev.debug = self

    @property
    def numbers(self) -> list[int]:
        """The numbers of the reports, in order."""
        return [report.number for report in self.reports]

    def entries(self, dev: Device | None = None) -> Iterator[Entry]:
        """The mappings that are live, bucket by bucket."""
        for _, bucket in sorted(self._buckets.items()):
            yield from (entry for entry in bucket if dev is None or entry.dev is dev)

    def dump(self, dev: Device | None = None) -> list[str]:
        """Lines in the form of debugfs' dma-api/dump."""
        shift = self.machine.page_shift
        return [f"{e.dev.name} {_driver(e.dev)} {e.kind.value} idx {_hash(e.address)} P={e.phys:x} "
                f"N={e.phys >> shift:x} D={e.address:x} L={e.size:x} {DIRECTIONS[e.direction]} {e.checked.value}"
                for e in self.entries(dev)]

    # -- reports and records -----------------------------------------------------------------------------------

    def _report(self, number: int, dev: Device, entry: Entry | None, text: str, *, address: int | None = None,
                size: int | None = None) -> None:
        text = f"DMA-API: {_driver(dev)} {dev.name}: {text}"
        report = Report(number, text, dev.name, address, size, entry.place if entry is not None else "")
        self.reports.append(report)
        if self.all_errors or self.num_errors > 0:
            self.machine.dmesg.append(str(report))
        if not self.all_errors and self.num_errors > 0:
            self.num_errors -= 1

    def _disable(self, dev: Device, text: str) -> None:
        self.disabled = True
        self.reports.append(Report(22, f"DMA-API: {text}", dev.name))
        self.machine.dmesg.append(f"DMA-API: {text}")

    def _add(self, entry: Entry, attrs: int) -> bool:
        """Record a mapping; False once debugging is disabled."""
        if self.machine._should_fail(b"debug entries"):
            self._disable(entry.dev, "debugging out of memory - disabling")
            return False
        entry.place = _caller()
        self._buckets.setdefault(_hash(entry.address), []).append(entry)
        if entry.direction == TO_DEVICE:
            return True
        line = entry.phys >> CACHE_LINE_SHIFT
        if self.machine._should_fail(b"debug cache lines"):
            self._disable(entry.dev, "cacheline tracking ENOMEM, dma-debug disabled")
            return False
        if line not in self._cache_lines:
            self._cache_lines[line] = 0
            return True
        if self._cache_lines[line] < MAX_OVERLAP:
            self._cache_lines[line] += 1
        elif not self._overflow_warned:
            self._overflow_warned = True
            self._report(20, entry.dev, entry,
                         f"exceeded {MAX_OVERLAP} overlapping mappings of cacheline {line:#018x}")
        if not attrs & DMA_ATTR_SKIP_CPU_SYNC:
            self._report(20, entry.dev, entry,
                         "cacheline tracking EEXIST, overlapping mappings aren't supported",
                         address=entry.address, size=entry.size)
        return True

    def _remove(self, entry: Entry) -> None:
        self._buckets[_hash(entry.address)].remove(entry)
        line = entry.phys >> CACHE_LINE_SHIFT
        if entry.direction != TO_DEVICE and line in self._cache_lines:
            self._cache_lines[line] -= 1
            if self._cache_lines[line] < 0:
                del self._cache_lines[line]

    def _best(self, bucket: int, ref: Entry, match: Callable[[Entry, Entry], bool]) -> Entry | None:
        """The perfect match if there is one, else the only match; several imperfect ones are none."""
        matches = [entry for entry in self._buckets.get(bucket, ()) if match(ref, entry)]
        for entry in matches:
            if entry.fits(ref) == 4:
                return entry
        return matches[0] if len(matches) == 1 else None

    def _find(self, ref: Entry) -> Entry | None:
        return self._best(_hash(ref.address), ref, lambda a, b: a.dev is b.dev and a.address == b.address)

    def _find_containing(self, ref: Entry) -> Entry | None:
        """The mapping that a sync lies in: in the bucket of its address, or one before it, and so on."""
        def contains(a: Entry, b: Entry) -> bool:
            return (a.dev is b.dev and b.address <= a.address
                    and (b.address + b.size) & U64 >= (a.address + a.size) & U64)

        start = ref.address >> HASH_SHIFT
        for back in range(min(HASH_SIZE, start + 1)):
            entry = self._best((start - back) & (HASH_SIZE - 1), ref, contains)
            if entry is not None:
                return entry
        return None

    # -- the checks --------------------------------------------------------------------------------------------

    def _check_unmap(self, ref: Entry) -> None:
        entry = self._find(ref)
        dev, address, size = ref.dev, ref.address, ref.size
        at = f"[device address={address:#018x}] [size={size} bytes]"
        if entry is None:
            mask = self.machine.dma_addr_mask
            if address & mask == mask:
                self._report(1, dev, None, "device driver tries to free an invalid DMA memory address",
                             address=address, size=size)
            else:
                self._report(2, dev, None, f"device driver tries to free DMA memory it has not allocated {at}",
                             address=address, size=size)
            return

        def report(number: int, text: str) -> None:
            self._report(number, dev, entry, text, address=address, size=size)

        if size != entry.size:
            report(3, f"device driver frees DMA memory with different size [device address={address:#018x}] "
                      f"[map size={entry.size} bytes] [unmap size={size} bytes]")
        if ref.kind != entry.kind:
            report(4, f"device driver frees DMA memory with wrong function {at} "
                      f"[mapped as {entry.kind.value}] [unmapped as {ref.kind.value}]")
        elif entry.kind == Kind.COHERENT and ref.phys != entry.phys:
            report(5, f"device driver frees DMA memory with different CPU address {at} "
                      f"[cpu alloc address={entry.phys:#018x}] [cpu free address={ref.phys:#018x}]")
        if ref.call_ents and ref.kind == Kind.SG and ref.call_ents != entry.call_ents:
            report(6, "device driver frees DMA sg list with different entry count "
                      f"[map count={entry.call_ents}] [unmap count={ref.call_ents}]")
        if ref.direction != entry.direction:
            report(7, f"device driver frees DMA memory with different direction {at} "
                      f"[mapped with {DIRECTIONS[entry.direction]}] [unmapped with {DIRECTIONS[ref.direction]}]")
        if entry.checked == Checked.NO:
            report(8, f"device driver failed to check map error{at} [mapped as {entry.kind.value}]")
        self._remove(entry)

    def _check_sync(self, ref: Entry, for_cpu: bool) -> None:
        entry = self._find_containing(ref)
        dev, address = ref.dev, ref.address
        if entry is None:
            self._report(9, dev, None, "device driver tries to sync DMA memory it has not allocated "
                         f"[device address={address:#018x}] [size={ref.size} bytes]", address=address, size=ref.size)
            return

        def report(number: int, text: str) -> None:
            self._report(number, dev, entry, text, address=address, size=ref.size)

        if ref.size > entry.size:
            report(10, f"device driver syncs DMA memory outside allocated range [device address={entry.address:#018x}] "
                       f"[allocation size={entry.size} bytes] [sync offset+size={ref.size}]")
        if entry.direction == BIDIRECTIONAL:
            return
        how = (f"[device address={address:#018x}] [size={entry.size} bytes] "
               f"[mapped with {DIRECTIONS[entry.direction]}] [synced with {DIRECTIONS[ref.direction]}]")
        if ref.direction != entry.direction:
            report(11, f"device driver syncs DMA memory with different direction {how}")
        if for_cpu and entry.direction != FROM_DEVICE and ref.direction != TO_DEVICE:
            report(12, f"device driver syncs device read-only DMA memory for cpu {how}")
        if not for_cpu and entry.direction != TO_DEVICE and ref.direction != FROM_DEVICE:
            report(13, f"device driver syncs device write-only DMA memory to device {how}")
        if ref.call_ents and ref.kind == Kind.SG and ref.call_ents != entry.call_ents:
            report(14, "device driver syncs DMA sg list with different entry count "
                       f"[map count={entry.call_ents}] [sync count={ref.call_ents}]")

    def _check_area(self, dev: Device, addr: int, size: int) -> None:
        if _within(addr, self.stack):
            self._report(15, dev, None, f"device driver maps memory from stack [addr={addr:016x}]", address=addr)
        if any(addr < end and start < addr + size for start, end in self.text):
            self._report(16, dev, None,
                         f"device driver maps memory from kernel text or rodata [addr={addr:016x}] [len={size}]",
                         address=addr, size=size)

    def _check_segment(self, dev: Device, row: Row) -> None:
        max_seg = dev.max_segment_size if dev.has_dma_parms and dev.max_segment_size else 65536
        boundary = dev.segment_boundary_mask if dev.has_dma_parms else 0
        boundary = boundary or self.machine.ulong_mask
        if row[2] > max_seg:
            self._report(18, dev, None, "mapping sg segment longer than device claims to support "
                         f"[len={row[2]}] [max={max_seg}]", address=row[3], size=row[2])
        start = row[3]
        end = (start + self._dma_len(row) - 1) & U64
        if (start ^ end) & ~boundary & U64:
            self._report(19, dev, None, f"mapping sg segment across boundary [start={start:#018x}] [end={end:#018x}] "
                         f"[boundary={boundary:#018x}]", address=start, size=self._dma_len(row))

    def _dma_len(self, row: Row) -> int:
        return row[4] if self.machine.need_sg_dma_length else row[2]

    # -- what the DMA API calls --------------------------------------------------------------------------------

    def map_single(self, dev: Device, addr: int, size: int) -> None:
        if self.disabled:
            return
        if not (_within(addr, self.machine.ram_ranges) or self.machine.is_p2p_page(addr)):
            self._report(17, dev, None, f"device driver maps memory from invalid area [addr={addr:016x}] [len={size}]",
                         address=addr, size=size)
        if _within(addr, self.vmalloc):
            self._report(17, dev, None, f"device driver maps memory from vmalloc area [addr={addr:016x}] [len={size}]",
                         address=addr, size=size)

    def map_page(self, dev: Device, page: int, offset: int, size: int, direction: int, addr: int, attrs: int) -> None:
        mask = self.machine.dma_addr_mask
        if self.disabled or addr & mask == mask:
            return
        self._check_area(dev, page + offset, size)
        self._add(Entry(Kind.SINGLE, dev, addr, size, direction, page + offset, checked=Checked.NO), attrs)

    def unmap_page(self, dev: Device, addr: int, size: int, direction: int) -> None:
        if not self.disabled:
            self._check_unmap(Entry(Kind.SINGLE, dev, addr, size, direction))

    def map_sg(self, dev: Device, rows: list[Row], mapped: int, direction: int, attrs: int) -> None:
        """rows are all entries of the call, of which the first `mapped` carry bus addresses."""
        if self.disabled:
            return
        for page, offset, length, *_ in rows:
            self._check_area(dev, page + offset, length)
        for row in rows[:mapped]:
            entry = Entry(Kind.SG, dev, row[3], self._dma_len(row), direction, row[0] + row[1], len(rows), mapped)
            self._check_segment(dev, row)
            if not self._add(entry, attrs):
                return

    def unmap_sg(self, dev: Device, rows: list[Row], nents: int, direction: int) -> None:
        """Stops after as many segments as the first one's mapping had."""
        if self.disabled:
            return
        mapped = 0
        for i, row in enumerate(rows):
            if mapped and i >= mapped:
                break
            ref = Entry(Kind.SG, dev, row[3], self._dma_len(row), direction, row[0] + row[1], nents)
            if i == 0:
                found = self._find(ref)
                mapped = found.mapped_ents if found is not None else 0
            self._check_unmap(ref)

    def alloc_coherent(self, dev: Device, size: int, addr: int, cpu_addr: int, attrs: int) -> None:
        if not self.disabled:
            self._add(Entry(Kind.COHERENT, dev, addr, size, BIDIRECTIONAL, cpu_addr), attrs)

    def free_coherent(self, dev: Device, size: int, cpu_addr: int, addr: int) -> None:
        if not self.disabled:
            self._check_unmap(Entry(Kind.COHERENT, dev, addr, size, BIDIRECTIONAL, cpu_addr))

    def map_resource(self, dev: Device, phys: int, size: int, direction: int, addr: int, attrs: int) -> None:
        """6.1 records a failed mapping too, at the address DMA_MAPPING_ERROR."""
        if not self.disabled:
            self._add(Entry(Kind.RESOURCE, dev, addr, size, direction, phys, checked=Checked.NO), attrs)

    def unmap_resource(self, dev: Device, addr: int, size: int, direction: int) -> None:
        if not self.disabled:
            self._check_unmap(Entry(Kind.RESOURCE, dev, addr, size, direction))

    def sync_single(self, dev: Device, addr: int, size: int, direction: int, for_cpu: bool) -> None:
        if not self.disabled:
            self._check_sync(Entry(Kind.SINGLE, dev, addr, size, direction), for_cpu)

    def sync_sg(self, dev: Device, rows: list[Row], nents: int, direction: int, for_cpu: bool) -> None:
        """Silent if the first entry is not mapped at all."""
        if self.disabled:
            return
        mapped = 0
        for i, row in enumerate(rows):
            ref = Entry(Kind.SG, dev, row[3], self._dma_len(row), direction, row[0] + row[1], nents)
            if i == 0:
                found = self._find(ref)
                mapped = found.mapped_ents if found is not None else 0
            if i >= mapped:
                break
            self._check_sync(ref, for_cpu)

    def mapping_error(self, dev: Device, addr: int) -> None:
        """Mark the first mapping at this address that is not checked yet."""
        if self.disabled:
            return
        for entry in self._buckets.get(_hash(addr), ()):
            if entry.dev is dev and entry.address == addr and entry.checked == Checked.NO:
                entry.checked = Checked.YES
                break

    def unbind(self, dev: Device) -> None:
        """The driver leaves the device: what it still has mapped is reported, with the last one found as example."""
        left = list(self.entries(dev))
        if self.disabled or not left:
            return
        entry = left[-1]
        self._report(21, dev, entry, f"device driver has pending DMA allocations while released from device "
                     f"[count={len(left)}]\nOne of leaked entries details: [device address={entry.address:#018x}] "
                     f"[size={entry.size} bytes] [mapped with {DIRECTIONS[entry.direction]}] "
                     f"[mapped as {entry.kind.value}]", address=entry.address, size=entry.size)


def enable(*devices: Device, all_errors: bool = False) -> DmaDebug:
    """Watch these devices, which are on one machine, from now on."""
    if not devices:
        raise ValueError("no device to watch")
    debug = DmaDebug(devices[0].machine, all_errors=all_errors)
    for dev in devices:
        debug.watch(dev)
    return debug


def _hash(address: int) -> int:
    return (address >> HASH_SHIFT) & (HASH_SIZE - 1)


def _driver(dev: Device) -> str:
    return "pci" if dev.is_pci else "platform"


def _within(addr: int, ranges: list[Range]) -> bool:
    return any(start <= addr < end for start, end in ranges)


def _caller() -> str:
    """file:line of the innermost frame outside this file: compiled code has none, so it is who called the API."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
