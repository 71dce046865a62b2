# SPDX-License-Identifier: MIT
"""Struct layouts: the table of the ten ABIs, what Cython compiled, what a C compiler says, and the generated files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import scatterlist
from scatterlist import LAYOUTS
from scatterlist.core import _runtime_layout

# ABI, offsets of page_link, offset, length, dma_address, dma_length, dma_flags (None: absent), size, entries of 4 KiB
ROWS = [
    ("64", (0, 8, 12, 16, None, None), 24, 170),
    ("64-dma_length", (0, 8, 12, 16, 24, None), 32, 128),
    ("64-dma_flags", (0, 8, 12, 16, None, 24), 32, 128),
    ("64-dma_length-dma_flags", (0, 8, 12, 16, 24, 28), 32, 128),
    ("32", (0, 4, 8, 12, None, None), 16, 256),
    ("32-dma_length", (0, 4, 8, 12, 16, None), 20, 204),
    ("i386-dma64", (0, 4, 8, 12, None, None), 20, 204),
    ("i386-dma64-dma_length", (0, 4, 8, 12, 20, None), 24, 170),
    ("arm-dma64", (0, 4, 8, 16, None, None), 24, 170),
    ("arm-dma64-dma_length", (0, 4, 8, 16, 24, None), 32, 128),
]
FIELDS = ("page_link", "offset", "length", "dma_address", "dma_length", "dma_flags")


@pytest.mark.parametrize(("abi", "offsets", "size", "single"), ROWS, ids=[row[0] for row in ROWS])
def test_abi(abi, offsets, size, single) -> None:
    layout = LAYOUTS[abi]
    expected = {name: at for name, at in zip(FIELDS, offsets, strict=True) if at is not None}
    assert layout.offsets() == expected
    assert (layout.sizeof(), layout.sg_max_single_alloc()) == (size, single)
    if layout.bits == 64:
        assert layout.page_link_mask(p2pdma=True) == 7
    else:
        with pytest.raises(ValueError, match="third flag bit"):
            layout.page_link_mask(p2pdma=True)


def test_cython_compiled_the_full_64_bit_layout() -> None:
    layout = LAYOUTS["64-dma_length-dma_flags"]
    assert _runtime_layout() == (layout.offsets(), layout.sizeof())
    assert layout.sizeof("bvec_iter") == 20 and layout.sizeof("bio_vec") == 16


@pytest.mark.parametrize("language", ["c", "c++"])
def test_the_header_asserts_hold(language) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    options = [f"-I{scatterlist.get_include()}", "-fsyntax-only", "-Wall", "-Werror"]
    subprocess.run([compiler, "-x", language, *options, "-"],
                   input="#include <linux/scatterlist.h>\n#include <linux/bvec.h>\n", text=True, check=True)


def test_generated_files_are_current() -> None:
    program = Path(scatterlist.__file__).with_name("_codegen.py")
    done = subprocess.run([sys.executable, str(program), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
