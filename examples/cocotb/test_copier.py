# SPDX-License-Identifier: MIT
"""The copier, behind Intel's IOMMU as Linux programs it. Run with cocotb: see examples/cocotb/run.py."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from arch import backends
from conformance.cocotb_adapter import DmaSpace, MemoryPort
from dma_ops import DMA_FROM_DEVICE, DMA_TO_DEVICE, mapped_page

WORDS = 16


def start(dut):
    """The clock, and the port on a new device; (device, its address space)."""
    dev = backends()["iommu_dma_ops"].machines[0].build()
    space = DmaSpace(dev)
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    cocotb.start_soon(MemoryPort(dut, space).run())
    return dev, space


async def copy(dut, source, target):
    """One copy; whether it failed."""
    dut.source.value, dut.target.value, dut.words.value = source, target, WORDS
    dut.start.value = 1
    await ClockCycles(dut.clk, 3)
    dut.start.value = 0
    await FallingEdge(dut.busy)
    return bool(int(dut.failed.value))


@cocotb.test()
async def copies(dut):
    dev, space = start(dut)
    ram = dev.machine
    data = bytes(range(4 * WORDS))
    source, target = ram.alloc_ram(0), ram.alloc_ram(0)
    ram.cpu_write(source, data)
    with (mapped_page(dev, source, 0, len(data), DMA_TO_DEVICE) as read,
          mapped_page(dev, target, 0, len(data), DMA_FROM_DEVICE) as written):
        assert not await copy(dut, read.dma_address, written.dma_address)
    assert ram.cpu_read(target, len(data)) == data
    assert space.faults == []


@cocotb.test()
async def stops_at_a_fault(dut):
    dev, space = start(dut)
    page = dev.machine.alloc_ram(0)
    with mapped_page(dev, page, 0, 4 * WORDS, DMA_TO_DEVICE) as read:
        assert await copy(dut, read.dma_address, read.dma_address)      # a write to what the device may only read
    assert [str(fault).rpartition(": ")[2] for fault in space.faults] == ["permission"]
