# SPDX-License-Identifier: MIT
"""run --driver, and explain of a driver's case."""

from __future__ import annotations

import fnmatch
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .. import report as reports
from ..execute import Result
from ..outcomes.cli import waived
from ..outcomes.waivers import Waiver
from ..screen import console
from ..selection import Selection, SelectionError, suggest
from ..terminal import Sentence
from .clauses import Clause, clauses
from .rig import Api, DriverError
from .run import APIS, TIME_LIMIT, Children, Driver, Place, Seen, judge, places, run, watch


def chosen_clauses(names: Sequence[str]) -> list[Clause]:
    """Clauses by ids and globs, all if there are none. Raises SelectionError."""
    wanted: set[str] = set()
    for name in names or ("*",):
        matching = fnmatch.filter(clauses(), name.upper())
        if not matching:
            near = suggest(name.upper(), clauses())
            raise SelectionError(f"no clause for drivers is called or matches {name!r}{near}")
        wanted.update(matching)
    return [clause for clause in clauses().values() if clause.id in wanted]


F = TypeVar("F", bound=Callable[..., Any])


def driver_options(function: F) -> F:
    """--driver and --cflags."""
    told = "For the compiler of a driver's C file."
    function = click.option("--cflags", default="", metavar="OPTIONS", help=told)(function)
    return click.option(
        "--driver", "drivers", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A driver under test: an object, one for each page size, or a C file.",
    )(function)


def run_driver(
    paths: Sequence[Path], cflags: str, selection: Selection, rules: Sequence[str], api: str, out: Path | None,
    workers: str, waivers: list[Waiver], *, time_limit: int, known: bool,
) -> NoReturn:
    """Run a driver, print the report, and exit. Raises SelectionError, and click's error for what is no driver."""
    chosen, apis = chosen_clauses(rules), apis_of(api)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        driver = Driver(tuple(paths), cflags, folder)
        n = (os.cpu_count() or 1) if workers == "auto" else max(int(workers), 1)
        total = len(list(places(selection, apis))) * len(chosen)
        bar = stack.enter_context(Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
        ))
        task = bar.add_task("running", total=total)
        try:
            report = waived(run(
                driver, selection, apis, chosen, out if out is not None else folder / "results", workers=n,
                time_limit=min(time_limit, TIME_LIMIT), listener=lambda _: bar.advance(task),
            ), waivers)
        except DriverError as error:
            raise Sentence(str(error)) from None
    reports.print_text(console(), report, known=known)
    if out is not None:
        console().print(f"results: {out / 'results.jsonl'}", soft_wrap=True)
    sys.exit(0 if reports.is_good(report) else 1)


def apis_of(api: str) -> tuple[Api, ...]:
    return APIS if api == "all" else (cast(Api, api),)


def explain_driver(text: str, paths: Sequence[Path], cflags: str, seed: int, backend: str = "") -> int:
    """Tell what a clause says; run the scenarios of a case again, and tell what happened. The exit status."""
    if text.upper() in clauses():
        click.echo("\n".join(_told(clauses()[text.upper()])))
        return 0
    parts = text.split(":")
    if len(parts) != 4 or parts[0] not in clauses() or parts[3] not in APIS:
        raise SelectionError(f"{text!r} is no case of a driver; one is DRV-01:BACKEND:MACHINE:legacy, or :new")
    clause = clauses()[parts[0]]
    if not paths:
        raise click.UsageError("a case of a driver needs the driver: --driver FILE")
    found = [place for place in places(Selection(backends=(backend or parts[1],)), APIS)
             if (place.config.name, place.api) == (parts[2], parts[3])]
    if not found:
        raise SelectionError(f"backend {parts[1]} has no machine {parts[2]!r}")
    with ExitStack() as stack:
        driver = Driver(tuple(paths), cflags,
                        Path(stack.enter_context(tempfile.TemporaryDirectory())))
        children = Children()
        stack.callback(children.close)
        try:
            return _explain(driver, found[0], clause, seed, children)
        except DriverError as error:
            raise Sentence(str(error)) from None


def stories(head: dict[str, Any], results: Iterable[Result]) -> Iterator[tuple[Result, list[str]]]:
    """The driver of a results header meets each case again: what happened up to the finding. Raises click's error."""
    facts = head["driver"]
    paths = [Path(name) for name in facts["files"]]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise Sentence(f"the driver is not here, so nothing can be run again: {', '.join(missing)}")
    names = tuple({head.get("asked_as", {}).get(name, name) for name in head["backends"]})
    everywhere = {place.case("").id: place for place in places(Selection(backends=names), APIS)}
    with ExitStack() as stack:
        driver = Driver(tuple(paths), facts["cflags"], Path(stack.enter_context(tempfile.TemporaryDirectory())))
        children = Children()
        stack.callback(children.close)
        for result in results:
            place = everywhere[f":{result.backend}:{result.machine}:{result.api}"]
            clause = clauses()[result.what]
            try:
                outcome, seen = _again(driver, place, clause, head["seed"], children)
            except DriverError as error:
                raise Sentence(str(error)) from None
            yield result, around(seen[outcome.check].steps, clause.id) if outcome.check else []


def _again(
    driver: Driver, place: Place, clause: Clause, seed: int, children: Children
) -> tuple[Result, dict[str, Seen]]:
    from ..selection import subject

    shift = subject(place.name, place.config.name, place.api).machine.page_shift
    if driver.object(shift) is None:
        raise DriverError(f"no object is compiled for pages of {1 << shift} bytes (-DPAGE_SHIFT={shift})")
    seen = {name: watch(driver, place, name, seed, children) for name in clause.scenarios}
    return judge(place, [clause], seen)[0], seen


def _explain(driver: Driver, place: Place, clause: Clause, seed: int, children: Children) -> int:
    outcome, seen = _again(driver, place, clause, seed, children)
    click.echo("\n".join(_told(clause)))
    click.echo(f"driver      {driver.name}")
    click.echo(f"backend     {place.record.id}: {place.record.summary}")
    click.echo(f"machine     {place.config.name}: {place.config.facts}")
    click.echo(f"verdict     {outcome.verdict.value}{f' ({outcome.detail})' if outcome.detail else ''}")
    for name in (outcome.check,) if outcome.check else ():
        click.echo(f"\nscenario {name}")
        for step in around(seen[name].steps, clause.id):
            click.echo(f"    {step}")
    asked = f" --backend {shlex.quote(place.name)}" if place.name != place.record.id else ""
    click.echo(f"\nrun it      dma-conformance explain {outcome.case}{asked} {driver.arguments} --seed {seed}")
    return 1 if outcome.verdict.bad else 0


def _told(clause: Clause) -> list[str]:
    return [f"{clause.id} (must, driver)", "", f"    {clause.rule.text}", "", f"source      {clause.rule.source}",
            f"scenarios   {', '.join(clause.scenarios)}"]


def around(steps: Sequence[str], clause: str, before: int = 8) -> list[str]:
    """The steps up to the first finding of a clause."""
    last = next((i for i, step in enumerate(steps) if step.startswith(f"  {clause}:")), len(steps) - 1)
    first = max(last - before, 0)
    return [*(["…"] if first else []), *steps[first : last + 1]]
