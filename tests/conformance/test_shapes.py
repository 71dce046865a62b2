# SPDX-License-Identifier: MIT
"""The systematic set: every shape in every backend, or the reason why not; every historical bug, too."""

import os
import re
from pathlib import Path

import pytest

from arch import backends
from conformance.saboteurs import SABOTEURS
from conformance.saboteurs.cli import left_out
from conformance.saboteurs.shapes import absent, planted, shapes

FEWER = {"dma_dummy_ops": 3}                # it maps nothing, so there is little to break


@pytest.mark.parametrize("backend", sorted(backends()))
def test_each_shape_is_planted_or_has_a_reason(backend):
    here = planted(backend)
    assert [shape for shape, names in here.items() if not names and (backend, shape) not in absent()] == []
    assert [shape for shape, names in here.items() if names and (backend, shape) in absent()] == []


@pytest.mark.parametrize("backend", sorted(backends()))
def test_each_backend_has_twelve(backend):
    names = {name for group in planted(backend).values() for name in group}
    assert len(names) >= FEWER.get(backend, 12)


def test_only_what_is_there_is_named():
    assert {name for shape in shapes().values() for name in shape.saboteurs} <= set(SABOTEURS)
    assert {backend for backend, _ in absent()} <= set(backends())
    assert {shape for _, shape in absent()} <= set(shapes())


def numbers(text):
    """The bugs that "HB-01, HB-05 to HB-08" names."""
    for first, last in re.findall(r"HB-(\d+)(?: to HB-(\d+))?", text):
        yield from range(int(first), int(last or first) + 1)


def test_every_historical_bug_is_put_back_or_has_a_reason():
    root = Path(os.environ.get("DMA_CONFORMANCE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    sheet = root / "spec/historical-bugs.md"
    if not sheet.exists():
        pytest.skip("the list of historical bugs is not here")
    bugs = {int(n): commit for n, commit in re.findall(r"^### HB-(\d+) `(\w+)`", sheet.read_text(), re.MULTILINE)}
    back = {number: one.commit for one in SABOTEURS.values() if one.bug for number in numbers(one.bug)}
    out = {number: row["commits"] for row in left_out() for number in numbers(row["id"]) if number in bugs}
    assert set(back) | set(out) == set(bugs)
    assert not set(back) & set(out)
    assert {number: bugs[number] for number in back} == back
    assert {number for number, commits in out.items() if bugs[number] not in commits} == set()


def test_no_bug_is_left_out_without_a_reason():
    assert all(row["why"] and row["what"] and row["commits"] for row in left_out())
