# SPDX-License-Identifier: MIT
"""The commands around runs, rules and backends. Exit status: 0 as expected, 1 not, 2 a request that makes no sense."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from arch import BackendRecord

from . import report as reports
from .c_drivers.cli import driver_options, explain_driver, run_driver, stories
from .completion import backend_ids, case_ids, rule_ids
from .detection import beside
from .execute import Result, without_running
from .faults import script
from .isolation import TIME_LIMIT
from .outcomes.badge import badge
from .outcomes.cli import waived, waivers_option
from .outcomes.junit import junit
from .outcomes.ktap import ktap
from .outcomes.waivers import Waiver
from .results import Report, header, read
from .rules import Rule, load_rules
from .runner import RunError, run
from .screen import console
from .selection import (
    APIS,
    ROUTES,
    Case,
    Selection,
    SelectionError,
    apis_of,
    backend,
    check_globs,
    known_backends,
    machine,
    parse_shard,
    suggest,
)
from .verdict import Tally

if TYPE_CHECKING:
    from . import html
    from .candidates import Verdicts
    from .timeline import Row


#: Formats for other programs.
OTHERS = {"junit": junit, "ktap": ktap, "badge": badge}
FORMATS = ["text", "markdown", "svg", "html", *OTHERS]


def _workers(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if value != "auto" and not value.isdigit():
        raise click.BadParameter("is a number, or auto")
    return value


@click.command("run")
@click.option("--backend", "-b", "names", multiple=True, metavar="ID", shell_complete=backend_ids,
              help="An id, a glob, py:MODULE:OBJECT, c:PATH:SYMBOL, exec:COMMAND.")
@click.option("--rule", "-r", "rules", multiple=True, metavar="ID", shell_complete=rule_ids,
              help="Rule: an id or a glob.")
@click.option("--api", type=click.Choice([*APIS, "all"]), default="all", show_default=True, help="Which DMA API.")
@click.option("--profile", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.option("-n", "workers", default="auto", show_default=True, callback=_workers, help="Worker processes; 0: none.")
@click.option("--shard", default="1/1", metavar="I/N", help="Only the I-th of N parts.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option("--time-limit", type=click.IntRange(1), default=TIME_LIMIT, show_default=True, help="Seconds a case.")
@click.option("--known", is_flag=True, help="List the known faults of Linux too.")
@driver_options
@waivers_option
def run_command(
    names: tuple[str, ...], rules: tuple[str, ...], api: str, profile: str, workers: str, shard: str, seed: int,
    out: Path | None, time_limit: int, known: bool, waivers: list[Waiver], drivers: tuple[Path, ...], cflags: str,
) -> None:
    """Run the rules on the backends, or a driver on them."""
    selection = Selection(
        check_globs(names), check_globs(rules), cast('Literal["quick", "full"]', profile), seed, parse_shard(shard),
        apis_of(api),
    )
    if drivers:
        run_driver(drivers, cflags, replace(selection, rules=()), selection.rules, api, out, workers, waivers,
                   time_limit=time_limit, known=known)
        return
    _run(selection, out, workers, waivers, time_limit=time_limit, known=known)


def _run(
    selection: Selection, out: Path | None, workers: str, waivers: list[Waiver], *, time_limit: int, known: bool
) -> None:
    total = sum(1 for case in selection.cases() if without_running(case) is None)
    if not selection.cases():
        raise SelectionError("this shard has no case")
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("running", total=total)
        tally = Tally()

        def heard(result: Result) -> None:
            tally.add(result.verdict)
            bar.update(task, advance=1, description="running" if not tally.bad else f"running, {tally.headline.value}")

        try:
            report = waived(run(
                selection, out, workers=workers, time_limit=time_limit, listener=None if bar.disable else heard,
            ), waivers)
        except RunError as error:
            raise click.ClickException(str(error)) from None
    reports.print_text(console(), report, known=known)
    if out is not None:
        console().print(f"results: {out / 'results.jsonl'}", soft_wrap=True)
    sys.exit(0 if reports.is_good(report) else 1)


@click.command("report")
@click.argument("results", type=click.Path(exists=True, path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--known", is_flag=True, help="List the known faults of Linux too (markdown and html always do).")
@click.option("--against", type=click.Path(exists=True, path_type=Path), metavar="OLD", help="html: compare with OLD.")
@click.option("--timelines", is_flag=True, help="html: run one case of each fault again, and draw what it did.")
@waivers_option
def report_command(
    results: Path, form: str, known: bool, against: Path | None, timelines: bool, waivers: list[Waiver]
) -> None:
    """Render a results.jsonl, or the folder that has one. The exit status is that of the run.

    html is one file that loads nothing; a kills.json and a trace.json beside the results are in it.
    """
    from . import html

    report = waived(read(results), waivers)
    detection = beside(results)
    if form != "html" and (against is not None or timelines):
        raise click.UsageError("--against and --timelines are for --format html")
    if form in OTHERS:
        click.echo(OTHERS[form](report, reports.wrongs(report)), nl=False)
    elif form == "markdown":
        click.echo(reports.markdown(report, detection), nl=False)
    elif form == "svg":
        click.echo(reports.svg(report), nl=False)
    elif form == "html":
        click.echo(_page(report, html.Beside(detection, html.trace_beside(results)), against, timelines), nl=False)
    else:
        reports.print_text(console(), report, known=known, detection=detection)
    sys.exit(0 if reports.is_good(report) else 1)


def _page(report: Report, extras: html.Beside, against: Path | None, timelines: bool) -> str:
    from . import html

    extras.against = None if against is None else read(against)
    if timelines:
        cases = html.examples(report)
        again = _drivers_again if "driver" in report.header else _cases_again
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            extras.timelines = dict(again(report.header, progress.track(cases, description="timelines")))
    return html.page(report, extras)


def _cases_again(head: dict[str, Any], cases: Iterable[Result]) -> Iterator[tuple[str, dict[str, str]]]:
    from . import html

    for result in cases:
        case = Case.parse(result.case)
        name = head.get("asked_as", {}).get(case.backend, case.backend)
        outcome, rows = _traced(case, name, head["seed"], head["profile"])
        yield case.id, html.forms(case, name, head, outcome, rows)


def _drivers_again(head: dict[str, Any], cases: Iterable[Result]) -> Iterator[tuple[str, dict[str, str]]]:
    for result, steps in stories(head, cases):
        yield result.case, {"steps": "\n".join(steps)} if steps else {}


@click.command("replay")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--backend", "-b", metavar="ID", shell_complete=backend_ids, help="Only runs of this backend.")
@click.option("--max-show", type=click.IntRange(min=0), default=20, show_default=True, help="Differences to print.")
@click.option("-n", "workers", default="auto", show_default=True, callback=_workers, help="Worker processes; 0: none.")
def replay_command(paths: tuple[Path, ...], backend: str | None, max_show: int, workers: str) -> None:
    """Replay recorded runs of real kernels on the models, and compare each result."""
    from .replay.main import find, replay, sessions
    from .replay.run import VECTORS, VectorError

    shown = 0

    def show(line: str) -> None:
        nonlocal shown
        shown += 1
        if shown <= max_show:
            click.echo(line)

    if backend is not None and backend not in sessions():
        raise SelectionError(f"no adapter replays backend {backend}{suggest(backend, sessions())}")
    try:
        files = list(find(paths or [VECTORS]))
        if not files:
            raise VectorError("no recorded run (.json.gz) was found")
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("replay", total=len(files))
            total = replay(files, backend=backend, report=show, progress=lambda *_: progress.advance(task),
                           workers=len(os.sched_getaffinity(0)) if workers == "auto" else int(workers))
    except VectorError as error:
        raise click.UsageError(str(error)) from None
    if shown > max_show:
        click.echo(f"… and {shown - max_show} more differences")
    if total.void:
        click.echo(f"{total.void} recorded results are void (conformance/vectors/void.toml says why)")
    click.echo(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    sys.exit(1 if total.failed or not total.passed else 0)


def _backend_json(record: BackendRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "summary": record.summary,
        "source": list(record.source),
        "kernel": record.kernel,
        "proof": record.proof,
        "p2pdma": record.p2pdma,
        "walker": record.walker,
        "stale": record.stale,
        "machines": [{"name": config.name, "facts": config.facts} for config in record.machines],
        "known": [
            {"rules": list(known.rules), "source": known.source, "what": known.what, "machines": list(known.machines),
             "checks": list(known.checks), "reproducer": script(record, known) if known.reproducer else ""}
            for known in record.known
        ],
    }


@click.command("backends")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def backends_command(as_json: bool) -> None:
    """List the backends and their machines."""
    records = list(known_backends().values())
    if as_json:
        click.echo(json.dumps([_backend_json(record) for record in records], indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    screen = console()
    for heading in ("backend", "proof", "P2PDMA", "machines", "source"):
        table.add_column(heading, no_wrap=heading in ("backend", "proof", "P2PDMA"), overflow="fold")
    for record in records:
        names = [config.name for config in record.machines]
        machines = ", ".join(names) if screen.width >= 120 else str(len(names))         # --json has their names
        table.add_row(
            record.id, record.proof, "yes" if record.p2pdma else "no", machines, record.source[0].split(":")[0]
        )
    screen.print(table)


@click.command("candidates")
@click.argument("results", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--backend", "-b", "names", multiple=True, metavar="ID", shell_complete=backend_ids,
              help="Only these backends: ids or globs.")
@click.option("--verdicts", is_flag=True, help="Each backend's outcome of each route under each design, too.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def candidates_command(
    results: Path | None, names: tuple[str, ...], verdicts: bool, seed: int, as_json: bool
) -> None:
    """Compare the three designs of 2021 with what Linux has: what each costs, and where a bug would hide.

    From the routes in RESULTS, a results.jsonl or the folder that has one; without it they are run.
    """
    from . import candidates

    report = routes_of(Selection(backends=check_globs(names), seed=seed)) if results is None else read(results)
    if as_json:
        click.echo(json.dumps(candidates.as_json(report), indent=2, ensure_ascii=False))
        return
    matrix = reports.comparison(report)
    if matrix is None:
        raise click.UsageError(f"{results} has no routes")
    matrix.title = ""
    console().print(reports.table(matrix))
    if verdicts:
        console().print(_verdict_table(candidates.verdicts(report)))


def routes_of(selection: Selection) -> Report:
    """The routes of a selection, run here and now."""
    from .execute import run_named
    from .isolation import foreign, run_isolated

    names = selection.names()
    plan = [case for case in selection.cases() if case.route]
    results = []
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        for case in progress.track(plan, description="routes"):
            name, seed, profile = names[case.backend], selection.seed, selection.profile
            if foreign(name):
                results.append(run_isolated(case, name, seed, profile, TIME_LIMIT))
            else:
                results.append(run_named(case, name, seed, profile))
    return Report(header(selection, plan), results)


def _verdict_table(rows: Sequence[Verdicts]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("backend", "design", *ROUTES, "machines"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        more = f" and {len(row.machines) - 2} more" if len(row.machines) > 2 else ""
        table.add_row(row.backend, row.design, *row.cells, ", ".join(row.machines[:2]) + more)
    return table


def _rule_json(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "text": rule.text,
        "level": rule.level,
        "group": rule.group,
        "api": rule.api,
        "since": rule.since,
        "until": rule.until,
        "source": {"file": rule.source.file, "symbol": rule.source.symbol, "sha256": rule.source.sha256},
        "observe": rule.observe,
        "applies_if": list(rule.applies_if),
        "checks": list(rule.checks),
        "saboteurs": list(rule.saboteurs),
        "not_tested": rule.not_tested,
    }


@click.command("rules")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def rules_command(as_json: bool) -> None:
    """List the rules; one without checks says why."""
    rules = list(load_rules().values())
    if as_json:
        click.echo(json.dumps([_rule_json(rule) for rule in rules], indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rule", no_wrap=True)
    table.add_column("level", no_wrap=True)
    table.add_column("text")
    for rule in rules:
        table.add_row(rule.id, rule.level, rule.text + (f" (not tested: {rule.not_tested})" if rule.not_tested else ""))
    console().print(table)
    tested = sum(1 for rule in rules if rule.checks)
    console().print(f"{len(rules)} rules, {tested} with checks")


def _explain_rule(rule: Rule) -> list[str]:
    from .checks import checks

    lines = [f"{rule.id} ({rule.level}, {rule.group})", "", f"    {rule.text}", "", f"source      {rule.source}"]
    if rule.api == "new":
        lines.append("API         dma_map_phys, dma_iova_* and who builds on them")
    if rule.since or rule.until:
        lines.append(f"kernels     {rule.since or 'all'} to {rule.until or 'now'}")
    lines.append(f"applies if  {' and '.join(rule.applies_if) or 'always'}")
    if rule.observe:
        lines.append(f"observed    {rule.observe}")
    for name in rule.checks:
        summary = (checks()[name].__doc__ or "").strip().split("\n\n")[0]
        lines.append(f"check       {name}: {' '.join(summary.split())}")
    if rule.saboteurs:
        lines.append(f"saboteurs   {', '.join(rule.saboteurs)}")
    if rule.not_tested:
        lines.append(f"not tested  {rule.not_tested}")
    for record in known_backends().values():
        for known in record.known:
            if rule.id in known.rules:
                where = f"{record.id} ({', '.join(known.machines)})" if known.machines else record.id
                lines.append(f"known       {where}: {known.what}; {known.source}")
                if known.reproducer:
                    lines += ["reproducer", *(f"    {line}" for line in script(record, known).splitlines())]
    return lines


def _traced(case: Case, name: str, seed: int, profile: Literal["quick", "full"]) -> tuple[Result, list[Row]]:
    """The case's result, and the timeline of the check that came to it."""
    from . import isolation
    from .execute import run_named
    from .timeline import recording

    if isolation.foreign(name):
        outcome = isolation.run_isolated(case, name, seed, profile, TIME_LIMIT)
        return outcome, isolation.run_traced(case, name, seed, profile, outcome.check, TIME_LIMIT)[1]
    outcome = run_named(case, name, seed, profile)
    rows: list[Row] = []
    if outcome.verdict.observed:
        with recording(rows):
            run_named(case, name, seed, profile, outcome.check)
    return outcome, rows


