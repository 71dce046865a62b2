# SPDX-License-Identifier: MIT
"""JUnit's XML: a suite per backend, a test case per case. What is wrong with the run itself is a suite of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from ..execute import Result
from ..results import Report
from ..verdict import Verdict

_ERRORS = (Verdict.CRASHED, Verdict.TIMEOUT, Verdict.BROKEN)
_SKIPS = (Verdict.KNOWN, Verdict.WAIVED, Verdict.NOT_TESTED, Verdict.NOT_APPLICABLE)
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _clean(words: str) -> str:
    """Without the characters that XML cannot have, not even as a reference."""
    return _NO_XML.sub("\ufffd", words)


def _case(result: Result) -> ET.Element:
    element = ET.Element(
        "testcase", classname=_clean(f"{result.backend}.{result.machine}"), name=_clean(f"{result.what}:{result.api}"),
    )
    verdict, detail = result.verdict, _clean(result.detail)
    if verdict is Verdict.FAIL:
        ET.SubElement(element, "failure", type=verdict.value, message=detail).text = f"{result.case}: {detail}"
    elif verdict in _ERRORS:
        ET.SubElement(element, "error", type=verdict.value, message=detail).text = f"{result.case}: {detail}"
    elif verdict in _SKIPS:
        ET.SubElement(element, "skipped", type=verdict.value, message=f"{verdict.value}: {detail}")
    elif detail:
        ET.SubElement(element, "system-out").text = detail
    return element


def _suite(name: str, cases: Sequence[ET.Element]) -> ET.Element:
    suite = ET.Element(
        "testsuite", name=_clean(name), tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
    )
    suite.extend(cases)
    return suite


def junit(report: Report, wrong: Sequence[str] = ()) -> str:
    """wrong: a sentence for each thing that makes the run no success beside its failures."""
    suites = [
        _suite(backend, [_case(result) for result in report.results if result.backend == backend])
        for backend in report.header["backends"]
    ]
    if wrong:
        cases = []
        for number, sentence in enumerate(wrong, 1):
            case = ET.Element("testcase", classname="dma-conformance.run", name=f"run {number}")
            ET.SubElement(case, "error", type="run", message=_clean(sentence)).text = _clean(sentence)
            cases.append(case)
        suites.append(_suite("the run", cases))
    root = ET.Element("testsuites", name=_clean(f"dma-conformance {report.header['version']}"))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
