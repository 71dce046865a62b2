# SPDX-License-Identifier: MIT
"""JUnit, KTAP and the badge, read by a parser."""

import importlib.util
import io
import re
import sys
from contextlib import redirect_stdout
from xml.etree import ElementTree as ET

import pytest

from conformance.oracle.source import find
from conformance.outcomes.badge import badge
from conformance.outcomes.junit import junit
from conformance.outcomes.ktap import ktap

NASTY = "a < b & \"c\" ]]> \x00\x1b[31m # SKIP\nok 1 fine \\ \ud800"
ALL = ("pass", "fail", "crashed", "timeout", "broken", "known", "waived", "not-tested", "not-applicable")


@pytest.fixture
def every(report, result):
    rows = [result(f"DMA-{i:02}", verdict, NASTY) for i, verdict in enumerate(ALL, 1)]
    return report(*rows, result("DMA-01", backend="other"))


def test_junit(every):
    root = ET.fromstring(junit(every, ["the run was <cut>"]).encode("utf-8", "strict"))
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "11", "failures": "1", "errors": "4", "skipped": "4",
    }
    mine = root.find("testsuite[@name='mine']")
    kinds = {case.get("name"): [child.tag for child in case] for case in mine}
    assert kinds == {
        "DMA-01:legacy": ["system-out"], "DMA-02:legacy": ["failure"], "DMA-03:legacy": ["error"],
        "DMA-04:legacy": ["error"], "DMA-05:legacy": ["error"], "DMA-06:legacy": ["skipped"],
        "DMA-07:legacy": ["skipped"], "DMA-08:legacy": ["skipped"], "DMA-09:legacy": ["skipped"],
    }
    message = mine.find("testcase/failure").get("message")
    assert message.startswith('a < b & "c" ]]> \ufffd\ufffd[31m # SKIP') and "\x00" not in message
    assert root.find("testsuite[@name='the run']/testcase/error").text == "the run was <cut>"


def parse(lines, indent=""):
    """[(ok, name, directive)] of one level, and the subtests by name; strict about versions, plans and numbers."""
    assert lines.pop(0) == f"{indent}KTAP version 1"
    found, below, plan = [], {}, None
    deeper = indent + "    "
    inner = {}
    while lines:
        line = lines[0]
        if line.startswith(deeper + "KTAP"):
            inner = parse(lines, deeper)
            continue
        if not line.startswith(indent) or line.startswith(deeper):
            break
        line = lines.pop(0).removeprefix(indent)
        if match := re.fullmatch(r"1\.\.(\d+)", line):
            assert plan is None
            plan = int(match[1])
        elif match := re.fullmatch(r"(not ok|ok) (\d+) ([^#]+?)(?: # (\w+)(?: [^#]*)?)?", line):
            assert int(match[2]) == len(found) + 1
            found.append((match[1] == "ok", match[3], match[4]))
            if inner:
                below[match[3]], inner = inner, {}
        else:
            assert line.startswith("# "), line
    assert plan == len(found)
    return {"tests": found, "below": below}


def test_ktap(every):
    top = parse(ktap(every).splitlines())
    assert [(ok, name) for ok, name, _ in top["tests"]] == [(False, "mine"), (True, "other")]
    assert top["below"]["mine"]["tests"] == [
        (True, "DMA-01:m:legacy", None),
        (False, "DMA-02:m:legacy", None),
        (False, "DMA-03:m:legacy", "ERROR"),
        (False, "DMA-04:m:legacy", "TIMEOUT"),
        (False, "DMA-05:m:legacy", "ERROR"),
        (True, "DMA-06:m:legacy", "XFAIL"),
        (True, "DMA-07:m:legacy", "XFAIL"),
        (True, "DMA-08:m:legacy", "SKIP"),
        (True, "DMA-09:m:legacy", "SKIP"),
    ]
    assert "    # a < b & \"c\" ]]> \ufffd\ufffd[31m no. SKIP ok 1 fine / \ufffd" in ktap(every)


def test_ktap_says_what_is_wrong_with_the_run(every, report, result):
    top = parse(ktap(report(result("DMA-01")), ["the run was cut short"]).splitlines())
    assert top["tests"] == [(True, "mine", None), (False, "the run", "ERROR")]
    top = parse(ktap(report(result("DMA-01", "not-tested"))).splitlines())
    assert top["tests"] == [(True, "mine", "SKIP")]


def test_ktap_by_the_kernels_own_parser(every, monkeypatch):
    source = find("6.12") or find("6.1")
    if source is None or not source.path.is_dir():
        pytest.skip("no unpacked source of Linux (DMA_CONFORMANCE_LINUX, /usr/src)")
    folder = source.path / "tools/testing/kunit"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("kunit_parser", folder / "kunit_parser.py")
    parser = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kunit_parser", parser)
    spec.loader.exec_module(parser)
    quiet = []
    with redirect_stdout(io.StringIO()):
        if "printer" in parser.parse_run_tests.__code__.co_varnames:
            from kunit_printer import Printer

            quiet = [Printer()]
        test = parser.parse_run_tests(ktap(every).splitlines(), *quiet)
    counts = test.counts
    assert (counts.passed + counts.failed + counts.crashed + counts.skipped, counts.errors) == (10, 0)
    assert counts.failed + counts.crashed == 4 and counts.skipped == 2


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        (("pass", "pass", "not-tested"), "2 pass"),
        (("pass", "known"), "1 pass, 1 known"),
        (("pass", "waived"), "1 pass, 1 waived"),
        (("pass", "fail", "not-applicable"), "1 of 2 fail"),
    ],
)
def test_badge(report, result, verdicts, says):
    run = report(*(result(f"DMA-{i:02}", verdict) for i, verdict in enumerate(verdicts)))
    root = ET.fromstring(badge(run))
    assert root.findtext("{*}title") == f"dma-conformance: {says}"
    assert "http" not in badge(run).replace("http://www.w3.org/2000/svg", "")


def test_a_badge_is_never_green_by_mistake(report, result):
    run = report(result("DMA-01"))
    assert "not as expected" in badge(run, ["stale"])
    run.footer = None
    assert "cut short" in badge(run)
