# SPDX-License-Identifier: MIT
"""Determinism over workers and shards, and the schema."""

import json
import subprocess
import sys
from importlib.resources import files

import jsonschema

from conformance.runner import run
from conformance.selection import Selection

IDEAL = "py:ideal_backend:IDEAL"
FEW = ("DMA-0*", "P2P-3*")


def lines(path):
    return (path / "results.jsonl").read_text().splitlines()


def call(out, *words):
    """The command line in a process of its own, as a user has it: its exit status."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "conformance", "run", *words, "--out", str(out)],
        check=False, capture_output=True, timeout=100,
    )
    return done.returncode


def test_same_bytes_on_any_number_of_workers(tmp_path):
    for workers in ("0", "1", "2"):
        assert call(tmp_path / workers, "-b", IDEAL, "-r", ",".join(FEW), "-n", workers) == 0
    assert lines(tmp_path / "0") == lines(tmp_path / "1") == lines(tmp_path / "2")


def test_shards_are_the_parts_of_the_whole(tmp_path):
    run(Selection((IDEAL,), FEW), tmp_path / "all", workers="0")
    for part in (1, 2, 3):
        run(Selection((IDEAL,), FEW, shard=(part, 3)), tmp_path / str(part), workers="0")
    parts = [line for part in "123" for line in lines(tmp_path / part)[1:-1]]
    assert sorted(parts) == sorted(lines(tmp_path / "all")[1:-1])
    assert all(len(lines(tmp_path / part)) > 2 for part in "123")


def test_another_seed_is_another_run_with_the_same_verdicts(tmp_path):
    reports = [run(Selection((IDEAL,), FEW, seed=seed), tmp_path / str(seed), workers="0") for seed in (1, 2)]
    assert [r.verdict for r in reports[0].results] == [r.verdict for r in reports[1].results]
    assert reports[0].header["seed"] != reports[1].header["seed"]


def test_every_line_keeps_to_the_schema(tmp_path):
    schema = json.loads(files("conformance").joinpath("schemas/results.schema.json").read_text())
    run(Selection((IDEAL, "py:ideal_backend:MARKS_WRONG"), ("P2P-*", "DMA-13")), tmp_path, workers="0")
    validator = jsonschema.Draft202012Validator(schema)
    rows = [json.loads(line) for line in lines(tmp_path)]
    for row in rows:
        validator.validate(row)
    assert [rows[0]["type"], rows[-1]["type"]] == ["header", "footer"]
    assert rows[-1]["cases"] == len(rows) - 2
    assert not validator.is_valid({**rows[1], "verdict": "fine"})
