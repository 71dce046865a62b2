# SPDX-License-Identifier: MIT
"""Compiles C code against this project's headers, by $CC or gcc."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from scatterlist import get_include


class CompileError(ValueError):
    """There is no compiler, or it did not like the file; the message is for the user."""


def compiled(path: Path, page_shift: int, cflags: str, folder: Path) -> Path:
    """The object of a C file for a page size, in a folder. Raises CompileError."""
    compiler = os.environ.get("CC", "gcc")
    if shutil.which(shlex.split(compiler)[0]) is None:
        raise CompileError(f"{path.name} has to be compiled, and there is no {compiler}; give objects (.so) instead")
    target = folder / f"{path.stem}-{page_shift}.so"
    command = [
        *shlex.split(compiler), "-O1", "-g", "-shared", "-fPIC", f"-I{get_include()}", f"-DPAGE_SHIFT={page_shift}",
        *shlex.split(cflags), str(path), "-o", str(target),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(f"{path.name} does not compile:\n{done.stderr.strip()}")
    return target
