# SPDX-License-Identifier: MIT
"""A replay does what the trace did: the same counts, and on the same IOMMU the same segments as the real kernel."""

import gzip
import io
import math
import os
from collections import Counter
from pathlib import Path

import pytest

from arch import backends
from conformance.trace.cli import choose, examine
from conformance.trace.events import MAP, SG, Reader
from conformance.trace.history import History
from conformance.trace.replay import SAMPLES, Placement, Replay, Scenario, Unplaced

DATA = Path(__file__).parent / "data"
EXAMPLE = Path(__file__).resolve().parents[3] / "examples/trace/e1000e.trace.gz"
TRACES = {path.name.split(".")[0]: path for path in (EXAMPLE, *sorted(DATA.glob("*.gz")))}
SHARED = Path(os.environ.get("DMA_CONFORMANCE_SHARED", Path(__file__).parents[4] / "shared")) / "traces"
MIB, GIB = 1 << 20, 1 << 30


def config(name, machine=None):
    record = backends()[name]
    return record, next(config for config in record.machines if machine in (None, config.name))


def replay(trace, *where, scenario=None):
    stream = io.BytesIO(trace.encode()) if isinstance(trace, str) else trace.open("rb")
    with stream:
        _, _, replays = examine(stream, "trace", [config(*where)], scenario or Scenario())
    return replays[0]


def maps(device, *rows, unmap=True):
    """Text that maps and unmaps each (physical address, size)."""
    lines = []
    for i, (phys, size) in enumerate(rows):
        addr = (i + 1) << 40
        fields = f"{device} dir=BIDIRECTIONAL dma_addr={addr:x} size={size}"
        lines.append(f"  dd-1 [000] d.... {i}.000001: dma_map_page: {fields} phys_addr={phys:x} attrs=")
        if unmap:
            lines.append(f"  dd-1 [000] d.... {i}.000002: dma_unmap_page: {fields} attrs=")
    return "\n".join(lines) + "\n"


def test_a_real_kernels_segments():
    """VT-d merges the recorded lists as the recorded kernel did, length by length (6.12 there, 6.1 here)."""
    record, machine = config("iommu_dma_ops", "intel")
    reader = Reader(io.BytesIO((DATA / "sata-intel.trace.gz").read_bytes()))
    history, run, seen = History(reader), None, Counter()
    for event in reader:
        mapping = history.feed(event)
        run = run or Replay(record, machine, Scenario(), reader.ram)
        run.feed(event, mapping)
        if event.what == MAP and event.kind == SG and event.nents == len(event.rows) and not event.guessed:
            made = [length for _, length in run._live[event.line].ranges]
            assert made == [length for _, length in event.ranges], f"line {event.line}"
            seen[event.nents > event.ents] += 1
    assert seen[True] > 200 and seen[False] > 400


@pytest.mark.parametrize(("trace", "name"), [
    *((trace, name) for trace in ("e1000e", "sata-intel") for name in backends()),
    ("virtio-net-swiotlb", "dma_direct"),
])
def test_every_backend_replays_or_says_why(trace, name):
    run = replay(TRACES[trace], name)
    figures = run.figures
    if run.reason:
        assert run.reason.startswith(("every mapping fails", "the kernel would die: "))
        assert figures.maps == 0 or run.stopped_at
        return
    text = gzip.decompress(TRACES[trace].read_bytes()).decode()
    mapped = sum(text.count(f": {event}: ") for event in ("dma_map_page", "dma_map_sg", "dma_alloc"))
    assert figures.maps + figures.failed == mapped
    assert figures.unmaps == figures.maps, "the recorded driver was unbound: nothing stays mapped"
    assert 0 < figures.segments <= figures.entries
    assert figures.unreachable == 0
    assert 0 < len(run.series) <= SAMPLES + 1
    assert figures.peak_bytes >= max(sample["bytes"] for sample in run.series)
    last = run.series[-1]
    assert (last["bytes"], last["ranges"], last["bounce_slots"]) == (0, 0, 0)


@pytest.mark.parametrize(("machine", "scenario", "bounced"), [
    ("x86_64", Scenario(), 0),
    ("x86_64-force", Scenario(), None),
    ("x86_64", Scenario(swiotlb_force=True), None),
])
def test_bounced_bytes(machine, scenario, bounced):
    figures = replay(EXAMPLE, "dma_direct", machine, scenario=scenario).figures
    text = gzip.decompress(EXAMPLE.read_bytes()).decode()
    everything = sum(int(line.split(" size=")[1].split()[0]) for line in text.splitlines() if "dma_map_page: " in line)
    assert everything > MIB
    assert figures.bounced_bytes == (everything if bounced is None else bounced)


def test_a_mask_bounces_what_is_above_it():
    text = maps("d", (0x1000, 4096), (6 * GIB, 4096), (6 * GIB + 4096, 100))
    assert replay(text, "dma_direct", "x86_64-bounce").figures.bounced_bytes == 4196
    assert replay(text, "dma_direct", "x86_64-bounce", scenario=Scenario(mask_bits=40)).figures.bounced_bytes == 0
    assert replay(text, "dma_direct", "x86_64-bounce", scenario=Scenario(mask_bits=24)).reason == ""


