# SPDX-License-Identifier: MIT
"""A badge: a small picture for a README, that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..results import Report
from ..verdict import Tally, Verdict

LEFT = "dma-conformance"
GREEN, YELLOW, RED = "#2e7d32", "#8d6e00", "#c62828"


def words(report: Report, wrong: Sequence[str] = ()) -> tuple[str, str]:
    """What it says, and its colour."""
    tally = Tally(result.verdict for result in report.results)
    bad = sum(tally[verdict] for verdict in tally if verdict.bad)
    if report.truncated:
        return "cut short", RED
    if bad:
        return f"{bad} of {sum(tally[verdict] for verdict in tally if verdict.observed)} fail", RED
    if wrong:
        return "not as expected", RED
    said = f"{tally[Verdict.PASS]} pass"
    for verdict in (Verdict.KNOWN, Verdict.WAIVED):
        if tally[verdict]:
            said += f", {tally[verdict]} {verdict.value}"
    return said, YELLOW if tally[Verdict.WAIVED] else GREEN


def badge(report: Report, wrong: Sequence[str] = ()) -> str:
    """SVG. wrong: a sentence for each thing that makes the run no success beside its failures."""
    said, colour = words(report, wrong)
    left, right = (14 + 7 * len(text) for text in (LEFT, said))
    label = escape(f"{LEFT}: {said}", quote=True)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{label}">
<title>{label}</title>
<rect width="{left}" height="20" fill="#444"/>
<rect x="{left}" width="{right}" height="20" fill="{colour}"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{left / 2:g}" y="14" textLength="{left - 12}">{LEFT}</text>
<text x="{left + right / 2:g}" y="14" textLength="{right - 12}">{escape(said)}</text>
</g>
</svg>
"""
