# SPDX-License-Identifier: MIT
"""Two runs, case by case."""

import json

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.outcomes.diff import compare
from conformance.verdict import Verdict

UNOBSERVED = ("not-tested", "not-applicable")


def call(*words):
    done = CliRunner().invoke(main, ["diff", *map(str, words)])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("pass", "fail", "worse"),
        ("pass", "known", "worse"),
        ("fail", "crashed", "worse"),
        ("known", "fail", "worse"),
        ("pass", "not-tested", "worse"),
        ("pass", "not-applicable", "worse"),
        ("fail", "not-tested", "worse"),
        ("not-tested", "fail", "worse"),
        ("fail", "pass", "better"),
        ("crashed", "fail", "better"),
        ("known", "pass", "better"),
        ("not-tested", "pass", "better"),
        ("not-applicable", "known", "better"),
        ("not-applicable", "not-tested", "changed"),
    ],
)
def test_verdicts(report, result, old, new, kind):
    (change,) = compare(report(result("DMA-01", old)), report(result("DMA-01", new)))
    assert change.kind == kind and change.bad == (kind == "worse")


def test_every_pair_is_judged_and_turns_round(report, result):
    seen = [verdict.value for verdict in Verdict if verdict is not Verdict.WAIVED]
    opposite = {"worse": "better", "better": "worse", "changed": "changed"}
    for old in seen:
        for new in seen:
            there = compare(report(result("DMA-01", old)), report(result("DMA-01", new)))
            back = compare(report(result("DMA-01", new)), report(result("DMA-01", old)))
            if old == new:
                assert there == back == []
            elif not {old, new} & set(UNOBSERVED):
                assert opposite[there[0].kind] == back[0].kind


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [("native", "unsafe", "worse"), ("native", "fallback", "worse"), ("refused", "native", "better"),
     ("native", "absent", "changed")],
)
def test_mechanisms(report, result, old, new, kind):
    runs = [report(result("route/x", policy="supported", mechanism=one)) for one in (old, new)]
    assert [change.kind for change in compare(*runs)] == [kind]


def test_a_detail_alone_is_no_change_unless_it_is_the_reason(report, result):
    assert compare(report(result("DMA-01", "fail", "a")), report(result("DMA-01", "fail", "b"))) == []
    (change,) = compare(report(result("DMA-01", "not-tested", "a")), report(result("DMA-01", "not-tested", "b")))
    assert change.kind == "changed"


def test_status_and_words(write, result):
    old = write("old", result("DMA-01"), result("DMA-02", "fail"), result("DMA-03"))
    new = write("new", result("DMA-01", "fail"), result("DMA-02"), result("DMA-04"), seed=1)
    code, said = call(old, new)
    assert code == 1
    assert said.splitlines() == [
        "the runs differ in seed: 0 and 1",
        "worse   DMA-01:mine:m:legacy: pass -> fail",
        "better  DMA-02:mine:m:legacy: fail -> pass",
        "new     DMA-04:mine:m:legacy: none -> pass",
        "gone    DMA-03:mine:m:legacy: pass -> none",
        "1 worse, 1 better, 0 changed, 1 new, 1 gone",
    ]
    assert call(old, old) == (0, "0 worse, 0 better, 0 changed, 0 new, 0 gone\n")


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1), ("broken", 1), ("not-tested", 0)])
def test_a_new_case_that_fails_is_1(write, result, verdict, code):
    assert call(write("old", result("DMA-01")), write("new", result("DMA-01"), result("DMA-02", verdict)))[0] == code


def test_json(write, result):
    code, said = call(write("old", result("DMA-01")), write("new", result("DMA-01", "fail", "why")), "--json")
    rows = json.loads(said)
    assert code == 1 and rows["counts"] == {"worse": 1, "better": 0, "changed": 0, "new": 0, "gone": 0}
    assert rows["changes"][0]["new"]["detail"] == "why" and rows["changes"][0]["kind"] == "worse"


def test_a_run_that_was_cut_is_not_compared(write, result):
    old, new = write("old", result("DMA-01")), write("new", result("DMA-01"))
    new.write_bytes(new.read_bytes()[:-1])
    code, said = call(old, new)
    assert code == 2 and "cannot be compared" in said
