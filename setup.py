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
# models of one platform that benchmarks/ measures; the others do not pay for -O2
MEASURED = ("arch/generic", "arch/powerpc/dma_iommu", "arch/powerpc/iommu", "arch/powerpc/tce", "arch/sparc/iommu",
            "arch/alpha/pci_iommu")
SHARED = "scatterlist._shared"      # what Cython would repeat in every module: functions, calls, imports
C_API = ("_abi", "_c_dma", "_c_lists", "c_api", "c_kernel", "c_ops")     # they include the headers that C code gets


class BuildExt(build_ext):
    """build_ext that compiles as many modules at once as there are processors."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or JOBS


def is_hot(path: Path) -> bool:
    """Is it on the way of a mapping? The rest, half of the compiler's work, makes do with -O1."""
    if path.parts[0] == "dma_ops":
        return len(path.parts) == 2 and path.stem not in {
            *C_API, "api", "dev_coherent", "device", "dmapool", "errors", "phys_api", "pyops"}
    return path.parts[0] == "scatterlist" or path.as_posix().startswith(MEASURED)


def extension(name: str, path: Path | None) -> Extension:
    """One module; without a path, the one that Cython writes."""
    hot = path is not None and is_hot(path)
    flags = ["-O2" if hot else "-O1", "-g0", "-fno-strict-aliasing", "-Wno-unused-function", "-Wno-unreachable-code"]
    macros = [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")] if TRACE else []
    return Extension(
        name,
        [] if path is None else [str(path)],
        include_dirs=["scatterlist/include", "dma_ops"] if path is not None and path.stem in C_API else [],
        extra_compile_args=flags + shlex.split(os.environ.get("DMA_CONFORMANCE_CFLAGS", "")),
        extra_link_args=shlex.split(os.environ.get("DMA_CONFORMANCE_LDFLAGS", "")),
        define_macros=macros,
    )


directives = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "overflowcheck": False,
    "cdivision": True,
    "linetrace": TRACE,
    "auto_pickle": False,
}

sources = sorted(path for package in ("scatterlist", "dma_ops", "arch") for path in Path(package).rglob("*.pyx"))
modules = [extension(".".join(path.with_suffix("").parts), path) for path in sources]
if not {"sdist", "egg_info", "dist_info"} & set(sys.argv):      # those only list the sources
    modules.append(extension(SHARED, None))
    modules = cythonize(modules, nthreads=JOBS, compiler_directives=directives, force=DEBUG or TRACE,
                        shared_utility_qualified_name=SHARED)

setup(ext_modules=modules, cmdclass={"build_ext": BuildExt})
