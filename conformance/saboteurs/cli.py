# SPDX-License-Identifier: MIT
"""dma-conformance selftest: the kill matrix, and what it says of the suite."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from arch import backends

from ..completion import saboteur_names
from ..detection import NAME, SCHEMA_VERSION
from ..rules import fingerprint, load_rules
from ..screen import console
from ..version import project_version
from . import SABOTEURS
from .selftest import Matrix, jobs, run
from .shapes import absent, planted


def left_out() -> list[dict[str, Any]]:
    """Historical bugs that cannot be put back: {id, commits, what, why}."""
    bugs: list[dict[str, Any]] = tomllib.loads(
        files(__package__).joinpath("history.toml").read_text(encoding="utf-8")
    )["bug"]
    return bugs


def by_shape() -> dict[str, dict[str, Any]]:
    """The systematic set: backend, shape, and its saboteurs there, or why there is none."""
    return {
        backend: {shape: names or absent().get((backend, shape), "") for shape, names in planted(backend).items()}
        for backend in sorted(backends())
    }


def as_json(matrix: Matrix, seed: int = 0) -> dict[str, Any]:
    """kills.json, as kills.schema.json has it."""
    killed, planted = matrix.score
    return {
        "type": "kills",
        "schema": SCHEMA_VERSION,
        "version": project_version(),
        "seed": seed,
        "rules_hash": fingerprint(load_rules().values()),
        "score": {"killed": killed, "planted": planted},
        "rules": {rule: {name: targets for name, targets in by.items()} for rule, by in sorted(matrix.kills.items())},
        "idle": matrix.idle,
        "missed": [{"rule": rule, "saboteur": name} for rule, name in matrix.missed],
        "survivors": [{"saboteur": name, "target": target} for name, target in matrix.survivors],
        "saboteurs": {
            one.name: {
                "what": one.what, "breaks": list(one.breaks), "targets": list(one.targets), "bug": one.bug,
                "commit": one.commit,
            }
            for one in SABOTEURS.values()
            if one.name in {seen.saboteur for seen in matrix.sightings}
        },
        "sightings": [asdict(one) | {"killed": one.killed} for one in matrix.sightings],
        "shapes": by_shape(),
        "left_out": left_out(),
    }


def _killers(matrix: Matrix) -> Table:
    """Saboteur -> the rules that kill it, with the number of backends."""
    killers: dict[str, list[str]] = {one.saboteur: [] for one in matrix.sightings}
    for rule, by in sorted(matrix.kills.items()):
        for name, targets in by.items():
            killers[name].append(f"{rule} ({len(targets)})")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("saboteur", no_wrap=True)
    table.add_column("killed by (backends)")
    for name, rules in killers.items():
        table.add_row(name, ", ".join(rules) or "none")
    return table


def show(screen: Console, matrix: Matrix, *, complete: bool) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rule", no_wrap=True)
    table.add_column("kills", justify="right")
    table.add_column("saboteurs (backends)")
    for rule, by in sorted(matrix.kills.items()):
        names = ", ".join(f"{name} ({len(targets)})" for name, targets in by.items())
        table.add_row(rule, str(sum(map(len, by.values()))), names)
    screen.print(table)
    screen.print(_killers(matrix))
    for name, target in matrix.survivors:
        said = "; ".join(
            f"{one.rule} {one.broken}, without it {one.real}"
            for one in matrix.sightings if (one.saboteur, one.target) == (name, target)
        )
        screen.print(f"[red]survives[/]  {name} in {target}: {SABOTEURS[name].what} ({said})")
    for rule, name in matrix.missed:
        screen.print(f"[red]missed[/]    {rule} does not see {name} anywhere")
    if complete:
        for rule in matrix.idle:
            screen.print(f"[red]idle[/]      {rule} has checks and kills nothing")
        history = [one for one in SABOTEURS.values() if one.bug]
        screen.print(f"\n{len(history)} historical bugs of Linux are among them; left out:")
        for bug in left_out():
            screen.print(f"  {bug['id']}: {bug['what']} ({bug['why']})")
    killed, planted = matrix.score
    kinds = {one.saboteur for one in matrix.sightings}
    backends = {one.target.split("/")[0] for one in matrix.sightings}
    screen.print(
        f"\n{len(kinds)} saboteurs, {planted} times planted in {len(backends)} backends: "
        f"{killed} killed, detection {100 * killed / planted:.1f} %"
    )


@click.command("selftest")
@click.argument("saboteurs", nargs=-1, metavar="[SABOTEUR]...", shell_complete=saboteur_names)
@click.option("-n", "workers", type=click.IntRange(0), default=os.cpu_count() or 1, show_default="CPUs",
              help="Worker processes; 0: none.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "json_", is_flag=True, help="For programs.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIRECTORY",
              help=f"Folder for {NAME}; beside a results.jsonl `report` shows it.")
@click.option("--list", "list_", is_flag=True, help="List the saboteurs, plant none.")
def selftest_command(
    saboteurs: tuple[str, ...], workers: int, seed: int, json_: bool, out: Path | None, list_: bool
) -> None:
    """Plant broken backends, and see that the rules notice each. Fails if one survives or a rule kills none."""
    unknown = [name for name in saboteurs if name not in SABOTEURS]
    if unknown:
        raise click.UsageError(f"there is no saboteur {unknown[0]!r}; --list shows them")
    if list_:
        for one in SABOTEURS.values():
            origin = f" [{one.bug}, {one.commit}]" if one.bug else ""
            click.echo(f"{one.name}: {one.what} {', '.join(one.breaks)}; {len(one.targets)} backends{origin}")
        return
    with click.progressbar(length=len(jobs(saboteurs)), label="planting", file=sys.stderr) as bar:
        matrix = Matrix(run(saboteurs, workers=workers, seed=seed, heard=lambda: bar.update(1)))
    written = json.dumps(as_json(matrix, seed), indent=1, ensure_ascii=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / NAME).write_text(written + "\n", encoding="utf-8")
    if json_:
        click.echo(written)
    else:
        show(console(), matrix, complete=not saboteurs)
    sys.exit(1 if matrix.survivors or matrix.missed or (not saboteurs and matrix.idle) else 0)
