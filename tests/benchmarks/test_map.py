# SPDX-License-Identifier: MIT
"""Linux's mapping code, compiled for the benchmark, gives our segments; what is measured becomes figures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conformance.oracle.source import find

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are part of the sources, not of the package", allow_module_level=True)
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [*sys.path, str(ROOT)])      # behind what is installed
    from benchmarks import _build_map, _measure_map, map

BOTH = [name for name, (_, theirs, _) in _measure_map.BACKENDS.items() if theirs is not None]


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> _measure_map.Linux:
    if find("6.1") is None:
        pytest.skip("no source of Linux 6.1 here")
    return _measure_map.Linux(str(_build_map.build_linux_map(tmp_path_factory.mktemp("linux"))))


@pytest.mark.parametrize("n", [1, 17, 600])
@pytest.mark.parametrize("backend", BOTH)
def test_same_segments(linux: _measure_map.Linux, backend: str, n: int) -> None:
    make, theirs, _ = _measure_map.BACKENDS[backend]
    pages = _measure_map.page_list(n)
    dev = make()
    if backend == "swiotlb":
        _measure_map.real_memory(1200)
    mine = _measure_map.segments(dev, _measure_map.our_list(dev, pages))
    other = linux.segments(linux.device(theirs), linux.list(pages), n)
    if backend == "swiotlb":        # the pools lie elsewhere
        mine, other = ([(address - rows[0][0], length) for address, length in rows] for rows in (mine, other))
    assert mine == other
    assert sum(length for _, length in mine) == n * 4096


def test_backends_are_named() -> None:
    assert tuple(_measure_map.BACKENDS) == map.BACKENDS


def test_figures() -> None:
    result = {
        "sizes": [("ppc", 256, {"ours": [1.0, 1.0], "linux": [2.0, 4.0]}), ("alpha", 1, {"ours": [7.0]})],
        "growth": [("ppc", [(10, {"ours": [10.0], "linux": [20.0]}), (100, {"ours": [130.0], "linux": [100.0]})]),
                   ("alpha", [(10, {"ours": [10.0]})])],
        "python": [(1, {"ours": [1.0], "ctypes": [2.0], "model": [4.0]})],
    }
    found = map.figures(result, lambda backend, n: (1.0, 2.0) if n == 256 else None)
    assert [(one.case, one.value, one.goal, one.met) for one in found] == [
        ("ppc: 256 entries", 0.375, 1.0, True),
        ("alpha: 1 entry", 7.0, None, None),
        ("direct from Python: 1 entry, ctypes", 0.5, None, None),
        ("direct from Python: 1 entry, model", 0.25, None, None),
        ("ppc: an entry of 100", 1.3, 1.2, False),
        ("ppc: an entry of 100, Linux's own", 0.5, None, None),
    ]
    assert found[0].instructions == (1.0, 2.0)
