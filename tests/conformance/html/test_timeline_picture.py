# SPDX-License-Identifier: MIT
"""A timeline as a picture."""

import re
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

import dma_ops
from conformance.cli import main
from conformance.html.timeline import LAST, Axis, picture, standalone, tell
from conformance.timeline import recording
from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, Device, Machine
from dma_ops.swiotlb import swiotlb_init


@pytest.fixture
def dev():
    return Device("d", Machine("m", ram=[(0, 64 << 20)]))


def life(dev):
    page = dev.machine.alloc_ram(0)
    with recording([]) as rows:
        address = dma_ops.dma_map_page(dev, page, 0, 512, dir=DMA_FROM_DEVICE)
        dma_ops.dma_sync_single_for_cpu(dev, address, 512, DMA_FROM_DEVICE)
        dma_ops.dma_sync_single_for_device(dev, address, 512, DMA_FROM_DEVICE)
        dma_ops.dma_unmap_page(dev, address, 512, DMA_FROM_DEVICE)
    return rows, address


def test_who_owns_it_when(dev):
    rows, address = life(dev)
    (mapping,) = tell(rows).mappings
    assert mapping.segments == [(address, 512)]
    assert mapping.owners == [(0, "dev"), (1, "cpu"), (2, "dev")]
    assert (mapping.begin, mapping.end) == (0, 3)


def test_bounce_slots_and_flushes_are_counted(dev):
    dev.io_tlb_mem = swiotlb_init(dev.machine, force_bounce=True)
    page = dev.machine.alloc_ram(0)
    with recording([]) as rows:
        address = dma_ops.dma_map_page(dev, page, 0, 4096, dir=DMA_BIDIRECTIONAL)
        dma_ops.dma_unmap_page(dev, address, 4096, DMA_BIDIRECTIONAL)
    assert [row.get("counts") for row in rows] == [{"bounce slots": 2}, {"bounce slots": -2}]
    beside = tell(rows).beside
    assert [[sign for sign, _ in signs] for signs in beside.values()] == [["B", ">"], ["b", "<"]]
    assert beside[0][1][1] == "4096 bytes are copied into the bounce buffer"


@pytest.mark.parametrize(("dir", "events"), [
    (DMA_TO_DEVICE, [[1], [], [1], []]), (DMA_FROM_DEVICE, [[1], [2], [], [2]]),
    (DMA_BIDIRECTIONAL, [[1], [2], [1], [2]]),
], ids=["to", "from", "both"])
def test_bounce_copies_are_events(dev, dir, events):
    """The map always copies in: what the device does not write must be the original's bytes."""
    dev.io_tlb_mem = swiotlb_init(dev.machine, force_bounce=True)
    page = dev.machine.alloc_ram(0)
    with recording([]) as rows:
        address = dma_ops.dma_map_page(dev, page, 16, 512, dir=dir)
        dma_ops.dma_sync_single_for_cpu(dev, address, 100, dir)
        dma_ops.dma_sync_single_for_device(dev, address, 100, dir)
        dma_ops.dma_unmap_page(dev, address, 512, dir)
    copies = [[event for event in row.get("events", ()) if event[0] == "bounce"] for row in rows]
    assert copies == [[["bounce", page + 16, size, way] for way in ways]
                      for ways, size in zip(events, (512, 100, 100, 512), strict=True)]


def test_vduse_copies_each_granule():
    from arch import backends

    device = backends()["vduse_dev_dma_ops"].machines[0].build()
    page = device.machine.alloc_ram(1)
    with recording([]) as rows:
        dma_ops.dma_map_page(device, page, 0, 8192, dir=DMA_TO_DEVICE)
    assert [event[:3] for event in rows[0]["events"]] == [["bounce", page, 4096], ["bounce", page + 4096, 4096]]


def test_an_iotlb_flush_of_an_unmap():
    from arch import backends

    device = backends()["iommu_dma_ops"].machines[0].build()
    page = device.machine.alloc_ram(0)
    with recording([]) as rows:
        address = dma_ops.dma_map_page(device, page, 0, 4096, dir=DMA_BIDIRECTIONAL)
        dma_ops.dma_unmap_page(device, address, 4096, DMA_BIDIRECTIONAL)
    assert rows[1]["counts"] == {"IOTLB flushes": 1}
    assert ("F", "1 IOTLB flushes") in tell(rows).beside[1]


def test_an_access_to_what_is_not_mapped_is_marked():
    rows = [{"t": 0, "machine": 0, "op": "device reads", "args": {"at": [[4096, 16, 0]]}, "error": "DmaFault"}]
    assert tell(rows).marks == [(0, 4096, "R", True)]
    assert ">R!</text>" in picture(rows)


def test_addresses_keep_their_order_and_do_not_overlap():
    axis = Axis([(0, 4096), (1 << 40, 64), (8192, 4096), (1 << 20, 1 << 16)])
    assert axis.clusters == [(0, 12288), (1 << 20, (1 << 20) + (1 << 16)), (1 << 40, (1 << 40) + 64)]
    points = [axis.x(at) for at in (0, 4096, 12287, 1 << 20, 1 << 40, (1 << 40) + 64)]
    assert points == sorted(points)
    assert len(set(points)) == len(points)
    assert points[-1] <= axis.width


def test_it_is_one_well_formed_element(dev):
    rows, _ = life(dev)
    rows[0]["error"] = "<b> & 'more'"
    root = ElementTree.fromstring(standalone(picture(rows, "a & b")))
    assert root.tag.endswith("}svg")
    drawn = "".join(root.itertext())
    assert "<b> & 'more'" in drawn
    assert "a & b" in drawn


def test_long_ones_are_their_end(dev):
    rows = [row | {"t": i} for i in range(20) for row in life(dev)[0]]
    assert len(re.findall(r'xml:space="preserve"', picture(rows))) == LAST


def test_explain_writes_one():
    result = CliRunner().invoke(main, ["explain", "DMA-05:gart_dma_ops:opteron:legacy", "--form", "svg"])
    assert result.exit_code == 0, result.output
    assert ElementTree.fromstring(result.stdout).tag.endswith("}svg")


def test_explain_of_a_case_that_does_not_run():
    result = CliRunner().invoke(main, ["explain", "P2P-30:gart_dma_ops:opteron:legacy", "--form", "svg"])
    assert result.exit_code == 2
    assert "has no timeline" in result.output
