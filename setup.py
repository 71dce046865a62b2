# SPDX-License-Identifier: MIT
"""Build every .pyx under the three library packages as one extension module each.

Environment: DMA_CONFORMANCE_DEBUG=1 switches Cython's run-time checks on, DMA_CONFORMANCE_TRACE=1 line
tracing for coverage, DMA_CONFORMANCE_CFLAGS adds compiler flags (sanitizers, say).
"""

import os
import shlex
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("DMA_CONFORMANCE_DEBUG") == "1"
TRACE = os.environ.get("DMA_CONFORMANCE_TRACE") == "1"
JOBS = os.cpu_count() or 1
C_API = ("_abi", "_c_dma", "_c_lists", "c_api", "c_kernel", "c_ops")     # they include the headers that C code gets


class BuildExt(build_ext):
    """build_ext that compiles as many modules at once as there are processors."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or JOBS


def extensions() -> list[Extension]:
    flags = ["-O2", "-g0", "-fno-strict-aliasing", "-Wno-unused-function", "-Wno-unreachable-code"]
    flags += shlex.split(os.environ.get("DMA_CONFORMANCE_CFLAGS", ""))
    macros = [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")] if TRACE else []
    sources = sorted(p for package in ("scatterlist", "dma_ops", "arch") for p in Path(package).rglob("*.pyx"))
    return [
        Extension(
            ".".join(path.with_suffix("").parts),
            [str(path)],
            include_dirs=["scatterlist/include", "dma_ops"] if path.stem in C_API else [],
            extra_compile_args=flags,
            extra_link_args=shlex.split(os.environ.get("DMA_CONFORMANCE_LDFLAGS", "")),
            define_macros=macros,
        )
        for path in sources
    ]


directives = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "overflowcheck": False,
    "cdivision": True,
    "linetrace": TRACE,
}

modules = extensions()
if not {"sdist", "egg_info", "dist_info"} & set(sys.argv):      # those only list the sources
    modules = cythonize(modules, nthreads=JOBS, compiler_directives=directives, force=DEBUG or TRACE)

setup(ext_modules=modules, cmdclass={"build_ext": BuildExt})
