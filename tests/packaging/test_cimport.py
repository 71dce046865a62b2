# SPDX-License-Identifier: MIT
"""A third party's extension, outside the tree, compiles against the installed package and calls it from C."""

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SOURCE = """
# cython: language_level=3
from scatterlist.core cimport SgTable, scatterlist, sg_next, sg_page
from dma_ops.device cimport Device
from dma_ops.mapping cimport dma_map_sg_attrs, dma_unmap_sg_attrs


def total(SgTable table):
    cdef scatterlist *sg = table.sgt.sgl
    cdef unsigned long n = 0
    while sg != NULL:
        n += sg.length
        sg = sg_next(sg)
    return n, sg_page(table.sgt.sgl)


def map_unmap(Device dev, SgTable table, int dir):
    cdef int n
    with nogil:
        n = dma_map_sg_attrs(dev, table.sgt.sgl, table.sgt.orig_nents, dir, 0)
        if n:
            dma_unmap_sg_attrs(dev, table.sgt.sgl, table.sgt.orig_nents, dir, 0)
    return n
"""

SETUP = """
from setuptools import Extension, setup
from Cython.Build import cythonize
setup(name="outside", ext_modules=cythonize([Extension("outside", ["outside.pyx"])]))
"""


def test_extension_outside_the_tree(tmp_path: Path) -> None:
    pytest.importorskip("Cython", reason="needs Cython to compile the extension")
    pytest.importorskip("setuptools", reason="needs setuptools to compile the extension")
    from dma_ops import DMA_TO_DEVICE, Device, Machine
    from scatterlist import SgTable

    (tmp_path / "outside.pyx").write_text(textwrap.dedent(SOURCE))
    (tmp_path / "setup.py").write_text(SETUP)
    build = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tmp_path,
                           capture_output=True, text=True, check=False,
                           env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert build.returncode == 0, build.stderr
    (module_file,) = tmp_path.glob("outside*.so")
    spec = importlib.util.spec_from_file_location("outside", module_file)
    assert spec is not None and spec.loader is not None
    outside = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(outside)

    machine = Machine("pc", ram=[(0, 1 << 24)])
    page = machine.alloc_ram(1)
    table = SgTable([(page, 0, 4096), (page + 4096, 100, 50)])
    assert outside.total(table) == (4146, page)
    assert outside.map_unmap(Device("device", machine), table, DMA_TO_DEVICE) == 2
