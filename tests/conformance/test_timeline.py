# SPDX-License-Identifier: MIT
"""The timeline of a case."""

import json

import pytest

import dma_ops
from conformance.checks import pairing
from conformance.execute import run_named
from conformance.selection import Case
from conformance.timeline import lines, recording
from dma_ops import DMA_TO_DEVICE, Device, DmaError, Machine
from scatterlist import SgTable


@pytest.fixture
def dev():
    return Device("d", Machine("m", ram=[(0, 64 << 20)]))


def test_calls_with_arguments_and_results(dev):
    page = dev.machine.alloc_ram(0)
    sgt = SgTable([(page, 0, 512), (page, 1024, 256)])
    with recording([]) as rows:
        address = dma_ops.dma_map_page(dev, page, 16, 32, dir=DMA_TO_DEVICE)
        dma_ops.dma_map_sgtable(dev, sgt, DMA_TO_DEVICE)
        dma_ops.dma_unmap_page(dev, address, 32, DMA_TO_DEVICE)
    assert [(row["t"], row["op"]) for row in rows] == [
        (0, "dma_map_page"), (1, "dma_map_sgtable"), (2, "dma_unmap_page"),
    ]
    assert rows[0]["args"] == {"dev": "d", "page": page, "offset": 16, "size": 32, "dir": 1}
    assert rows[0]["result"] == address == page + 16
    assert rows[1]["args"]["sgt"] == {"table": 0, "entries": [[page, 0, 512], [page, 1024, 256]]}
    assert rows[1]["result"]["segments"] == [[page, 512, 0], [page + 1024, 256, 0]]
    json.dumps(rows)


def test_errors_and_machines(dev):
    other = Device("e", Machine("n", ram=[(0, 64 << 20)]))
    with recording([]) as rows:
        dma_ops.dma_set_mask(other, (1 << 64) - 1)
        with pytest.raises(DmaError):
            dma_ops.dma_map_page(dev, 1 << 40, 0, 64, DMA_TO_DEVICE)
    assert [row["machine"] for row in rows] == [0, 1]
    assert "failed" in rows[1]["error"] and "result" not in rows[1]
    assert "m1 dma_map_page(" in lines(rows)[1] and " !! " in lines(rows)[1]


def test_off_is_untouched(dev):
    before = dma_ops.dma_map_page, pairing.dma_ops.dma_unmap_page, dma_ops.mappings.dma_map_page
    with recording([]):
        assert dma_ops.dma_map_page is not before[0] and dma_ops.mappings.dma_map_page is not before[2]
    assert (dma_ops.dma_map_page, pairing.dma_ops.dma_unmap_page, dma_ops.mappings.dma_map_page) == before
    with pytest.raises(ZeroDivisionError), recording([]):
        raise ZeroDivisionError
    assert dma_ops.dma_map_page is before[0] and dev.machine.events is None


def test_cache_maintenance_is_in_the_call():
    rows = []
    with recording(rows):
        run_named(Case("DMA-02", "jazz_dma_ops", "pica61"), "jazz_dma_ops", 0, "quick")
    assert any(event[0] == "sync_dev" for row in rows for event in row.get("events", ()))


def test_recording_changes_no_result():
    for what in ("DMA-13", "DMA-21", "route/same-switch"):
        case = Case(what, "dma_direct", "x86_64")
        plain = run_named(case, "dma_direct", 0, "quick")
        with recording([]) as rows:
            assert run_named(case, "dma_direct", 0, "quick") == plain
        with recording([]) as again:
            run_named(case, "dma_direct", 0, "quick")
        assert rows and rows == again


def test_the_last_rows_are_shown():
    rows = [{"t": t, "machine": 0, "op": "f", "args": {"a": [1] * 20}, "result": None} for t in range(50)]
    shown = lines(rows, last=3)
    assert shown[0] == "… 47 earlier operations" and len(shown) == 4
    assert shown[-1] == "   49 f(a [1, 1, 1, 1, 1, 1, 1, 1, and 12 more])"
