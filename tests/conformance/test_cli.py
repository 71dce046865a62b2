# SPDX-License-Identifier: MIT
"""Exit statuses and sentences of the command line."""

import json

import pytest
from click.testing import CliRunner

from conformance.cli import main

IDEAL = "py:ideal_backend:IDEAL"


def call(*words, **env):
    return CliRunner().invoke(main, list(words), env=env)


def test_a_good_backend_is_0(tmp_path):
    done = call("run", "-b", IDEAL, "-r", "DMA-0*", "-n", "0", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "10 cases" not in done.output and "9 cases: 8 pass, 1 not-tested" not in done.output
    assert "cases: " in done.output and (tmp_path / "results.jsonl").exists()


def test_a_bad_backend_is_1():
    done = call("run", "-b", "py:ideal_backend:UNWINDS_NOT", "-r", "DMA-13", "-n", "0")
    assert done.exit_code == 1
    assert "FAIL DMA-13 forgetstounwind on plain" in done.output
    assert "dma-conformance explain DMA-13:forgetstounwind:plain:legacy" in done.output


def test_a_stale_known_is_1():
    done = call("run", "-b", "py:ideal_backend:STALE", "-r", "DMA-13", "-n", "0")
    assert done.exit_code == 1
    assert "stale known: ideal DMA-13" in done.output


def test_nothing_but_untested_rules_is_1():
    done = call("run", "-b", IDEAL, "-r", "DMA-32", "-n", "0")
    assert done.exit_code == 1
    assert "nothing was observed, so this is no pass" in done.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "-b", "jaz_dma_ops"], "did you mean jazz_dma_ops"),
        (["run", "-b", ""], "an empty name was given"),
        (["run", "-r", "DMA-01,"], "an empty name was given"),
        (["run", "-b", "nothing*"], "no backend matches 'nothing*'"),
        (["run", "-b", "py:ideal_backend"], "is not py:MODULE:OBJECT"),
        (["run", "-b", "py:no_such_module:X"], "cannot be loaded"),
        (["run", "-b", "py:ideal_backend:EMPTY"], "is a str, not a BackendRecord"),
        (["run", "-r", "DMA-99"], "no rule is called or matches 'DMA-99'"),
        (["run", "--shard", "3/2"], "is no shard"),
        (["run", "-n", "many"], "is a number, or auto"),
        (["run", "--api", "newest"], "newest"),
        (["explain", "DMA-99"], "there is no rule 'DMA-99'"),
        (["explain", "DMA-01:jazz_dma_ops"], "is no case"),
        (["explain", "DMA-01:jazz_dma_ops:pica61:legacy", "-b", IDEAL], "is ideal, and the case is one of jazz"),
        (["explain", "DMA-01:jazz_dma_ops:pica16:legacy"], "did you mean pica61"),
        (["report", "/does/not/exist"], "does not exist"),
        (["replay", "/does/not/exist"], "no such file or folder"),
    ],
)
def test_requests_without_sense_are_2(words, says):
    done = call(*words)
    assert done.exit_code == 2, done.output
    assert says in done.output


def test_lists_for_programs():
    rules = json.loads(call("rules", "--json").output)
    assert {"id", "text", "level", "source", "applies_if", "checks"} <= set(rules[0])
    records = json.loads(call("backends", "--json").output)
    assert {"id", "source", "machines", "proof", "p2pdma", "known"} <= set(records[0])


def test_lists_for_people():
    assert "jazz_dma_ops" in call("backends").output
    assert "DMA-08" in call("rules").output


def test_explain_a_rule():
    done = call("explain", "dma-08")
    assert done.exit_code == 0
    for part in ("DMA-08 (must, lists)", "source", "applies if", "segments_keep_to_max_seg", "run --rule DMA-08"):
        assert part in done.output
    assert "known       iommu_dma_ops (intel, " in done.output
    assert "drivers/iommu/dma-iommu.c: __finalise_sg" in done.output


def test_explain_a_case_of_a_backend_that_is_not_installed():
    name = "py:ideal_backend:UNWINDS_NOT"
    done = call("explain", "DMA-13:forgetstounwind:plain:legacy", "--backend", name)
    assert done.exit_code == 1 and "verdict     fail" in done.output
    assert f"--dma-backend {name} --dma-case DMA-13:forgetstounwind:plain:legacy" in done.output


def test_a_machine_that_does_not_build_is_broken():
    name, says = "py:ideal_backend:BUILDS_NOT", "the machine does not build: ValueError: machine x: RAM range"
    done = call("run", "-b", name, "-r", "DMA-07", "-n", "0")
    assert done.exit_code == 1 and f"BROKEN DMA-07 ideal on plain: {says}" in done.output
    done = call("explain", "DMA-07:ideal:plain:legacy", "-b", name)
    assert done.exit_code == 1 and f"verdict     broken ({says}" in done.output


def test_no_color(tmp_path):
    done = call("run", "-b", IDEAL, "-r", "DMA-07", "-n", "0", NO_COLOR="1")
    assert "\x1b[" not in done.output


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_report_has_the_status_of_the_run(tmp_path, form):
    call("run", "-b", "py:ideal_backend:UNWINDS_NOT", "-r", "DMA-1[23]", "-n", "0", "--out", str(tmp_path))
    done = call("report", str(tmp_path), "--format", form)
    assert done.exit_code == 1 and "DMA-13" in done.output
    path = tmp_path / "results.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    done = call("report", str(path), "--format", form)
    assert done.exit_code == 1 and "no footer: the run was cut short" in done.output
