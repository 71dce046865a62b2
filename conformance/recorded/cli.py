# SPDX-License-Identifier: MIT
"""dma-conformance judge: the rules on recorded runs."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from ..replay.main import find
from ..replay.run import VECTORS, VectorError, load
from .judge import judge


@click.command("judge")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--max-show", type=click.IntRange(min=0), default=40, show_default=True, help="Flaws to print.")
def judge_command(paths: tuple[Path, ...], as_json: bool, max_show: int) -> None:
    """Judge recorded runs by their outputs: which rules did that kernel break? Without PATHs, the public runs."""
    try:
        files = list(find(paths or [VECTORS]))
        if not files:
            raise VectorError("no recorded run (.json.gz) was found")
        runs = [load(path) for path in files]
    except VectorError as error:
        raise click.UsageError(str(error)) from None
    flaws = [flaw for run in runs for flaw in judge(run)]
    if as_json:
        click.echo(json.dumps([asdict(flaw) for flaw in flaws], indent=2, ensure_ascii=False))
    else:
        for flaw in flaws[:max_show]:
            click.echo(str(flaw))
        if len(flaws) > max_show:
            click.echo(f"… and {len(flaws) - max_show} more flaws")
        rules = Counter(flaw.rule for flaw in flaws)
        said = ", ".join(f"{rule} {count}" for rule, count in sorted(rules.items()))
        spoiled = len({flaw.run for flaw in flaws})
        click.echo(f"{len(runs)} run{'s' if len(runs) != 1 else ''} judged, {spoiled} with flaws"
                   f"{': ' + said if said else ''}")
    sys.exit(1 if flaws else 0)
