# SPDX-License-Identifier: MIT
"""The HTML report: one file that loads nothing, with all the cases in it."""

import json
import re
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.results import read
from conformance.verdict import Verdict


def data(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_exit_status_is_that_of_the_run(written):
    assert written[1] == 1


def test_every_case_is_in_it_once(small, written):
    found, report = data(written[0].read_text()), read(small)
    strings, cases = found["strings"], found["cases"]
    assert len(set(strings)) == len(strings)
    assert [strings[i] for i in cases["what"]] == [one.what for one in report.results]
    assert [strings[i] for i in cases["detail"]] == [one.detail for one in report.results]
    assert [found["verdicts"][i]["id"] for i in cases["verdict"]] == [one.verdict.value for one in report.results]
    assert {int(row): cost for row, cost in cases["cost"].items()} == {
        row: one.cost for row, one in enumerate(report.results) if one.cost
    }


def test_it_loads_nothing(written):
    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags = []

        def handle_starttag(self, tag, attrs):
            self.tags.append((tag, dict(attrs)))

    reader = Reader()
    text = written[0].read_text()
    reader.feed(text)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in reader.tags}
    assert all("src" not in attrs for _, attrs in reader.tags)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", text.replace(data_of(text), ""))
    (policy,) = [attrs["content"] for tag, attrs in reader.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")


def data_of(text):
    return re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]


def test_what_a_case_says_cannot_end_the_script(written):
    text = written[0].read_text()
    assert "document.title='evil'" in text
    assert "<script>document.title" not in text
    assert text.count("</script>") == 2


def test_a_browser_without_scripts_gets_the_text(small, written):
    shown = re.search(r"<noscript><pre>(.*?)</pre>", written[0].read_text(), re.DOTALL)[1]
    assert "gart_dma_ops" in shown
    assert "FAIL" in shown
    assert f"{len(read(small).results)} cases:" in shown


def test_timelines_are_of_the_faults(small, written):
    timelines = data(written[0].read_text())["timelines"]
    faults = {one.case for one in read(small).results if one.verdict in (Verdict.FAIL, Verdict.KNOWN)}
    drawn = {case for case, forms in timelines.items() if forms}
    assert drawn
    assert drawn <= faults
    assert all({"svg", "python"} <= set(forms) for forms in timelines.values() if forms)


def test_the_difference_to_the_older_run(written):
    diff = data(written[0].read_text())["diff"]
    assert diff["counts"] == {"worse": 1, "better": 0, "changed": 0, "new": 0, "gone": 0}
    assert [change["new"]["verdict"] for change in diff["changes"]] == ["fail"]


def test_kills_by_backend_and_shape(written):
    kills = data(written[0].read_text())["kills"]
    assert kills["backends"] == {"dma_direct": [1, 1], "gart_dma_ops": [1, 2]}
    assert kills["shapes"] == {"gart_dma_ops": {"unwind": [1, 2], "errno": "there is one errno only"}}
    assert kills["other_rules"]


@pytest.mark.parametrize(("name", "text", "said"), [
    ("kills.json", "{", "cannot be read"),
    ("kills.json", "{}", "is no kill matrix"),
    ("trace.json", "[", "cannot be read"),
    ("trace.json", "{}", "is not what trace --out writes"),
], ids=["kills-cut", "kills-else", "trace-cut", "trace-else"])
def test_what_lies_beside_and_is_something_else(tmp_path, small, name, text, said):
    (tmp_path / "results.jsonl").write_bytes((small / "results.jsonl").read_bytes())
    (tmp_path / name).write_text(text)
    result = CliRunner().invoke(main, ["report", str(tmp_path), "--format", "html"])
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize("option", ["--timelines", "--against"])
def test_options_of_html_alone(small, option):
    more = [str(small)] if option == "--against" else []
    result = CliRunner().invoke(main, ["report", str(small), option, *more])
    assert result.exit_code == 2
    assert "for --format html" in result.output
