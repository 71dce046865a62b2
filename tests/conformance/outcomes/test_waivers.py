# SPDX-License-Identifier: MIT
"""Waivers: what they cover, and what is wrong with one."""

import datetime

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.outcomes.waivers import WaiverError, apply, load
from conformance.report import is_good
from conformance.results import read
from conformance.verdict import Verdict

TODAY = datetime.date(2026, 11, 22)
GOOD = """
[[waiver]]
rule = "DMA-13"
backend = "mine"
reason = "being rewritten"
url = "https://example.org/1"
until = 2026-11-22
"""


@pytest.fixture
def waivers(tmp_path):
    def waivers(text=GOOD):
        path = tmp_path / "waivers.toml"
        path.write_text(text)
        return load(path)

    return waivers


def test_what_is_waived_keeps_its_verdict_in_the_detail(report, result, waivers):
    run = report(result("DMA-13", "fail", "leaks"), result("DMA-14"))
    done = apply(run, waivers(), TODAY)
    assert [one.verdict for one in done.results] == [Verdict.WAIVED, Verdict.PASS]
    assert done.results[0].detail == "being rewritten (https://example.org/1, until 2026-11-22); seen: fail: leaks"
    assert is_good(done) and not is_good(run)


@pytest.mark.parametrize("verdict", ["crashed", "timeout"])
def test_what_dies_can_be_waived(report, result, waivers, verdict):
    assert is_good(apply(report(result("DMA-13", verdict)), waivers(), TODAY))


def test_what_the_suite_broke_cannot(report, result, waivers):
    done = apply(report(result("DMA-13", "broken")), waivers(), TODAY)
    assert done.results[0].verdict is Verdict.BROKEN and not is_good(done)
    assert done.wrong == ("waiver DMA-13 × mine × * is stale: what it waives is broken",)


def test_expired(report, result, waivers):
    done = apply(report(result("DMA-13", "fail")), waivers(), TODAY + datetime.timedelta(1))
    assert done.results[0].verdict is Verdict.FAIL
    assert done.wrong == (
        "waiver DMA-13 × mine × * expired on 2026-11-22: being rewritten (https://example.org/1)",
    )
    assert not is_good(apply(report(result("DMA-13")), waivers(), TODAY + datetime.timedelta(1)))


@pytest.mark.parametrize("verdict", ["pass", "known", "not-tested", "not-applicable"])
def test_stale(report, result, waivers, verdict):
    done = apply(report(result("DMA-13", verdict), result("DMA-01")), waivers(), TODAY)
    assert done.wrong == (f"waiver DMA-13 × mine × * is stale: what it waives is {verdict}",)
    assert not is_good(done)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('rule = "DMA-13"', 'rule = "DMA-99"', "no rule is called DMA-99"),
        ('backend = "mine"', 'backend = "mime"', "no backend is called mime"),
        ('backend = "mine"', 'backend = "mine"\nmachine = "n"', "no case of the run is such a one"),
    ],
)
def test_matches_nothing(report, result, waivers, old, new, says):
    done = apply(report(result("DMA-13", "fail")), waivers(GOOD.replace(old, new)), TODAY)
    assert len(done.wrong) == 1 and "matches nothing" in done.wrong[0] and says in done.wrong[0]
    assert done.results[0].verdict is Verdict.FAIL


def test_what_the_run_left_out_is_not_judged(report, result, waivers):
    for text in (GOOD, GOOD.replace("mine", "jazz_dma_ops")):
        assert is_good(apply(report(result("DMA-14")), waivers(text), TODAY))
    shard = report(result("DMA-13"), shard=[1, 2])
    assert apply(shard, waivers(), TODAY).wrong == ()


def test_globs(report, result, waivers):
    text = GOOD.replace("DMA-13", "DMA-*").replace('"mine"', '"m*"\nmachine = "[ab]"')
    run = report(result("DMA-13", "fail", machine="a"), result("DMA-13", machine="b"), result("DMA-13", machine="c"),
                 result("P2P-01", "fail", machine="a"))
    assert [one.verdict.value for one in apply(run, waivers(text), TODAY).results] == ["waived", "pass", "pass", "fail"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("until = 2026-11-22", "", "until is missing"),
        ("until = 2026-11-22", 'until = "2026-11-22"', "no date"),
        ("until = 2026-11-22", "until = 2026-11-22T00:00:00", "no date"),
        ('reason = "being rewritten"', "", "reason is missing"),
        ('reason = "being rewritten"', 'reason = " "', "reason is missing"),
        ('url = "https://example.org/1"', "", "url is missing"),
        ('url = "https://example.org/1"', 'url = "later"', "which is none"),
        ('rule = "DMA-13"', "", "rule is missing"),
        ('rule = "DMA-13"', 'rule = "DMA-13"\nowner = "me"', "the keys are"),
        ("[[waiver]]", "[[waivers]]", "no list of"),
        ("[[waiver]]", "[waiver", "cannot be read"),
    ],
)
def test_what_is_refused(waivers, old, new, says):
    with pytest.raises(WaiverError, match=says):
        waivers(GOOD.replace(old, new))


def call(*words):
    done = CliRunner().invoke(main, list(map(str, words)))
    return done.exit_code, done.output


def test_run_and_report(tmp_path):
    far, path = GOOD.replace("2026", "9999"), tmp_path / "w.toml"
    path.write_text(far.replace("mine", "forgetstounwind"))
    words = ("run", "-b", "py:ideal_backend:UNWINDS_NOT", "-r", "DMA-13", "-n", "0", "--out", tmp_path)
    code, said = call(*words, "--waivers", path)
    assert code == 0 and "waived DMA-13 forgetstounwind on plain: being rewritten" in said
    assert read(tmp_path).results[0].verdict is Verdict.FAIL
    assert call("report", tmp_path)[0] == 1
    assert call("report", tmp_path, "--waivers", path)[0] == 0
    path.write_text(far)
    code, said = call("report", tmp_path, "--waivers", path)
    assert code == 1 and "waiver DMA-13 × mine × * matches nothing" in said
    path.write_text("nonsense")
    assert call("report", tmp_path, "--waivers", path)[0] == 2
