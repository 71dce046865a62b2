# SPDX-License-Identifier: MIT
"""dma-conformance campaign."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..completion import backend_ids
from ..selection import check_globs
from .crews import CrewError, crew
from .drive import drive
from .journal import Journal
from .plan import SHAPES, Plan

SCHEMA_VERSION = 1
SUMMARY = "summary.json"


def _workers(_ctx: click.Context, _param: click.Parameter, value: str) -> int:
    if value == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not value.isdigit():
        raise click.BadParameter("is a number, or auto")
    return int(value)


def _seeds(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, int]:
    first, colon, last = value.partition(":")
    if not colon:
        first, last = "0", first
    if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise click.BadParameter(f"{value!r} is not FIRST:LAST, or LAST, with FIRST below LAST")
    return int(first), int(last)


@click.command("campaign")
@click.option("--backend", "-b", "names", multiple=True, metavar="ID", shell_complete=backend_ids,
              help="An id, a glob, or py:MODULE:OBJECT.")
@click.option("--seeds", default="0:33024", show_default=True, metavar="FIRST:LAST", callback=_seeds,
              help="The cases; rounded outwards to whole units.")
@click.option("--shape", type=click.Choice(SHAPES), default="programs", show_default=True,
              help="Programs of all calls, or lists of thousands of entries.")
@click.option("-n", "workers", default="auto", show_default=True, callback=_workers, help="Processes here; 0: none.")
@click.option("--scheduler", default="", metavar="ADDRESS", help="A Dask scheduler, whose workers are used instead.")
@click.option("--together", type=click.IntRange(1), default=1, show_default=True,
              help="Units that a worker explores at a time.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="For the journal and summary.json.")
@click.option("--resume", is_flag=True, help="Go on with the journal in --out.")
@click.option("--unguided", is_flag=True, help="Draw each case anew, whatever those before it showed.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def campaign_command(
    names: tuple[str, ...], seeds: tuple[int, int], shape: str, workers: int, scheduler: str, together: int,
    out: Path | None, resume: bool, unguided: bool, as_json: bool,
) -> None:
    """Explore random programs on all backends, guided by what they show, on many processes or machines.

    The same seeds give the same findings, whoever runs them and however often workers are lost. Known faults of Linux
    are counted, not failures. Exit status 1 if a clause is broken.
    """
    if resume and out is None:
        raise click.UsageError("--resume needs --out, the folder with the journal")
    plan = Plan.of(check_globs(names), shape, guided=not unguided)
    first, last = seeds[0] // plan.size, -(-seeds[1] // plan.size)
    try:
        made = crew(plan, workers, scheduler)
    except CrewError as error:
        raise click.ClickException(str(error)) from None
    start, lost = time.monotonic(), 0
    size = made.workers
    with Journal(plan.as_json(), out, resume=resume) as journal, _Bar(journal, plan, first, last) as bar:
        before = journal.summary.counters.copy()
        cpu = journal.effort.cpu
        try:
            lost = drive(plan, made, journal, first, last, together, bar.heard)
        except KeyboardInterrupt:
            click.echo(f"stopped after {len(journal.done)} units"
                       + ("; go on with --resume" if out is not None else ""), err=True)
            sys.exit(130)
        except CrewError as error:
            raise click.ClickException(str(error)) from None
        finally:
            made.close()
        wall = time.monotonic() - start
        counters = journal.summary.counters - before
        summary = {
            "type": "campaign",
            "schema": SCHEMA_VERSION,
            "plan": {**plan.as_json(), "seeds": [first * plan.size, last * plan.size], "units": len(journal.done)},
            "findings": journal.summary.findings(),
            "run": {
                "workers": size,
                "scheduler": bool(scheduler),
                "lost": lost,
                "seconds": round(wall, 3),
                "cpu_seconds": round(journal.effort.cpu - cpu, 3),
                "cases": counters["cases"],
                "segments": counters["segments"],
                "largest_rss": journal.effort.rss,
            },
        }
    if out is not None:
        text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
        (out / SUMMARY).write_text(text, encoding="utf-8")
    if as_json:
        click.echo(json.dumps(summary, indent=2, ensure_ascii=False))
    else:
        _print(summary)
    sys.exit(1 if journal.summary.failures else 0)


class _Bar:
    """How far it is, on a terminal."""

    def __init__(self, journal: Journal, plan: Plan, first: int, last: int) -> None:
        self.journal, self.plan, self.first, self.last = journal, plan, first, last
        self.start = time.monotonic()
        self.before = journal.summary.counters.copy()
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} units"),
            TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
        )
        missing = sum(b - a for a, b in journal.done.missing(first, last))
        self.task = self.progress.add_task("campaign", total=last - first, completed=last - first - missing)

    def __enter__(self) -> _Bar:
        self.progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.progress.__exit__(*error)

    def heard(self, units: int) -> None:
        wall = max(time.monotonic() - self.start, 1e-9)
        counters = self.journal.summary.counters
        rates = (f"{(counters[name] - self.before[name]) / wall:,.0f} {name}/s" for name in ("cases", "segments"))
        broken = len(self.journal.summary.failures)
        self.progress.update(self.task, advance=units,
                             description=", ".join([*rates, *([f"{broken} broken"] if broken else [])]))


def _print(summary: dict[str, Any]) -> None:
    findings, effort = summary["findings"], summary["run"]
    for failure in findings["failures"]:
        click.echo(f"{failure['backend']}/{failure['machine']}, seed {failure['seed']} "
                   f"({failure['times']} cases): {failure['text']}\n\n{failure['program']}")
    counters = findings["counters"]
    wall = max(effort["seconds"], 1e-9)
    click.echo(f"{counters['cases']:,} cases on {summary['plan']['machines']} machines: {counters['operations']:,} "
               f"operations, {counters['entries']:,} entries as {counters['segments']:,} segments")
    click.echo(f"{findings['behaviours']:,} behaviours; {sum(findings['known'].values()):,} times one of "
               f"{len(findings['known'])} known faults of Linux; {len(findings['failures'])} failures")
    click.echo(f"{wall:.1f} s on {effort['workers']} workers ({effort['cpu_seconds']:.1f} s CPU, "
               f"{effort['lost']} tasks lost): {effort['cases'] / wall:,.0f} cases/s, "
               f"{effort['segments'] / wall:,.0f} segments/s; {effort['largest_rss'] >> 20} MiB at most")
    click.echo(f"findings {findings['sha256']}")
