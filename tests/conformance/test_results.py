# SPDX-License-Identifier: MIT
"""A results.jsonl that was cut, or that somebody worked on, is never taken for the run."""

import json

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.execute import Result
from conformance.results import ResultsError, document, dump, read
from conformance.runner import run
from conformance.selection import Selection
from conformance.verdict import Verdict


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run's file."""
    here = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        from pathlib import Path

        patch.syspath_prepend(str(Path(__file__).parent))
        run(Selection(("py:ideal_backend:IDEAL",), ("DMA-0[57]", "DMA-14")), here, workers="0")
    return (here / "results.jsonl").read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.jsonl"


def status(path, *words):
    done = CliRunner().invoke(main, ["report", str(path), *words])
    return done.exit_code, done.output


def test_the_whole_is_whole(whole, path):
    path.write_bytes(whole)
    report = read(path)
    assert not report.truncated and len(report.results) == 3
    assert status(path)[0] == 0
    assert document(report.header, report.results).encode() == whole


def test_cut_at_every_byte(whole, path):
    kinds = {"refused": 0, "truncated": 0}
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        try:
            report = read(path)
        except ResultsError:
            kinds["refused"] += 1
        else:
            assert report.truncated, n
            kinds["truncated"] += 1
    assert all(kinds.values()) and sum(kinds.values()) == len(whole)


@pytest.mark.parametrize("form", ["text", "markdown", "junit", "ktap", "badge"])
def test_what_is_cut_is_1_and_without_its_header_2(whole, path, form):
    for n in (0, whole.index(b"\n"), whole.index(b"\n") + 1, whole.rindex(b'{"type":"footer"'), len(whole) - 1):
        path.write_bytes(whole[:n])
        code, said = status(path, "--format", form)
        assert code == (2 if n <= whole.index(b"\n") and said.startswith("Error: ") else 1), n
    assert "cut short" in said


def test_how_many_are_missing(whole, path):
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    assert "2 of its 3 cases are missing" in status(path)[1]


def rows(whole):
    return [json.loads(line) for line in whole.splitlines()]


def test_a_line_less(whole, path):
    head, one, two, _three, foot = whole.splitlines(keepends=True)
    path.write_bytes(head + one + two + foot)
    with pytest.raises(ResultsError, match="was changed after the run: by its lines, cases is 2, not 3"):
        read(path)


def test_a_line_less_and_a_footer_that_fits(whole, path):
    path.write_bytes(whole)
    report = read(path)
    path.write_text(document(report.header, report.results[1:]))
    with pytest.raises(ResultsError, match="does not have the cases of its plan"):
        read(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"verdict":"pass"', b'"verdict":"fail"', "was changed after the run: by its lines, counts is"),
        (b'"verdict":"pass"', b'"verdict":"waived"', "a waiver is never a result"),
        (b'"verdict":"pass"', b'"verdict":"fine"', "not a valid Verdict"),
        (b'"verdict":"pass"', b'"verdict":1', "not a text"),
        (b'"seed":0', b'"seed":1', "by its lines, sha256 is"),
        (b'"complete":true', b'"complete":false', "complete is True, not False"),
        (b'"cases":3,"counts"', b'"cases":2,"counts"', "cases is 3, not 2"),
        (b'"stale_knowns":[]', b'"stale_knowns":["x"]', "stale_knowns is"),
        (b'"case":"DMA-05:', b'"case":"DMA-06:', "another one by its parts"),
        (b'"kind":"rule","what":"DMA-05"', b'"kind":"route","what":"DMA-05"', "is no route"),
        (b'"machine":"plain"', b'"machine":"other"', "another one by its parts"),
        (b'"schema":2', b'"schema":1', "has schema 1"),
        (b'"plan":{', b'"plans":{', "a header without plan"),
        (b'"type":"case"', b'"type":"cast"', "no type of line"),
        (b'{"type":"case"', b'["type","case"', "line 2"),
        (b'"type":"header"', b'"type":"heather"', "does not begin with a header"),
    ],
)
def test_what_was_edited(whole, path, old, new, says):
    assert old in whole
    path.write_bytes(whole.replace(old, new, 1))
    with pytest.raises(ResultsError, match=says):
        read(path)
    assert status(path)[0] == 2


def test_twice_and_after_the_end(whole, path):
    head, one, *rest = whole.splitlines(keepends=True)
    path.write_bytes(head + one + one + b"".join(rest))
    with pytest.raises(ResultsError, match=r"has DMA-05:\S+ twice"):
        read(path)
    for more in (one, b"x"):
        path.write_bytes(whole + more)
        with pytest.raises(ResultsError, match="something follows the footer"):
            read(path)


def test_a_case_of_another_shard(whole, path):
    path.write_bytes(whole.replace(b'"shard":[1,1]', b'"shard":[1,100]'))
    with pytest.raises(ResultsError, match="belongs to another shard"):
        read(path)


def test_a_line_break_that_is_none(whole, path):
    """U+2028 and U+0085 in a detail do not end a line."""
    path.write_bytes(whole)
    report = read(path)
    detail = "one\u2028two\x85three\x1c\nfour"
    first = report.results[0]
    results = [Result(*first.case.split("?"), "rule", first.what, first.backend, first.machine, first.api, Verdict.FAIL,
                      detail), *report.results[1:]]
    path.write_text(document(report.header, results), encoding="utf-8")
    assert read(path).results[0].detail == detail
    assert dump(results[0].as_json()).count("\n") == 1
