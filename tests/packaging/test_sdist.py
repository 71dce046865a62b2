# SPDX-License-Identifier: MIT
"""What a user downloads: the sdist holds every source that a build without the repository needs."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    pytest.importorskip("setuptools", reason="needs setuptools to make an sdist")
    pytest.importorskip("Cython", reason="needs Cython to make an sdist")
    out = tmp_path_factory.mktemp("sdist")
    tree = out / "tree"         # a copy: other workers do the same, and setuptools writes beside its sources
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "*.so", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=unwanted)
    code = f"import setuptools.build_meta as b; b.build_sdist({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tree, check=True, capture_output=True)
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        return {member.name.split("/", 1)[1] for member in tar.getmembers() if "/" in member.name}


@pytest.mark.parametrize("pattern", ["*.pyx", "*.pxd", "*.pyi", "*.h", "*.toml", "*.json.gz", "py.typed"])
def test_sdist_holds_every(names: set[str], pattern: str) -> None:
    wanted = {str(path.relative_to(ROOT)) for package in ("scatterlist", "dma_ops", "arch", "conformance")
              for path in (ROOT / package).rglob(pattern)}
    assert wanted, f"no {pattern} in the repository: the test looks for the wrong thing"
    assert wanted <= names


def test_sdist_holds_no_build_output(names: set[str]) -> None:
    generated = {name for name in names if name.endswith((".so", ".pyc"))}
    assert not generated
    assert not {name for name in names if name.endswith(".c") and f"{name[:-2]}.pyx" in names}     # what Cython wrote
