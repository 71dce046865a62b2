# SPDX-License-Identifier: MIT
"""The Python API: with blocks, sentences, and that no call ends the interpreter."""

import gc
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dma_ops
from arch import backends
from dma_ops import DMA_TO_DEVICE, Device, DmaError, Machine, WrappedOps
from scatterlist.core import SgTable

sys.path.insert(0, str(Path(__file__).parent))
import hostile

sys.path.pop(0)

HOSTILE = Path(hostile.__file__)


@pytest.fixture
def dev():
    return Device("dut", Machine("test", ram=((0, 1 << 24),)), mask=(1 << 64) - 1)


def table(**options):
    return SgTable([(0x4000, 0, 4096), (0x8000, 0, 100)], **options)


# -- mappings as objects ---------------------------------------------------------------------------------------

class Counting(WrappedOps):
    def __init__(self, inner):
        super().__init__(inner)
        self.log = []

    def map_page(self, *args):
        self.log.append("map_page")
        return self.inner_map_page(*args)

    def unmap_page(self, *args):
        self.log.append("unmap_page")

    def map_sg(self, dev, sg, dir, attrs):
        self.log.append("map_sg")
        return self.inner_map_sg(dev, sg, dir, attrs)

    def unmap_sg(self, *args):
        self.log.append("unmap_sg")


@pytest.mark.parametrize(("make", "calls"), [
    (lambda dev: dma_ops.mapped_sgtable(dev, table(), DMA_TO_DEVICE), ["map_sg", "unmap_sg"]),
    (lambda dev: dma_ops.mapped_page(dev, 0x4000, 8, 100, DMA_TO_DEVICE), ["map_page", "unmap_page"]),
])
def test_a_with_block_unmaps_once_also_after_an_error(dev, make, calls):
    dev.dma_ops = ops = Counting(dev.direct)
    with make(dev) as mapping:
        assert not mapping.closed
    mapping.close()
    with pytest.raises(RuntimeError), make(dev):
        raise RuntimeError
    assert ops.log == calls * 2
    with pytest.raises(ValueError, match="cannot be entered again"):
        mapping.__enter__()


def test_a_coherent_block_frees(dev):
    before = dev.machine.pages_allocated
    with dma_ops.coherent(dev, 100) as memory:
        dev.machine.cpu_write(memory.cpu_addr, b"ring")
        assert dev.dma_read(memory.dma_address, 4) == b"ring"
        assert dev.machine.pages_allocated == before + 1
    assert dev.machine.pages_allocated == before


def test_a_lost_mapping_says_where_it_was_made(dev):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mapping = dma_ops.mapped_page(dev, 0x4000, 0, 100, DMA_TO_DEVICE)
        place = mapping.place
        del mapping
        gc.collect()
    (warning,) = caught
    assert warning.category is ResourceWarning
    assert place.startswith(__file__) and place in str(warning.message)
    assert "100 bytes at bus address 0x4000 of dut" in str(warning.message)


def test_a_mapping_that_failed_is_silent(dev):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DmaError):
            dma_ops.coherent(dev, 1 << 30)
        gc.collect()


# -- sentences -------------------------------------------------------------------------------------------------

def unmade():
    return Device.__new__(Device)


@pytest.mark.parametrize(("call", "error", "sentence"), [
    pytest.param(lambda dev: dma_ops.dma_map_page(unmade(), 0, 0, 1, 1), ValueError,
                 "the device was made without __init__, so it is on no machine", id="device"),
    pytest.param(lambda dev: dma_ops.dma_map_page(Device("d", Machine.__new__(Machine)), 0, 0, 1, 1), ValueError,
                 "the device was made without __init__, so it is on no machine", id="machine"),
    pytest.param(lambda dev: unmade().dma_read(0, 1), ValueError, "device None: no hardware translates for it",
                 id="dma_read"),
    pytest.param(lambda dev: dev.direct.walker.lookup(unmade(), 0), ValueError,
                 "the device was made without __init__, so it is on no machine", id="lookup"),
    pytest.param(lambda dev: dma_ops.dma_map_sgtable(dev, table(page_shift=13), 1), ValueError,
                 "dut: the table is for pages of 8192 bytes, but machine test has 4096", id="page-size"),
    pytest.param(lambda dev: dma_ops.dma_map_page(dev, 0x1001, 0, 1, 1), ValueError,
                 "dut: page 0x1001 is not the address of a frame of 4096 bytes", id="page"),
    pytest.param(lambda dev: dma_ops.dma_sync_sg_for_cpu(dev, table(), 3, 1), ValueError,
                 "dut: 3 entries of a table that has 2", id="nents"),
    pytest.param(lambda dev: dma_ops.dma_unmap_page(dev, 0, 1 << 63, 1), ValueError,
                 "dut: 9223372036854775808 bytes cannot have been mapped", id="unmap-size"),
    pytest.param(lambda dev: dma_ops.dma_free_coherent(dev, 1 << 40, 0, 0), ValueError,
                 "dut: 1099511627776 bytes cannot have been allocated", id="free-size"),
    pytest.param(lambda dev: dma_ops.dma_map_sgtable(dev, None, 1), TypeError, None, id="no-table"),
    pytest.param(lambda dev: dma_ops.dma_map_sgtable(None, table(), 1), TypeError, None, id="no-device"),
    pytest.param(lambda dev: dma_ops.dma_map_page(dev, -1, 0, 1, 1), OverflowError, None, id="negative"),
    pytest.param(lambda dev: dma_ops.dma_map_page(dev, 0, 0, 1 << 64, 1), OverflowError, None, id="too-big"),
])
def test_a_bad_argument_is_one_sentence(dev, call, error, sentence):
    with pytest.raises(error) as caught:
        call(dev)
    assert sentence is None or str(caught.value) == sentence
    assert "\n" not in str(caught.value)


# -- no crash --------------------------------------------------------------------------------------------------

def test_100_000_random_calls():
    for seed in range(10):
        game = hostile.Game(seed, hostile.own_devices())
        counts = game.play(10_000)
        assert counts["answered"] > 3000 and counts["refused"] > 1500
        assert all(sentence and "\n" not in sentence for sentence in game.sentences)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(min_value=100), names=st.lists(st.sampled_from(sorted(hostile.FUNCTIONS)), min_size=1,
                                                       max_size=8, unique=True))
def test_random_calls_of_a_few_functions(seed, names):
    game = hostile.Game(seed, hostile.own_devices())
    game.functions = names
    game.play(60)


@pytest.mark.slow
@pytest.mark.parametrize("backend", sorted(backends()))
def test_random_calls_on_a_backend(backend):
    """In a process of its own: the exit status of a crash names the signal."""
    config = backends()[backend].machines[0]
    run = subprocess.run([sys.executable, "-X", "faulthandler", str(HOSTILE), "1", "3000", backend, config.name],
                         env={**os.environ, "PYTHONPATH": str(Path(dma_ops.__file__).parents[1])},
                         capture_output=True, text=True, check=False, timeout=100)
    assert run.returncode == 0, run.stderr[-2000:]
