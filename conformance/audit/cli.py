# SPDX-License-Identifier: MIT
"""dma-conformance audit."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import get_args

import click

from arch import backends

from ..rules import load_rules
from .pins import (
    BAD,
    KERNELS,
    PINS,
    Finding,
    Status,
    TreeError,
    audit,
    collect,
    kernel_of,
    record_pins,
    rule_pins,
    rule_texts,
    version_of,
)
from .places import digest


@click.command("audit")
@click.option(
    "--kernel-source", "trees", required=True, multiple=True, metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path), help="A tree of Linux, unpacked; need not be built.",
)
@click.option("--all", "everything", is_flag=True, help="List what did not change, too.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--update", is_flag=True, hidden=True, help="For maintainers: take the hashes from these trees.")
def audit_command(trees: tuple[Path, ...], everything: bool, as_json: bool, update: bool) -> None:
    """Find the places in Linux again on which rules and models stand, and tell whose ground moved. Exit status 1 if one
    changed or is gone."""
    try:
        if update:
            _update({version_of(tree): tree for tree in trees})
            return
        if len(trees) != 1:
            raise click.UsageError("give one tree")
        version = version_of(trees[0])
        findings = audit([*rule_pins(load_rules().values()), *record_pins()], trees[0])
    except TreeError as error:
        raise click.UsageError(str(error)) from None
    counts = Counter(finding.status for finding in findings)
    if as_json:
        row = {
            "kernel": version,
            "counts": {status: counts[status] for status in get_args(Status)},
            "findings": [finding.as_json() for finding in findings],
        }
        click.echo(json.dumps(row, indent=2))
    else:
        for status in get_args(Status):
            for finding in findings:
                if finding.status == status and (everything or status != "unchanged"):
                    click.echo(_line(finding))
        said = ", ".join(f"{counts[status]} {status}" for status in get_args(Status))
        click.echo(f"Linux {version}, {len(findings)} places: {said}")
    sys.exit(1 if any(counts[status] for status in BAD) else 0)


def _line(finding: Finding) -> str:
    where = f" (now {finding.where})" if finding.where else ""
    return f"{finding.status:9} {finding.pin}{where}: {', '.join(finding.pin.used_by)}"


def _update(trees: dict[str, Path]) -> None:
    """Write the hashes into the rule files and pins.json."""
    missing = [kernel for kernel in KERNELS if kernel not in trees]
    if missing:
        raise click.UsageError(f"--update needs the trees of Linux {', '.join(KERNELS)}; there is no {missing[0]}")
    folder = Path(str(files("conformance.rules")))
    for rule in load_rules().values():
        kernel = kernel_of(rule)
        texts = rule_texts(rule, trees[kernel]) if kernel else []
        if kernel and not texts:
            raise click.ClickException(f"{rule.id}: Linux {kernel} has no {rule.source}")
        path = folder / rule.file
        tables = path.read_text(encoding="utf-8").split("[[rule]]\n")
        place = next(i for i, table in enumerate(tables) if f'id = "{rule.id}"\n' in table)
        tables[place], found = re.subn(
            r'sha256 = "[0-9a-f]*"', f'sha256 = "{digest(texts) if texts else ""}"', tables[place],
        )
        if found != 1:
            raise click.ClickException(f'{rule.id}: its source needs a sha256 = ""')
        path.write_text("[[rule]]\n".join(tables), encoding="utf-8")
    PINS.write_text(json.dumps(collect(backends().values(), trees[KERNELS[0]]), indent=1) + "\n", encoding="utf-8")
