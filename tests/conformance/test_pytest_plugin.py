# SPDX-License-Identifier: MIT
"""The fixtures for other people's tests, in a pytest of their own."""

import os
import re
import subprocess
import sys

import pytest

from arch import backends

pytest_plugins = ["pytester"]

ROUND_TRIP = """
    import pytest
    from dma_ops import *

    def test_round_trip(dma_backend, dma_machine, dma_device):
        assert dma_device.machine is dma_machine
        page = dma_machine.alloc_ram(0, 0xffffff)
        address = dma_map_page(dma_device, page, 0, 64, DMA_FROM_DEVICE)
        dma_device.dma_write(address, b"x" * 64)
        dma_unmap_page(dma_device, address, 64, DMA_FROM_DEVICE)
        assert dma_machine.cpu_read(page, 64) == b"x" * 64
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest on a file, in this process (the plugin's hooks) with only the plugin loaded."""
    pytester.syspathinsert(os.path.dirname(__file__))

    def call(*options, code=ROUND_TRIP):
        pytester.makepyfile(code)
        plugin = () if pytester.plugins else ("-p", "conformance.pytest_plugin")
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *plugin, "-v", *options)

    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return call


def test_every_backend_once_on_its_first_machine(run):
    result = run("--collect-only", "-q")
    ids = re.findall(r"test_round_trip\[(.*)\]", result.stdout.str())
    assert [one.partition(":")[0] for one in ids] == [name for name in backends() if name != "dma_dummy_ops"]
    assert "dma_direct:x86_64" in ids


def test_option(run):
    run("--dma-backend", "jazz_dma_ops").assert_outcomes(passed=1)
    run("--dma-backend", "jazz*:*").assert_outcomes(passed=3)
    result = run("--dma-backend", "jazz_dma_ops", "--dma-backend", "dma_direct:x86_64-f*")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*dma_direct:x86_64-force*PASSED*"])


def test_backend_that_is_not_installed(run):
    run("--dma-backend", "py:ideal_backend:IDEAL").assert_outcomes(passed=1)


def test_mark(run):
    code = ROUND_TRIP.replace("    def test", '    @pytest.mark.dma_backend("s390*", "jazz_dma_ops")\n    def test')
    run(code=code).assert_outcomes(passed=2)
    run("--dma-backend", "jazz_dma_ops", code=code).assert_outcomes(passed=1)       # the option narrows the mark
    run("--dma-backend", "dma_direct", code=code).assert_outcomes(skipped=1)


@pytest.mark.parametrize(("name", "sentence"), [
    ("jaz_dma_ops", "there is no backend 'jaz_dma_ops'; did you mean jazz_dma_ops*"),
    ("jazz_dma_ops:nowhere", "backend jazz_dma_ops has no machine 'nowhere'*"),
    ("py:nonsense", "'py:nonsense' is not py:MODULE:OBJECT"),
    ("zz*", "no backend matches 'zz[*]'"),
])
def test_senseless_name(run, name, sentence):
    result = run("--dma-backend", name)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in result.stdout.str()
    result.stdout.fnmatch_lines([f"*{sentence}"])


LEAKS = {
    "streaming": ("dma_map_page(dma_device, page, 0, 64, DMA_TO_DEVICE)", "*64 bytes at 0x* (single) are still mapped, "
                  "made at *test_streaming.py:6"),
    "list": ("dma_map_sgtable(dma_device, SgTable([(page, 0, 64)]), DMA_TO_DEVICE)",
             "*64 bytes at 0x* (sg) are still mapped, made at *test_list.py:6"),
    "coherent": ("dma_alloc_coherent(dma_device, 4096)", "*4096 bytes at 0x* (coherent) are still mapped*:6"),
    "unseen": ("dma_iova_try_alloc(dma_device, DmaIovaState(), page, 4096)",
               "*something is still allocated that dma-debug does not see: *"),
    "wrong": ("dma_unmap_page(dma_device, dma_map_page(dma_device, page, 0, 64, DMA_TO_DEVICE), 32, DMA_TO_DEVICE)",
              "*frees DMA memory with different size*map size=64 bytes*unmap size=32 bytes*"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_what_is_left_fails_the_test(pytester, run, name):
    statement, sentence = LEAKS[name]
    code = f"""\
import pytest
from dma_ops import *
from scatterlist import SgTable
def test_it(dma_device):
    page = dma_device.machine.alloc_ram(0, 0xffffff)
    {statement}
"""
    backend = "iommu_dma_ops" if name == "unseen" else "jazz_dma_ops"
    path = pytester.makepyfile(**{f"test_{name}": code})
    options = ("-p", "no:cacheprovider", "-p", "conformance.pytest_plugin", "--dma-backend", backend)
    result = pytester.runpytest_inprocess(*options, path)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([sentence])
    path.write_text(code.replace("def test_it", "@pytest.mark.dma_unchecked('on purpose')\ndef test_it"))
    pytester.runpytest_inprocess(*options, path).assert_outcomes(passed=1)
    path.write_text(code.replace("def test_it", "@pytest.mark.dma_unchecked\ndef test_it"))
    pytester.runpytest_inprocess(*options, path).assert_outcomes(passed=1, errors=1)
    path.write_text(code + "    assert False\n")
    pytester.runpytest_inprocess(*options, path).assert_outcomes(failed=1)      # one word on a failure is enough


def test_a_backend_that_never_frees_is_not_the_tests_fault(run):
    code = """
        from dma_ops import *

        def test_coherent(dma_device):
            address, handle = dma_alloc_coherent(dma_device, 4096)
            dma_free_coherent(dma_device, 4096, address, handle)
    """
    run("--dma-backend", "iounit_dma_ops", code=code).assert_outcomes(passed=1)


def test_beside_the_suites_own_plugin():
    """Both have --dma-backend; the suite's comes first."""
    command = [sys.executable, "-P", "-m", "pytest", "-p", "conformance.plugin", "-p", "conformance.pytest_plugin",
               "-p", "no:cacheprovider", "--noconftest", "-c", os.devnull, "--rootdir", ".", "-q",
               "--pyargs", "conformance", "--dma-backend", "jazz_dma_ops", "--dma-rule", "DMA-08"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_costs_nothing_to_who_does_not_use_it():
    code = ("import conformance.pytest_plugin, sys; "
            "print([name for name in sys.modules if name.startswith(('dma_ops', 'scatterlist', 'arch', 'click'))])")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True,
                          env=environment)
    assert done.stdout.strip() == "[]"