def _picture(case: Case, rows: list[Row]) -> str:
    from .html.timeline import picture, standalone

    if not rows:
        raise click.UsageError(f"{case.id} has no timeline: nothing ran")
    return standalone(picture(rows, case.id))


@click.command("explain")
@click.argument("what", metavar="RULE-OR-CASE", shell_complete=case_ids)
@click.option("--backend", "-b", "name", default="", metavar="py:MODULE:OBJECT", help="The case's, if not installed.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--profile", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.option("--form", type=click.Choice(["pytest", "python", "c", "svg"]),
              help="Print only how to run the case again; svg: a picture of what it did.")
@driver_options
def explain_command(
    what: str, name: str, seed: int, profile: Literal["quick", "full"], form: str | None, drivers: tuple[Path, ...],
    cflags: str,
) -> None:
    """Tell what a rule says and where it comes from; run a case again and tell what was seen."""
    from . import reproduce, timeline
    from .candidates import SUMMARY

    if what.upper().startswith("DRV-"):
        if form:
            raise click.UsageError("--form is not for a case of a driver: its program is the driver")
        sys.exit(explain_driver(what, drivers, cflags, seed, name))
    rules = load_rules()
    if ":" not in what:
        if what.upper() not in rules:
            raise SelectionError(f"there is no rule {what!r}{suggest(what.upper(), rules)}")
        rule = rules[what.upper()]
        if form:
            raise click.UsageError("--form is for a case, RULE:BACKEND:MACHINE:API, not for a rule")
        click.echo("\n".join(_explain_rule(rule)))
        if rule.checks:
            click.echo(f"run it      dma-conformance run --rule {rule.id}")
        return
    case = Case.parse(what)
    name = name or case.backend
    record = backend(name)
    if record.id != case.backend:
        raise SelectionError(f"{name} is {record.id}, and the case is one of {case.backend}")
    config = machine(record, case.machine)
    if case.route is None and case.what not in rules:
        raise SelectionError(f"there is no rule {case.what!r}{suggest(case.what, rules)}")
    outcome, rows = _traced(case, name, seed, profile)
    if form:
        click.echo({
            "pytest": lambda: reproduce.pytest_node(case, name, seed, profile) + "\n",
            "python": lambda: reproduce.python_script(case, name, seed, profile, outcome),
            "c": lambda: reproduce.c_source(case, rows),
            "svg": lambda: _picture(case, rows),
        }[form](), nl=False)
        return
    if case.route is None:
        click.echo("\n".join(_explain_rule(rules[case.what])))
    else:
        click.echo(f"{case.what} through {SUMMARY[case.api]}")
        click.echo("what the core lets arrive (policy), and what happens if it does (mechanism)")
    click.echo(f"\nbackend     {record.id}: {record.summary}")
    click.echo(f"machine     {config.name}: {config.facts}")
    if outcome.cost:
        click.echo(f"cost        {', '.join(f'{value} {key}' for key, value in outcome.cost.items())}")
    if outcome.policy:
        click.echo(f"policy      {outcome.policy}\nmechanism   {outcome.mechanism}")
    click.echo(f"verdict     {outcome.verdict.value}{f' ({outcome.detail})' if outcome.detail else ''}")
    if rows:
        click.echo("\ntimeline (what the check did last; mN: on its N-th machine)")
        click.echo("\n".join(timeline.lines(rows)))
    if without_running(case) is None:
        click.echo(f"\nrun it      {reproduce.pytest_node(case, name, seed, profile)}")
    if rows:
        click.echo("            explain --form python (or c) writes it as a program")
    sys.exit(1 if outcome.verdict.bad else 0)
