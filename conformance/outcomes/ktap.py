# SPDX-License-Identifier: MIT
"""KTAP version 1, as Documentation/dev-tools/ktap.rst has it: a test per backend, a subtest per case.

Names have no numbers that count and stay the same from run to run; what a "#" would end is written with another sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..execute import Result
from ..results import Report
from ..verdict import Tally, Verdict

_DIRECTIVES = {
    Verdict.KNOWN: "XFAIL",
    Verdict.WAIVED: "XFAIL",
    Verdict.NOT_TESTED: "SKIP",
    Verdict.NOT_APPLICABLE: "SKIP",
    Verdict.TIMEOUT: "TIMEOUT",
    Verdict.CRASHED: "ERROR",
    Verdict.BROKEN: "ERROR",
}


def _plain(words: str) -> str:
    """On one line, without what begins a directive, an escape, or is no character to print."""
    words = " ".join(words.split()).replace("#", "no.").replace("\\", "/")
    return "".join(character if character.isprintable() else "\ufffd" for character in words)


def _case(number: int, result: Result) -> Iterator[str]:
    detail = _plain(result.detail)
    if result.verdict.bad and detail:
        yield f"    # {detail}"
    name = _plain(f"{result.what}:{result.machine}:{result.api}")
    line = f"    {'not ok' if result.verdict.bad else 'ok'} {number} {name}"
    directive = _DIRECTIVES.get(result.verdict)
    if directive:
        line += f" # {directive} {result.verdict.value}" + (f": {detail}" if detail else "")
    yield line


def ktap(report: Report, wrong: Sequence[str] = ()) -> str:
    """wrong: a sentence for each thing that makes the run no success beside its failures."""
    return "\n".join([*_lines(report, wrong), ""])


def _lines(report: Report, wrong: Sequence[str]) -> Iterator[str]:
    backends = {name: [result for result in report.results if result.backend == name]
                for name in report.header["backends"]}
    backends = {name: results for name, results in backends.items() if results}
    yield "KTAP version 1"
    yield f"1..{len(backends) + bool(wrong)}"
    number = 0
    for number, (name, results) in enumerate(backends.items(), 1):
        yield "    KTAP version 1"
        yield f"    # Subtest: {_plain(name)}"
        yield f"    1..{len(results)}"
        for place, result in enumerate(results, 1):
            yield from _case(place, result)
        tally = Tally(result.verdict for result in results)
        skipped = "" if any(verdict.observed for verdict in tally) else " # SKIP nothing was observed"
        yield f"# {_plain(name)}: {tally}"
        yield f"{'not ok' if tally.bad else 'ok'} {number} {_plain(name)}{skipped}"
    if wrong:
        yield from (f"# {_plain(sentence)}" for sentence in wrong)
        yield f"not ok {number + 1} the run # ERROR {_plain(wrong[0])}"
