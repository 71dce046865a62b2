# SPDX-License-Identifier: MIT
"""The example backend keeps every rule; copies with one fault each turn the rules red that speak of it."""

import dataclasses
import errno
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from arch import MachineConfig
from conformance.cli import main
from conformance.execute import run_case
from conformance.facts import Subject
from conformance.selection import Case, SelectionError, backend, known_backends
from conformance.verdict import Verdict
from dma_ops import DMA_BIDIRECTIONAL, DMA_TO_DEVICE, Device, DmaError, DmaFault, Machine, dma_map_page, dma_unmap_page

ROOT = Path(__file__).resolve().parents[2]
NAME = "py:examples.backend:RECORD"


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(ROOT)


@pytest.fixture
def record():
    return backend(NAME)


def test_it_keeps_every_rule(tmp_path):
    done = CliRunner().invoke(main, ["run", "-b", NAME, "-n", "0", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    counts = done.output.rsplit("cases: ", 1)[1]
    assert "fail" not in counts and "broken" not in counts
    assert int(re.search(r"(\d+) pass", counts)[1]) >= 150
    assert "2 known" in counts                  # the core's own, once per machine


def broken(record, fault):
    """The record with HeronDmaOps replaced by a subclass that has one fault, on its first machine."""
    ops = fault(record.ops)

    def build():
        machine = Machine("heron", ram=((0, 64 << 20),), pci_p2pdma=True)
        return Device("0000:00:01.0", machine, dma_ops=ops(machine))

    return dataclasses.replace(record, ops=ops, machines=(MachineConfig("heron", "", build),))


def forgets_to_unwind(base):
    class Faulty(base):
        def map_sg(self, dev, sg, dir, attrs):
            self.undo = lambda segments: None
            try:
                return super().map_sg(dev, sg, dir, attrs)
            finally:
                del self.undo

    return Faulty


def leaves_the_entry(base):
    class Faulty(base):
        def write(self, at, entries):
            entries = list(entries)
            if any(entries):
                super().write(at, entries)

    return Faulty


def gives_all_rights(base):
    class Faulty(base):
        def enter(self, dev, pieces, dir, mask, align=1):
            return super().enter(dev, pieces, DMA_BIDIRECTIONAL, mask, align)

    return Faulty


def joins_anything_aligned(base):
    class Faulty(base):
        def joins(self, dev, pieces, phys, length):
            return not (sum(pieces[-1]) | phys) % 4096

    return Faulty


def says_try_again(base):
    class Faulty(base):
        def map_sg(self, dev, sg, dir, attrs):
            count = super().map_sg(dev, sg, dir, attrs)
            return -errno.EAGAIN if count < 0 else count

    return Faulty


def maps_what_it_cannot_reach(base):
    class Faulty(base):
        def runs(self, dev, sg):
            for entry in sg:
                yield [(entry.phys, entry.length)], False

    return Faulty


def ignores_byte_order(base):
    class Faulty(base):
        def write(self, at, entries):
            raw = b"".join(entry.to_bytes(8, "big") for entry in entries)
            self.machine.mem.poke(self.pages + at * 8, raw)

    return Faulty


@pytest.mark.parametrize(
    ("fault", "red"),
    [
        (forgets_to_unwind, ("DMA-13",)),
        (leaves_the_entry, ("DMA-21", "P2P-51")),
        (gives_all_rights, ("DMA-18",)),
        (joins_anything_aligned, ("DMA-08",)),
        (says_try_again, ("DMA-11", "P2P-41", "P2P-43")),
        (maps_what_it_cannot_reach, ("DMA-41", "P2P-34", "P2P-41")),
        (ignores_byte_order, ("DMA-18", "DMA-21")),
    ],
)
def test_a_fault_turns_its_rules_red(record, fault, red):
    faulty = broken(record, fault)
    sound = record.machines[0]
    for rule in red:
        verdicts = [
            run_case(Case(rule, faulty.id, "heron"), Subject(one, config), 0, "quick").verdict
            for one, config in ((record, sound), (faulty, faulty.machines[0]))
        ]
        assert verdicts == [Verdict.PASS, Verdict.FAIL], rule


def test_the_table_is_bytes_in_the_machines_order(record):
    for config, order in zip(record.machines, ("little", "big"), strict=True):
        dev = config.build()
        page = dev.machine.alloc_ram(0)
        address = dma_map_page(dev, page, 8, 100, DMA_TO_DEVICE)
        assert address == 0x40000008
        raw = dev.machine.mem.peek(dev.dma_ops.pages, 8)
        assert int.from_bytes(raw, order) == 1 << 63 | 1 << 62 | page
        dma_unmap_page(dev, address, 100, DMA_TO_DEVICE)
        assert not any(dev.machine.mem.peek(dev.dma_ops.pages, 8192))


@pytest.mark.parametrize(
    ("entry", "write", "reason"),
    [
        (0, False, "not-present"),
        (1 << 62 | 1 << 61, False, "not-present"),
        (1 << 63 | 1 << 61, False, "permission"),
        (1 << 63 | 1 << 62, True, "permission"),
        (7 << 61 | 1 << 52, False, "not-present"),
        (7 << 61 | 1, False, "not-present"),
    ],
)
def test_the_chip_refuses(record, entry, write, reason):
    dev = record.machines[0].build()
    dev.machine.mem.poke(dev.dma_ops.pages + 8 * 5, entry.to_bytes(8, "little"))
    with pytest.raises(DmaFault) as caught:
        dev.dma_ops.walker.lookup(dev, 0x40005123, write)
    assert caught.value.reason == reason


def test_first_fit_keeps_to_alignment_boundary_and_mask(record):
    dev = record.machines[0].build()
    ops = dev.dma_ops
    dev.segment_boundary_mask = 0xFFFF                          # 16 pages
    mask = dev.dma_mask
    assert [ops.take(dev, 3, mask), ops.take(dev, 14, mask), ops.take(dev, 2, mask)] == [0, 16, 3]
    assert ops.take(dev, 4, mask, 4) == 8
    assert ops.take(dev, 20, mask) == 30                        # longer than the boundary: as it comes
    with pytest.raises(DmaError):
        ops.take(dev, 1, 0x40000000 - 1)                        # below the window
    with pytest.raises(DmaError):
        ops.take(dev, 1025, mask)


def test_it_can_be_an_entry_point(tmp_path, monkeypatch):
    info = tmp_path / "heron-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heron\nVersion: 1.0\n")
    lines = ["[dma_conformance.backends]", "heron = examples.backend:RECORD", ""]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    sys.path.append(str(ROOT))
    known_backends.cache_clear()
    backend.cache_clear()
    try:
        assert backend("heron_dma_ops").ops.__name__ == "HeronDmaOps"
        done = CliRunner().invoke(main, ["explain", "DMA-08:heron_dma_ops:heron-be:legacy"])
        assert done.exit_code == 0 and "verdict     pass" in done.output
        (info / "entry_points.txt").write_text("[dma_conformance.backends]\nheron = examples.backend:build\n")
        known_backends.cache_clear()
        with pytest.raises(SelectionError, match=r"the entry point heron of .* is no BackendRecord"):
            known_backends()
    finally:
        monkeypatch.undo()
        known_backends.cache_clear()
        backend.cache_clear()
