# SPDX-License-Identifier: MIT
"""Shards join to the bytes of the whole, or are refused with one sentence."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.execute import Result
from conformance.outcomes.merge import MergeError, merge
from conformance.results import Report, document, footer, read
from conformance.runner import run
from conformance.selection import Case, Selection, in_shard
from conformance.verdict import Verdict

HERE = str(Path(__file__).parent.parent)
NAMES = ("py:ideal_backend:IDEAL", "py:ideal_backend:UNWINDS_NOT", "jazz_dma_ops")
FEW = ("DMA-0[57]", "DMA-13", "P2P-3*")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The whole in "all", two shards of it in "1" and "2"."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        patch.setenv("PYTHONPATH", HERE)
        run(Selection(NAMES, FEW), out / "all", workers="0")
        for part in (1, 2):
            run(Selection(NAMES, FEW, shard=(part, 2)), out / str(part), workers="0")
    return out


def call(*words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    return done.exit_code, done.output


def test_the_bytes_of_the_whole(runs, tmp_path):
    for order in ("12", "21"):
        assert call("merge", *(runs / part for part in order), "-o", tmp_path / order)[0] == 0
        whole = (runs / "all/results.jsonl").read_bytes()
        assert (tmp_path / order / "results.jsonl").read_bytes() == whole
    assert len(read(runs / "all").results) > 20


def made(count, shard=(1, 1), **head):
    """A run that never was."""
    cases = [Case(what, name, machine) for name in "ab" for machine in ("z", "y")
             for what in (*(f"DMA-{i:02}" for i in range(count, 0, -1)), "route/x")]
    from conformance.results import digest_of

    header = {
        "type": "header", "schema": 2, "version": "1", "python": "3", "platform": "p", "seed": 0, "profile": "quick",
        "shard": list(shard), "backends": {"a": "read", "b": "read"}, "machines": {"a": ["z", "y"], "b": ["z", "y"]},
        "rules": [f"DMA-{i:02}" for i in range(count, 0, -1)], "rules_hash": "0" * 16, "routes": ["route/x"],
        "apis": ["legacy"], "plan": {"cases": len(cases), "sha256": digest_of(case.id for case in cases)}, **head,
    }
    results = [
        Result(case.id, "route" if case.route else "rule", case.what, case.backend, case.machine, case.api,
               Verdict.PASS)
        for case in cases if in_shard(case.id, shard)
    ]
    return Report(header, results, footer(results, header, ""))


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_any_number_of_shards(parts):
    shards = [(Path(str(i)), made(5, (i, parts))) for i in range(1, parts + 1)]
    whole = made(5)
    assert merge(shards[::-1]) == document(whole.header, whole.results)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (made(5, (1, 2)), "a and b are both shard 1/2"),
        (made(5, (2, 3)), "a is a part of 2, and b is one of 3"),
        (made(5, (2, 2), seed=1), "differ in their seed: 0 and 1"),
        (made(5, (2, 2), version="2"), "differ in their version of dma-conformance: 1 and 2"),
        (made(5, (2, 2), profile="full"), "differ in their profile: quick and full"),
        (made(5, (2, 2), rules_hash="1" * 16), "differ in their rule-set hash: 0{16} and 1{16}"),
        (made(5, (2, 2), backends={"a": "read", "c": "read"}), "differ in their backends: b, c"),
        (made(6, (2, 2)), "differ in their rules: DMA-06"),
        (made(5, (2, 2), platform="q"), "differ in their platform: p and q"),
    ],
)
def test_what_is_no_run(other, says):
    with pytest.raises(MergeError, match=says):
        merge([(Path("a"), made(5, (1, 2))), (Path("b"), other)])


def test_a_gap():
    with pytest.raises(MergeError, match="a gap: no file is shard 2/3, 3/3"):
        merge([(Path("a"), made(5, (1, 3)))])


def test_a_shard_that_lost_a_case():
    other = made(5, (2, 2))
    other.results.pop()
    with pytest.raises(MergeError, match="the shards have 23 cases, which are not the 24 planned"):
        merge([(Path("a"), made(5, (1, 2))), (Path("b"), other)])


def test_a_shard_that_was_cut(runs, tmp_path):
    path = tmp_path / "cut.jsonl"
    path.write_bytes((runs / "2/results.jsonl").read_bytes()[:-1])
    code, said = call("merge", runs / "1", path, "-o", tmp_path / "out")
    assert code == 2 and "has no footer: that run was cut short" in said
    assert not (tmp_path / "out").exists()


def test_a_run_alone_is_itself(runs, tmp_path):
    assert call("merge", runs / "all", "-o", tmp_path / "x.jsonl")[0] == 0
    assert (tmp_path / "x.jsonl").read_bytes() == (runs / "all/results.jsonl").read_bytes()