def test_a_mask_that_is_refused():
    assert replay(maps("d", (0x1000, 1)), "dma_direct", "arm64-noncoherent",
                  scenario=Scenario(mask_bits=8)).reason == "dma_set_mask of 8 bits answers -EIO"


def test_p2p_refused():
    ram = "# dmesg [    0.000000] BIOS-e820: [mem 0x0000000000001000-0x000000003ffd0fff] usable\n"
    text = ram + maps("d", (0x2000, 64), (0xe0000000, 64)) + maps("d", (0xe0000000, 64)).replace(
        "_page", "_resource").replace("dma_addr=1", "dma_addr=2")
    asked, refused = replay(text, "dma_direct"), replay(text, "dma_direct", scenario=Scenario(p2p_refused=True))
    assert (asked.figures.maps, dict(asked.figures.failures)) == (3, {})
    assert (refused.figures.maps, dict(refused.figures.failures)) == (1, {"-EREMOTEIO": 2})


def test_the_bounce_pool_runs_out():
    rows = [(0x100000 * (i + 1), 256 << 10) for i in range(300)]
    figures = replay(maps("d", *rows, unmap=False), "dma_direct", "x86_64-force").figures
    assert (figures.maps, dict(figures.failures)) == (256, {"-ENOMEM": 44})
    assert figures.first_failure == 257


def test_a_too_large_bounce_is_what_the_real_kernel_refuses():
    figures = replay(maps("d", (0x100000, (256 << 10) + 1)), "dma_direct", "x86_64-force").figures
    assert dict(figures.failures) == {"-ENOMEM": 1}


def test_fragmentation():
    """Every second of 64 pages is unmapped: the bus addresses that are left have holes of a page."""
    rows = [(i << 13, 4096) for i in range(1, 65)]
    lines = maps("d", *rows).splitlines()
    text = "\n".join(lines[::2] + lines[1::4]) + "\n"
    run = replay(text, "iommu_dma_ops", "intel")
    assert run.series[-1]["ranges"] == 32
    assert run.series[-1]["largest_hole"] == 4096
    assert run.figures.peak_ranges == 64 and run.figures.flushes == 32


@pytest.mark.parametrize("name", ["jazz_dma_ops", "iommu_ops", "dma_direct", "xen_swiotlb_dma_ops"])
def test_placement(name):
    _, machine = config(name)
    device = machine.build()
    place = Placement(device)
    ram = device.machine.ram_ranges
    for phys in (0, 0x7000, 0x3fe61000, 0x1234567000, (1 << 52) - 4096):
        for size in (1, 4096, 65536):
            at = place.ram(phys, size)
            assert any(start <= at and at + size <= end for start, end in ram)
            assert at % 4096 == phys % 4096
            pool = device.io_tlb_mem
            assert pool is None or at + size <= pool.start or at >= pool.end
    inside = place.start + 5 * 4096
    assert place.ram(inside, 4096) == inside
    far = place.start + 3 * place.size + 8192
    assert place.ram(far + 4096, 4096) - place.ram(far, 4096) == 4096, "neighbours stay neighbours"
    assert place.moved >= 2
    with pytest.raises(Unplaced):
        place.ram((1 << 60) + 1, place.size + 1)
    assert place.mmio(0x1000, 64) >= max(end for _, end in ram)


def test_samples_are_few_and_in_order():
    run = replay(maps("d", *[(0x1000, 64)] * 3000), "dma_direct")
    assert SAMPLES // 2 <= len(run.series) <= SAMPLES + 1
    times = [sample["time"] for sample in run.series]
    assert times == sorted(times) and all(math.isfinite(time) for time in times)


def test_a_dead_kernel_stops():
    run = replay(DATA / "sata-intel.trace.gz", "vdpasim_dma_ops")
    assert run.reason == "the kernel would die: call of NULL dma_map_ops.map_sg"
    assert run.stopped_at > 1


def test_what_failed_in_the_trace_is_tried_and_undone():
    text = maps("d", (0x1000, 64), unmap=False).replace("dma_addr=10000000000", "dma_addr=ffffffffffffffff")
    run = replay(text, "iommu_dma_ops")
    assert (run.figures.maps, run.figures.unmaps, run.figures.failed) == (1, 1, 0)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["direct", "intel-strict", "swiotlb-force"])
def test_whole_recorded_traces(name):
    """Three kernels' block and network drivers, from boot to unbind: nothing wrong, and every backend has an answer."""
    path = SHARED / f"{name}.trace.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    with path.open("rb") as stream:
        reader, history, replays = examine(stream, name, choose(("*",), None), Scenario())
    assert (history.counts, history.live, reader.unknown, reader.damaged) == ({}, 0, 0, 0)
    assert len(history.buses) == 6 and reader.events.total() > 30_000
    maps = {replay.record.id: replay.figures.maps for replay in replays if not replay.reason}
    assert len(maps) >= 18
    assert max(maps.values()) == sum(reader.events[event] for event in ("dma_map_page", "dma_map_sg", "dma_alloc"))
