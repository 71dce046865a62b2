# SPDX-License-Identifier: MIT
"""A small run, and its page."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.results import document, read
from conformance.verdict import Verdict

EVIL = "</script><script>document.title='evil'</script><!-- <b>bold</b> & \u2028 end"
SMALL = ["run", "-b", "gart_dma_ops", "-b", "dma_dummy_ops", "-n", "0"]
KILLS = {
    "type": "kills", "schema": 1, "seed": 0, "rules_hash": "0", "score": {"killed": 2, "planted": 3},
    "rules": {"DMA-01": {"unmap-forgotten": ["gart_dma_ops/opteron"], "never-unmapped": ["dma_direct/x86_64"]}},
    "idle": ["DMA-02"], "missed": [{"rule": "DMA-03", "saboteur": "sleeper"}],
    "survivors": [{"saboteur": "sleeper", "target": "gart_dma_ops/opteron"}],
    "saboteurs": {
        name: {
            "what": f"It is {name}.", "breaks": ["DMA-01"], "targets": ["gart_dma_ops/opteron"], "bug": "",
            "commit": "",
        }
        for name in ("unmap-forgotten", "never-unmapped", "sleeper")
    },
    "sightings": [
        {"saboteur": "unmap-forgotten", "target": "gart_dma_ops/opteron", "rule": "DMA-01"},
        {"saboteur": "never-unmapped", "target": "dma_direct/x86_64", "rule": "DMA-01"},
        {"saboteur": "sleeper", "target": "gart_dma_ops/opteron", "rule": "DMA-03"},
    ],
    "shapes": {"gart_dma_ops": {"unwind": ["sleeper", "unmap-forgotten"], "errno": "there is one errno only"}},
    "left_out": [{"id": "HB-01", "commits": [], "what": "lists", "why": "no rule is about them"}],
}


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A folder with the results of two backends, a fault planted in them, and what may lie beside."""
    folder = tmp_path_factory.mktemp("small")
    CliRunner().invoke(main, [*SMALL, "--out", str(folder / "old")])
    report = read(folder / "old")
    passed = [one.verdict is Verdict.PASS and one.backend == "gart_dma_ops" for one in report.results]
    at = passed.index(True)
    report.results[at] = replace(report.results[at], verdict=Verdict.FAIL, detail=EVIL)
    (folder / "results.jsonl").write_text(document(report.header, report.results), encoding="utf-8")
    (folder / "kills.json").write_text(json.dumps(KILLS), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def written(small):
    """(the page, the exit status)."""
    result = CliRunner().invoke(
        main, ["report", str(small), "--format", "html", "--against", str(small / "old"), "--timelines"]
    )
    page = small / "report.html"
    page.write_text(result.stdout, encoding="utf-8")
    return page, result.exit_code
