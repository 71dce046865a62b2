# SPDX-License-Identifier: MIT
"""PyPI has another package called arch: whoever has both gets one clear sentence."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["conformance", "conformance.cli"])
def test_another_arch_is_named(tmp_path, module):
    (tmp_path / "arch").mkdir()
    (tmp_path / "arch" / "__init__.py").write_text("__version__ = '7.2.0'\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {module}"
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False, timeout=60,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last == (
        f"ImportError: {tmp_path}/arch/__init__.py is PyPI's unrelated package 'arch', which shadows the backends of "
        "dma-conformance; install dma-conformance in an environment without it"
    )
