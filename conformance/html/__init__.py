# SPDX-License-Identifier: MIT
"""A report as one HTML file that loads nothing: the template, the style and the script are in conformance/templates."""

from __future__ import annotations

import io
import json
from typing import Any

import jinja2
from markupsafe import Markup
from rich.console import Console

from .. import report as reports
from ..detection import Detection
from ..results import Report
from .data import Beside, document, examples, forms, trace_beside
from .timeline import asset

__all__ = ["Beside", "examples", "forms", "page", "trace_beside"]


def script_json(value: object) -> Markup:
    """JSON that may stand in a script element: no "<" is left to end it."""
    raw = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(raw.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def plain(report: Report, detection: Detection | None) -> str:
    """The report as text, for a browser that runs no scripts."""
    paper = Console(file=io.StringIO(), width=160, color_system=None)
    reports.print_text(paper, report, known=True, detection=detection)
    written = paper.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def page(report: Report, beside: Beside | None = None) -> str:
    """The file. beside: what else is known of the run."""
    beside = beside or Beside()
    values: dict[str, Any] = {
        "version": report.header["version"],
        "profile": report.header["profile"],
        "seed": report.header["seed"],
        "data": script_json(document(report, beside)),
        "light": Markup(asset("light.css")),
        "dark": Markup(asset("dark.css")),
        "style": Markup(asset("report.css") + asset("picture.css")),
        "script": Markup(asset("report.js")),
        "plain": plain(report, beside.kills),
    }
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(asset("report.html")).render(values)
