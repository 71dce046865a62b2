# SPDX-License-Identifier: MIT
"""dma-conformance merge, diff; the option --waivers."""

from __future__ import annotations

import datetime
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from ..results import Report, ResultsError, read
from .diff import KINDS, compare, headers
from .merge import MergeError, merge
from .waivers import Waiver, WaiverError, apply, load

RESULTS = click.Path(exists=True, path_type=Path)


def _waivers(_ctx: click.Context, param: click.Parameter, value: Path | None) -> list[Waiver]:
    try:
        return load(value) if value is not None else []
    except WaiverError as error:
        raise click.BadParameter(str(error), param=param) from None


waivers_option = click.option(
    "--waivers", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.toml", callback=_waivers,
    help="Failures that somebody answers for until a day.",
)


def waived(report: Report, waivers: list[Waiver]) -> Report:
    """The report with the waivers as they are today."""
    return apply(report, waivers, datetime.date.today())


@click.command("merge")
@click.argument("shards", nargs=-1, required=True, type=RESULTS)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The file, or a folder for it.")
def merge_command(shards: tuple[Path, ...], out: Path) -> None:
    """Join the shards of a run: files, or the folders that have them. The result is that of the unsharded run."""
    try:
        text = merge([(path, read(path)) for path in shards])
    except MergeError as error:
        raise click.UsageError(str(error)) from None
    path = out / "results.jsonl" if out.is_dir() or not out.suffix else out
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    click.echo(f"results: {path}")


@click.command("diff")
@click.argument("old", type=RESULTS)
@click.argument("new", type=RESULTS)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def diff_command(old: Path, new: Path, as_json: bool) -> None:
    """Compare two runs case by case. Exit status 1 if a case is worse, or if a new one fails."""
    reports = [read(path) for path in (old, new)]
    for path, report in zip((old, new), reports, strict=True):
        if report.truncated:
            raise ResultsError(f"{path} has no footer: that run was cut short, and cannot be compared")
    changes = compare(reports[0], reports[1])
    counts = Counter(change.kind for change in changes)
    notes = headers(reports[0], reports[1])
    if as_json:
        row: dict[str, Any] = {
            "counts": {kind: counts[kind] for kind in KINDS},
            "headers": notes,
            "changes": [change.as_json() for change in changes],
        }
        click.echo(json.dumps(row, indent=2, ensure_ascii=False))
    else:
        for note in notes:
            click.echo(note)
        for kind in KINDS:
            for change in changes:
                if change.kind == kind:
                    click.echo(str(change))
        click.echo(", ".join(f"{counts[kind]} {kind}" for kind in KINDS))
    sys.exit(1 if any(change.bad for change in changes) else 0)
