# SPDX-License-Identifier: MIT
"""The address space for a design under test: with handles and clock edges of our own, and in a simulator."""

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from arch import backends
from conformance.cocotb_adapter import DmaSpace, MemoryPort
from dma_ops import DMA_BIDIRECTIONAL, DMA_FROM_DEVICE, DMA_TO_DEVICE, DmaFault, mapped_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["iommu_dma_ops", "jazz_dma_ops", "sun4u_dma_ops"])
def dev(request):
    return backends()[request.param].machines[0].build()


def test_space(dev):
    space = DmaSpace(dev)
    page = dev.machine.alloc_ram(0, 0xffffff)
    dev.machine.cpu_write(page, b"to the device")
    with mapped_page(dev, page, 0, 64, DMA_BIDIRECTIONAL) as mapping:
        assert asyncio.run(space.read(mapping.dma_address, 13, prot=0)) == b"to the device"
        asyncio.run(space.write(mapping.dma_address + 3, bytearray(b"from")))
    assert dev.machine.cpu_read(page, 13) == b"to fromdevice"
    assert space.faults == []


class Design:
    """A fake dut: as many handles as the port has, and a bus master that is stepped at each edge."""

    def __init__(self, steps, prefix=""):
        self.handles = {name: SimpleNamespace(value=0) for name in MemoryPort.PORTS}
        for name, handle in self.handles.items():
            setattr(self, prefix + name, handle)
        self.steps = iter(steps)
        self.seen = []

    async def edge(self, handle):
        """Between two edges the design sees what the port answered, and asks anew; after the last step it ends."""
        assert handle is self.handles["clk"]
        now = {name: handle.value for name, handle in self.handles.items()}
        self.seen.append((now["ack"], now["err"], now["rdata"] if now["ack"] and not now["we"] else None))
        step = next(self.steps, None)
        if step is None:
            raise asyncio.CancelledError
        for name, value in step.items():
            self.handles[name].value = value


def run(design, space, **options):
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(MemoryPort(design, space, edge=design.edge, **options).run())
    return design.seen


def test_port():
    dev = backends()["iommu_dma_ops"].machines[0].build()
    page = dev.machine.alloc_ram(0)
    dev.machine.cpu_write(page, (0x12345678).to_bytes(4, "little"))
    space = DmaSpace(dev)
    with (mapped_page(dev, page, 0, 64, DMA_TO_DEVICE) as read,
          mapped_page(dev, page, 64, 64, DMA_FROM_DEVICE) as written):
        design = Design([
            {"req": 1, "we": 0, "addr": read.dma_address},
            {"req": 0}, {},
            {"req": 1, "we": 1, "addr": written.dma_address, "wdata": 0xcafe},
            {"req": 1},                         # still up while it is acknowledged: no second one
            {"req": 0, "we": 0},
            {"req": 1, "we": 1, "addr": read.dma_address},
            {"req": 0},
        ], prefix="m_")
        seen = run(design, space, signals={name: f"m_{name}" for name in MemoryPort.PORTS})
    assert [(ack, err) for ack, err, _ in seen] == [
        (0, 0), (1, 0), (0, 0), (0, 0), (1, 0), (0, 0), (0, 0), (1, 1), (0, 1)]
    assert seen[1][2] == 0x12345678
    assert dev.machine.cpu_read(page + 64, 4) == b"\xfe\xca\0\0"
    assert [type(fault) for fault in space.faults] == [DmaFault]


def test_port_after_unmap():
    dev = backends()["s390_pci_dma_ops"].machines[1].build()            # strict: nothing stays valid after unmap
    page = dev.machine.alloc_ram(0)
    with mapped_page(dev, page, 0, 64, DMA_TO_DEVICE) as read:
        address = read.dma_address
    space = DmaSpace(dev)
    assert run(Design([{"req": 1, "addr": address}]), space)[1][:2] == (1, 1)
    assert "not-present" in str(space.faults[0])


def test_unknown_signal():
    with pytest.raises(ValueError, match="the port has no signal clock; it has clk, req"):
        MemoryPort(Design([]), None, signals={"clock": "clk"}, edge=lambda handle: None)


@pytest.mark.skipif(not shutil.which("iverilog"), reason="iverilog is not installed")
@pytest.mark.skipif(importlib.util.find_spec("cocotb") is None, reason="cocotb is not installed")
def test_example_in_a_simulator(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-P", str(ROOT / "examples/cocotb/run.py")], capture_output=True, text=True,
                          check=False, env=environment, cwd=tmp_path, timeout=120)
    assert done.stdout.endswith("2 tests, 0 failed\n"), done.stdout + done.stderr
